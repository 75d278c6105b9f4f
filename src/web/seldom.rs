//! A message that repeats, told at most once a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(1);

/// Counts what is not told. Whoever attacks the service cannot fill a log with it.
pub struct Seldom(Mutex<State>);

struct State {
    told: Option<Instant>,
    others: u64,
}

impl Seldom {
    pub const fn new() -> Self {
        Seldom(Mutex::new(State {
            told: None,
            others: 0,
        }))
    }

    /// Whether the message is to be told now: then how many were not since the last one was.
    pub fn others(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told.is_some_and(|told| told.elapsed() < PAUSE) {
            state.others += 1;
            return None;
        }
        state.told = Some(Instant::now());
        Some(std::mem::take(&mut state.others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_a_second_with_the_number_of_the_others() {
        let seldom = Seldom::new();
        assert_eq!(seldom.others(), Some(0));
        assert_eq!((0..3).filter_map(|_| seldom.others()).count(), 0);
        std::thread::sleep(PAUSE);
        assert_eq!(seldom.others(), Some(3));
        assert_eq!(seldom.others(), None);
    }
}
