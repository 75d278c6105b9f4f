//! Work over cores: the only place that knows `rayon`.
//!
//! Callers cut their work by shape, never by the number of threads, so a result is the same on one core
//! and on sixty-four.

use rayon::prelude::*;

use crate::error::{Error, Result};

/// How many threads share the work.
pub fn count() -> usize {
    rayon::current_num_threads()
}

/// Sets the number of threads for the whole program; call it once, before any work.
///
/// # Errors
/// Where threads have been started already, or none can be.
pub fn set_count(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|e| Error::usage(format!("--threads {threads}: {e}")))
}

/// Runs `body` with a pool of `threads` threads of its own.
///
/// # Errors
/// Where the threads cannot be started.
pub fn with_count<R: Send>(threads: usize, body: impl FnOnce() -> R + Send) -> Result<R> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::usage(format!("{threads} threads: {e}")))?;
    Ok(pool.install(body))
}

/// Runs `body` on one of the threads that share the work.
///
/// A body that often shares out a little work is quicker there, because nobody is put to sleep and woken each
/// time. It must wait for nothing else.
pub fn run<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| body())
}

/// Calls `body(i)` for every `i < tasks`, in no order.
pub fn for_each(tasks: usize, body: impl Fn(usize) + Sync + Send) {
    match tasks {
        0 => {}
        1 => body(0),
        _ => (0..tasks).into_par_iter().with_max_len(1).for_each(body),
    }
}

/// Calls `body(i)` for every `i < tasks` and returns what they yield, in order.
pub fn map<R: Send>(tasks: usize, body: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    match tasks {
        1 => vec![body(0)],
        _ => (0..tasks)
            .into_par_iter()
            .with_max_len(1)
            .map(body)
            .collect(),
    }
}

/// Calls `body(i, chunk)` for every run of `size` elements of `data` (the last may be shorter).
pub fn for_each_chunk<T: Send>(
    data: &mut [T],
    size: usize,
    body: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    if data.len() <= size {
        if !data.is_empty() {
            body(0, data);
        }
    } else {
        data.par_chunks_mut(size)
            .enumerate()
            .with_max_len(1)
            .for_each(|(i, chunk)| body(i, chunk));
    }
}

/// A pointer that threads may share. Each user states why its writes do not overlap.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut(*mut f32);

// SAFETY: the pointer itself is only a number; every dereference is an `unsafe` block of its own, which says
// why no two threads touch the same element.
unsafe impl Send for SharedMut {}
unsafe impl Sync for SharedMut {}

impl SharedMut {
    pub(crate) fn new(data: &mut [f32]) -> Self {
        SharedMut(data.as_mut_ptr())
    }

    pub(crate) fn get(self) -> *mut f32 {
        self.0
    }
}
