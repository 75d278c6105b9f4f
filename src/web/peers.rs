//! The open connections: how many there are, whose they are, and which one is closed where there are too many.
//!
//! A client that comes is never made to wait for one that does nothing. Where a limit is reached, the connection is
//! closed that has been of no use for longest: first those on which no request is being answered, then those whose
//! request is still on its way. One whose request is being worked on is never closed. Where all connections are of that
//! kind, a few more are taken, on which the service says that it is there, and nothing else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::client::network;

/// Connections beyond the limit, for checks of the service's health.
const RESERVE: usize = 16;

/// How long a connection is left in peace, so that a client has the time to send a request, however many others connect
/// at the same moment.
const PEACE: Duration = Duration::from_millis(50);

/// What happens on a connection, the least useful first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No request is being answered: nothing comes, a request's headers do, or an answer is not read.
    Idle,
    /// The body of a request is on its way.
    Sending,
    /// A request is being answered.
    Working,
}

/// How many connections there may be.
pub struct Limits {
    pub all: usize,
    pub per_address: usize,
    /// Addresses that have no limit of their own, for they speak for many clients.
    pub trusted: Vec<IpAddr>,
}

/// All open connections.
pub struct Peers {
    open: Mutex<Vec<Arc<Peer>>>,
    limits: Limits,
}

/// A connection.
pub struct Peer {
    /// Where it comes from.
    pub ip: IpAddr,
    /// Whether nothing but the service's health can be asked for.
    pub is_reserve: bool,
    state: Mutex<(Phase, Instant)>,
    closed: Notify,
}

impl Peer {
    /// Takes note of what happens from now on.
    pub fn set(&self, phase: Phase) {
        *self.lock() = (phase, Instant::now());
    }

    /// Returns when the connection has to make room for another.
    pub async fn closed(&self) {
        self.closed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> (Phase, Instant) {
        *self.lock()
    }
}

/// A place among the open connections, which ends with this.
pub struct Place {
    pub peer: Arc<Peer>,
    peers: Arc<Peers>,
}

impl Peers {
    pub fn new(limits: Limits) -> Self {
        Peers {
            open: Mutex::default(),
            limits,
        }
    }

    /// A place for a connection from `ip`, for which another may be closed; `None` where there is none left. Waits a moment
    /// where all that could be closed have only just come.
    pub async fn open(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        loop {
            match self.try_open(ip) {
                Ok(place) => return place,
                Err(Crowd(moment)) => sleep(moment).await,
            }
        }
    }

    fn try_open(self: &Arc<Self>, ip: IpAddr) -> Result<Option<Place>, Crowd> {
        let ip = ip.to_canonical();
        let mut open = self.lock();
        let is_trusted = self.limits.trusted.contains(&ip);
        let same = |peer: &Peer| network(peer.ip) == network(ip);
        let own = open.iter().filter(|peer| same(peer)).count();
        let regular = |open: &[Arc<Peer>]| open.iter().filter(|peer| !peer.is_reserve).count();
        let has_room = if !is_trusted && own >= self.limits.per_address {
            close_one(&mut open, same)?
        } else if regular(&open) >= self.limits.all {
            let most = most_connected(&open);
            close_one(&mut open, |peer| most.contains(&network(peer.ip)))?
                || close_one(&mut open, |_| true)?
        } else {
            true
        };
        // The one that was closed may have been of the reserve itself.
        let regular = regular(&open);
        let is_reserve = !has_room || regular >= self.limits.all;
        if is_reserve && open.len() - regular >= RESERVE {
            return Ok(None);
        }
        let peer = Arc::new(Peer {
            ip,
            is_reserve,
            state: Mutex::new((Phase::Idle, Instant::now())),
            closed: Notify::new(),
        });
        open.push(peer.clone());
        let peers = self.clone();
        Ok(Some(Place { peer, peers }))
    }

    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// How many requests are on their way or being answered.
    pub fn requests(&self) -> usize {
        let open = self.lock();
        open.iter().filter(|p| p.state().0 > Phase::Idle).count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Peer>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.peers.lock();
        open.retain(|peer| !Arc::ptr_eq(peer, &self.peer));
    }
}

/// The networks that have the most connections.
fn most_connected(open: &[Arc<Peer>]) -> Vec<IpAddr> {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for peer in open {
        *counts.entry(network(peer.ip)).or_default() += 1;
    }
    let most = counts.values().copied().max();
    let has_most = counts.into_iter().filter(|&(_, n)| Some(n) == most);
    has_most.map(|(ip, _)| ip).collect()
}

/// All connections that could be closed have only just come: in this time, the first of them has had its chance.
#[derive(Debug)]
struct Crowd(Duration);

/// Closes the least useful of the connections that may be closed; false where there is none.
fn close_one(open: &mut Vec<Arc<Peer>>, may: impl Fn(&Peer) -> bool) -> Result<bool, Crowd> {
    let states = open.iter().enumerate().filter(|(_, peer)| may(peer));
    let states = states.map(|(at, peer)| (peer.state(), at));
    let idle = states.filter(|((phase, _), _)| *phase != Phase::Working);
    let Some(((_, since), at)) = idle.min() else {
        return Ok(false);
    };
    let left = PEACE.saturating_sub(since.elapsed());
    if !left.is_zero() {
        return Err(Crowd(left));
    }
    // It has no place any more, though it takes a moment until it is gone.
    open.swap_remove(at).closed.notify_one();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn peers(all: usize, per_address: usize) -> Arc<Peers> {
        Arc::new(Peers::new(Limits {
            all,
            per_address,
            trusted: vec![ip(9)],
        }))
    }

    /// A place for a connection from the address that ends in `last`, when those before have been left in peace for long
    /// enough.
    fn open(peers: &Arc<Peers>, last: u8) -> Option<Place> {
        for peer in peers.lock().iter() {
            peer.lock().1 -= PEACE;
        }
        peers.try_open(ip(last)).unwrap()
    }

    fn is_open(peers: &Peers, place: &Place) -> bool {
        peers.lock().iter().any(|p| Arc::ptr_eq(p, &place.peer))
    }

    #[test]
    fn the_longest_idle_makes_room_then_the_slow_but_never_who_is_worked_for() {
        let peers = peers(3, 3);
        let [working, sending, idle] = [(); 3].map(|()| open(&peers, 1).unwrap());
        working.peer.set(Phase::Working);
        sending.peer.set(Phase::Sending);
        let fourth = open(&peers, 1).unwrap();
        assert!(!is_open(&peers, &idle) && is_open(&peers, &sending));
        fourth.peer.set(Phase::Working);
        let fifth = open(&peers, 2).unwrap();
        assert!(!is_open(&peers, &sending) && is_open(&peers, &working));
        fifth.peer.set(Phase::Working);
        assert_eq!(peers.requests(), 3);

        // Now there is room for checks of its health alone, and some of them.
        let working_for = |_| {
            let place = open(&peers, 3).unwrap();
            place.peer.set(Phase::Working);
            place
        };
        let reserve: Vec<_> = (0..RESERVE).map(working_for).collect();
        assert!(reserve.iter().all(|place| place.peer.is_reserve));
        assert!(open(&peers, 3).is_none());
        drop((reserve, working));
        assert_eq!(peers.len(), 2);
        assert!(!open(&peers, 3).unwrap().peer.is_reserve);
    }

    #[test]
    fn who_has_only_just_come_is_left_in_peace_for_a_moment() {
        let peers = peers(2, 2);
        let both = [(); 2].map(|()| peers.try_open(ip(1)).unwrap().unwrap());
        let Err(Crowd(moment)) = peers.try_open(ip(1)) else {
            panic!("one was closed at once");
        };
        assert!(moment <= PEACE && both.iter().all(|place| is_open(&peers, place)));
        std::thread::sleep(moment);
        assert!(peers.try_open(ip(1)).unwrap().is_some());
        assert!(!is_open(&peers, &both[0]) && is_open(&peers, &both[1]));
    }

    #[test]
    fn who_has_the_most_loses_one() {
        let peers = peers(5, 3);
        let few = [(); 2].map(|()| open(&peers, 1).unwrap());
        let many: Vec<_> = (0..9).map(|_| open(&peers, 2).unwrap()).collect();
        assert_eq!(peers.len(), 5);
        let third = open(&peers, 3).unwrap();
        assert!(few.iter().chain([&third]).all(|p| is_open(&peers, p)));
        assert_eq!(many.iter().filter(|p| is_open(&peers, p)).count(), 2);
        // A proxy may have as many as there are.
        let proxy: Vec<_> = (0..5).map(|_| open(&peers, 9).unwrap()).collect();
        assert!(proxy.iter().filter(|p| is_open(&peers, p)).count() > 1);
    }
}
