//! The settings of a training run, as written in a TOML file. Each table of the file has a module of its own.

pub mod change;
mod decoder;
mod encoder;
pub mod fields;
#[cfg(any(feature = "toml", test))]
mod file;
mod objective;
mod optimizer;
mod preset;

pub use change::Change;
pub use decoder::DecoderSizes;
pub use encoder::{EncoderConfig, EncoderTraining, ImageConfig, NormStatistics};
pub use objective::{DevConfig, DevScore, Keep, LossConfig, SelfCriticalConfig, Stage};
pub use optimizer::{OptimizerConfig, OptimizerKind, ScheduleKind};

use serde::{Deserialize, Serialize};

use super::distill::DistillConfig;

use crate::data::weights::NumberFormat;
use crate::data::{Augment, Recipe};
use crate::error::{Error, Result};
use crate::model::DecoderKind;

/// The settings of a training run. Every field has a default; a file names only those that differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// `distill`, `cross-entropy` or `self-critical`.
    pub stage: Stage,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Number of epochs: how often each image is seen; in the stage `distill`, how often each view.
    pub epochs: u64,
    /// Mini-batch size: images per step.
    pub batch: usize,
    /// Captions per image in a step, drawn anew each time.
    pub captions: usize,
    /// Maximum words of a caption; longer captions are cut.
    pub max_words: usize,
    /// Minimum number of occurrences in the training captions; rarer words become `<unk>`.
    pub min_count: u64,
    /// Epochs between two evaluations on the dev split, unless [`DevConfig::every`] is set; 0 is never. The
    /// last step of the run is followed by one too.
    pub validate_every: u64,
    /// The encoder.
    pub encoder: EncoderConfig,
    /// The decoder.
    pub decoder: DecoderSizes,
    /// Preprocessing of the images for a new encoder.
    pub image: ImageConfig,
    /// Augmentation of the training images, if the encoder is trained.
    pub augment: Augment,
    /// The optimizer and its schedule.
    pub optimizer: OptimizerConfig,
    /// Options of the caption losses.
    pub loss: LossConfig,
    /// The stage `self-critical`.
    pub self_critical: SelfCriticalConfig,
    /// Evaluation on the dev split.
    pub dev: DevConfig,
    /// The stage `distill`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillConfig>,
    /// The output file.
    pub output: OutputConfig,
}

/// The output file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputConfig {
    /// `f32`, `f16` or `bf16` for half the size, or `i8` for about a quarter. Checkpoints are always `f32`.
    pub precision: NumberFormat,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            stage: Stage::default(),
            seed: 1,
            epochs: 30,
            batch: 64,
            captions: 1,
            max_words: 22,
            min_count: 5,
            validate_every: 1,
            encoder: EncoderConfig::default(),
            decoder: DecoderSizes::default(),
            image: ImageConfig::default(),
            augment: Augment::default(),
            optimizer: OptimizerConfig::default(),
            loss: LossConfig::default(),
            self_critical: SelfCriticalConfig::default(),
            dev: DevConfig::default(),
            distill: None,
            output: OutputConfig::default(),
        }
    }
}

fn require(fine: bool, what: &str) -> Result<()> {
    if fine {
        Ok(())
    } else {
        Err(Error::usage(what))
    }
}

impl TrainConfig {
    /// Refuses values that are out of range or contradict each other.
    ///
    /// # Errors
    /// One line that names the first such value.
    pub fn check(&self) -> Result<()> {
        require(self.epochs > 0, "epochs = 0: must be at least 1")?;
        require(
            (1..=1 << 16).contains(&self.batch),
            "batch: must be 1 to 65536",
        )?;
        require(
            (1..=100).contains(&self.captions),
            "captions: must be 1 to 100",
        )?;
        require(
            (1..=1000).contains(&self.max_words),
            "max_words: must be 1 to 1000",
        )?;
        self.decoder.check()?;
        self.optimizer.check()?;
        self.loss.check()?;
        self.self_critical.check()?;
        self.dev.check()?;
        self.encoder.check()?;
        self.augment.validate()?;
        self.check_together()?;
        self.distill.as_ref().map_or(Ok(()), DistillConfig::check)?;
        self.recipe().map(|_| ())
    }

    /// Refuses settings that contradict each other.
    fn check_together(&self) -> Result<()> {
        let distills = self.stage == Stage::Distill;
        require(
            distills == self.distill.is_some(),
            match distills {
                true => "distill: the stage needs [distill] with its target files",
                false => {
                    "distill: target files are for stage = \"distill\"; set that, or leave [distill] out"
                }
            },
        )?;
        require(
            !distills
                || matches!(
                    self.encoder.train,
                    EncoderTraining::All | EncoderTraining::AfterFirstBlock
                ),
            "stage = \"distill\": the encoder is what learns; set encoder.train = \"all\", or \"after-first-block\"",
        )?;
        require(
            self.optimizer.schedule != ScheduleKind::Plateau
                || self.validate_every > 0
                || self.dev.every > 0,
            "optimizer.schedule = \"plateau\" needs dev scores; set validate_every or dev.every",
        )?;
        require(
            self.dev.patience == 0 || self.validate_every > 0 || self.dev.every > 0,
            "dev.patience needs dev scores; set validate_every or dev.every",
        )?;
        // The stem halves the image twice and rounds up. Each transition halves a map of at least 2x2 pixels.
        let blocks = self.encoder.new.as_ref().map_or(0, |new| new.blocks.len());
        let least = (2u32 << blocks.min(24)).saturating_sub(3);
        require(
            blocks == 0 || self.image.size >= least,
            &format!("image.size: must be at least {least} for an encoder of {blocks} blocks"),
        )?;
        require(
            self.stage == Stage::CrossEntropy || self.loss.scheduled_sampling == 0.0,
            "loss.scheduled_sampling is for stage = \"cross-entropy\"; leave it out",
        )
    }

    /// Refuses a loss that the kind of decoder does not support. A run that starts from a whole model knows its decoder
    /// only then.
    ///
    /// # Errors
    /// One line that names the loss.
    pub(super) fn check_decoder(&self) -> Result<()> {
        require(
            self.loss.doubly_stochastic == 0.0 || self.decoder.kind == DecoderKind::Attention,
            "loss.doubly_stochastic needs decoder.kind = \"attention\"",
        )
    }

    /// Returns this configuration with file names in place of paths. A model does not store where files lay on this
    /// machine.
    pub(super) fn without_paths(&self) -> Self {
        let mut config = self.clone();
        if let Some(distill) = &mut config.distill {
            distill.forget_folders();
        }
        config
    }

    /// Returns the preprocessing recipe of a new encoder.
    ///
    /// # Errors
    /// Fails if the size is out of range.
    pub fn recipe(&self) -> Result<Recipe> {
        Recipe::new(self.image.method, self.image.size)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{Trained, Tuning};

    #[test]
    fn defaults_make_sense_and_survive_a_file() {
        let config = TrainConfig::default();
        config.check().unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), config);
        assert_eq!(toml::from_str::<TrainConfig>("").unwrap(), config);
    }

    #[test]
    fn the_recipe_of_the_bundled_model_makes_sense() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
        let stage = |name: &str| TrainConfig::read(&folder.join(name)).unwrap().stage;
        assert_eq!(stage("distill.toml"), Stage::Distill);
        assert_eq!(stage("distill-more.toml"), Stage::Distill);
        assert_eq!(stage("distill-photos.toml"), Stage::Distill);
        assert_eq!(stage("distill-words.toml"), Stage::Distill);
        assert_eq!(stage("distill-mixed.toml"), Stage::Distill);
        assert_eq!(stage("distill-maps.toml"), Stage::Distill);
        assert_eq!(stage("captions.toml"), Stage::CrossEntropy);
        assert_eq!(stage("self-critical.toml"), Stage::SelfCritical);
        assert_eq!(stage("glimpse.toml"), Stage::CrossEntropy);
    }

    #[test]
    fn what_says_nothing_of_tuning_tunes_as_before() {
        // A checkpoint of a version that did not have these settings.
        let old = r#"{ "encoder": { "train": "all" } }"#;
        let config: TrainConfig = serde_json::from_str(old).unwrap();
        assert_eq!(config.encoder.tuning(), Tuning::default());
        let stored = serde_json::to_value(&config).unwrap();
        assert_eq!(stored["encoder"], serde_json::json!({ "train": "all" }));

        let text = "[encoder]\ntrain = \"last-block\"\nlr = 1e-4\nweight_decay = 0.0\nstatistics = \"frozen\"";
        let config: TrainConfig = toml::from_str(text).unwrap();
        config.check().unwrap();
        let tuning = config.encoder.tuning();
        assert!(tuning.trained == Trained::LastBlock && tuning.frozen_statistics);
        let again = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<TrainConfig>(&again).unwrap(), config);
    }

    #[test]
    fn mistakes_are_named_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.toml");
        for (text, part) in [
            ("epoch = 3", "epoch"),
            ("epochs = 0", "epochs"),
            ("[optimizer]\nlr = -1.0", "optimizer.lr"),
            ("[encoder]\ntrain = \"some\"", "some"),
            (
                "[encoder.new]\ngrowth = 8\nblocks = [2]\nstem = 8",
                "must be trained",
            ),
            ("[encoder]\nlr = 1e-4", "encoder.lr: a frozen encoder"),
            (
                "[encoder]\nweight_decay = 0.1",
                "encoder.weight_decay: a frozen",
            ),
            (
                "[encoder]\nstatistics = \"frozen\"",
                "encoder.statistics: a frozen",
            ),
            (
                "[encoder]\ntrain = \"all\"\nlr = 0.0",
                "encoder.lr: must be above 0",
            ),
            (
                "[encoder]\ntrain = \"all\"\nlr = inf",
                "encoder.lr: must be above 0",
            ),
            (
                "[encoder]\ntrain = \"last-block\"\nlr = nan",
                "encoder.lr: must be above 0",
            ),
            (
                "[encoder]\ntrain = \"all\"\nweight_decay = -0.1",
                "encoder.weight_decay: must not",
            ),
            (
                "[encoder]\ntrain = \"all\"\nstatistics = \"moving\"",
                "moving",
            ),
            (
                "[encoder]\ntrain = \"last-block\"\nnew = { growth = 8, blocks = [2], stem = 8 }",
                "must be trained",
            ),
            (
                "[encoder]\ntrain = \"all\"\nstatistics = \"frozen\"\nnew = { growth = 8, blocks = [2], stem = 8 }",
                "encoder.statistics: a new encoder",
            ),
            (
                "[distill]\ntargets = [\"t.safetensors\"]",
                "stage = \"distill\"",
            ),
            ("stage = \"distill\"", "needs [distill]"),
            (
                "stage = \"distill\"\n[distill]\ntargets = [\"t.safetensors\"]",
                "the encoder is what learns",
            ),
            ("[optimizer]\ndecay = 0.0", "optimizer.decay"),
            ("[optimizer]\naverage = 1.0", "optimizer.average"),
            (
                "validate_every = 0\n[optimizer]\nschedule = \"plateau\"",
                "needs dev scores",
            ),
            (
                "validate_every = 0\n[dev]\npatience = 3",
                "needs dev scores",
            ),
            ("[self_critical]\nsamples = 1", "self_critical.samples"),
            (
                "[self_critical]\nprecision = -1.0",
                "self_critical.precision",
            ),
            (
                "[loss]\nscheduled_sampling = 1.5",
                "loss.scheduled_sampling",
            ),
            ("[loss]\ndoubly_stochastic = -1.0", "loss.doubly_stochastic"),
            ("seed = ", "line 1, column 8: is not TOML"),
        ] {
            std::fs::write(&path, text).unwrap();
            let message = TrainConfig::read(&path).unwrap_err().to_string();
            assert!(
                message.contains(part) && message.contains("t.toml"),
                "{message}"
            );
            assert!(!message.contains('\n'));
        }
        assert!(TrainConfig::read(&dir.path().join("none.toml")).is_err());
    }
}
