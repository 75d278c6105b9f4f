//! `glimpse convert`, and the program `glimpse-convert`, which is this command alone.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, ValueEnum};
use serde_json::json;

use super::output;
use crate::convert::{self, Classes, Converted, Options, Photo, Report};
use crate::data::Recipe;
use crate::data::store;
use crate::data::weights::NumberFormat;
use crate::error::{Error, Result};
use crate::model::DenseNetConfig;

/// Convert a pretrained DenseNet's weights to an encoder of Glimpse
///
/// Reads PyTorch's .pth and .pt (torchvision's and timm's names, published files and training checkpoints),
/// safetensors, and Keras' .h5, .weights.h5 and .keras. The architecture is recognised from the tensors. The network
/// may have any prefix, and may be a part of another network, whose layers are left out. Nothing in a file is ever
/// executed: objects beside the weights are skipped and listed. A file without a whole DenseNet, or with several that
/// differ, is refused.
#[derive(Args)]
pub struct ConvertArgs {
    /// The weights: .pth, .pt, .safetensors, .h5 or .keras
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// The encoder to write; the options --encoder of glimpse take this file
    #[arg(value_name = "OUTPUT.safetensors")]
    output: PathBuf,
    /// Refuse all architectures but this one [default: accept any]
    #[arg(long, value_name = "NAME", value_parser = DenseNetConfig::NAMES)]
    arch: Option<String>,
    /// Precision of the stored numbers: 32 bits, 16 for half the size, or i8 for a quarter: matrices and kernels as
    /// 8-bit integers with a scale for each row
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
    /// Preprocessing of the encoder's input: torchvision, squash or keras-nearest, or NAME:SIZE for a size other than
    /// 224 pixels [default: torchvision, keras-nearest for Keras]
    #[arg(long, value_name = "RECIPE")]
    preprocess: Option<Recipe>,
    /// Of several networks in a file, choose the one whose tensors' names begin with this [default: the only one, or
    /// any if all are equal]
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Report every layer (shape, mean, standard deviation, hash), the features of three sample photos and, if there is
    /// a classifier, the classes that it gives them
    #[arg(long)]
    verify: bool,
    /// The names of the classifier's classes for --verify: one a line, or Keras' imagenet_class_index.json
    #[arg(long, value_name = "FILE", requires = "verify")]
    classes: Option<PathBuf>,
    /// Print JSON: with --verify an object for each layer and photo, and one for the file at the end
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    F16,
    Bf16,
    I8,
}

impl From<Dtype> for NumberFormat {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => NumberFormat::F32,
            Dtype::F16 => NumberFormat::F16,
            Dtype::Bf16 => NumberFormat::Bf16,
            Dtype::I8 => NumberFormat::I8,
        }
    }
}

// The program `glimpse-convert`. It has no doc comment, because that would be its help instead of the arguments' own.
#[derive(Parser)]
#[command(name = "glimpse-convert", version, max_term_width = 100)]
struct Program {
    #[command(flatten)]
    args: ConvertArgs,
}

/// Runs this process as the program `glimpse-convert`.
pub fn main() -> ExitCode {
    let Program { args } = match super::parse() {
        Ok(program) => program,
        Err(code) => return code,
    };
    let converted = super::prepare(None).and_then(|()| run(&args));
    converted.unwrap_or_else(|error| {
        output::complain(error);
        ExitCode::FAILURE
    })
}

pub fn run(args: &ConvertArgs) -> Result<ExitCode> {
    store::check(&args.output)?;
    if args.output.exists() && same_file(args) {
        return Err(Error::file(
            &args.output,
            "is the input; give the encoder another name",
        ));
    }
    let classes = args.classes.as_deref().map(Classes::open).transpose()?;
    let precision = args.dtype.into();
    let options = Options {
        arch: args.arch.clone(),
        precision,
        recipe: args.preprocess,
        url: None,
        prefix: args.prefix.clone(),
    };
    let converted = convert::convert(&args.input, &options)?;
    if args.verify {
        let report = convert::verify(&converted, &args.input)?;
        match args.json {
            true => print_json(&report, classes.as_ref())?,
            false => print(&report, classes.as_ref())?,
        }
    }
    converted.write(&args.output, precision)?;
    tell_of("left out, no part of the network", &converted.left_out);
    tell_of("passed over, not executed", &converted.passed_over);
    summarise(args, &converted)?;
    Ok(ExitCode::SUCCESS)
}

/// Lists tensors or objects that are not part of the encoder; only the first if there are many.
fn tell_of(what: &str, all: &[String]) {
    const SHOWN: usize = 40;
    if all.is_empty() {
        return;
    }
    let more = match all.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(", and {more} more, which --json lists"),
    };
    let names = all[..all.len().min(SHOWN)].join(", ");
    output::note(format_args!("{what}: {names}{more}"));
}

fn same_file(args: &ConvertArgs) -> bool {
    let [input, output] = [&args.input, &args.output].map(|path| path.canonicalize().ok());
    input.is_some() && input == output
}

/// Prints a summary of the conversion in one line.
fn summarise(args: &ConvertArgs, converted: &Converted) -> Result<()> {
    let description = &converted.description;
    let config = &description.encoder;
    let classes = converted.classifier.as_ref().map(|[_, bias]| bias.len());
    let Some(origin) = &description.origin else {
        return Ok(());
    };
    if args.json {
        return output::json(&json!({
            "model": args.output, "architecture": config.name(), "encoder": config, "recipe": description.recipe,
            "dtype": NumberFormat::from(args.dtype).name(), "tensors": converted.tensors.len(), "classes": classes,
            "origin": origin, "left_out": converted.left_out, "passed_over": converted.passed_over,
        }));
    }
    let classifier = match classes {
        Some(classes) => format!("a classifier of {classes} classes"),
        None => "no classifier".to_string(),
    };
    output::line(format_args!(
        "{}: {}, {} features, {classifier}, {}, images by {}; from {} ({}), SHA-256 {}",
        args.output.display(),
        config.name().unwrap_or("a DenseNet of its own sizes"),
        config.features(),
        NumberFormat::from(args.dtype).name(),
        description.recipe,
        origin.framework,
        origin.format,
        origin.sha256,
    ))
}

fn print(report: &Report, classes: Option<&Classes>) -> Result<()> {
    let longest = report
        .layers
        .iter()
        .map(|l| l.name.len())
        .max()
        .unwrap_or(0);
    output::line(format_args!(
        "{:<longest$}  {:<18}  {:>12}  {:>12}  hash",
        "tensor", "shape", "mean", "std"
    ))?;
    for layer in &report.layers {
        let shape = format!("{:?}", layer.shape);
        output::line(format_args!(
            "{:<longest$}  {shape:<18}  {:>12.4e}  {:>12.4e}  {}",
            layer.name, layer.mean, layer.std, layer.hash
        ))?;
    }
    match report.zero_variances {
        0 => output::line("variances: all above zero")?,
        zeros => output::line(format_args!("variances: none below zero, {zeros} zero"))?,
    }
    for photo in &report.photos {
        let f = photo.features;
        output::line(format_args!(
            "{}: features from {:.3} to {:.3}, mean {:.3}, standard deviation {:.3}, {:.1}% zero",
            photo.image,
            f.min,
            f.max,
            f.mean,
            f.std,
            f.zeros * 100.0
        ))?;
        for (class, probability) in &photo.classes {
            let name = classes
                .and_then(|c| c.name(*class))
                .map(|name| format!("  {name}"));
            output::line(format_args!(
                "  {:>5.1}%  class {class}{}",
                probability * 100.0,
                name.unwrap_or_default()
            ))?;
        }
    }
    Ok(())
}

fn print_json(report: &Report, classes: Option<&Classes>) -> Result<()> {
    for layer in &report.layers {
        output::json(layer)?;
    }
    for Photo {
        image,
        features,
        classes: likeliest,
    } in &report.photos
    {
        let class = |(index, probability): &(usize, f32)| {
            let name = classes.and_then(|c| c.name(*index));
            json!({ "class": index, "name": name, "probability": probability })
        };
        let likeliest: Vec<_> = likeliest.iter().map(class).collect();
        output::json(&json!({ "image": image, "features": features, "classes": likeliest }))?;
    }
    output::json(&json!({ "zero_variances": report.zero_variances }))
}
