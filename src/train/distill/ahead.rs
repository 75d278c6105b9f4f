//! Prefetching: a thread assembles the next batch during the current step.
//!
//! This pays off if the steps run on a GPU and the CPU would be idle meanwhile. A step on the CPU uses all of its
//! cores, so batches are then assembled when they are requested. The batches are the same either way.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::{Batch, Distillation};
use crate::cpu::threads;
use crate::error::{Error, Result};

/// Identifies a batch: seed, step and number of views, as in [`Distillation::batch`].
type Request = (u64, u64, usize);

/// Batches of a [`Distillation`], optionally prefetched.
pub struct Ahead {
    distillation: Arc<Distillation>,
    worker: Option<Worker>,
}

struct Worker {
    /// Requests to the thread; `None` once the channel is closed, which ends the thread.
    requests: Option<SyncSender<Request>>,
    batches: Receiver<(Request, Result<Batch>)>,
    /// The batch that the thread is assembling or has assembled.
    pending: Option<Request>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Creates the source of batches; with `ahead`, a thread assembles the next one.
    ///
    /// # Errors
    /// Fails if the thread cannot be started.
    pub fn new(distillation: Arc<Distillation>, ahead: bool) -> Result<Self> {
        let worker = match ahead {
            true => Some(Worker::start(distillation.clone())?),
            false => None,
        };
        Ok(Ahead {
            distillation,
            worker,
        })
    }

    /// Returns the batch of step `step`, and starts assembling that of the next step.
    ///
    /// # Errors
    /// The errors of [`Distillation::batch`].
    pub fn batch(&mut self, seed: u64, step: u64, batch: usize) -> Result<Batch> {
        let wanted = (seed, step, batch);
        let Some(worker) = &mut self.worker else {
            return self.distillation.batch(seed, step, batch);
        };
        let made = worker.take(wanted);
        worker.ask((seed, step + 1, batch));
        match made {
            Some(made) => made,
            None => self.distillation.batch(seed, step, batch),
        }
    }
}

impl Worker {
    fn start(distillation: Arc<Distillation>) -> Result<Self> {
        let (requests, asked) = sync_channel::<Request>(1);
        let (made, batches) = sync_channel(1);
        // One thread is left to the training step.
        let helpers = threads::count().saturating_sub(1).max(1);
        let work = move || {
            for request in asked {
                let (seed, step, size) = request;
                let batch = threads::with_count(helpers, || distillation.batch(seed, step, size));
                if made.send((request, batch.and_then(|batch| batch))).is_err() {
                    return;
                }
            }
        };
        let thread = Builder::new()
            .name("views".into())
            .spawn(work)
            .map_err(|e| Error::unstarted(&e))?;
        Ok(Worker {
            requests: Some(requests),
            batches,
            pending: None,
            thread: Some(thread),
        })
    }

    /// Returns the prefetched batch if it is the one that was `wanted`.
    fn take(&mut self, wanted: Request) -> Option<Result<Batch>> {
        self.pending.take()?;
        let (request, batch) = self.batches.recv().ok()?;
        (request == wanted).then_some(batch)
    }

    fn ask(&mut self, request: Request) {
        if let Some(requests) = &self.requests
            && requests.send(request).is_ok()
        {
            self.pending = Some(request);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.requests = None;
        // Receives finished batches until the thread ends, because a full channel would block its send for ever.
        while self.batches.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            // A panic in the thread lost a batch, which the caller then assembled itself.
            let _ = thread.join();
        }
    }
}
