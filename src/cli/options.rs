//! Options that several commands have.

use std::path::PathBuf;

use clap::builder::{RangedU64ValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::output;
use crate::caption::{Choosing, Search};
use crate::cpu::{self, Isa};
use crate::data::{Limits, Policy};
use crate::error::{Error, Result};
use crate::model::{Captioner, DenseNet};
use crate::nn::Module;
use crate::tensor::Device;

/// Which image files are read.
#[derive(Args)]
pub struct ReadingArgs {
    /// The most pixels of an image, in millions; larger ones are refused
    #[arg(long, value_name = "N", default_value_t = megapixels(Limits::default().pixels), value_parser = count(10_000))]
    max_megapixels: usize,
    /// Memory that images may take while they are decoded, all threads together, in megabytes; one that needs more is
    /// refused [default: 1024, and what an image needs that is larger alone]
    #[arg(long, value_name = "MB", value_parser = count(1 << 20))]
    memory_mb: Option<usize>,
    /// Refuse files that are odd in some way but hold all of their pixels (no end marker, a wrong checksum), instead of
    /// reading them with a warning
    #[arg(long)]
    strict: bool,
}

impl ReadingArgs {
    /// Makes this how the process reads images.
    pub fn apply(&self) {
        let granted = self.memory_mb.map(|mb| (mb as u64) << 20);
        let limits = Limits {
            pixels: self.max_megapixels as u64 * MEGAPIXEL,
            decoding_bytes: granted.unwrap_or(u64::MAX),
            ..Limits::default()
        };
        let policy = Policy {
            limits,
            together: granted.unwrap_or(TOGETHER),
            is_strict: self.strict,
            warn: output::warn_of,
        };
        policy.install();
    }
}

/// Memory that images take together unless the command line says otherwise: one gibibyte.
const TOGETHER: u64 = 1 << 30;

/// A million pixels.
pub const MEGAPIXEL: u64 = 1_000_000;

/// Pixels in millions.
pub fn megapixels(pixels: u64) -> usize {
    (pixels / MEGAPIXEL) as usize
}

/// Which model.
#[derive(Args)]
pub struct ModelArgs {
    /// The model, as `glimpse train` writes it [default: the bundled one]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// What the encoder multiplies
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
}

impl ModelArgs {
    /// Reads the model, and brings it to `device`.
    ///
    /// # Errors
    /// Where the file is no model.
    pub fn load(&self, device: &Device) -> Result<Captioner> {
        let mut captioner = self
            .model
            .as_ref()
            .map_or_else(Captioner::bundled, Captioner::load)?;
        self.precision.apply(&mut captioner.encoder, device)?;
        captioner.to(device)?;
        Ok(captioner)
    }
}

/// What the encoder multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32-bit floating point
    F32,
    /// bfloat16, whose products are summed in 32 bits: a third less time where the processor has instructions for it;
    /// features differ by less than a hundredth
    Bf16,
    /// 16-bit floating point on a GPU, whose products are summed in 32 bits; with GLIMPSE_MATRICES=1 on its
    /// matrix units (experimental)
    F16,
}

impl Precision {
    /// As it is spelled.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
        }
    }

    /// Whether `device` computes with it.
    ///
    /// # Errors
    /// Where it does not.
    pub fn check(self, device: &Device) -> Result<()> {
        match (self, device) {
            (Precision::Bf16, Device::Gpu(_)) => Err(Error::usage(
                "--precision bf16 is for the processor; add --device cpu, or take --precision f16",
            )),
            (Precision::F16, Device::Cpu) => Err(Error::usage(
                "--precision f16 is for GPUs; add --device gpu, or take --precision bf16",
            )),
            (Precision::F16, Device::Gpu(gpu)) if !gpu.has_f16() => Err(Error::gpu(
                gpu.name(),
                "has no 16-bit floats; leave --precision f16 out",
            )),
            _ => Ok(()),
        }
    }

    /// Makes `encoder` compute with it, and says where that makes it slower.
    ///
    /// # Errors
    /// Where `device` does not compute with it.
    pub fn apply(self, encoder: &mut DenseNet, device: &Device) -> Result<()> {
        self.check(device)?;
        encoder.set_precision(match self {
            Precision::F32 => cpu::Precision::F32,
            Precision::Bf16 | Precision::F16 => cpu::Precision::Bf16,
        });
        if self == Precision::Bf16 && !Isa::current().has_bf16() {
            output::complain("bf16 has no instructions of its own here; --precision f32 is faster");
        }
        Ok(())
    }
}

/// How to look for likely sentences.
#[derive(Args)]
pub struct SearchArgs {
    /// Sentences that are followed at a time, 1 to 1000; 1 is greedy
    #[arg(long, value_name = "N", default_value_t = Search::default().beam, value_parser = count(1000))]
    pub beam: usize,
    /// Sentences are ranked by their log-probability / length^A: 0 favours short ones, 1 long ones
    #[arg(long, value_name = "A", default_value_t = Search::default().length_penalty, value_parser = finite())]
    pub length_penalty: f64,
    /// Words of a caption, at most
    #[arg(long, value_name = "N", default_value_t = Search::default().max_words, value_parser = count(1000))]
    pub max_words: usize,
    /// Multiply the log-probability of a word that the sentence has already by this factor, 1 or more; 1 changes nothing,
    /// 1.2 is usual
    #[arg(long, value_name = "F", default_value_t = Search::default().repetition_penalty,
          value_parser = number("must be 1 or more", |f| f >= 1.0))]
    pub repetition_penalty: f64,
    /// Never say the same N words in a row twice in a sentence, 0 to 1000; 3 blocks repeated trigrams, 0 blocks nothing
    #[arg(long, value_name = "N", default_value_t = Search::default().no_repeat_ngram,
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=1000))]
    pub no_repeat_ngram: usize,
    /// Cut the beam into G groups of equal width, each of which avoids the words of those before it (diverse beam
    /// search); a divisor of the beam, 1 is a single group
    #[arg(long, value_name = "G", default_value_t = Search::default().beam_groups, value_parser = count(1000))]
    pub beam_groups: usize,
    /// How much log-probability a word costs a group for each sentence of earlier groups that has it at the same place,
    /// above 0
    #[arg(long, value_name = "D", default_value_t = Search::default().diversity, requires = "beam_groups",
          value_parser = number("must be above 0", |d| d > 0.0))]
    pub diversity: f64,
    /// How the captions are chosen from the sentences that were found
    #[arg(long, value_enum, default_value_t = Choose::Likeliest)]
    pub choose: Choose,
    /// How much it counts, among the likeliest captions, that the encoder itself finds their words in the picture: added to
    /// the score of a caption all of whose words it is certain of; 0 or more, 0 is nothing. For calibrated models
    #[arg(long, value_name = "W", default_value_t = Search::default().evidence,
          value_parser = number("must be 0 or more", |w| w >= 0.0))]
    pub evidence: f64,
    /// How strongly words for animals follow which kind of animal the encoder recognises, 0 or more; 0 is not at all, 1
    /// multiplies a word's probability by how likely its kind is beside the likeliest kind. For calibrated models
    #[arg(long, value_name = "S", default_value_t = Search::default().recognition,
          value_parser = number("must be 0 or more", |s| s >= 0.0))]
    pub recognition: f64,
}

/// How captions are chosen from the sentences that a search has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choose {
    /// The likeliest, by log-probability / length^A
    Likeliest,
    /// Those that resemble the others most, weighted by probability (minimum Bayes risk); needs a beam of 3 or more to
    /// make a difference
    Agreement,
}

impl SearchArgs {
    /// The options, by the names of their fields, that only a search has and drawing at random does not.
    pub const NOT_FOR_SAMPLES: [&str; 9] = [
        "beam",
        "length_penalty",
        "repetition_penalty",
        "no_repeat_ngram",
        "beam_groups",
        "diversity",
        "choose",
        "evidence",
        "recognition",
    ];

    /// What is wrong with the options together, where something is.
    pub fn contradiction(&self, n_best: usize) -> Option<String> {
        let (beam, groups) = (self.beam, self.beam_groups);
        if n_best > beam {
            return Some(format!(
                "--n-best {n_best} needs --beam {n_best} or more, not {beam}"
            ));
        }
        if !beam.is_multiple_of(groups) {
            return Some(format!(
                "--beam-groups {groups} needs a --beam that it divides, not {beam}"
            ));
        }
        None
    }

    /// The settings, for the `n_best` best sentences.
    pub fn search(&self, n_best: usize) -> Search {
        Search {
            beam: self.beam,
            n_best,
            length_penalty: self.length_penalty,
            max_words: self.max_words,
            repetition_penalty: self.repetition_penalty,
            no_repeat_ngram: self.no_repeat_ngram,
            beam_groups: self.beam_groups,
            diversity: self.diversity,
            choose: match self.choose {
                Choose::Likeliest => Choosing::Likeliest,
                Choose::Agreement => Choosing::Agreement,
            },
            judge: true,
            evidence: self.evidence,
            recognition: self.recognition,
            attention: false,
        }
    }
}

/// Takes whole numbers from 1 to `most`.
pub fn count(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

/// Takes numbers that are neither infinite nor none.
fn finite() -> impl TypedValueParser<Value = f64> {
    number("must be a finite number", |_| true)
}

/// Takes finite numbers that are `fine`; what others `must` be is the message.
pub fn number(must: &'static str, fine: fn(f64) -> bool) -> impl TypedValueParser<Value = f64> {
    clap::builder::StringValueParser::new().try_map(move |text| {
        let value = text
            .parse::<f64>()
            .ok()
            .filter(|x| x.is_finite() && fine(*x));
        value.ok_or(must)
    })
}
