//! The thread that owns the model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::metrics::{Metrics, Stage};
use super::queue::{Done, Job, Queue};
use super::seldom::Seldom;
use crate::caption::search;
use crate::cpu::{memory, threads};
use crate::data::preprocess;
use crate::error::{Error, Result, reason};
use crate::model::Captioner;

/// The model, and what it works for.
pub struct Worker {
    pub captioner: Captioner,
    pub queue: Arc<Queue>,
    pub metrics: Arc<Metrics>,
}

impl Worker {
    /// Starts the thread; it ends when the queue is closed and empty.
    pub fn start(self) -> Result<JoinHandle<()>> {
        thread::Builder::new()
            .name("model".into())
            .spawn(move || self.run())
            .map_err(|e| Error::usage(format_args!("a thread cannot be started: {}", reason(&e))))
    }

    fn run(&self) {
        let failed = Seldom::new();
        while let Some(jobs) = self.queue.take(memory::clear) {
            // Whoever is not answered is told that something went wrong; the others shall not suffer from it.
            match catch_unwind(AssertUnwindSafe(|| self.answer(jobs))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    if let Some(others) = failed.others() {
                        tracing::error!(%error, others, "a batch failed");
                    }
                }
                Err(_) => {
                    if let Some(others) = failed.others() {
                        tracing::error!(others, "a batch failed without saying why");
                    }
                }
            }
        }
    }

    /// Encodes all together, and searches together for those that want the same.
    fn answer(&self, mut jobs: Vec<Job>) -> Result<()> {
        jobs.sort_by_key(|job| (job.how.beam, job.how.n_best, job.how.attention));
        for job in &jobs {
            self.metrics.observe(Stage::Wait, job.since.elapsed());
        }
        let groups: Vec<usize> = jobs
            .chunk_by(|a, b| a.how == b.how)
            .map(<[Job]>::len)
            .collect();
        let (images, waiting): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .map(|job| (job.image, (job.how, job.reply)))
            .unzip();
        let count = images.len();
        self.metrics.batch(count);

        let started = Instant::now();
        let features = self.captioner.encode(&preprocess::batch(&images)?)?;
        let encode = self.metrics.observe_share(Stage::Encode, started, count);

        let mut waiting = waiting.into_iter();
        let mut first = 0;
        for size in groups {
            let group: Vec<_> = waiting.by_ref().take(size).collect();
            let Some((how, _)) = group.first() else {
                continue;
            };
            let started = Instant::now();
            let features = features.narrow(first, size)?;
            let captions = threads::run(|| search(&self.captioner, &features, how))?;
            let generate = self.metrics.observe_share(Stage::Generate, started, size);
            let tags = self.captioner.tags(&features)?;
            first += size;
            let answers = group.into_iter().zip(captions.into_iter().zip(tags));
            for ((_, reply), (captions, tags)) in answers {
                let done = Done {
                    captions,
                    tags,
                    encode,
                    generate,
                };
                // Where nobody waits any more, there is nobody to tell.
                let _ = reply.send(Ok(done));
            }
        }
        tracing::debug!(images = count, encode_ms = encode, "a batch");
        Ok(())
    }
}
