//! Scratch memory that starts on a cache line.
//!
//! A 64-byte vector that straddles two cache lines costs two loads. Packed operands are read far more often than they are
//! written, so they begin on a cache line.

use std::cell::RefCell;

use super::memory;

// Elements of a cache line.
const LINE: usize = 16;

/// A vector of `f32` whose first element lies on a 64-byte boundary.
#[derive(Default)]
pub struct AlignedVec {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl AlignedVec {
    /// Returns `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Self::within(memory::zeros(len + LINE), len)
    }

    /// Returns `len` elements of unspecified contents.
    pub fn unset(len: usize) -> Self {
        Self::within(memory::unset(len + LINE), len)
    }

    fn within(data: Vec<f32>, len: usize) -> Self {
        let start = data.as_ptr().align_offset(LINE * size_of::<f32>());
        AlignedVec { data, start, len }
    }

    /// Sets the length to `len`, keeping the memory where it suffices. The contents are unspecified afterwards.
    pub fn reset(&mut self, len: usize) {
        if self.data.len() < self.start + len {
            *self = AlignedVec::unset(len);
        }
        self.len = len;
    }
}

impl Clone for AlignedVec {
    fn clone(&self) -> Self {
        let mut copy = AlignedVec::unset(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl Drop for AlignedVec {
    fn drop(&mut self) {
        memory::recycle(std::mem::take(&mut self.data));
    }
}

impl std::ops::Deref for AlignedVec {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        &self.data[self.start..][..self.len]
    }
}

impl std::ops::DerefMut for AlignedVec {
    #[inline]
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..][..self.len]
    }
}

thread_local! {
    // Buffers that `with_scratch` has finished with, the most recently used last.
    static SCRATCH: RefCell<Vec<AlignedVec>> = const { RefCell::new(Vec::new()) };
}

/// Calls `body` with `len` floats of this thread's own scratch memory, whose contents are unspecified.
///
/// A kernel needs the same few sizes again and again. Memory that was just used is in cache and needs no system call.
pub fn with_scratch<R>(len: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    scratch.reset(len);
    let result = body(&mut scratch);
    SCRATCH.with_borrow_mut(|pool| pool.push(scratch));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_element_is_on_a_cache_line() {
        for len in [0, 1, 15, 17, 1000, 50_000] {
            let mut a = AlignedVec::zeros(len);
            assert_eq!((a.len(), a.as_ptr().align_offset(64)), (len, 0));
            assert!(a.iter().all(|&x| x == 0.0));
            a.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
            assert_eq!(a.clone().as_ptr().align_offset(64), 0);
            assert_eq!(&a.clone()[..], &a[..]);
            a.reset(2 * len + 1);
            assert_eq!((a.len(), a.as_ptr().align_offset(64)), (2 * len + 1, 0));
        }
    }
}
