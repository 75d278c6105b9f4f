//! Limits a repeated log message to one a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

/// Counts the messages that are suppressed. It prevents an attacker from filling the log.
pub struct LogLimit(Mutex<State>);

struct State {
    told: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    pub const fn new() -> Self {
        LogLimit(Mutex::new(State {
            told: None,
            suppressed: 0,
        }))
    }

    /// Returns whether the message may be logged now: the number of messages suppressed since the last one, or `None`.
    pub fn suppressed(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told.is_some_and(|told| told.elapsed() < INTERVAL) {
            state.suppressed += 1;
            return None;
        }
        state.told = Some(Instant::now());
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_a_second_with_the_number_of_the_others() {
        let limit = LogLimit::new();
        assert_eq!(limit.suppressed(), Some(0));
        assert_eq!((0..3).filter_map(|_| limit.suppressed()).count(), 0);
        std::thread::sleep(INTERVAL);
        assert_eq!(limit.suppressed(), Some(3));
        assert_eq!(limit.suppressed(), None);
    }
}
