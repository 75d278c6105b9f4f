//! Distribution of work over cores: the only module that uses `rayon`.
//!
//! A result is the same on one core and on sixty-four. Callers divide sums by shape, never by the number of threads; that
//! number only decides which task computes which results.

mod team;

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

use memmap2::MmapMut;
use rayon::prelude::*;
use team::Team;

use crate::error::{Error, Result};

/// The advice of errors that fewer threads may prevent. The command line names its option instead.
pub const TAKE_FEWER: &str = "take fewer";

/// Bytes of address space that must be free before a thread starts: a stack of 2 MiB, and as much again for what the
/// standard library and the allocator map while it starts.
const ROOM: usize = 4 << 20;

/// Returns the number of threads that share the work.
pub fn count() -> usize {
    rayon::current_num_threads()
}

/// Starts the threads of the whole program, one per core where `count` is `None`. Call it once, before any work. Without this
/// call the first work starts them, and panics where the system refuses them.
///
/// # Errors
/// Where threads have been started already, or the system does not start this many.
pub fn start(count: Option<usize>) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(count.unwrap_or(0))
        .spawn_handler(spawn)
        .build_global()
        .map_err(|e| {
            let cores = || std::thread::available_parallelism().map_or(1, usize::from);
            cannot_start(count.unwrap_or_else(cores)).because(e)
        })
}

/// Starts a thread and waits until it runs.
///
/// A thread that gets its stack, but not the little memory that the standard library needs next, aborts the process. So
/// there must be room for both before it starts, and no other thread may be starting meanwhile.
fn spawn(thread: rayon::ThreadBuilder) -> io::Result<()> {
    drop(MmapMut::map_anon(ROOM)?);
    let (started, runs) = mpsc::sync_channel(1);
    std::thread::Builder::new().spawn(move || {
        let _ = started.send(());
        thread.run();
    })?;
    // An error would mean that the thread has ended already.
    let _ = runs.recv();
    Ok(())
}

fn cannot_start(threads: usize) -> Error {
    Error::thread(format_args!(
        "the system does not start {threads} threads; {TAKE_FEWER}"
    ))
}

/// Runs `body` and returns its result, or `None` where it panics; the panic prints nothing.
///
/// It is for libraries that panic where the system refuses a resource. Call it while a program starts: if another thread
/// panics at the same time, that panic prints nothing either.
pub fn unless_it_panics<R>(body: impl FnOnce() -> R) -> Option<R> {
    // All threads share one hook. Two calls at the same time could save and restore each other's silent hook, and it would
    // stay.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    panic::set_hook(hook);
    result.ok()
}

/// Runs `body` in a thread pool of its own, of `threads` threads.
///
/// # Errors
/// Where the threads cannot be started.
pub fn with_count<R: Send>(threads: usize, body: impl FnOnce() -> R + Send) -> Result<R> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| cannot_start(threads).because(e))?;
    Ok(pool.install(body))
}

/// Runs `body` on this thread, while the other threads stay awake for the work that it distributes.
///
/// Waking a thread takes longer than its share of a small operation. So a body that distributes small pieces of work many
/// times is faster here. The body must not block on anything else.
pub fn run<R>(body: impl FnOnce() -> R) -> R {
    Team::with(count() - 1, body)
}

/// Calls `body(i)` for every `i < tasks`, in any order.
pub fn for_each(tasks: usize, body: impl Fn(usize) + Sync + Send) {
    distribute(tasks, &body);
}

/// Calls `body(i)` for every `i < tasks`. It is compiled once for all bodies and calls them through a pointer, which takes
/// little time compared with a task.
fn distribute(tasks: usize, body: &(dyn Fn(usize) + Sync)) {
    if tasks <= 1 || Team::is_busy() {
        (0..tasks).for_each(body);
    } else if let Some(team) = Team::own() {
        team.for_each(tasks, body);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(body);
    }
}

/// Calls `body(i)` for every `i < tasks` and returns the results in order.
pub fn map<R: Send>(tasks: usize, body: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    let results: Vec<Mutex<Option<R>>> = (0..tasks).map(|_| Mutex::new(None)).collect();
    for_each(tasks, |i| *lock(&results[i]) = Some(body(i)));
    let results = results.into_iter().map(|result| {
        let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
        result.expect("every task has been done")
    });
    results.collect()
}

/// Calls `body(i, chunk)` for every chunk of `size` elements of `data` (the last may be shorter).
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

// The time that it takes to start a task, in units of the time that one item takes.
const TASK_OVERHEAD: usize = 2;

/// Returns how many of `items` a task should take: at most `most`, in tasks of about equal size, and equally many tasks for
/// every thread. For work whose results do not depend on how it is divided.
pub fn balanced(items: usize, most: usize) -> usize {
    let tasks = items.div_ceil(most).next_multiple_of(count());
    items.div_ceil(tasks.max(1)).max(1)
}

/// Returns how many of `items` a task should take where they are processed in strips: whole strips, about `most` items or
/// fewer. Of those sizes it is the one that gives the busiest thread the least work. For work whose results do not depend on
/// how it is divided.
pub fn balanced_strips(items: usize, strip: usize, most: usize) -> usize {
    let work = |step: usize| {
        let tasks = items.div_ceil(step).div_ceil(count());
        tasks * (step + TASK_OVERHEAD)
    };
    let steps = (1..=most.div_ceil(strip)).map(|strips| strips * strip);
    steps.min_by_key(|&step| work(step)).unwrap_or(strip)
}

/// Returns the length of the fewest equal parts of `items` that are no longer than `most`.
pub fn equal_part(items: usize, most: usize) -> usize {
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

    /// Returns the pointer moved by `by` elements.
    ///
    /// # Safety
    /// That element lies in the same allocation.
    #[inline]
    pub(crate) unsafe fn offset(self, by: usize) -> Self {
        // SAFETY: the caller vouches for the element.
        SharedMut(unsafe { self.0.add(by) })
    }
}
