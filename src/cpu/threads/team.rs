//! Threads that stay awake between one piece of work and the next.
//!
//! A network is hundreds of small pieces of work, one after the other. Waking a sleeping thread takes longer than its
//! share of many of these pieces. While a [`Team`] exists, threads of the pool spin: they wait for a job, take its tasks
//! by incrementing a counter, and wait again. The owner of the team takes tasks like every other member, so it never
//! waits for a thread that has not yet begun.
//!
//! In every job each member has a range of tasks of its own, which is always the same part of all tasks. So a core that
//! wrote the upper half of a map in one job reads the upper half in the next one, and still has it in its cache. A member
//! whose range is done takes tasks from the other ranges.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

// Checks of a waiting thread before it yields the core for a moment.
const CHECKS: u32 = 4096;

/// Waits a moment. After many calls the thread yields its core, because the thread that it waits for may need it.
fn wait_a_moment(checks: &mut u32) {
    *checks += 1;
    if checks.is_multiple_of(CHECKS) {
        std::thread::yield_now();
    }
    std::hint::spin_loop();
}

/// Calls of `body`, for the tasks in [`Shared::ranges`].
struct Job<'a> {
    body: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The tasks from `next` to `end`. It fills cache lines of its own, because each member increments its own range.
#[derive(Default)]
#[repr(align(128))]
struct TaskRange {
    next: AtomicUsize,
    end: AtomicUsize,
}

impl TaskRange {
    /// Takes the next task, if there is one.
    fn take(&self) -> Option<usize> {
        let task = self.next.fetch_add(1, Ordering::Relaxed);
        (task < self.end.load(Ordering::Relaxed)).then_some(task)
    }
}

/// The state shared by the owner and the other members.
struct Shared {
    // The current job, or null. It lives on the owner's stack.
    job: AtomicPtr<Job<'static>>,
    // One range per member, the owner's first. They change only while there is no job.
    ranges: Vec<TaskRange>,
    // Number of threads that may hold a reference to the job.
    readers: AtomicUsize,
    // Number of threads that may still join.
    vacancies: AtomicUsize,
    ended: AtomicBool,
}

impl Shared {
    /// Divides the tasks of the next job into ranges.
    fn divide(&self, tasks: usize) {
        let members = self.ranges.len();
        for (i, range) in self.ranges.iter().enumerate() {
            range.next.store(i * tasks / members, Ordering::Relaxed);
            range
                .end
                .store((i + 1) * tasks / members, Ordering::Relaxed);
        }
    }

    /// Does the tasks of this member's range, then those left in the other ranges.
    fn work(&self, job: &Job, member: usize) {
        let (before, after) = self.ranges.split_at(member);
        for range in after.iter().chain(before) {
            while let Some(task) = range.take() {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (job.body)(task))) {
                    // The remaining tasks are skipped, because the result is lost.
                    self.ranges
                        .iter()
                        .for_each(|s| s.end.store(0, Ordering::Relaxed));
                    let mut first = job.panic.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(panic);
                }
            }
        }
    }

    /// Works on one job after the other until the team ends.
    fn spin(&self, member: usize) {
        let mut checks = 0u32;
        while !self.ended.load(Ordering::Acquire) {
            if self.job.load(Ordering::Relaxed).is_null() {
                wait_a_moment(&mut checks);
                continue;
            }
            checks = 0;
            self.readers.fetch_add(1, Ordering::SeqCst);
            let job = self.job.load(Ordering::SeqCst);
            if !job.is_null() {
                // SAFETY: the owner clears the job before the job's lifetime ends, and then waits for `readers` to fall to
                // zero. Both sides write first and read then, in one sequentially consistent order: either this thread sees
                // that the job is gone, or the owner sees this thread.
                self.work(unsafe { &*job }, member);
            }
            self.readers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The threads that spin for one owner.
pub(super) struct Team(Arc<Shared>);

thread_local! {
    // The team that this thread owns.
    static OWN: RefCell<Option<Rc<Team>>> = const { RefCell::new(None) };
    // Whether this thread is busy with a task of a team.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

impl Team {
    /// Returns the team that this thread owns.
    pub(super) fn own() -> Option<Rc<Team>> {
        OWN.with_borrow(|own| own.clone())
    }

    /// Returns whether this thread is inside a task of a team; then all its threads are busy.
    pub(super) fn is_busy() -> bool {
        BUSY.get()
    }

    /// Runs `body` on this thread, while `others` threads of the pool spin. If there is a team already, of this thread or
    /// of another one, `body` runs without a new team: spinning threads are worthwhile only while each has a core to
    /// itself.
    pub(super) fn with<R>(others: usize, body: impl FnOnce() -> R) -> R {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        struct GiveBack;
        impl Drop for GiveBack {
            fn drop(&mut self) {
                TAKEN.store(false, Ordering::Release);
            }
        }
        if others == 0 || TAKEN.swap(true, Ordering::Acquire) {
            return body();
        }
        let _give_back = GiveBack;
        Team::gathered(others, body)
    }

    /// Runs `body` with a team of its own.
    fn gathered<R>(others: usize, body: impl FnOnce() -> R) -> R {
        struct BreakUp<'a>(&'a Shared);
        impl Drop for BreakUp<'_> {
            fn drop(&mut self) {
                OWN.set(None);
                self.0.ended.store(true, Ordering::Release);
            }
        }
        let shared = Arc::new(Shared {
            job: AtomicPtr::new(ptr::null_mut()),
            ranges: (0..=others).map(|_| TaskRange::default()).collect(),
            readers: AtomicUsize::new(0),
            vacancies: AtomicUsize::new(others),
            ended: AtomicBool::new(false),
        });
        OWN.set(Some(Rc::new(Team(shared.clone()))));
        let _break_up = BreakUp(&shared);
        let member_state = shared.clone();
        rayon::spawn_broadcast(move |_| {
            let free = |n: usize| n.checked_sub(1);
            let relaxed = Ordering::Relaxed;
            if let Ok(member) = member_state.vacancies.fetch_update(relaxed, relaxed, free) {
                member_state.spin(member);
            }
        });
        body()
    }

    /// Calls `body(i)` for every `i < tasks`, each once, in any order.
    pub(super) fn for_each(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        /// Clears the job, also on a panic, and waits for the threads that are working on it.
        struct ClearJob<'a>(&'a Shared);
        impl Drop for ClearJob<'_> {
            fn drop(&mut self) {
                self.0.job.store(ptr::null_mut(), Ordering::SeqCst);
                let mut checks = 0;
                while self.0.readers.load(Ordering::SeqCst) != 0 {
                    wait_a_moment(&mut checks);
                }
            }
        }
        /// Restores the previous value, also where a task panics.
        struct Busy(bool);
        impl Drop for Busy {
            fn drop(&mut self) {
                BUSY.set(self.0);
            }
        }
        let busy = |i| {
            let _busy = Busy(BUSY.replace(true));
            body(i);
        };
        let job = Job {
            body: &busy,
            panic: Mutex::new(None),
        };
        self.0.divide(tasks);
        let clear_job = ClearJob(&self.0);
        // The cast only changes the lifetime: `clear_job` waits for all members to leave the job before `job` is dropped.
        self.0
            .job
            .store((&raw const job).cast_mut().cast(), Ordering::SeqCst);
        self.0.work(&job, 0);
        drop(clear_job);
        let panic = job
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_however_often_there_is_a_job() {
        Team::gathered(3, || {
            let team = Team::own().unwrap();
            for tasks in (0..40).chain([1000]) {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                team.for_each(tasks, &|i| {
                    assert!(Team::is_busy());
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|n| n.load(Ordering::Relaxed) == 1));
            }
            assert!(!Team::is_busy());
        });
        assert!(Team::own().is_none());
    }

    #[test]
    fn a_panic_reaches_the_owner_and_the_team_goes_on() {
        Team::gathered(2, || {
            let team = Team::own().unwrap();
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.for_each(50, &|i| assert_ne!(i, 17, "as it must"));
            }));
            assert!(result.is_err());
            assert!(!Team::is_busy());
            let done = AtomicUsize::new(0);
            team.for_each(9, &|_| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), 9);
        });
    }

    #[test]
    fn there_is_one_team_at_a_time() {
        // Another test may have the only team for a moment.
        let nested = (0..1000).any(|_| {
            Team::with(1, || {
                let Some(outer) = Team::own() else {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    return false;
                };
                Team::with(1, || assert!(Rc::ptr_eq(&outer, &Team::own().unwrap())));
                true
            })
        });
        assert!(nested);
        Team::gathered(1, || {
            let outer = Team::own().unwrap();
            outer.for_each(2, &|_| assert!(Team::is_busy()));
        });
        assert!(Team::own().is_none());
    }
}
