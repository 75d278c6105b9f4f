//! The training loop: batch, forward, loss, backward, optimizer, evaluation, checkpoint.

mod background;
mod changes;
mod data;
mod dataset;
mod diagnosis;
mod elsewhere;
mod judge;
mod other;
mod save;
mod source;
mod start;
mod unusable;

pub use source::Source;

use data::Resumed;

use std::path::Path;
use std::time::{Duration, Instant};

use super::average::Average;
use super::config::{EncoderTraining, TrainConfig};
use super::events::{Control, Event, Outcome, Report, RunOptions, Watch};
use super::frozen;
use super::optimizer::Optimizer;
use super::progress::Progress;
use super::provenance::Provenance;
use super::schedule::{learning_rate, schedule};
use super::step::{Position, Terms};
use super::summary::Summary;
use super::work::{Work, encoder_group};
use crate::error::{self, Error, Result};
use crate::nn::Module;

/// A training run.
pub struct Trainer {
    config: TrainConfig,
    work: Work,
    optimizer: Optimizer,
    average: Option<Average>,
    progress: Progress,
    /// Notices from before the run had a watcher.
    notices: Vec<String>,
    dataset: String,
    /// Summary of the captions, if the run learns from captions.
    summary: Option<Summary>,
    /// Whether the networks could already caption before the first step.
    starts_trained: bool,
    /// Whether the captions of the last evaluation were all alike; `None` before the first.
    alike: Option<bool>,
    /// Provenance of the data; `None` before the run.
    data: Option<Provenance>,
    /// The checkpoint that the run is resumed from; `None` once the data has been compared with it.
    resumed: Option<Resumed>,
    /// Whether the data may have changed since the checkpoint.
    may_change: bool,
}

/// Time after which a checkpoint is written although fewer steps than asked for were taken since the last one.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(300);

/// Decides after which steps a run writes its checkpoint.
struct Checkpoints {
    /// Steps between two checkpoints; 0 for none.
    every: u64,
    /// Time of the last one, or of the start.
    last: Instant,
}

impl Checkpoints {
    fn new(every: u64) -> Self {
        let last = Instant::now();
        Checkpoints { every, last }
    }

    /// Returns whether a checkpoint is due after `step`, which ended `now`.
    fn are_due(&mut self, step: u64, now: Instant) -> bool {
        let waited = now.duration_since(self.last);
        let due =
            self.every > 0 && (step.is_multiple_of(self.every) || waited >= CHECKPOINT_INTERVAL);
        if due {
            self.last = now;
        }
        due
    }
}

impl Trainer {
    /// Returns the configuration.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Returns the number of steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.config.epochs * self.steps_per_epoch()
    }

    fn steps_per_epoch(&self) -> u64 {
        self.work.steps_per_epoch(self.config.batch)
    }

    /// Trains to the end and writes the model. `watch` receives every event and may stop the run, which then leaves a
    /// checkpoint.
    ///
    /// # Errors
    /// Fails if the data of a resumed run differs from the checkpoint's, the loss is not finite, a file cannot be read
    /// or written, or the run was stopped ([`Error::Interrupted`], which says how to resume it).
    pub fn run(&mut self, options: &RunOptions, watch: Watch) -> Result<Outcome> {
        let total = self.total_steps();
        let last = options.max_steps.map_or(total, |most| most.min(total));
        self.identify_data(options)?;
        self.announce(last, watch);
        self.prepare_features(&options.out, watch)
            .map_err(|e| self.all_unusable(e))?;
        if self.starts_trained && self.optimizer.steps() == 0 && self.work.has_dev() {
            // A model that can already caption sets the score to beat.
            self.evaluate(0, options, watch)
                .map_err(|e| self.all_unusable(e))?;
        }
        let mut checkpoints = Checkpoints::new(options.checkpoint_every);
        // Whether the last step is in no checkpoint yet.
        let mut unsaved = false;
        while self.optimizer.steps() < last {
            let report = self.step().map_err(|e| self.give_up(e, options))?;
            let step = report.step;
            unsaved = true;
            let mut stop = watch(Event::Step(report)) == Control::Stop;
            let mut ends = false;
            if self.evaluates_after(step) {
                (stop, ends) = match self.evaluate(step, options, watch) {
                    Ok((wish, ends)) => (stop || wish == Control::Stop, ends),
                    Err(e) => return Err(self.give_up(e, options)),
                };
            }
            if stop {
                let path = self.save_checkpoint(&options.out)?;
                return Err(Error::Interrupted(format!(
                    "stopped after step {step} of {last}; go on with --resume {}",
                    error::name(&path)
                )));
            }
            if ends || step == total {
                break;
            }
            if checkpoints.are_due(step, Instant::now()) {
                let path = self.save_checkpoint(&options.out)?;
                unsaved = false;
                watch(Event::Saved { path });
            }
        }
        self.finish(&options.out)?;
        // From its checkpoint a run that has ended can go on, for more steps or more epochs.
        if unsaved && options.checkpoint_every > 0 {
            let path = self.save_checkpoint(&options.out)?;
            watch(Event::Saved { path });
        }
        Ok(self.outcome(&options.out))
    }

    /// Saves what can be saved after a failure during the run, and returns the error to report.
    fn give_up(&mut self, error: Error, options: &RunOptions) -> Error {
        let error = self.all_unusable(error);
        self.rescue(error, options)
    }

    /// Reports the start of the run to the watcher.
    fn announce(&mut self, last: u64, watch: Watch) {
        let mut parameters = 0;
        self.work.visit("", &mut |_, role, t| {
            if role.is_trained() && t.is_tracked() {
                parameters += t.len();
            }
        });
        watch(Event::Start {
            done: self.optimizer.steps(),
            steps: last,
            images: self.work.images(),
            parameters,
            epochs: self.config.epochs,
        });
        if let Some(summary) = &self.summary {
            watch(Event::Data(summary.clone()));
        }
        for notice in std::mem::take(&mut self.notices) {
            watch(Event::Notice(notice));
        }
    }

    /// Takes one step: batch, forward, loss, backward, optimizer.
    ///
    /// # Errors
    /// Fails if an image cannot be read, or the loss or a gradient is not finite; the message names the first tensor
    /// that is not finite.
    pub fn step(&mut self) -> Result<Report> {
        let started = Instant::now();
        let step = self.optimizer.steps();
        let Terms {
            total,
            parts,
            images,
        } = self.terms(step)?;
        let grads = total.backward()?;
        let loss = total.detach();
        drop(total);
        let config = &self.config;
        let share =
            schedule(&config.optimizer, step, self.total_steps()) * self.progress.plateau.factor;
        let lr = learning_rate(config.optimizer.lr, share);
        let encoder_lr = encoder_group(config).map(|settings| learning_rate(settings.lr, share));
        let moved = self.optimizer.step(&mut self.work, grads, share);
        // The loss is read last, which avoids waiting for the GPU in the middle of a step. If the loss is not finite,
        // neither are the gradients, and the optimizer has changed no parameter.
        let value = loss.item()?;
        let grad_norm = match moved {
            Ok(norm) if value.is_finite() => norm,
            Err(e @ Error::Gpu { .. }) => return Err(e),
            _ => return Err(self.diagnose(step)),
        };
        if let Some(average) = &mut self.average {
            average.update(&mut self.work, step)?;
        }
        let images_per_s = images as f64 / started.elapsed().as_secs_f64();
        let parts = parts.into_iter().map(|(name, t)| Ok((name, t.item()?)));
        Ok(Report {
            step: step + 1,
            epoch: step / self.steps_per_epoch() + 1,
            loss: value,
            parts: parts.collect::<Result<_>>()?,
            lr,
            encoder_lr,
            grad_norm,
            images_per_s,
        })
    }

    /// Computes the loss of step `step`.
    fn terms(&mut self, step: u64) -> Result<Terms> {
        let position = Position {
            step,
            total: self.total_steps(),
        };
        self.work.loss(&self.config, position)
    }

    /// Returns whether the dev split is evaluated after this many steps.
    fn evaluates_after(&self, step: u64) -> bool {
        let every = match self.config.dev.every {
            0 => self.config.validate_every * self.steps_per_epoch(),
            every => every,
        };
        // The last step too, because its model is often the best one.
        let due = every > 0 && (step.is_multiple_of(every) || step == self.total_steps());
        self.work.has_dev() && due
    }

    /// Evaluates the dev split and saves the model if it is the best so far. Returns the watcher's answer, and whether
    /// the run should end early.
    fn evaluate(
        &mut self,
        step: u64,
        options: &RunOptions,
        watch: Watch,
    ) -> Result<(Control, bool)> {
        let evaluation = self.with_averages(|trainer| trainer.work.evaluate(&trainer.config))?;
        let score = self.measure();
        let best = self
            .progress
            .observe(score, &self.config.optimizer, step, &evaluation);
        self.note_scores(step, &evaluation);
        if best {
            self.with_averages(|trainer| trainer.save_best(&options.out, step))?;
        }
        let per_epoch = self.steps_per_epoch();
        let patience = self.config.dev.patience;
        let ends = patience > 0 && self.progress.stale >= patience;
        let warnings = self.warnings(&evaluation, ends);
        let mut wish = watch(Event::Evaluated {
            step,
            epoch: step.is_multiple_of(per_epoch).then_some(step / per_epoch),
            evaluation: Box::new(evaluation),
            best,
        });
        for (kind, text) in warnings {
            if watch(Event::Warning { step, kind, text }) == Control::Stop {
                wish = Control::Stop;
            }
        }
        if let Some(found) = self.progress.best.filter(|_| ends) {
            let event = Event::EarlyStop {
                step,
                best_step: found.reached,
                best_score: found.score,
                measure: score,
            };
            if watch(event) == Control::Stop {
                wish = Control::Stop;
            }
        }
        Ok((wish, ends))
    }

    /// Calls `body` with the averaged parameters, if there are any, and without tracking gradients.
    fn with_averages<R>(&mut self, body: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        self.work.track(false);
        if let Some(average) = &mut self.average {
            average.swap(&mut self.work);
        }
        let result = body(self);
        if let Some(average) = &mut self.average {
            average.swap(&mut self.work);
        }
        self.work.track_trained(self.config.encoder.train);
        result
    }

    /// Computes a frozen encoder's features, or opens the file beside `out` that holds them.
    fn prepare_features(&mut self, out: &Path, watch: Watch) -> Result<()> {
        match &mut self.work {
            Work::Captions(work) if self.config.encoder.train == EncoderTraining::None => {
                frozen::prepare(work, &self.config, out, watch)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_due_after_steps_and_after_a_time() {
        let mut checkpoints = Checkpoints::new(4);
        let start = checkpoints.last;
        assert!(!checkpoints.are_due(3, start));
        assert!(checkpoints.are_due(4, start));
        // The time counts from the last checkpoint.
        let late = start + CHECKPOINT_INTERVAL;
        assert!(checkpoints.are_due(5, late) && !checkpoints.are_due(6, late));
        assert!(!Checkpoints::new(0).are_due(4, late));
    }
}
