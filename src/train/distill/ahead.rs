//! The next batch, made while the last is trained on.
//!
//! That pays where the steps run on a GPU and the processor would wait meanwhile. A step on the processor keeps all of
//! its cores busy itself; there batches are made when they are asked for. The batches are the same either way.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::{Batch, Distillation};
use crate::cpu::threads;
use crate::error::{Error, Result, reason};

/// Which batch: seed, step and number of views, as [`Distillation::batch`] takes them.
type Request = (u64, u64, usize);

/// Batches of a [`Distillation`], one of them made ahead of the caller.
pub struct Ahead {
    distillation: Arc<Distillation>,
    worker: Option<Worker>,
}

struct Worker {
    /// Dropped first, which ends the thread.
    requests: Option<SyncSender<Request>>,
    batches: Receiver<(Request, Result<Batch>)>,
    /// The batch that the thread is making, or has made.
    pending: Option<Request>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Batches of `distillation`; `ahead` says whether a thread makes the next one.
    ///
    /// # Errors
    /// Where the system grants no thread.
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

    /// The batch of step `step`, and the beginning of that of the step after it.
    ///
    /// # Errors
    /// Those of [`Distillation::batch`].
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
        // One thread is left to whoever trains.
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
            .map_err(|e| {
                Error::usage(format_args!("a thread cannot be started: {}", reason(&e)))
            })?;
        Ok(Worker {
            requests: Some(requests),
            batches,
            pending: None,
            thread: Some(thread),
        })
    }

    /// The batch that was asked for before, where it is this one.
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
        // Batches that it has made are received here, so that its next send fails and it ends.
        while self.batches.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            // A panic there was a lost batch, which was made again here.
            let _ = thread.join();
        }
    }
}
