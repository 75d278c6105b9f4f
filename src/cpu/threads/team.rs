//! Threads that stay awake between one piece of work and the next.
//!
//! A network is hundreds of small pieces of work, one after the other, and to wake a sleeping thread takes longer than
//! its share of many of them. While a [`Team`] exists, threads of the pool stand by: they watch for a job, take its
//! tasks by counting, and watch again. The owner of the team takes tasks like everybody else, so it waits for nobody
//! who has not begun.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

// How often a thread that stands by looks for a job before it lets others have the core for a moment.
const LOOKS: u32 = 4096;

/// `tasks` calls of `body`, of which the next is `next`.
struct Job<'a> {
    body: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Job<'_> {
    /// Takes tasks until there are none left.
    fn work(&self) {
        loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= self.tasks {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.body)(task))) {
                // Nobody needs to begin another one.
                self.next.store(self.tasks, Ordering::Relaxed);
                let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(panic);
            }
        }
    }
}

/// What the owner and the others share.
struct Board {
    // The job there is to do, if there is one. It lives on the owner's stack.
    job: AtomicPtr<Job<'static>>,
    // Threads that may be looking at the job.
    inside: AtomicUsize,
    // Places for threads that want to stand by.
    places: AtomicUsize,
    over: AtomicBool,
}

impl Board {
    /// Does what there is to do until the team breaks up.
    fn stand_by(&self) {
        let mut looks = 0u32;
        while !self.over.load(Ordering::Acquire) {
            if self.job.load(Ordering::Relaxed).is_null() {
                looks += 1;
                if looks.is_multiple_of(LOOKS) {
                    std::thread::yield_now();
                }
                std::hint::spin_loop();
                continue;
            }
            looks = 0;
            self.inside.fetch_add(1, Ordering::SeqCst);
            let job = self.job.load(Ordering::SeqCst);
            if !job.is_null() {
                // SAFETY: the owner takes the job down before it lets go of it, and then waits for `inside` to fall to
                // zero. Both sides write first and read then, in one order for all, so either this thread sees that the
                // job is gone, or the owner sees this thread.
                unsafe { &*job }.work();
            }
            self.inside.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The threads that stand by for one owner.
pub(super) struct Team(Arc<Board>);

thread_local! {
    // The team that this thread owns.
    static OWN: RefCell<Option<Rc<Team>>> = const { RefCell::new(None) };
    // Whether this thread is busy with a task of a team.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

impl Team {
    /// The team of this thread.
    pub(super) fn own() -> Option<Rc<Team>> {
        OWN.with_borrow(|own| own.clone())
    }

    /// Whether this thread is busy with a task already: everybody else is, too.
    pub(super) fn is_busy() -> bool {
        BUSY.get()
    }

    /// Runs `body` on this thread, with `others` threads of the pool standing by. Where there is a team already, this
    /// thread's or another's, the body is just run: threads that watch are worth having only while they have cores to
    /// themselves.
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
        struct BreakUp<'a>(&'a Board);
        impl Drop for BreakUp<'_> {
            fn drop(&mut self) {
                OWN.set(None);
                self.0.over.store(true, Ordering::Release);
            }
        }
        let board = Arc::new(Board {
            job: AtomicPtr::new(ptr::null_mut()),
            inside: AtomicUsize::new(0),
            places: AtomicUsize::new(others),
            over: AtomicBool::new(false),
        });
        OWN.set(Some(Rc::new(Team(board.clone()))));
        let _break_up = BreakUp(&board);
        let standing_by = board.clone();
        rayon::spawn_broadcast(move |_| {
            let free = |n: usize| n.checked_sub(1);
            let relaxed = Ordering::Relaxed;
            if standing_by
                .places
                .fetch_update(relaxed, relaxed, free)
                .is_ok()
            {
                standing_by.stand_by();
            }
        });
        body()
    }

    /// Calls `body(i)` for every `i < tasks`, each once, in no order.
    pub(super) fn for_each(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        /// Takes the job down, also where something panics, and waits for those who are at it.
        struct TakeDown<'a>(&'a Board);
        impl Drop for TakeDown<'_> {
            fn drop(&mut self) {
                self.0.job.store(ptr::null_mut(), Ordering::SeqCst);
                while self.0.inside.load(Ordering::SeqCst) != 0 {
                    std::hint::spin_loop();
                }
            }
        }
        /// Restores what was there before, also where a task panics.
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
            tasks,
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
        };
        let take_down = TakeDown(&self.0);
        // The lifetime is only a name here: `take_down` ends whatever others do with the job before `job` goes.
        self.0
            .job
            .store((&raw const job).cast_mut().cast(), Ordering::SeqCst);
        job.work();
        drop(take_down);
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
