//! What a training run does, as a TOML file says it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::weights::Precision;
use crate::data::{Augment, Method, Recipe};
use crate::error::{Error, Result};
use crate::model::{DenseNetConfig, Tuning};

/// What a training run does. Every field has a default; a file names only what differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// What all randomness is drawn from.
    pub seed: u64,
    /// How often each image is seen.
    pub epochs: u64,
    /// Images of a step.
    pub batch: usize,
    /// Captions of each image in a step, drawn anew each time.
    pub captions: usize,
    /// Captions beyond this many words are cut.
    pub max_words: usize,
    /// Words that occur less often than this in the training captions become `<unk>`.
    pub min_count: u64,
    /// The loss on the dev split is taken after every so many epochs; 0 is never.
    pub validate_every: u64,
    /// The encoder.
    pub encoder: EncoderConfig,
    /// The decoder.
    pub decoder: DecoderSizes,
    /// How images become the encoder's input, where the encoder is new.
    pub image: ImageConfig,
    /// How images are varied, where the encoder is trained.
    pub augment: Augment,
    /// How parameters move.
    pub optimizer: OptimizerConfig,
    /// What is minimised.
    pub loss: LossConfig,
    /// A second teacher for the encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillConfig>,
    /// The file that comes out.
    pub output: OutputConfig,
}

/// Which encoder, and how it is trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderConfig {
    /// `none`: the encoder is frozen and its features are computed once. `last-block`: its last block and its last
    /// batch norm are trained with the decoder. `all`: encoder and decoder are trained end to end.
    pub train: EncoderTraining,
    /// The encoder's learning rate after warm-up, where it is another than the optimizer's; it rises and falls with
    /// that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f32>,
    /// The encoder's weight decay, where it is another than the optimizer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f32>,
    /// What the batch norms of the trained part normalise by; without it `batch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<NormStatistics>,
    /// The sizes of a new encoder with random weights. Without it the encoder is the one of `--encoder`, or the
    /// bundled one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<DenseNetConfig>,
}

/// How much of the encoder is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderTraining {
    /// Nothing.
    #[default]
    None,
    /// Its last block and its last batch norm.
    LastBlock,
    /// All of it.
    All,
}

/// What batch norms normalise by while they are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormStatistics {
    /// The batch's mean and variance, which also move the running ones.
    Batch,
    /// The running ones that came with the encoder, which stay as they are.
    Frozen,
}

/// The sizes of the decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecoderSizes {
    /// Elements of a word's vector.
    pub embedding: usize,
    /// Cells of the LSTM.
    pub hidden: usize,
    /// The share of elements that are dropped, in `[0, 1)`.
    pub dropout: f32,
}

/// How images become the encoder's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageConfig {
    /// `torchvision`, `squash` or `keras-nearest`.
    pub method: Method,
    /// Pixels of a side.
    pub size: u32,
    /// Memory for decoded images, in MiB, so that they need not be decoded again in every epoch.
    pub cache_mib: usize,
}

/// How parameters move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// `adamw`, `adam` or `sgd`.
    pub kind: OptimizerKind,
    /// The learning rate after warm-up; it then falls to zero along a cosine.
    pub lr: f32,
    /// The share of all steps over which the learning rate rises from zero, in `[0, 1]`.
    pub warmup: f64,
    /// Pulls matrices and kernels towards zero; biases, norms and word vectors are left alone.
    pub weight_decay: f32,
    /// SGD's momentum.
    pub momentum: f32,
    /// Adam's decay rates.
    pub betas: [f32; 2],
    /// Gradients are scaled down to at most this norm; 0 is never.
    pub clip: f32,
}

/// The optimizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay.
    AdamW,
    /// Adam.
    Adam,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// What is minimised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// How much of the wanted word's probability is spread over all words, in `[0, 1)`.
    pub label_smoothing: f32,
}

/// Distillation (Hinton et al., 2015, arXiv 1503.02531): a linear layer on the features also predicts what
/// another network says of each image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// A safetensors file with `targets` `[N, D]`, perhaps `targets_flipped` `[N, D]` for mirrored images, and
    /// the images' names, a JSON list, in its metadata as `names`.
    pub targets: PathBuf,
    /// The weight of the mean squared error, in units of the targets' standard deviation, next to that of the
    /// captions.
    #[serde(default = "one")]
    pub weight: f32,
}

fn one() -> f32 {
    1.0
}

/// The file that comes out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputConfig {
    /// `f32`, or `f16` or `bf16` for half the size. Checkpoints are always `f32`.
    pub precision: Precision,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
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
            distill: None,
            output: OutputConfig::default(),
        }
    }
}

impl Default for DecoderSizes {
    fn default() -> Self {
        DecoderSizes {
            embedding: 256,
            hidden: 256,
            dropout: 0.4,
        }
    }
}

impl Default for ImageConfig {
    fn default() -> Self {
        ImageConfig {
            method: Method::Squash,
            size: 224,
            cache_mib: 2048,
        }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig {
            kind: OptimizerKind::AdamW,
            lr: 1e-3,
            warmup: 0.05,
            weight_decay: 0.05,
            momentum: 0.9,
            betas: [0.9, 0.999],
            clip: 1.0,
        }
    }
}

impl Default for LossConfig {
    fn default() -> Self {
        LossConfig {
            label_smoothing: 0.1,
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

impl EncoderConfig {
    /// Refuses values that make no sense.
    fn check(&self) -> Result<()> {
        for (name, is_set) in [
            ("lr", self.lr.is_some()),
            ("weight_decay", self.weight_decay.is_some()),
            ("statistics", self.statistics.is_some()),
        ] {
            if is_set && self.train == EncoderTraining::None {
                return Err(Error::usage(format!(
                    "encoder.{name}: a frozen encoder learns nothing; set encoder.train, or leave it out"
                )));
            }
        }
        require(
            self.lr.is_none_or(|lr| lr.is_finite() && lr > 0.0),
            "encoder.lr: must be above 0",
        )?;
        require(
            self.weight_decay.is_none_or(|d| d.is_finite() && d >= 0.0),
            "encoder.weight_decay: must not be negative",
        )?;
        let Some(new) = &self.new else {
            return Ok(());
        };
        new.check()?;
        require(
            self.train == EncoderTraining::All,
            "encoder.new: a new encoder must be trained; set encoder.train = \"all\"",
        )?;
        require(
            self.statistics != Some(NormStatistics::Frozen),
            "encoder.statistics: a new encoder has none to keep; leave it out",
        )
    }

    /// How training treats the encoder.
    pub fn tuning(&self) -> Tuning {
        Tuning {
            last_block: self.train == EncoderTraining::LastBlock,
            frozen_statistics: self.statistics == Some(NormStatistics::Frozen),
        }
    }
}

impl TrainConfig {
    /// The configuration in the TOML file at `path`. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// Where the file cannot be read, is no TOML, or names a field that does not exist.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::file(path, format_args!("cannot be read: {e}")))?;
        let mut config: TrainConfig = toml::from_str(&text)
            .map_err(|e| Error::file(path, format_args!("makes no sense: {e}")))?;
        if let Some(distill) = &mut config.distill
            && let Some(folder) = path.parent()
        {
            distill.targets = folder.join(&distill.targets);
        }
        config.check().map_err(|e| Error::file(path, e))?;
        Ok(config)
    }

    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// One line that names the first.
    pub fn check(&self) -> Result<()> {
        let o = &self.optimizer;
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
        require(
            (0.0..1.0).contains(&self.decoder.dropout),
            "decoder.dropout: must be in [0, 1)",
        )?;
        require(
            o.lr.is_finite() && o.lr > 0.0,
            "optimizer.lr: must be above 0",
        )?;
        require(
            (0.0..=1.0).contains(&o.warmup),
            "optimizer.warmup: must be in [0, 1]",
        )?;
        require(
            o.weight_decay.is_finite() && o.weight_decay >= 0.0,
            "optimizer.weight_decay: must not be negative",
        )?;
        require(
            (0.0..1.0).contains(&o.momentum),
            "optimizer.momentum: must be in [0, 1)",
        )?;
        require(
            o.betas.iter().all(|b| (0.0..1.0).contains(b)),
            "optimizer.betas: must be in [0, 1)",
        )?;
        require(
            o.clip.is_finite() && o.clip >= 0.0,
            "optimizer.clip: must not be negative",
        )?;
        require(
            (0.0..1.0).contains(&self.loss.label_smoothing),
            "loss.label_smoothing: must be in [0, 1)",
        )?;
        if let Some(distill) = &self.distill {
            require(
                distill.weight.is_finite() && distill.weight > 0.0,
                "distill.weight: must be above 0",
            )?;
            require(
                self.encoder.train != EncoderTraining::None,
                "distill: a frozen encoder learns nothing; set encoder.train = \"all\"",
            )?;
        }
        self.encoder.check()?;
        self.augment.validate()?;
        self.recipe().map(|_| ())
    }

    /// How images become the input of a new encoder.
    ///
    /// # Errors
    /// Where the size is out of range.
    pub fn recipe(&self) -> Result<Recipe> {
        Recipe::new(self.image.method, self.image.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_make_sense_and_survive_a_file() {
        let config = TrainConfig::default();
        config.check().unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), config);
        assert_eq!(toml::from_str::<TrainConfig>("").unwrap(), config);
    }

    #[test]
    fn what_says_nothing_of_tuning_tunes_as_before() {
        // As a checkpoint from before there was anything to say.
        let old = r#"{ "encoder": { "train": "all" } }"#;
        let config: TrainConfig = serde_json::from_str(old).unwrap();
        assert_eq!(config.encoder.tuning(), Tuning::default());
        let stored = serde_json::to_value(&config).unwrap();
        assert_eq!(stored["encoder"], serde_json::json!({ "train": "all" }));

        let text = "[encoder]\ntrain = \"last-block\"\nlr = 1e-4\nweight_decay = 0.0\nstatistics = \"frozen\"";
        let config: TrainConfig = toml::from_str(text).unwrap();
        config.check().unwrap();
        let tuning = config.encoder.tuning();
        assert!(tuning.last_block && tuning.frozen_statistics);
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
            ("[distill]\ntargets = \"t.safetensors\"", "frozen"),
            ("seed = ", "makes no sense"),
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
