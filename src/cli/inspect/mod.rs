//! `glimpse inspect`

mod parts;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use self::parts::{Checksums, Data, Targets};
use super::output;
use crate::convert::{self, Survey};
use crate::data::Recipe;
use crate::data::import::Archive;
use crate::data::weights::{self, Entry};
use crate::error::{self, Error, Result};
use crate::model::{DecoderConfig, DenseNetConfig, Description, Kind, Origin, RecognitionConfig};
use crate::train::checkpoint;
use crate::train::config::change::changed;
use crate::train::distill::header;
use crate::train::features;

/// Say what a weight, model or checkpoint file holds
///
/// If the file has checksums, it says whether the file still matches them, and the exit status is 1 if it does not.
/// Any safetensors file is accepted, and the weights of PyTorch and Keras (.pth, .h5, .keras); a file that Glimpse
/// wrote has more to report.
#[derive(Args)]
pub struct InspectArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// List the tensors too: name, type and shape
    #[arg(long)]
    tensors: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// The report about a file.
#[derive(Serialize)]
struct Report {
    #[serde(serialize_with = "crate::error::serialize_lossy")]
    file: PathBuf,
    /// `captioner`, `checkpoint` or `encoder`; `targets` of a teacher; `features` that training caches; `weights` of
    /// an encoder without a description; else `tensors`.
    kind: &'static str,
    /// The file format.
    format: &'static str,
    /// The published network that the encoder equals, if any.
    architecture: Option<&'static str>,
    encoder: Option<DenseNetConfig>,
    /// For a foreign file: the prefix of the tensor names of each DenseNet in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefixes: Option<Vec<String>>,
    /// For a foreign file: tensors that belong to no DenseNet.
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<Vec<String>>,
    /// For a foreign file: the reason why it holds no DenseNet.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Classes of Python objects beside the tensors. None of the objects was constructed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passed_over: Vec<String>,
    decoder: Option<DecoderConfig>,
    /// Number of trainable elements; in a file of unknown kind all elements.
    parameters: usize,
    /// Number of elements by stored type.
    stored: BTreeMap<String, usize>,
    /// Size of the file.
    bytes: usize,
    /// Whether the file matches its checksums, if it has any.
    checksums: Option<Checksums>,
    /// Number of words.
    vocabulary: Option<usize>,
    recipe: Option<Recipe>,
    /// Number of classes that the encoder recognises.
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<usize>,
    /// Sizes of the recognition of a calibrated captioner.
    #[serde(skip_serializing_if = "Option::is_none")]
    recognition: Option<RecognitionConfig>,
    /// A teacher's targets for views of pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<Targets>,
    /// The source of a converted encoder's weights.
    origin: Option<Origin>,
    /// The data on which a checkpoint's run is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
    training: BTreeMap<String, Value>,
    metrics: BTreeMap<String, Value>,
    tensor_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    tensors: Option<Vec<TensorLine>>,
}

#[derive(Serialize)]
struct TensorLine {
    name: String,
    dtype: String,
    shape: Vec<usize>,
}

pub fn run(args: &InspectArgs) -> Result<ExitCode> {
    let report = Report::of(args)?;
    if args.json {
        output::json(&report)?;
    } else {
        report.print()?;
    }
    // The report is printed even if the file is damaged. The exit status reports the damage.
    match report.checksums.map(|found| found.damaged).as_deref() {
        Some([first, others @ ..]) => Err(Error::file(
            &args.file,
            match others.len() {
                0 => format!(
                    "tensor `{first}` does not match its checksum: {}",
                    weights::checksums::DAMAGED
                ),
                more => format!(
                    "tensor `{first}` and {more} more do not match their checksums: {}",
                    weights::checksums::DAMAGED
                ),
            },
        )),
        _ => Ok(ExitCode::SUCCESS),
    }
}

impl Report {
    fn of(args: &InspectArgs) -> Result<Self> {
        let mut archive = Archive::open(&args.file)?;
        let entries = archive.entries().to_vec();
        let mut report = Report {
            file: args.file.clone(),
            kind: "tensors",
            format: archive.format().name(),
            architecture: None,
            encoder: None,
            prefixes: None,
            beside: None,
            problem: None,
            passed_over: archive.passed_over().to_vec(),
            decoder: None,
            parameters: entries
                .iter()
                .filter(|e| is_parameter(&e.name))
                .map(elements)
                .fold(0, usize::saturating_add),
            stored: stored(&entries),
            bytes: archive.size(),
            checksums: archive.weights().and_then(Checksums::of),
            vocabulary: None,
            recipe: None,
            tags: None,
            recognition: None,
            targets: None,
            origin: None,
            data: match archive.weights() {
                Some(weights) => checkpoint::read_data(weights)?.map(Data::of),
                None => None,
            },
            training: BTreeMap::new(),
            metrics: BTreeMap::new(),
            tensor_count: entries.len(),
            tensors: None,
        };
        let header = archive.weights().map(header::read).transpose()?.flatten();
        match archive
            .weights()
            .map(Description::read)
            .transpose()?
            .flatten()
        {
            Some(description) => report.describe(description),
            None => {
                let weights = archive.weights();
                if let Some(header) = header {
                    report.kind = "targets";
                    report.targets = Some(Targets::of(header, &entries));
                } else if let Some(features) = weights.and_then(features::Description::read) {
                    report.kind = "features";
                    report.recipe = Some(features.recipe);
                } else {
                    report.survey(convert::survey(&mut archive));
                }
            }
        }
        if args.tensors {
            let line = |Entry { name, shape, dtype }| TensorLine { name, dtype, shape };
            report.tensors = Some(entries.into_iter().map(line).collect());
        }
        Ok(report)
    }

    /// Adds the findings from names and shapes, for a file without a description.
    fn survey(&mut self, survey: Survey) {
        let Survey {
            networks,
            beside,
            problem,
        } = survey;
        self.problem = problem;
        let Some(first) = networks.first() else {
            return;
        };
        self.kind = "weights";
        self.architecture = first.config.name();
        self.encoder = Some(first.config.clone());
        self.prefixes = Some(networks.into_iter().map(|n| n.prefix).collect());
        self.beside = Some(beside);
    }

    fn describe(&mut self, description: Description) {
        self.kind = match description.kind {
            Kind::Encoder => "encoder",
            Kind::Captioner => "captioner",
            Kind::Checkpoint => "checkpoint",
        };
        self.architecture = description.encoder.name();
        self.encoder = Some(description.encoder);
        self.decoder = description.decoder;
        self.vocabulary = description.vocabulary.map(|v| v.len());
        self.recipe = Some(description.recipe);
        self.tags = description.tags.map(|names| names.len());
        self.recognition = description.recognition;
        self.origin = description.origin;
        self.training = description.training;
        self.metrics = description.metrics;
    }

    fn print(&self) -> Result<()> {
        let print = |name: &str, value: String| output::line(format_args!("{name:<13}{value}"));
        print("file", error::name(&self.file).to_string())?;
        print("kind", self.kind.to_string())?;
        print("format", self.format.to_string())?;
        if let Some(e) = &self.encoder {
            let name = self.architecture.unwrap_or("densenet");
            let DenseNetConfig {
                growth,
                blocks,
                stem,
                ..
            } = e;
            print(
                "encoder",
                format!(
                    "{name}: growth {growth}, blocks {blocks:?}, stem {stem}, {} features",
                    e.features()
                ),
            )?;
        }
        self.print_survey(&print)?;
        if let Some(d) = &self.decoder {
            print("decoder", decoder_line(d))?;
        }
        print(
            "parameters",
            format!("{} in {} tensors", self.parameters, self.tensor_count),
        )?;
        let stored = self.stored.iter();
        let stored: Vec<String> = stored.map(|(of, n)| format!("{n} {of}")).collect();
        print("stored", stored.join(", "))?;
        print("bytes", self.bytes.to_string())?;
        print(
            "checksums",
            match &self.checksums {
                None => "none".to_string(),
                Some(found) if found.hold => "of the header and all tensors; they hold".to_string(),
                Some(found) => format!("damaged: {}", list(&found.damaged)),
            },
        )?;
        if let Some(words) = self.vocabulary {
            print("vocabulary", format!("{words} words"))?;
        }
        if let Some(recipe) = self.recipe {
            print("recipe", recipe.to_string())?;
        }
        if let Some(classes) = self.tags {
            print("tags", format!("{classes} classes"))?;
        }
        if let Some(RecognitionConfig { words, kinds, .. }) = &self.recognition {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
            let kinds = if kinds.is_empty() {
                "no animals".to_string()
            } else {
                kinds.join(", ")
            };
            print(
                "recognises",
                format!("{} words; {kinds}; photographs", words.len()),
            )?;
        }
        if let Some(targets) = &self.targets {
            print("targets", targets.line())?;
            print("source", targets.source())?;
        }
        if let Some(origin) = &self.origin {
            let Origin {
                file,
                sha256,
                format,
                framework,
                url,
            } = origin;
            print(
                "origin",
                format!("{file}, {framework} ({format}), SHA-256 {sha256}"),
            )?;
            if let Some(url) = url {
                print("origin", url.clone())?;
            }
        }
        if let Some(data) = &self.data {
            print("data", data.line())?;
        }
        for (title, table) in [("training", &self.training), ("metrics", &self.metrics)] {
            for (key, value) in table {
                if title == "training" && key == "config" {
                    print("settings", settings_line(value))?;
                    continue;
                }
                print(title, format!("{key} = {value}"))?;
            }
        }
        for TensorLine { name, dtype, shape } in self.tensors.iter().flatten() {
            print("tensor", format!("{name} {dtype} {shape:?}"))?;
        }
        Ok(())
    }

    /// Prints where the DenseNet is, or why there is none, and which tensors are beside it.
    fn print_survey(&self, print: &impl Fn(&str, String) -> Result<()>) -> Result<()> {
        match self.prefixes.as_deref() {
            None => {}
            Some([prefix]) if prefix.is_empty() => {}
            Some([prefix]) => print("under", prefix.clone())?,
            Some(several) => print(
                "under",
                format!("{} networks: {}", several.len(), list(several)),
            )?,
        }
        if let Some(problem) = &self.problem {
            print("encoder", format!("none: {problem}"))?;
        }
        if let Some(beside) = self.beside.as_deref().filter(|b| !b.is_empty()) {
            let names = list(beside);
            print("beside it", format!("{} tensors: {names}", beside.len()))?;
        }
        if !self.passed_over.is_empty() {
            print("passed over", list(&self.passed_over))?;
        }
        Ok(())
    }
}

/// The settings of a configuration that are not the defaults.
fn settings_line(config: &Value) -> String {
    let changed = changed(config);
    match changed.is_empty() {
        true => "the defaults".into(),
        false => format!("{} (all: `glimpse config MODEL`)", changed.join("; ")),
    }
}

/// The first few names, and the number of the others.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let first = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// A decoder's kind and sizes in one line.
fn decoder_line(config: &DecoderConfig) -> String {
    let DecoderConfig {
        kind,
        layers,
        embedding,
        hidden,
        ..
    } = config;
    let lstm = if *layers == 1 { "LSTM" } else { "LSTMs" };
    let mut line = format!(
        "{}: {layers} {lstm}, embedding {embedding}, hidden {hidden}",
        kind.name()
    );
    if config.takes_map() {
        line += &format!(", attention {}", config.attention);
    }
    if config.tied {
        line += ", output tied to the word vectors";
    }
    line
}

/// Whether a tensor is trainable: no running statistic, tag, recognition or optimizer state.
fn is_parameter(name: &str) -> bool {
    let statistics = [
        "running_mean",
        "running_var",
        "num_batches_tracked",
        "moving_mean",
        "moving_variance",
    ];
    let name = name.trim_end_matches(":0");
    !name.starts_with("optimizer")
        && !name.starts_with("tags.")
        && !name.starts_with("recognition.")
        && !statistics.iter().any(|s| name.ends_with(s))
}

/// Number of elements of each type.
fn stored(entries: &[Entry]) -> BTreeMap<String, usize> {
    let mut stored = BTreeMap::new();
    for entry in entries {
        let count: &mut usize = stored.entry(entry.dtype.clone()).or_default();
        *count = count.saturating_add(elements(entry));
    }
    stored
}

/// Number of elements of a tensor. A foreign file may claim any shape, so the product saturates.
fn elements(entry: &Entry) -> usize {
    let shape = entry.shape.iter();
    shape.fold(1, |n: usize, &d| n.saturating_mul(d))
}
