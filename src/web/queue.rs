//! The queue of images that wait for the model.
//!
//! Clients take turns. Each has an account of the work that was done for it, and the client with the lowest account is
//! next. A client with one image therefore does not wait for a hundred images of another. The account of a new or
//! returning client starts at the current level, so nobody saves up. (This is the fair queueing of Demers, Keshav and
//! Shenker, 1989, for images instead of packets.) If the queue is full, the client with the most images in it loses its
//! last one.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::caption::{Caption, Search};
use crate::data::Image;
use crate::model::Tag;

/// Time without a request after which the service counts as idle.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// The number of accounts that are kept before those at the current level are deleted.
const MOST_ACCOUNTS: usize = 1024;

/// An image that waits to be captioned.
pub struct Job {
    /// The client that sent it.
    pub client: IpAddr,
    /// The image at the encoder's input size.
    pub image: Image,
    pub how: Search,
    /// The time at which it was queued.
    pub since: Instant,
    /// The channel for the captions. It is closed once nobody waits for them any more.
    pub reply: oneshot::Sender<Result<Captioned, QueueFull>>,
}

impl Job {
    /// Returns the cost in units of one encoding; a search with a beam of fifteen takes about as long as that.
    fn cost(&self) -> f64 {
        1.0 + self.how.beam as f64 / 15.0
    }
}

/// The model's result for an image.
pub struct Captioned {
    pub captions: Vec<Caption>,
    pub tags: Vec<Tag>,
    /// Milliseconds; the batch's time divided by its size.
    pub encode: f64,
    /// Milliseconds; the batch's time divided by its size.
    pub generate: f64,
}

/// A queue of images with a limited length. Images that nobody waits for any more are removed.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    limits: Limits,
}

/// The limits of a queue and of its batches.
#[derive(Clone, Copy)]
pub struct Limits {
    /// The largest number of images in the queue.
    pub length: usize,
    /// The largest number of images in a batch.
    pub batch: usize,
    /// The time for which a batch that is not full is held back while other requests are arriving.
    pub wait: Duration,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// The work done for each client, counted since the queue was last empty.
    accounts: HashMap<IpAddr, f64>,
    /// The account of the client that was served last.
    level: f64,
    /// The number of requests whose images will be queued soon.
    announced: usize,
    closed: bool,
}

/// Error: the queue is full.
#[derive(Clone, Copy, Debug)]
pub struct QueueFull;

impl Queue {
    pub fn new(limits: Limits) -> Self {
        Queue {
            state: Mutex::default(),
            changed: Condvar::new(),
            limits,
        }
    }

    /// Announces a request whose images will be queued soon.
    pub fn announce(&self) -> Announcement<'_> {
        self.lock().announced += 1;
        Announcement(self)
    }

    /// Queues all of `jobs`, which belong to one client, or none. To make room, clients with more images in the queue
    /// may lose their last ones.
    pub fn push(&self, jobs: Vec<Job>) -> Result<(), QueueFull> {
        let mut state = self.lock();
        state.forget_abandoned();
        if state.closed {
            return Err(QueueFull);
        }
        let Some(client) = jobs.first().map(|job| job.client) else {
            return Ok(());
        };
        state.make_room(client, jobs.len(), self.limits.length)?;
        state.jobs.extend(jobs);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits for the next batch; `None` once the queue is closed and empty. Calls `rest` once if no batch comes for a
    /// while.
    ///
    /// A batch that is not full is held back for a moment, but only if other requests are arriving. A request that
    /// comes alone is not delayed.
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
            let waited = self.changed.wait_timeout(state, IDLE_AFTER);
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
        while state.jobs.len() < self.limits.batch && state.announced > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let batch = std::iter::from_fn(|| state.next());
        Some(batch.take(self.limits.batch).collect())
    }

    /// Returns the number of images in the queue.
    pub fn len(&self) -> usize {
        let mut state = self.lock();
        state.forget_abandoned();
        state.jobs.len()
    }

    /// Closes the queue: it takes no more images, but those in it are still processed.
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

    /// Removes the first image of the client whose turn it is, and returns it.
    fn next(&mut self) -> Option<Job> {
        let account = |job: &Job| {
            let account = self.accounts.get(&job.client).copied();
            account.unwrap_or(0.0).max(self.level)
        };
        let accounts = self.jobs.iter().map(account).enumerate();
        // Among equal accounts, the first.
        let (at, level) = accounts.min_by(|a, b| a.1.total_cmp(&b.1))?;
        let job = self.jobs.remove(at)?;
        self.level = level;
        self.accounts.insert(job.client, level + job.cost());
        if self.jobs.is_empty() {
            self.accounts.clear();
            self.level = 0.0;
        } else if self.accounts.len() > MOST_ACCOUNTS {
            // A client without an account starts at the current level anyway.
            self.accounts.retain(|_, account| *account > level);
        }
        Some(job)
    }

    /// Makes room for `count` images of `client`. Clients that have more in the queue than `client` will have lose
    /// their last ones.
    ///
    /// # Errors
    /// If that does not make enough room; then nobody has lost anything.
    fn make_room(&mut self, client: IpAddr, count: usize, length: usize) -> Result<(), QueueFull> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for job in &self.jobs {
            *counts.entry(job.client).or_default() += 1;
        }
        let own = counts.remove(&client).unwrap_or(0) + count;
        let mut losing: HashMap<IpAddr, usize> = HashMap::new();
        for _ in length..self.jobs.len() + count {
            let most = counts.iter_mut().max_by_key(|(_, waiting)| **waiting);
            match most {
                Some((other, waiting)) if *waiting > own => {
                    *waiting -= 1;
                    *losing.entry(*other).or_default() += 1;
                }
                _ => return Err(QueueFull),
            }
        }
        for (other, lost) in losing {
            for _ in 0..lost {
                let last = self.jobs.iter().rposition(|job| job.client == other);
                if let Some(job) = last.and_then(|at| self.jobs.remove(at)) {
                    let _ = job.reply.send(Err(QueueFull));
                }
            }
        }
        Ok(())
    }
}

/// The announcement of a request whose images will be queued soon. Dropping it withdraws the announcement.
pub struct Announcement<'a>(&'a Queue);

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        self.0.lock().announced -= 1;
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

    fn job() -> (Job, oneshot::Receiver<Result<Captioned, QueueFull>>) {
        job_of(1)
    }

    /// Creates a job of the client whose address ends in `last`.
    fn job_of(last: u8) -> (Job, oneshot::Receiver<Result<Captioned, QueueFull>>) {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            client: [10, 0, 0, last].into(),
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

    /// Returns the last numbers of the addresses, in the order in which their images are taken.
    fn taken(queue: &Queue) -> Vec<u8> {
        let batch = queue.take(|| {}).unwrap();
        let last = |job: Job| match job.client {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        batch.into_iter().map(last).collect()
    }

    #[test]
    fn clients_take_turns() {
        let queue = queue(20, Duration::ZERO);
        let mut answers = Vec::new();
        let mut push = |clients: &[u8]| {
            let (jobs, more): (Vec<Job>, Vec<_>) = clients.iter().map(|&c| job_of(c)).unzip();
            queue.push(jobs).unwrap();
            answers.extend(more);
        };
        push(&[1; 6]);
        push(&[2; 2]);
        assert_eq!(taken(&queue), [1, 2]);
        assert_eq!(taken(&queue), [1, 2]);
        // A client that comes late does not catch up on the work that others got before.
        push(&[3; 4]);
        assert_eq!(taken(&queue), [3, 1]);
        assert_eq!(taken(&queue), [3, 1]);

        // A search that takes longer counts for more.
        let (mut long, _answer) = job_of(4);
        long.how.beam = 45;
        queue.push(vec![long]).unwrap();
        push(&[4]);
        assert_eq!(taken(&queue), [3, 4]);
        assert_eq!(taken(&queue), [1, 3]);
        assert_eq!(taken(&queue), [1, 4]);
    }

    #[test]
    fn where_the_line_is_full_who_has_the_most_loses_the_last() {
        let queue = queue(4, Duration::ZERO);
        let (jobs, mut answers): (Vec<Job>, Vec<_>) = (0..4).map(|_| job_of(1)).unzip();
        queue.push(jobs).unwrap();
        let (more, _more) = job_of(1);
        assert!(queue.push(vec![more]).is_err());
        let (other, _other) = job_of(2);
        queue.push(vec![other]).unwrap();
        assert!(matches!(answers[3].try_recv(), Ok(Err(QueueFull))));
        assert!(answers[0].try_recv().is_err());
        assert_eq!(queue.len(), 4);
        // With four images, this client would have more than the others.
        let (jobs, _answers): (Vec<Job>, Vec<_>) = (0..4).map(|_| job_of(3)).unzip();
        assert!(queue.push(jobs).is_err());
        assert_eq!(queue.len(), 4);
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
            let announcement = queue.announce();
            let taken = scope.spawn(|| queue.take(|| {}).unwrap().len());
            queue.push(vec![second]).unwrap();
            drop(announcement);
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
            std::thread::sleep(2 * IDLE_AFTER + IDLE_AFTER / 2);
            queue.close();
        });
        assert_eq!(rests.load(Relaxed), 1);
    }
}
