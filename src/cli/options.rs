//! Options that several commands share.

use std::path::{Path, PathBuf};

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

/// Limits for the image files that are read.
#[derive(Args)]
pub struct ReadingArgs {
    /// The most pixels of an image, in millions; larger ones are refused
    #[arg(long, value_name = "N", default_value_t = megapixels(Limits::default().pixels), value_parser = count(10_000))]
    max_megapixels: usize,
    /// Memory that images may take while they are decoded, all threads together, in megabytes; an image that needs
    /// more is refused [default: 1024, and as much as a single larger image needs]
    #[arg(long, value_name = "MB", value_parser = count(1 << 20))]
    memory_mb: Option<usize>,
    /// Refuse files that are odd in some way but hold all of their pixels (no end marker, a wrong checksum), instead
    /// of reading them with a warning
    #[arg(long)]
    strict: bool,
}

impl ReadingArgs {
    /// Applies these limits to the whole process.
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

/// Default for the memory that images take together: one gibibyte.
const TOGETHER: u64 = 1 << 30;

/// A million pixels.
pub const MEGAPIXEL: u64 = 1_000_000;

/// Converts pixels to millions of pixels.
pub fn megapixels(pixels: u64) -> usize {
    (pixels / MEGAPIXEL) as usize
}

/// Whether `path` names the model that is part of the program. A file of this name is `./bundled`.
pub fn is_bundled(path: &Path) -> bool {
    path.as_os_str() == "bundled"
}

/// The model and its precision.
#[derive(Args)]
pub struct ModelArgs {
    /// The model, as `glimpse train` writes it [default: the bundled one]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Precision of the encoder's products
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
}

impl ModelArgs {
    /// Loads the model, and moves it to `device`.
    ///
    /// # Errors
    /// If the file is no model.
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

/// Precision of the encoder's products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32-bit floating point
    F32,
    /// bfloat16, whose products are summed in 32 bits: a third less time if the processor has instructions for it;
    /// features differ by less than a hundredth
    Bf16,
    /// 16-bit floating point on a GPU, whose products are summed in 32 bits; with GLIMPSE_MATRICES=1 on its
    /// matrix units (experimental)
    F16,
}

impl Precision {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
        }
    }

    /// Checks that `device` supports this precision.
    ///
    /// # Errors
    /// If it does not.
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

    /// Sets the precision of `encoder`, and warns if that makes it slower.
    ///
    /// # Errors
    /// If `device` does not support it.
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

/// Options of the search for likely sentences.
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
    /// Multiply the log-probability of a word that the sentence already contains by this factor, 1 or more; 1 changes
    /// nothing, 1.2 is usual
    #[arg(long, value_name = "F", default_value_t = Search::default().repetition_penalty,
          value_parser = number("must be 1 or more", |f| f >= 1.0))]
    pub repetition_penalty: f64,
    /// Never say the same N words in a row twice in a sentence, 0 to 1000; 3 blocks repeated trigrams, 0 blocks nothing
    #[arg(long, value_name = "N", default_value_t = Search::default().no_repeat_ngram,
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=1000))]
    pub no_repeat_ngram: usize,
    /// Divide the beam into G groups of equal width, each of which avoids the words of those before it (diverse beam
    /// search); a divisor of the beam, 1 is a single group
    #[arg(long, value_name = "G", default_value_t = Search::default().beam_groups, value_parser = count(1000))]
    pub beam_groups: usize,
    /// Log-probability that a word costs a group for each sentence of earlier groups that has it at the same
    /// position, above 0
    #[arg(long, value_name = "D", default_value_t = Search::default().diversity, requires = "beam_groups",
          value_parser = number("must be above 0", |d| d > 0.0))]
    pub diversity: f64,
    /// How the captions are chosen from the sentences that were found
    #[arg(long, value_enum, default_value_t = Choose::Likeliest)]
    pub choose: Choose,
    /// Weight, among the likeliest captions, of the encoder's own evidence that the picture shows their words: added
    /// to the score of a caption all of whose words the encoder is certain of; 0 or more, 0 is nothing. For
    /// calibrated models
    #[arg(long, value_name = "W", default_value_t = Search::default().evidence,
          value_parser = number("must be 0 or more", |w| w >= 0.0))]
    pub evidence: f64,
    /// How strongly words for animals follow the kind of animal that the encoder recognises, 0 or more; 0 is not at
    /// all, 1 multiplies a word's probability by the probability of its kind relative to the likeliest kind. For
    /// calibrated models
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
    /// The options, by the names of their fields, that apply to a search but not to sampling.
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

    /// The contradiction between the options, if there is one.
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

/// Parses whole numbers from 1 to `most`.
pub fn count(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

/// Parses finite numbers.
fn finite() -> impl TypedValueParser<Value = f64> {
    number("must be a finite number", |_| true)
}

/// Parses finite numbers for which `fine` holds. Otherwise the message says what they `must` be.
pub fn number(must: &'static str, fine: fn(f64) -> bool) -> impl TypedValueParser<Value = f64> {
    clap::builder::StringValueParser::new().try_map(move |text| {
        let value = text
            .parse::<f64>()
            .ok()
            .filter(|x| x.is_finite() && fine(*x));
        value.ok_or(must)
    })
}
