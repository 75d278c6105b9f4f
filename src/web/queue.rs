//! Images that wait for the model.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::caption::{Caption, Search};
use crate::data::Image;
use crate::model::Tag;

/// Without a request for so long, the service has nothing to do.
const WHILE: Duration = Duration::from_secs(1);

/// An image that wants to be captioned.
pub struct Job {
    /// As the encoder takes it.
    pub image: Image,
    pub how: Search,
    /// Since when it waits.
    pub since: Instant,
    /// Where the captions go. Closed where nobody waits for them any more.
    pub reply: oneshot::Sender<Done>,
}

/// What the model says of an image.
pub struct Done {
    pub captions: Vec<Caption>,
    pub tags: Vec<Tag>,
    /// Milliseconds, its share of the batch's.
    pub encode: f64,
    /// Milliseconds, its share of the batch's.
    pub generate: f64,
}

/// A line of images, of limited length. Those that nobody waits for lose their place.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    limits: Limits,
}

/// How many wait, and how they are taken.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Images in the line.
    pub length: usize,
    /// Images that are taken at a time.
    pub batch: usize,
    /// How long a batch that is not full is held back while requests are coming.
    pub wait: Duration,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Requests whose images are about to be here.
    coming: usize,
    closed: bool,
}

/// The line was full.
#[derive(Debug)]
pub struct Full;

impl Queue {
    pub fn new(limits: Limits) -> Self {
        Queue {
            state: Mutex::default(),
            changed: Condvar::new(),
            limits,
        }
    }

    /// Announces a request whose images are about to be here.
    pub fn announce(&self) -> Coming<'_> {
        self.lock().coming += 1;
        Coming(self)
    }

    /// Puts all of `jobs` into the line, or none.
    pub fn push(&self, jobs: Vec<Job>) -> Result<(), Full> {
        let mut state = self.lock();
        state.forget_abandoned();
        if state.closed || state.jobs.len() + jobs.len() > self.limits.length {
            return Err(Full);
        }
        state.jobs.extend(jobs);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// The next batch, as soon as there is one; none once the line is closed and empty. Where none comes for a while, `rest`
    /// is called once.
    ///
    /// It is held back for a moment where it could be larger and others are on their way, so that one that comes alone
    /// is not.
    pub fn take(&self, rest: impl FnOnce()) -> Option<Vec<Job>> {
        let mut rest = Some(rest);
        let mut state = self.lock();
        loop {
            state.forget_abandoned();
            if !state.jobs.is_empty() {
                break;
            }
            if state.closed {
                return None;
            }
            let Some(now) = rest.take() else {
                let waited = self.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.changed.wait_timeout(state, WHILE);
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                drop(state);
                now();
                state = self.lock();
            } else {
                rest = Some(now);
            }
        }
        let until = Instant::now() + self.limits.wait;
        while state.jobs.len() < self.limits.batch && state.coming > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let count = state.jobs.len().min(self.limits.batch);
        Some(state.jobs.drain(..count).collect())
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        let mut state = self.lock();
        state.forget_abandoned();
        state.jobs.len()
    }

    /// Takes nothing more; what is in the line is still worked on.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_abandoned(&mut self) {
        self.jobs.retain(|job| !job.reply.is_closed());
    }
}

/// A request whose images are about to be in the line, or will never be; either way it ends with this.
pub struct Coming<'a>(&'a Queue);

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.0.lock().coming -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    fn queue(length: usize, wait: Duration) -> Queue {
        Queue::new(Limits {
            length,
            batch: 2,
            wait,
        })
    }

    fn job() -> (Job, oneshot::Receiver<Done>) {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            image: Image::from_rgb(1, 1, vec![0; 3]).unwrap(),
            how: Search::default(),
            since: Instant::now(),
            reply,
        };
        (job, answer)
    }

    #[test]
    fn the_line_is_taken_in_batches_and_has_an_end() {
        let queue = queue(3, Duration::ZERO);
        let (jobs, answers): (Vec<Job>, Vec<_>) = (0..3).map(|_| job()).unzip();
        queue.push(jobs).unwrap();
        assert!(queue.push(vec![job().0]).is_err());
        assert_eq!(queue.len(), 3);
        queue.close();
        assert_eq!(queue.take(|| {}).unwrap().len(), 2);
        assert_eq!(queue.take(|| {}).unwrap().len(), 1);
        assert!(queue.take(|| {}).is_none());
        assert!(queue.push(vec![job().0]).is_err());
        drop(answers);
    }

    #[test]
    fn who_goes_away_leaves_a_place() {
        let queue = queue(2, Duration::ZERO);
        let (jobs, answers): (Vec<Job>, Vec<_>) = (0..2).map(|_| job()).unzip();
        queue.push(jobs).unwrap();
        drop(answers);
        let (late, answer) = job();
        queue.push(vec![late]).unwrap();
        assert_eq!(queue.take(|| {}).unwrap().len(), 1);
        drop(answer);
    }

    #[test]
    fn a_batch_waits_only_for_those_who_are_coming() {
        let long = Duration::from_secs(20);
        let queue = queue(4, long);
        let (first, _first) = job();
        queue.push(vec![first]).unwrap();
        let started = Instant::now();
        assert_eq!(queue.take(|| {}).unwrap().len(), 1);

        let (first, _first) = job();
        queue.push(vec![first]).unwrap();
        let (second, _second) = job();
        std::thread::scope(|scope| {
            let coming = queue.announce();
            let taken = scope.spawn(|| queue.take(|| {}).unwrap().len());
            queue.push(vec![second]).unwrap();
            drop(coming);
            assert_eq!(taken.join().unwrap(), 2);
        });
        assert!(started.elapsed() < long);
    }

    #[test]
    fn who_has_nothing_to_do_rests_once() {
        let queue = queue(1, Duration::ZERO);
        let rests = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let rest = || {
                    rests.fetch_add(1, Relaxed);
                };
                assert!(queue.take(rest).is_none());
            });
            std::thread::sleep(2 * WHILE + WHILE / 2);
            queue.close();
        });
        assert_eq!(rests.load(Relaxed), 1);
    }
}
