//! Schedules decoding when more pictures wait than can be decoded at a time.
//!
//! A picture takes a thread and the memory that its headers announce. Small pictures do not wait for large ones: they
//! go first, and large ones leave a thread and a part of the memory to them. Clients take turns: the client that was
//! served longest ago is next. A large picture that has waited for long goes before small ones, but only one at a time.
//! The pixels that a client may have waiting are limited; beyond the limit, its largest picture is refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::data::Cost;

/// A picture is large if its memory is more than the largest picture's divided by this number.
const SMALL_SHARE: u64 = 16;

/// How long small pictures may go before a large one.
const MAX_LARGE_WAIT: Duration = Duration::from_secs(5);

/// The number of clients that are remembered.
const MOST_SERVED: usize = 4096;

/// Limits of decoding at a time and of waiting.
#[derive(Clone, Copy)]
pub struct Limits {
    pub threads: usize,
    /// Memory of the largest picture, and of all large ones together. Small ones have a quarter as much in addition.
    pub bytes: u64,
    /// The largest number of waiting pixels of one client.
    pub waiting: u64,
}

pub struct Room {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    threads: usize,
    bytes: u64,
    large: usize,
    large_bytes: u64,
    waiting: Vec<Waiting>,
    /// For each client, the serial number of the picture with which it was last served.
    served: HashMap<IpAddr, u64>,
    admitted: u64,
}

struct Waiting {
    client: IpAddr,
    cost: Cost,
    since: Instant,
    reply: oneshot::Sender<Slot>,
}

/// Error: the client has too many waiting pixels.
#[derive(Debug)]
pub struct TooManyPixels;

/// A slot for a picture; dropping it frees the slot.
pub struct Slot {
    room: Option<Arc<Room>>,
    bytes: u64,
}

impl Room {
    pub fn new(limits: Limits) -> Self {
        Room {
            limits,
            state: Mutex::default(),
        }
    }

    /// Waits for a slot for a picture of `client`.
    ///
    /// # Errors
    /// If the waiting pictures of this client have too many pixels.
    pub async fn enter(
        self: &Arc<Self>,
        client: IpAddr,
        cost: Cost,
    ) -> Result<Slot, TooManyPixels> {
        let (reply, slot) = oneshot::channel();
        {
            let mut state = self.lock();
            state.waiting.retain(|other| !other.reply.is_closed());
            state.waiting.push(Waiting {
                client,
                cost: Cost {
                    // Capped, so that no picture is too large to be ever admitted.
                    bytes: cost.bytes.min(self.limits.bytes),
                    ..cost
                },
                since: Instant::now(),
                reply,
            });
            self.admit(&mut state);
            state.refuse_largest(client, self.limits.waiting.max(cost.pixels));
        }
        slot.await.map_err(|_| TooManyPixels)
    }

    /// Admits all pictures that fit now.
    fn admit(self: &Arc<Self>, state: &mut State) {
        state.waiting.retain(|other| !other.reply.is_closed());
        while let Some(at) = self.next(state) {
            let Waiting {
                client,
                cost: Cost { bytes, .. },
                reply,
                ..
            } = state.waiting.swap_remove(at);
            state.admitted += 1;
            let number = state.admitted;
            if state.served.len() >= MOST_SERVED {
                state.served.clear();
            }
            state.served.insert(client, number);
            self.count(state, bytes, true);
            let slot = Slot {
                room: Some(self.clone()),
                bytes,
            };
            if let Err(mut slot) = reply.send(slot) {
                // Nobody waits for it any more. Dropping the slot must not take the lock that is held here.
                slot.room = None;
                self.count(state, bytes, false);
            }
        }
        if state.waiting.is_empty() && state.threads == 0 {
            state.served.clear();
        }
    }

    /// Returns the picture that is next, if it fits now.
    fn next(&self, state: &State) -> Option<usize> {
        if state.threads >= self.limits.threads {
            return None;
        }
        let has_room = |w: &Waiting| match self.is_large(w.cost.bytes) {
            true => {
                let threads = (self.limits.threads - 1).max(1);
                state.large < threads && state.large_bytes + w.cost.bytes <= self.limits.bytes
            }
            false => state.bytes + w.cost.bytes <= self.limits.bytes + self.limits.bytes / 4,
        };
        let order = |w: &Waiting| {
            let is_large = self.is_large(w.cost.bytes);
            let is_due = is_large && state.large == 0 && w.since.elapsed() >= MAX_LARGE_WAIT;
            let served = state.served.get(&w.client).copied().unwrap_or(0);
            (!is_due, is_large, served, w.since)
        };
        let can = state
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, w)| has_room(w));
        can.min_by_key(|(_, w)| order(w)).map(|(at, _)| at)
    }

    fn is_large(&self, bytes: u64) -> bool {
        bytes > self.limits.bytes / SMALL_SHARE
    }

    /// Counts a picture that is admitted, or one that is done.
    fn count(&self, state: &mut State, bytes: u64, comes: bool) {
        let is_large = self.is_large(bytes);
        let (large, large_bytes) = (usize::from(is_large), if is_large { bytes } else { 0 });
        match comes {
            true => {
                state.threads += 1;
                state.bytes += bytes;
                state.large += large;
                state.large_bytes += large_bytes;
            }
            false => {
                state.threads -= 1;
                state.bytes -= bytes;
                state.large -= large;
                state.large_bytes -= large_bytes;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Removes the largest waiting pictures of `client` until the rest have at most `most` pixels.
    fn refuse_largest(&mut self, client: IpAddr, most: u64) {
        loop {
            let own = || {
                self.waiting
                    .iter()
                    .enumerate()
                    .filter(|(_, w)| w.client == client)
            };
            if own().map(|(_, w)| w.cost.pixels).sum::<u64>() <= most {
                return;
            }
            // Among equally large ones, the newest.
            let Some((at, _)) = own().max_by_key(|(_, w)| (w.cost.pixels, w.since)) else {
                return;
            };
            self.waiting.swap_remove(at);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(room) = self.room.take() {
            let mut state = room.lock();
            room.count(&mut state, self.bytes, false);
            room.admit(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    const MEGAPIXEL: u64 = 1_000_000;

    fn room(threads: usize) -> Arc<Room> {
        Arc::new(Room::new(Limits {
            threads,
            bytes: 300 * MEGAPIXEL,
            waiting: 400 * MEGAPIXEL,
        }))
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    type Entering<'a> = Pin<Box<dyn Future<Output = Result<Slot, TooManyPixels>> + 'a>>;

    fn enter(room: &Arc<Room>, client: u8, megapixels: u64) -> Entering<'_> {
        let mut entering: Entering<'_> = Box::pin(room.enter(
            ip(client),
            Cost {
                pixels: megapixels * MEGAPIXEL,
                bytes: 3 * megapixels * MEGAPIXEL,
            },
        ));
        // The first poll queues it, and a later one finds its slot.
        match entering
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(slot) => Box::pin(std::future::ready(slot)),
            Poll::Pending => entering,
        }
    }

    fn now(entering: &mut Entering<'_>) -> Option<Result<Slot, TooManyPixels>> {
        let entering = pin!(entering);
        match entering.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => Some(slot),
            Poll::Pending => None,
        }
    }

    #[test]
    fn small_pictures_do_not_wait_for_large_ones() {
        let room = room(2);
        let first = now(&mut enter(&room, 1, 100)).unwrap().unwrap();
        let mut large: Vec<_> = (0..3).map(|_| enter(&room, 1, 100)).collect();
        assert!(large.iter_mut().all(|l| now(l).is_none()));
        // A thread and memory are left for them.
        let small = now(&mut enter(&room, 1, 1)).unwrap().unwrap();
        let mut second = enter(&room, 2, 1);
        assert!(now(&mut second).is_none());
        drop(small);
        drop(now(&mut second).unwrap().unwrap());
        drop(first);
        let admitted: Vec<_> = large.iter_mut().filter_map(now).collect();
        assert_eq!(admitted.len(), 1);
    }

    #[test]
    fn clients_take_turns() {
        let room = room(1);
        let first = now(&mut enter(&room, 1, 1)).unwrap().unwrap();
        let mut many: Vec<_> = (0..5).map(|_| enter(&room, 1, 1)).collect();
        let mut other = enter(&room, 2, 2);
        drop(first);
        assert!(many.iter_mut().all(|m| now(m).is_none()));
        drop(now(&mut other).unwrap().unwrap());
        assert!(now(&mut many[0]).is_some());
    }

    #[test]
    fn a_client_that_lets_too_much_wait_is_refused_its_largest() {
        let room = room(1);
        let first = now(&mut enter(&room, 1, 1)).unwrap().unwrap();
        let mut large: Vec<_> = (0..4).map(|_| enter(&room, 1, 100)).collect();
        let mut small = enter(&room, 1, 1);
        let mut other = enter(&room, 2, 100);
        let refused = large
            .iter_mut()
            .map(now)
            .filter(|l| matches!(l, Some(Err(TooManyPixels))))
            .count();
        assert_eq!(refused, 1);
        assert!(now(&mut other).is_none() && now(&mut small).is_none());
        drop(first);
        assert!(now(&mut small).unwrap().is_ok());
        // A client that disconnects leaves nothing behind.
        drop((large, small, other));
        assert!(now(&mut enter(&room, 1, 100)).unwrap().is_ok());
        assert_eq!(room.lock().threads, 0);
    }
}
