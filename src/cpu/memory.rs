//! A pool of large buffers.
//!
//! A network needs the same sizes again and again. New memory from the system costs a page fault for every four
//! kilobytes, which for a feature map takes longer than many operations on it. So a buffer that is no longer needed goes to
//! the pool, and the next request takes it from there. The pool is bounded, and the oldest buffer leaves it first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::available;

// Elements of the smallest buffer in the pool: smaller ones come cheaply from the allocator.
const MIN_ELEMENTS: usize = 16 * 1024;
// Elements in the pool at most, unless a program sets a lower limit or trains: one gibibyte.
const DEFAULT_ELEMENTS: usize = 1 << 28;

static LIMIT: AtomicUsize = AtomicUsize::new(DEFAULT_ELEMENTS);
static POOL: Mutex<Pool> = Mutex::new(Pool::new());

/// Returns a vector of `len` elements of unspecified contents, for a result that is written in full.
pub fn unset(len: usize) -> Vec<f32> {
    match take(len) {
        Some(mut buffer) => {
            buffer.resize(len, 0.0);
            buffer
        }
        None => vec![0.0; len],
    }
}

/// Returns a vector of `len` zeros.
pub fn zeros(len: usize) -> Vec<f32> {
    match take(len) {
        Some(mut buffer) => {
            buffer.clear();
            buffer.resize(len, 0.0);
            buffer
        }
        None => vec![0.0; len],
    }
}

/// Limits the pool to `bytes`, for a program whose memory is limited.
pub fn set_limit(bytes: usize) {
    LIMIT.store(
        DEFAULT_ELEMENTS.min(bytes / size_of::<f32>()),
        Ordering::Relaxed,
    );
}

/// Lets the pool grow to half of the memory that is available now, for a program that trains. Where the system does not
/// report its memory, the limit stays as it is.
///
/// A training step frees all of its feature maps before the next step asks for buffers of the same sizes. A pool that is
/// smaller than the maps returns some of them to the system, and then half of the step's time may go into page faults.
pub fn allow_training() {
    let available = available::now();
    if !available.is_reported() {
        return;
    }
    let bytes = usize::try_from(available.bytes / 2).unwrap_or(usize::MAX);
    LIMIT.fetch_max(bytes / size_of::<f32>(), Ordering::Relaxed);
}

/// Returns the whole pool to the system, for a program that is idle.
pub fn clear() {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let all = std::mem::replace(&mut *pool, Pool::new());
    drop(pool);
    drop(all);
}

/// Adds a buffer to the pool.
pub fn recycle(buffer: Vec<f32>) {
    let limit = LIMIT.load(Ordering::Relaxed);
    if (MIN_ELEMENTS..=limit).contains(&buffer.capacity()) {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let evicted = pool.add(buffer, limit);
        // Freeing memory takes a while, so the lock is released first.
        drop(pool);
        drop(evicted);
    }
}

fn take(len: usize) -> Option<Vec<f32>> {
    if len < MIN_ELEMENTS {
        return None;
    }
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    pool.take(len)
}

/// The buffers of the pool, the oldest first, and the sum of their elements.
struct Pool {
    buffers: VecDeque<Vec<f32>>,
    elements: usize,
}

impl Pool {
    const fn new() -> Self {
        Pool {
            buffers: VecDeque::new(),
            elements: 0,
        }
    }

    /// Adds a buffer, and returns the oldest ones where the pool would hold more than `limit` elements.
    fn add(&mut self, buffer: Vec<f32>, limit: usize) -> Vec<Vec<f32>> {
        self.elements += buffer.capacity();
        self.buffers.push_back(buffer);
        let mut evicted = Vec::new();
        while self.elements > limit {
            let Some(oldest) = self.buffers.pop_front() else {
                break;
            };
            self.elements -= oldest.capacity();
            evicted.push(oldest);
        }
        evicted
    }

    /// Takes the smallest buffer that holds `len` elements and no more than twice as many.
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
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

    fn sizes(pool: &Pool) -> Vec<usize> {
        pool.buffers.iter().map(Vec::capacity).collect()
    }

    #[test]
    fn the_best_fit_is_found_and_the_oldest_goes() {
        let mut pool = Pool::new();
        for size in [100, 40, 60] {
            assert!(pool.add(Vec::with_capacity(size), 200).is_empty());
        }
        assert_eq!(pool.take(50).unwrap().capacity(), 60);
        assert!(
            pool.take(45).is_none(),
            "a hundred would waste more than it holds"
        );
        assert!(pool.take(101).is_none());
        assert_eq!(sizes(&pool), [100, 40]);
        let gone = pool.add(Vec::with_capacity(120), 200);
        assert_eq!(gone.iter().map(Vec::capacity).collect::<Vec<_>>(), [100]);
        assert_eq!(sizes(&pool), [40, 120]);
        assert_eq!(pool.elements, 160);
    }

    #[test]
    fn training_may_keep_more_but_never_less() {
        let before = LIMIT.load(Ordering::Relaxed);
        allow_training();
        let limit = LIMIT.load(Ordering::Relaxed);
        assert!(limit >= before);
        let half = available::now().bytes / 2;
        if available::now().is_reported() && half > 4 * DEFAULT_ELEMENTS as u64 {
            assert!(limit > DEFAULT_ELEMENTS, "{half} bytes, {limit} elements");
        }
        LIMIT.store(before, Ordering::Relaxed);
    }

    #[test]
    fn zeros_are_zeros_whatever_was_there_before() {
        for _ in 0..4 {
            let mut buffer = unset(2 * MIN_ELEMENTS);
            buffer.fill(7.0);
            recycle(buffer);
            let again = zeros(2 * MIN_ELEMENTS - 3);
            assert_eq!(again.len(), 2 * MIN_ELEMENTS - 3);
            assert!(again.iter().all(|&x| x == 0.0));
        }
        recycle(Vec::new());
        assert!(unset(0).is_empty());
        assert_eq!(zeros(8), [0.0; 8]);
    }
}
