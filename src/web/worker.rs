//! The thread that runs the model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::log_limit::LogLimit;
use super::metrics::{Metrics, Stage};
use super::queue::{Captioned, Job, Queue};
use crate::caption::search;
use crate::cpu::{memory, threads};
use crate::data::preprocess;
use crate::error::{Error, Result};
use crate::model::Captioner;

/// The model, with the queue that it serves.
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
            .map_err(|e| Error::unstarted(&e))
    }

    fn run(&self) {
        let failed = LogLimit::new();
        while let Some(jobs) = self.queue.take(memory::clear) {
            // A failed batch is reported to its clients; later batches must not be affected.
            match catch_unwind(AssertUnwindSafe(|| self.answer(jobs))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    if let Some(others) = failed.suppressed() {
                        tracing::error!(%error, others, "a batch failed");
                    }
                }
                Err(_) => {
                    if let Some(others) = failed.suppressed() {
                        tracing::error!(others, "a batch failed without saying why");
                    }
                }
            }
        }
    }

    /// Encodes all images in one batch, and generates together the captions of those with equal settings.
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
                let done = Captioned {
                    captions,
                    tags,
                    encode,
                    generate,
                };
                // If the client has disconnected, the result is dropped.
                let _ = reply.send(Ok(done));
            }
        }
        tracing::debug!(images = count, encode_ms = encode, "a batch");
        Ok(())
    }
}
