//! Images that wait for the model.
//!
//! Clients take turns. Each has an account of the work that was done for it, and whose account is the lowest is next, so
//! that somebody with one image does not wait for a hundred of somebody else. Who comes new, or comes again, begins where
//! the others are: nobody saves up. (This is the fair queueing of Demers, Keshav and Shenker, 1989, for images in place
//! of packets.) Where the line is full, the client with the most images in it loses its last.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::caption::{Caption, Search};
use crate::data::Image;
use crate::model::Tag;

/// Without a request for so long, the service has nothing to do.
const WHILE: Duration = Duration::from_secs(1);

/// Accounts that are kept before those that say nothing are closed.
const MOST_ACCOUNTS: usize = 1024;

/// An image that wants to be captioned.
pub struct Job {
    /// Whose it is.
    pub client: IpAddr,
    /// As the encoder takes it.
    pub image: Image,
    pub how: Search,
    /// Since when it waits.
    pub since: Instant,
    /// Where the captions go. Closed where nobody waits for them any more.
    pub reply: oneshot::Sender<Result<Done, Full>>,
}

impl Job {
    /// How much work it is, in images that are encoded: a search with a beam of fifteen takes about as long as that.
    fn cost(&self) -> f64 {
        1.0 + self.how.beam as f64 / 15.0
    }
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
    /// The work that was done for each client, counted from when the line was last empty.
    accounts: HashMap<IpAddr, f64>,
    /// The account of the client who was served last.
    level: f64,
    /// Requests whose images are about to be here.
    coming: usize,
    closed: bool,
}

/// The line was full.
#[derive(Clone, Copy, Debug)]
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

    /// Puts all of `jobs`, which are one client's, into the line, or none. For them, others who have more there may lose
    /// their last.
    pub fn push(&self, jobs: Vec<Job>) -> Result<(), Full> {
        let mut state = self.lock();
        state.forget_abandoned();
        if state.closed {
            return Err(Full);
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
        let batch = std::iter::from_fn(|| state.next());
        Some(batch.take(self.limits.batch).collect())
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

    /// Takes the first image of the client whose turn it is out of the line.
    fn next(&mut self) -> Option<Job> {
        let account = |job: &Job| {
            let account = self.accounts.get(&job.client).copied();
            account.unwrap_or(0.0).max(self.level)
        };
        let accounts = self.jobs.iter().map(account).enumerate();
        // Of those that are equal, the first.
        let (at, level) = accounts.min_by(|a, b| a.1.total_cmp(&b.1))?;
        let job = self.jobs.remove(at)?;
        self.level = level;
        self.accounts.insert(job.client, level + job.cost());
        if self.jobs.is_empty() {
            self.accounts.clear();
            self.level = 0.0;
        } else if self.accounts.len() > MOST_ACCOUNTS {
            // Who has none begins at the level anyhow.
            self.accounts.retain(|_, account| *account > level);
        }
        Some(job)
    }

    /// Makes room for `count` images of `client`: those who have more in the line than it will have lose their last.
    ///
    /// # Errors
    /// Where there is no room even so; nobody has lost anything then.
    fn make_room(&mut self, client: IpAddr, count: usize, length: usize) -> Result<(), Full> {
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
                _ => return Err(Full),
            }
        }
        for (other, lost) in losing {
            for _ in 0..lost {
                let last = self.jobs.iter().rposition(|job| job.client == other);
                if let Some(job) = last.and_then(|at| self.jobs.remove(at)) {
                    let _ = job.reply.send(Err(Full));
                }
            }
        }
        Ok(())
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

    fn job() -> (Job, oneshot::Receiver<Result<Done, Full>>) {
        job_of(1)
    }

    /// A job of the client whose address ends so.
    fn job_of(last: u8) -> (Job, oneshot::Receiver<Result<Done, Full>>) {
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

    /// The last numbers of the addresses whose images are taken.
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
        // Who comes late does not get what others had before.
        push(&[3; 4]);
        assert_eq!(taken(&queue), [3, 1]);
        assert_eq!(taken(&queue), [3, 1]);

        // A search that takes longer counts as much.
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
        assert!(matches!(answers[3].try_recv(), Ok(Err(Full))));
        assert!(answers[0].try_recv().is_err());
        assert_eq!(queue.len(), 4);
        // Four would be more than the others have.
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
