//! Work over cores: the only place that knows `rayon`.
//!
//! A result is the same on one core and on sixty-four: callers cut sums by shape, never by the number of threads, and
//! let that number decide only which task computes which results.

mod team;

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;
use team::Team;

use crate::error::{Error, Result};

/// How many threads share the work.
pub fn count() -> usize {
    rayon::current_num_threads()
}

/// Starts the threads of the whole program, one for each core where no number is given; call it once, before any work.
/// Without that they are started by the first work, which cannot go on where the system refuses them.
///
/// # Errors
/// Where threads have been started already, or the system refuses so many.
pub fn start(count: Option<usize>) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(count.unwrap_or(0))
        .build_global()
        .map_err(|_| {
            let cores = || std::thread::available_parallelism().map_or(1, usize::from);
            cannot_start(count.unwrap_or_else(cores))
        })
}

fn cannot_start(threads: usize) -> Error {
    Error::usage(format_args!(
        "the system does not start {threads} threads; take fewer with --threads"
    ))
}

/// What `body` yields, or nothing where it panics, of which nothing is printed: for libraries that panic where the system
/// refuses what they ask for. Call it while a program starts, when no other thread's panic could go unseen.
pub fn unless_it_panics<R>(body: impl FnOnce() -> R) -> Option<R> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    panic::set_hook(hook);
    result.ok()
}

/// Runs `body` with a pool of `threads` threads of its own.
///
/// # Errors
/// Where the threads cannot be started.
pub fn with_count<R: Send>(threads: usize, body: impl FnOnce() -> R + Send) -> Result<R> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|_| cannot_start(threads))?;
    Ok(pool.install(body))
}

/// Runs `body` on this thread, while the others stay awake for the work that it shares out.
///
/// To wake a thread takes longer than many an operation's share of the work, so that a body that shares out a little
/// work over and over is quicker here. It must wait for nothing but work.
pub fn run<R>(body: impl FnOnce() -> R) -> R {
    Team::with(count() - 1, body)
}

/// Calls `body(i)` for every `i < tasks`, in no order.
pub fn for_each(tasks: usize, body: impl Fn(usize) + Sync + Send) {
    if tasks <= 1 || Team::is_busy() {
        (0..tasks).for_each(body);
    } else if let Some(team) = Team::own() {
        team.for_each(tasks, &body);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(body);
    }
}

/// Calls `body(i)` for every `i < tasks` and returns what they yield, in order.
pub fn map<R: Send>(tasks: usize, body: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    let results: Vec<Mutex<Option<R>>> = (0..tasks).map(|_| Mutex::new(None)).collect();
    for_each(tasks, |i| *lock(&results[i]) = Some(body(i)));
    let results = results.into_iter().map(|result| {
        let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
        result.expect("every task has been done")
    });
    results.collect()
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
        return;
    }
    let chunks: Vec<Mutex<&mut [T]>> = data.chunks_mut(size).map(Mutex::new).collect();
    for_each(chunks.len(), |i| body(i, &mut lock(&chunks[i])));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// To begin a task takes as long as this many items of a strip.
const BEGINNING: usize = 2;

/// How many of `items` a task should take: at most `most`, about as many as every other task, and such that every thread
/// has as many tasks as the next. For work whose results do not depend on how it is cut.
pub fn share(items: usize, most: usize) -> usize {
    let tasks = items.div_ceil(most).next_multiple_of(count());
    items.div_ceil(tasks.max(1)).max(1)
}

/// How many of `items` a task should take where they are worked on in strips: whole strips, `most` items or about that,
/// and among those the number with which the busiest thread has least to do. For work whose results do not depend on how
/// it is cut.
pub fn strips(items: usize, strip: usize, most: usize) -> usize {
    let work = |step: usize| {
        let tasks = items.div_ceil(step).div_ceil(count());
        tasks * (step + BEGINNING)
    };
    let steps = (1..=most.div_ceil(strip)).map(|strips| strips * strip);
    steps.min_by_key(|&step| work(step)).unwrap_or(strip)
}

/// The length of equal parts of `items`, none longer than `most`.
pub fn even(items: usize, most: usize) -> usize {
    items.div_ceil(items.div_ceil(most).max(1)).max(1)
}

/// A pointer that threads may share. Each user states why its writes do not overlap.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut(*mut f32);

// SAFETY: the pointer itself is only a number; every dereference is an `unsafe` block of its own, which says
// why no two threads touch the same element.
unsafe impl Send for SharedMut {}
unsafe impl Sync for SharedMut {}

impl SharedMut {
    #[inline]
    pub(crate) fn new(data: &mut [f32]) -> Self {
        SharedMut(data.as_mut_ptr())
    }

    #[inline]
    pub(crate) fn get(self) -> *mut f32 {
        self.0
    }

    /// `len` elements from `first` on.
    ///
    /// # Safety
    /// They lie in the same allocation, and nobody else reads or writes them meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn row<'a>(self, first: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: the caller says so.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(first), len) }
    }

    /// The pointer `by` elements on.
    ///
    /// # Safety
    /// That element lies in the same allocation.
    #[inline]
    pub(crate) unsafe fn offset(self, by: usize) -> Self {
        // SAFETY: the caller says so.
        SharedMut(unsafe { self.0.add(by) })
    }
}
