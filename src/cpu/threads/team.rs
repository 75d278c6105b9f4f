//! Threads that stay awake between one piece of work and the next.
//!
//! A network is hundreds of small pieces of work, one after the other, and to wake a sleeping thread takes longer than
//! its share of many of them. While a [`Team`] exists, threads of the pool stand by: they watch for a job, take its
//! tasks by counting, and watch again. The owner of the team takes tasks like everybody else, so it waits for nobody
//! who has not begun.
//!
//! Each member has a share of its own of every job, always the same part: what a core wrote last time, the upper half
//! of a map, say, is what it reads next, and still lies in its cache. Only when its share is done does it help with the
//! others'.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

// How often a thread that stands by looks for a job before it lets others have the core for a moment.
const LOOKS: u32 = 4096;

/// Waits a moment. Whoever has waited long lets others have the core: what is waited for may need it.
fn look_again(looks: &mut u32) {
    *looks += 1;
    if looks.is_multiple_of(LOOKS) {
        std::thread::yield_now();
    }
    std::hint::spin_loop();
}

/// Calls of `body`, for the tasks that [`Board::shares`] count.
struct Job<'a> {
    body: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The tasks from `next` to `end`, on cache lines of their own: one member counts here while another counts there.
#[derive(Default)]
#[repr(align(128))]
struct Share {
    next: AtomicUsize,
    end: AtomicUsize,
}

impl Share {
    /// Takes the next task, if there is one.
    fn take(&self) -> Option<usize> {
        let task = self.next.fetch_add(1, Ordering::Relaxed);
        (task < self.end.load(Ordering::Relaxed)).then_some(task)
    }
}

/// What the owner and the others share.
struct Board {
    // The job there is to do, if there is one. It lives on the owner's stack.
    job: AtomicPtr<Job<'static>>,
    // One for each member, the owner's first. They change only while there is no job.
    shares: Vec<Share>,
    // Threads that may be looking at the job.
    inside: AtomicUsize,
    // Places for threads that want to stand by.
    places: AtomicUsize,
    over: AtomicBool,
}

impl Board {
    /// Hands out the tasks of the next job: neighbours to the same member.
    fn share_out(&self, tasks: usize) {
        let members = self.shares.len();
        for (i, share) in self.shares.iter().enumerate() {
            share.next.store(i * tasks / members, Ordering::Relaxed);
            share
                .end
                .store((i + 1) * tasks / members, Ordering::Relaxed);
        }
    }

    /// Does the tasks of this member's share, and then what is left of the others'.
    fn work(&self, job: &Job, member: usize) {
        let (before, after) = self.shares.split_at(member);
        for share in after.iter().chain(before) {
            while let Some(task) = share.take() {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (job.body)(task))) {
                    // Nobody needs to begin another one.
                    self.shares
                        .iter()
                        .for_each(|s| s.end.store(0, Ordering::Relaxed));
                    let mut first = job.panic.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(panic);
                }
            }
        }
    }

    /// Does what there is to do until the team breaks up.
    fn stand_by(&self, member: usize) {
        let mut looks = 0u32;
        while !self.over.load(Ordering::Acquire) {
            if self.job.load(Ordering::Relaxed).is_null() {
                look_again(&mut looks);
                continue;
            }
            looks = 0;
            self.inside.fetch_add(1, Ordering::SeqCst);
            let job = self.job.load(Ordering::SeqCst);
            if !job.is_null() {
                // SAFETY: the owner takes the job down before it lets go of it, and then waits for `inside` to fall to
                // zero. Both sides write first and read then, in one order for all, so either this thread sees that the
                // job is gone, or the owner sees this thread.
                self.work(unsafe { &*job }, member);
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
            shares: (0..=others).map(|_| Share::default()).collect(),
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
            if let Ok(member) = standing_by.places.fetch_update(relaxed, relaxed, free) {
                standing_by.stand_by(member);
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
                let mut looks = 0;
                while self.0.inside.load(Ordering::SeqCst) != 0 {
                    look_again(&mut looks);
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
            panic: Mutex::new(None),
        };
        self.0.share_out(tasks);
        let take_down = TakeDown(&self.0);
        // The lifetime is only a name here: `take_down` ends whatever others do with the job before `job` goes.
        self.0
            .job
            .store((&raw const job).cast_mut().cast(), Ordering::SeqCst);
        self.0.work(&job, 0);
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
