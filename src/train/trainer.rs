//! The loop.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::batches::{Batch, Samples, Targets, mix};
use super::checkpoint::{self, Checkpoint};
use super::config::{EncoderTraining, TrainConfig};
use super::features;
use super::optimizer::{Optimizer, Pace, learning_rate, schedule};
use super::student::{Student, encoder_pace};
use crate::data::vocabulary::{PAD, Vocabulary};
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::model::{Captioner, Decoder, DecoderConfig, DecoderKind, DenseNet, file};
use crate::nn::{Init, Linear, Mode, Module};
use crate::ops::{self, CrossEntropy};
use crate::tensor::{Device, Tensor};

// Dev images that are looked at a time.
const VALIDATION_IMAGES: usize = 50;

/// A training run.
pub struct Trainer {
    config: TrainConfig,
    student: Student,
    optimizer: Optimizer,
    train: Samples,
    dev: Option<Samples>,
    targets: Option<Targets>,
    /// `[N, F]` of the training images, where the encoder is frozen.
    features: Option<Tensor>,
    /// `[N, F]` of the dev images, where the encoder is frozen and they were needed once.
    dev_features: Option<Tensor>,
    dataset: String,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// The step's number, from 1.
    pub step: u64,
    /// The loss that was minimised.
    pub loss: f32,
    /// The captions' part of it.
    pub caption_loss: f32,
    /// The learning rate.
    pub lr: f32,
    /// The encoder's learning rate, where it is trained.
    pub encoder_lr: Option<f32>,
    /// The norm of the gradients, before clipping.
    pub grad_norm: f64,
    /// Images a second, of this step alone.
    pub images_per_s: f64,
}

/// What a run tells whoever watches it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The run begins, or goes on after `done` of `steps` steps.
    Start {
        /// Steps taken before.
        done: u64,
        /// Steps of the whole run.
        steps: u64,
        /// Training images.
        images: usize,
        /// Elements that the optimizer moves.
        parameters: usize,
    },
    /// A frozen encoder has computed the features of so many of the images.
    Features {
        /// Images done.
        done: usize,
        /// All images.
        images: usize,
    },
    /// A step was taken.
    Step(Report),
    /// An epoch is over, and the mean cross-entropy of a word on the dev split is this.
    Validation {
        /// Epochs done.
        epoch: u64,
        /// In nats a word, without label smoothing.
        loss: f32,
    },
    /// A checkpoint was written.
    Saved {
        /// Where.
        path: PathBuf,
    },
}

/// What whoever watches wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Save and stop.
    Stop,
}

/// How far a run goes and what it leaves.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Where the model goes; the checkpoint goes beside it.
    pub out: PathBuf,
    /// A checkpoint after every so many steps; 0 is only when stopped.
    pub checkpoint_every: u64,
    /// Stop after this many steps in all; the learning rate still runs as configured.
    pub max_steps: Option<u64>,
}

impl Trainer {
    /// A new run on the dataset in the folder `data`. `encoder` is a file with one; without it, and without a
    /// new one in the configuration, the bundled encoder is taken. Everything is computed on `device`.
    ///
    /// # Errors
    /// Where the data, the encoder or the configuration do not fit.
    pub fn new(
        data: &Path,
        encoder: Option<&Path>,
        config: TrainConfig,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        let dataset = Dataset::open(data)?;
        let examples = dataset.split(Split::Train)?;
        let captions = examples.iter().flat_map(|e| &e.captions);
        let vocabulary = Vocabulary::build(captions, config.min_count)?;
        let mut init = Init::new(config.seed);
        let (mut origin, mut tags) = (None, None);
        let (encoder, recipe) = match (&config.encoder.new, encoder) {
            (Some(_), Some(path)) => {
                return Err(Error::usage(format!(
                    "--encoder {} and a new encoder in the configuration: take one of them",
                    path.display()
                )));
            }
            (Some(sizes), None) => (DenseNet::new(sizes, &mut init)?, config.recipe()?),
            (None, Some(path)) => {
                let file = file::read_encoder(path)?;
                origin = file.description.as_ref().and_then(|d| d.origin.clone());
                tags = file.tags;
                let recipe = file.description.map(|d| d.recipe);
                (file.encoder, recipe.map_or_else(|| config.recipe(), Ok)?)
            }
            (None, None) => {
                let bundled = Captioner::bundled()?;
                tags = bundled.tags;
                (bundled.encoder, bundled.recipe)
            }
        };
        let sizes = DecoderConfig {
            features: encoder.config().features(),
            embedding: config.decoder.embedding,
            hidden: config.decoder.hidden,
            vocabulary: vocabulary.len(),
            dropout: config.decoder.dropout,
            kind: DecoderKind::default(),
            layers: 1,
            tied: false,
            attention: 0,
        };
        let decoder = Decoder::new(&sizes, &mut init)?;
        let (training, metrics) = Default::default();
        let captioner = Captioner {
            encoder,
            decoder,
            vocabulary,
            recipe,
            tags,
            origin,
            training,
            metrics,
        };
        Self::assemble(&dataset, config, captioner, &mut init, device)
    }

    /// The run that `checkpoint` was taken of, on the same data.
    ///
    /// # Errors
    /// Where it is no checkpoint or does not fit the data.
    pub fn resume(data: &Path, checkpoint: &Path, device: &Device) -> Result<Self> {
        let Checkpoint {
            file,
            description: _,
            config,
            steps,
        } = Checkpoint::open(checkpoint)?;
        let captioner = Captioner::read(&file)?;
        let dataset = Dataset::open(data)?;
        let mut init = Init::new(0);
        let mut trainer = Self::assemble(&dataset, config, captioner, &mut init, device)?;
        if let Some(teacher) = &mut trainer.student.teacher {
            file::load_module(&file, "distill.", teacher)?;
            teacher.to(device)?;
            teacher.track(true);
        }
        trainer.optimizer.restore(&file, steps)?;
        Ok(trainer)
    }

    fn assemble(
        dataset: &Dataset,
        config: TrainConfig,
        captioner: Captioner,
        init: &mut Init,
        device: &Device,
    ) -> Result<Self> {
        let cache = config.image.cache_mib;
        let load = |split, cache| {
            Samples::new(
                dataset.split(split)?,
                &captioner.vocabulary,
                config.max_words,
                cache,
            )
        };
        let train = load(Split::Train, cache)?;
        // A dataset without a dev split can be trained on all the same.
        let dev = match config.validate_every {
            0 => None,
            _ => load(Split::Dev, cache / 4).ok(),
        };
        let targets = config
            .distill
            .as_ref()
            .map(|d| Targets::read(&d.targets))
            .transpose()?;
        let features = captioner.encoder.config().features();
        let teacher = targets
            .as_ref()
            .map(|t| Linear::new(init, features, t.size));
        let mut student = Student { captioner, teacher };
        student.to(device)?;
        student
            .captioner
            .encoder
            .set_tuning(config.encoder.tuning());
        student.track_trained(config.encoder.train);
        let mut optimizer = Optimizer::new(&config.optimizer, &mut student);
        // Parameters that move alike are moved together.
        if let Some(pace) = encoder_pace(&config)
            && pace != Pace::of(&config.optimizer)
        {
            optimizer.set_pace("encoder.", pace);
        }
        let dataset = dataset.name().to_string();
        Ok(Trainer {
            config,
            student,
            optimizer,
            train,
            dev,
            targets,
            features: None,
            dev_features: None,
            dataset,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.config.epochs * self.train.steps_per_epoch(self.config.batch)
    }

    /// Trains to the end and writes the model. `watch` is told what happens and may stop the run, which then
    /// leaves a checkpoint.
    ///
    /// # Errors
    /// Where the loss is no longer a number, a file cannot be read or written, or the run was stopped
    /// ([`Error::Interrupted`], which says how to go on).
    pub fn run(
        &mut self,
        options: &RunOptions,
        watch: &mut dyn FnMut(Event) -> Control,
    ) -> Result<()> {
        let total = self.total_steps();
        let last = options.max_steps.map_or(total, |most| most.min(total));
        let mut parameters = 0;
        self.student.visit("", &mut |_, role, t| {
            parameters += if role.is_trained() && t.is_tracked() {
                t.len()
            } else {
                0
            };
        });
        let (done, images) = (self.optimizer.steps(), self.train.len());
        watch(Event::Start {
            done,
            steps: last,
            images,
            parameters,
        });
        self.prepare_features(&options.out, watch)?;

        let per_epoch = self.train.steps_per_epoch(self.config.batch);
        while self.optimizer.steps() < last {
            let report = self.step().map_err(|e| self.rescue(e, options))?;
            let mut stop = watch(Event::Step(report)) == Control::Stop;
            let step = report.step;
            if step % per_epoch == 0 && self.validates(step / per_epoch) {
                let loss = self.validate().map_err(|e| self.rescue(e, options))?;
                stop |= watch(Event::Validation {
                    epoch: step / per_epoch,
                    loss,
                }) == Control::Stop;
            }
            if stop {
                let path = self.save_checkpoint(&options.out)?;
                return Err(Error::Interrupted(format!(
                    "stopped after step {step} of {last}; go on with --resume {}",
                    path.display()
                )));
            }
            if options.checkpoint_every > 0 && step % options.checkpoint_every == 0 {
                let path = self.save_checkpoint(&options.out)?;
                watch(Event::Saved { path });
            }
        }
        self.save_model(&options.out)
    }

    /// One step: batch, forward, loss, backward, optimizer.
    ///
    /// # Errors
    /// Where an image cannot be read, or the loss or a gradient is not a finite number.
    pub fn step(&mut self) -> Result<Report> {
        let started = Instant::now();
        let config = &self.config;
        let step = self.optimizer.steps();
        let batch = self.train.batch(
            config.seed,
            step,
            config.batch,
            config.captions,
            config.augment.flip,
        );

        let features = self.batch_features(&batch, step)?;
        let mode = Mode::Training {
            seed: mix(config.seed, step, 3),
        };
        let caption_loss =
            self.caption_loss(&features, &batch, mode, config.loss.label_smoothing)?;
        let loss = match (&self.targets, &self.student.teacher, &config.distill) {
            (Some(targets), Some(teacher), Some(distill)) => {
                let said = teacher.forward(&features)?;
                let distance = ops::mse(&said, &targets.tensor(&self.train, &batch)?)?;
                ops::add(&caption_loss, &ops::scale(&distance, distill.weight)?)?
            }
            _ => caption_loss.clone(),
        };
        let grads = loss.backward()?;
        let loss = loss.detach();
        let share = schedule(&config.optimizer, step, self.total_steps());
        let lr = learning_rate(config.optimizer.lr, share);
        let encoder_lr = encoder_pace(config).map(|pace| learning_rate(pace.lr, share));
        let moved = self.optimizer.step(&mut self.student, grads, share);
        // Looked at last, for a graphics device need not wait for that in the middle of a step. A loss that is no number
        // has gradients that are none, by which nothing has moved.
        let value = loss.item()?;
        if !value.is_finite() {
            return Err(Error::value(
                "train",
                format_args!(
                    "the loss is {value} at step {}; try a lower learning rate",
                    step + 1
                ),
            ));
        }
        let grad_norm = moved?;

        let images_per_s = batch.images.len() as f64 / started.elapsed().as_secs_f64();
        let caption_loss = caption_loss.item()?;
        Ok(Report {
            step: step + 1,
            loss: value,
            caption_loss,
            lr,
            encoder_lr,
            grad_norm,
            images_per_s,
        })
    }

    /// The features of a batch: computed from its varied images, or looked up where the encoder is frozen.
    fn batch_features(&self, batch: &Batch, step: u64) -> Result<Tensor> {
        if let Some(features) = &self.features {
            return ops::embedding(features, &batch.images);
        }
        let config = &self.config;
        let size = self.student.captioner.recipe.size();
        let epoch = step / self.train.steps_per_epoch(config.batch);
        let images = self
            .train
            .varied(batch, &config.augment, size, config.seed, epoch)?;
        let mode = Mode::Training {
            seed: mix(config.seed, step, 4),
        };
        self.student.captioner.encode_in(&images, mode)
    }

    fn caption_loss(
        &self,
        features: &Tensor,
        batch: &Batch,
        mode: Mode,
        label_smoothing: f32,
    ) -> Result<Tensor> {
        let decoder = &self.student.captioner.decoder;
        let logits = decoder
            .forward(features, &batch.image_of, &batch.words, mode)?
            .logits;
        let options = CrossEntropy {
            ignore_index: Some(PAD as usize),
            label_smoothing,
        };
        ops::cross_entropy(&logits, &batch.targets, options)
    }

    /// Computes a frozen encoder's features, or reads them from the file beside `out`.
    fn prepare_features(
        &mut self,
        out: &Path,
        watch: &mut dyn FnMut(Event) -> Control,
    ) -> Result<()> {
        if self.config.encoder.train != EncoderTraining::None || self.features.is_some() {
            return Ok(());
        }
        let images = self.train.len();
        let captioner = &mut self.student.captioner;
        let cache = checkpoint::features_beside(out);
        let mut progress = |done| match watch(Event::Features { done, images }) {
            Control::Continue => Ok(()),
            Control::Stop => Err(Error::Interrupted(
                "stopped while computing features; nothing was lost, start again".into(),
            )),
        };
        let features = features::cached(
            &cache,
            &mut captioner.encoder,
            captioner.recipe,
            &self.train,
            &mut progress,
        )?;
        self.features = Some(features);
        Ok(())
    }

    fn validates(&self, epoch: u64) -> bool {
        let every = self.config.validate_every;
        self.dev.is_some() && every > 0 && epoch.is_multiple_of(every)
    }

    /// The mean cross-entropy of a word on the dev split, all captions, without label smoothing.
    ///
    /// # Errors
    /// Where an image cannot be read.
    fn validate(&mut self) -> Result<f32> {
        // No gradient is asked for, so nothing is kept for one.
        self.student.track(false);
        let loss = self.dev_loss();
        self.student.track_trained(self.config.encoder.train);
        loss
    }

    fn dev_loss(&mut self) -> Result<f32> {
        let Some(dev) = &self.dev else {
            return Ok(f32::NAN);
        };
        if self.config.encoder.train == EncoderTraining::None && self.dev_features.is_none() {
            let all: Vec<usize> = (0..dev.len()).collect();
            let parts: Vec<Tensor> = all
                .chunks(VALIDATION_IMAGES)
                .map(|images| self.dev_features(dev, images))
                .collect::<Result<_>>()?;
            let parts = parts.iter().map(|part| part.to(&Device::Cpu));
            let parts: Vec<Tensor> = parts.collect::<Result<_>>()?;
            let data = parts.iter().flat_map(Tensor::data).copied().collect();
            let size = self.student.captioner.encoder.config().features();
            self.dev_features = Some(Tensor::from_vec(data, &[dev.len(), size])?);
        }
        let (mut sum, mut words) = (0.0f64, 0usize);
        for first in (0..dev.len()).step_by(VALIDATION_IMAGES) {
            let batch = dev.run(first, VALIDATION_IMAGES);
            let features = match &self.dev_features {
                Some(features) => features.narrow(first, batch.images.len())?,
                None => self.dev_features(dev, &batch.images)?,
            };
            let loss = self
                .caption_loss(&features, &batch, Mode::Inference, 0.0)?
                .item()?;
            let n = batch.targets.iter().filter(|&&t| t != PAD as usize).count();
            sum += f64::from(loss) * n as f64;
            words += n;
        }
        Ok((sum / words.max(1) as f64) as f32)
    }

    /// The features of these dev images, computed.
    fn dev_features(&self, dev: &Samples, images: &[usize]) -> Result<Tensor> {
        let captioner = &self.student.captioner;
        captioner.encode(&dev.tensor(images, captioner.recipe)?)
    }

    fn save_checkpoint(&mut self, out: &Path) -> Result<PathBuf> {
        let path = checkpoint::path_beside(out);
        let mut tensors = file::module_tensors("", &mut self.student);
        tensors.extend(self.optimizer.tensors()?);
        let description = self.student.captioner.description(file::Kind::Checkpoint);
        checkpoint::write(
            &path,
            description,
            &self.config,
            self.optimizer.steps(),
            &tensors,
        )?;
        Ok(path)
    }

    /// Saves what can be saved where a graphics device fails in the middle of a run, and says how to go on.
    fn rescue(&mut self, error: Error, options: &RunOptions) -> Error {
        let Error::Gpu { device, what } = error else {
            return error;
        };
        let step = self.optimizer.steps();
        let path = checkpoint::path_beside(&options.out);
        let what = match self.save_checkpoint(&options.out) {
            Ok(path) => format!(
                "{what}; saved after step {step}, go on with --resume {}",
                path.display()
            ),
            // One that cannot be read any more has what was last written of it.
            Err(_) if path.exists() => {
                format!(
                    "{what}; the last checkpoint is whole, go on with --resume {}",
                    path.display()
                )
            }
            Err(_) => format!("{what}; no checkpoint had been written after {step} steps"),
        };
        Error::gpu(device, what)
    }

    fn save_model(&mut self, out: &Path) -> Result<()> {
        let captioner = &mut self.student.captioner;
        let mut config = self.config.clone();
        // Where the targets lay on this machine is nobody's business.
        if let Some(distill) = &mut config.distill
            && let Some(name) = distill.targets.file_name()
        {
            distill.targets = name.into();
        }
        let config = serde_json::to_value(&config).map_err(|e| {
            Error::file(out, format_args!("the configuration cannot be stored: {e}"))
        })?;
        captioner.training.insert("config".into(), config);
        captioner
            .training
            .insert("steps".into(), self.optimizer.steps().into());
        captioner
            .training
            .insert("dataset".into(), self.dataset.clone().into());
        captioner
            .training
            .insert("images".into(), self.train.len().into());
        captioner.training.insert(
            "program".into(),
            concat!("glimpse ", env!("CARGO_PKG_VERSION")).into(),
        );
        captioner.save(out, self.config.output.precision)
    }
}
