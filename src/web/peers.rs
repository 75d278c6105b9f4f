//! The open connections: their number, their clients, and which one is closed if there are too many.
//!
//! A new client never waits for an idle one. When a limit is reached, the least useful connection is closed, the one
//! that has been so for longest: first connections without a request, then those whose request is still arriving. A
//! connection whose request is being answered is never closed. If all connections are of that kind, a few more are
//! accepted, which can only ask for the service's health.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::client::network;

/// The number of connections beyond the limit, for health checks.
const RESERVE: usize = 16;

/// The age below which a connection is not closed, so that a client has the time to send a request, however many others
/// connect at the same moment. More time would be kinder to them, but clients that do not fit in the system's backlog
/// try again only after a second.
const MIN_AGE: Duration = Duration::from_millis(10);

/// The phase of a connection, least useful first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No request is being answered: nothing arrives, a request's headers arrive, or an answer is not read.
    Idle,
    /// The body of a request is arriving.
    Sending,
    /// A request is being answered.
    Working,
}

/// The limits for connections.
pub struct Limits {
    pub all: usize,
    pub per_address: usize,
    /// Addresses without a limit of their own, because they are proxies of many clients.
    pub trusted: Vec<IpAddr>,
}

/// All open connections.
pub struct Peers {
    open: Mutex<Vec<Arc<Peer>>>,
    limits: Limits,
}

/// An open connection.
pub struct Peer {
    /// The address of the other side.
    pub ip: IpAddr,
    /// Whether it may only ask for the service's health.
    pub is_reserve: bool,
    state: Mutex<(Phase, Instant)>,
    closed: Notify,
}

impl Peer {
    /// Sets the phase, from now on.
    pub fn set(&self, phase: Phase) {
        *self.lock() = (phase, Instant::now());
    }

    /// Waits until the connection must make room for another.
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

/// A slot among the open connections; dropping it frees the slot.
pub struct Slot {
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

    /// Returns a slot for a connection from `ip`, for which another connection may be closed; `None` if there is none
    /// left. Waits a moment if all connections that could be closed are too new.
    pub async fn open(self: &Arc<Self>, ip: IpAddr) -> Option<Slot> {
        loop {
            match self.try_open(ip) {
                Ok(slot) => return slot,
                Err(AllTooNew(moment)) => sleep(moment).await,
            }
        }
    }

    fn try_open(self: &Arc<Self>, ip: IpAddr) -> Result<Option<Slot>, AllTooNew> {
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
        // The connection that was closed may have been one of the reserve.
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
        Ok(Some(Slot { peer, peers }))
    }

    /// Returns the number of open connections.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns the number of requests that are arriving or being answered.
    pub fn requests(&self) -> usize {
        let open = self.lock();
        open.iter().filter(|p| p.state().0 > Phase::Idle).count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Peer>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.peers.lock();
        open.retain(|peer| !Arc::ptr_eq(peer, &self.peer));
    }
}

/// Returns the networks with the most connections.
fn most_connected(open: &[Arc<Peer>]) -> Vec<IpAddr> {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for peer in open {
        *counts.entry(network(peer.ip)).or_default() += 1;
    }
    let most = counts.values().copied().max();
    let has_most = counts.into_iter().filter(|&(_, n)| Some(n) == most);
    has_most.map(|(ip, _)| ip).collect()
}

/// Error: all connections that could be closed are too new. After this time the oldest of them may be closed.
#[derive(Debug)]
struct AllTooNew(Duration);

/// Closes the least useful of the connections for which `may` holds; returns false if there is none.
fn close_one(open: &mut Vec<Arc<Peer>>, may: impl Fn(&Peer) -> bool) -> Result<bool, AllTooNew> {
    let states = open.iter().enumerate().filter(|(_, peer)| may(peer));
    let states = states.map(|(at, peer)| (peer.state(), at));
    let idle = states.filter(|((phase, _), _)| *phase != Phase::Working);
    let Some(((_, since), at)) = idle.min() else {
        return Ok(false);
    };
    let left = MIN_AGE.saturating_sub(since.elapsed());
    if !left.is_zero() {
        return Err(AllTooNew(left));
    }
    // It gives up its slot at once, although it takes a moment until it is closed.
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

    /// Returns a slot for a connection from the address that ends in `last`, once the existing connections are old
    /// enough.
    fn open(peers: &Arc<Peers>, last: u8) -> Option<Slot> {
        for peer in peers.lock().iter() {
            peer.lock().1 -= MIN_AGE;
        }
        peers.try_open(ip(last)).unwrap()
    }

    fn is_open(peers: &Peers, slot: &Slot) -> bool {
        peers.lock().iter().any(|p| Arc::ptr_eq(p, &slot.peer))
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

        // Now there is only room for a few health checks.
        let working_for = |_| {
            let slot = open(&peers, 3).unwrap();
            slot.peer.set(Phase::Working);
            slot
        };
        let reserve: Vec<_> = (0..RESERVE).map(working_for).collect();
        assert!(reserve.iter().all(|slot| slot.peer.is_reserve));
        assert!(open(&peers, 3).is_none());
        drop((reserve, working));
        assert_eq!(peers.len(), 2);
        assert!(!open(&peers, 3).unwrap().peer.is_reserve);
    }

    #[test]
    fn who_has_only_just_come_is_left_in_peace_for_a_moment() {
        let peers = peers(2, 2);
        let both = [(); 2].map(|()| peers.try_open(ip(1)).unwrap().unwrap());
        let Err(AllTooNew(moment)) = peers.try_open(ip(1)) else {
            panic!("one was closed at once");
        };
        assert!(moment <= MIN_AGE && both.iter().all(|slot| is_open(&peers, slot)));
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
        // A proxy's address may have any number of connections.
        let proxy: Vec<_> = (0..5).map(|_| open(&peers, 9).unwrap()).collect();
        assert!(proxy.iter().filter(|p| is_open(&peers, p)).count() > 1);
    }
}
