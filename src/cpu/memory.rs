//! Large buffers that are used again.
//!
//! A network asks for the same sizes over and over. Memory fresh from the system costs a page fault for every four
//! kilobytes, which for a feature map takes longer than many an operation on it; so buffers that are no longer needed
//! wait here for whoever asks next. What waits is bounded, and the oldest goes first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

// Smaller ones come cheaply from the allocator.
const SMALLEST: usize = 16 * 1024;
// Elements that wait at most, unless a program wants fewer: one gibibyte.
const MOST: usize = 1 << 28;

static LIMIT: AtomicUsize = AtomicUsize::new(MOST);
static WAITING: Mutex<Waiting> = Mutex::new(Waiting::new());

/// A vector of `len` elements for a result that is written in full: what it holds before is unspecified.
pub fn unset(len: usize) -> Vec<f32> {
    match find(len) {
        Some(mut buffer) => {
            buffer.resize(len, 0.0);
            buffer
        }
        None => vec![0.0; len],
    }
}

/// A vector of `len` zeros.
pub fn zeros(len: usize) -> Vec<f32> {
    match find(len) {
        Some(mut buffer) => {
            buffer.clear();
            buffer.resize(len, 0.0);
            buffer
        }
        None => vec![0.0; len],
    }
}

/// Lets buffers of at most so many bytes wait, for a program whose memory has a ceiling.
pub fn keep_at_most(bytes: usize) {
    LIMIT.store(MOST.min(bytes / size_of::<f32>()), Ordering::Relaxed);
}

/// Gives what waits to the system, for a program that has nothing to do.
pub fn clear() {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    let all = std::mem::replace(&mut *waiting, Waiting::new());
    drop(waiting);
    drop(all);
}

/// Gives a buffer back, for whoever asks next.
pub fn give(buffer: Vec<f32>) {
    let most = LIMIT.load(Ordering::Relaxed);
    if (SMALLEST..=most).contains(&buffer.capacity()) {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        let too_old = waiting.add(buffer, most);
        // The system takes its time to take memory back; nobody else should wait for that.
        drop(waiting);
        drop(too_old);
    }
}

fn find(len: usize) -> Option<Vec<f32>> {
    if len < SMALLEST {
        return None;
    }
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.find(len)
}

/// The buffers that wait, the oldest first, and their elements together.
struct Waiting {
    buffers: VecDeque<Vec<f32>>,
    elements: usize,
}

impl Waiting {
    const fn new() -> Self {
        Waiting {
            buffers: VecDeque::new(),
            elements: 0,
        }
    }

    /// Adds one, and returns those that must go for it, lest there be more than `most` elements.
    fn add(&mut self, buffer: Vec<f32>, most: usize) -> Vec<Vec<f32>> {
        self.elements += buffer.capacity();
        self.buffers.push_back(buffer);
        let mut too_old = Vec::new();
        while self.elements > most {
            let Some(oldest) = self.buffers.pop_front() else {
                break;
            };
            self.elements -= oldest.capacity();
            too_old.push(oldest);
        }
        too_old
    }

    /// Takes out the smallest that holds `len` elements without wasting as many again.
    fn find(&mut self, len: usize) -> Option<Vec<f32>> {
        let sizes = self.buffers.iter().map(Vec::capacity).enumerate();
        let fits = sizes.filter(|&(_, size)| (len..=2 * len).contains(&size));
        let (best, _) = fits.min_by_key(|&(_, size)| size)?;
        let buffer = self.buffers.remove(best)?;
        self.elements -= buffer.capacity();
        Some(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(waiting: &Waiting) -> Vec<usize> {
        waiting.buffers.iter().map(Vec::capacity).collect()
    }

    #[test]
    fn the_best_fit_is_found_and_the_oldest_goes() {
        let mut waiting = Waiting::new();
        for size in [100, 40, 60] {
            assert!(waiting.add(Vec::with_capacity(size), 200).is_empty());
        }
        assert_eq!(waiting.find(50).unwrap().capacity(), 60);
        assert!(
            waiting.find(45).is_none(),
            "a hundred would waste more than it holds"
        );
        assert!(waiting.find(101).is_none());
        assert_eq!(sizes(&waiting), [100, 40]);
        let gone = waiting.add(Vec::with_capacity(120), 200);
        assert_eq!(gone.iter().map(Vec::capacity).collect::<Vec<_>>(), [100]);
        assert_eq!(sizes(&waiting), [40, 120]);
        assert_eq!(waiting.elements, 160);
    }

    #[test]
    fn zeros_are_zeros_whatever_was_there_before() {
        for _ in 0..4 {
            let mut buffer = unset(2 * SMALLEST);
            buffer.fill(7.0);
            give(buffer);
            let again = zeros(2 * SMALLEST - 3);
            assert_eq!(again.len(), 2 * SMALLEST - 3);
            assert!(again.iter().all(|&x| x == 0.0));
        }
        give(Vec::new());
        assert!(unset(0).is_empty());
        assert_eq!(zeros(8), [0.0; 8]);
    }
}
