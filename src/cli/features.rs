//! `glimpse features`

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use clap::Args;
use serde::Serialize;

use super::images::{Paths, report_failure};
use super::options::Precision;
use super::pipeline::ahead;
use super::tally::Tally;
use super::{Ended, output};
use crate::caption::TOGETHER;
use crate::caption::image_name;
use crate::data::Recipe;
use crate::data::store;
use crate::data::weights::{self, WeightFile, write_weights};
use crate::error::{Error, Result, name};
use crate::fetch::cache;
use crate::model::{DenseNet, file};
use crate::nn::{Mode, Module};
use crate::tensor::{Device, Tensor};

/// Print or store the encoder's features of images
///
/// The features are the mean of the encoder's last feature maps, the 'second-to-last layer', or the maps themselves.
/// An image that cannot be read is reported, the others are still processed, and the exit status is 1 at the end.
/// Names are escaped, and many images end with a line on standard error, as with `glimpse caption`.
#[derive(Args)]
#[command(mut_arg("paths", |a| a.required(false).required_unless_present("input").conflicts_with("input")))]
pub struct FeaturesArgs {
    #[command(flatten)]
    paths: Paths,
    /// The encoder: a Glimpse file, a DenseNet's weights as safetensors with torchvision's names, or the name of one
    /// that `glimpse fetch` has fetched
    #[arg(long, value_name = "FILE|NAME")]
    encoder: PathBuf,
    /// The maps before the mean, C x H x W (7 x 7 for images of 224 pixels)
    #[arg(long)]
    spatial: bool,
    /// How images become the encoder's input: torchvision (shorter side to 256, the central 224 x 224), squash (both
    /// sides to 224), keras-nearest; NAME:SIZE for another size in pixels [default: the Glimpse file's own,
    /// torchvision for other weights]
    #[arg(long, value_name = "RECIPE", conflicts_with = "input")]
    preprocess: Option<Recipe>,
    /// Take the images from the f32 tensor `x` [N, 3, H, W] of this file, already normalised
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "recursive")]
    input: Option<PathBuf>,
    /// Precision of the encoder's products
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Store the features as the tensor `features` [N, C], with --spatial [N, C, H, W], and the images' names, a
    /// JSON list, in the metadata entry `names`; a name is written there as it is printed without --json, odd characters
    /// escaped
    #[arg(long, value_name = "FILE.safetensors")]
    out: Option<PathBuf>,
    /// Print a JSON object for each image
    #[arg(long)]
    json: bool,
}

pub fn run(args: &FeaturesArgs, device: &Device) -> Result<Ended> {
    args.paths.reading.apply();
    args.out.as_deref().map_or(Ok(()), store::check)?;
    let (mut encoder, description) = file::load_encoder(cache::find(&args.encoder)?)?;
    args.precision.apply(&mut encoder, device)?;
    encoder.to(device)?;
    let mut sink = Sink {
        args,
        names: Vec::new(),
        features: Vec::new(),
    };
    let ended = match &args.input {
        Some(input) => from_tensor(input, &encoder, &mut sink)?,
        None => {
            let own = description.map(|d| d.recipe).unwrap_or_default();
            from_images(args.preprocess.unwrap_or(own), &encoder, &mut sink)?
        }
    };
    sink.store()?;
    Ok(ended)
}

fn from_images(recipe: Recipe, encoder: &DenseNet, sink: &mut Sink) -> Result<Ended> {
    let args = sink.args;
    let (images, passed_over) = args.paths.images(recipe);
    let mut tally = Tally::new("encoded", !args.paths.is_single(), passed_over);
    thread::scope(|scope| {
        for chunk in ahead(scope, images)? {
            let mut rows = match chunk.tensor()? {
                Some(images) => rows(&compute(encoder, &images, args.spatial)?)?,
                None => Vec::new(),
            }
            .into_iter();
            for entry in &chunk.entries {
                if let Some(error) = &entry.error {
                    report_failure(&entry.path, error, args.json)?;
                    tally.failed();
                } else if let Some(row) = rows.next() {
                    sink.take(&entry.path, row)?;
                    tally.done();
                }
            }
        }
        Ok(tally.end())
    })
}

fn from_tensor(input: &Path, encoder: &DenseNet, sink: &mut Sink) -> Result<Ended> {
    let file = WeightFile::open(input)?;
    let x = file.tensor("x")?;
    let &[count, 3, height, width] = x.dims() else {
        return Err(Error::file(
            input,
            format_args!("its tensor `x` is {}, not [N, 3, H, W]", x.shape()),
        ));
    };
    let names = file
        .metadata("names")?
        .and_then(|text| serde_json::from_str::<Vec<String>>(&text).ok());
    let names = names.filter(|names| names.len() == count);
    for first in (0..count).step_by(TOGETHER) {
        let part = x.narrow(first, TOGETHER.min(count - first))?;
        let n = part.dims()[0];
        let images =
            Tensor::from_vec(swap(part.data(), 3, height * width), &[n, height, width, 3])?;
        for (i, row) in (first..).zip(rows(&compute(encoder, &images, sink.args.spatial)?)?) {
            let name = names
                .as_ref()
                .map_or_else(|| i.to_string(), |names| names[i].clone());
            sink.take(Path::new(&name), row)?;
        }
    }
    Ok(ExitCode::SUCCESS.into())
}

/// Computes the features `[N, C]` of images `[N, H, W, 3]`, or the maps `[N, C, H, W]`.
fn compute(encoder: &DenseNet, images: &Tensor, spatial: bool) -> Result<Tensor> {
    if !spatial {
        return encoder.features(images, Mode::Inference)?.to(&Device::Cpu);
    }
    let maps = encoder.spatial(images, Mode::Inference)?.to(&Device::Cpu)?;
    let &[n, height, width, channels] = maps.dims() else {
        return Ok(maps);
    };
    Tensor::from_vec(
        swap(maps.data(), height * width, channels),
        &[n, channels, height, width],
    )
}

/// Transposes each `[rows, columns]` matrix of `data`.
fn swap(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(data.len());
    for matrix in data.chunks_exact((rows * columns).max(1)) {
        out.extend((0..columns).flat_map(|j| (0..rows).map(move |i| matrix[i * columns + j])));
    }
    out
}

fn rows(x: &Tensor) -> Result<Vec<Tensor>> {
    (0..x.dims()[0]).map(|i| x.index(i)).collect()
}

/// The JSON object that is printed for an image. Maps are lists of lists of lists, `[C][H][W]`.
#[derive(Serialize)]
struct Answer<T> {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_bytes: Option<String>,
    features: T,
}

/// Receives features: prints them at once, or stores them at the end.
struct Sink<'a> {
    args: &'a FeaturesArgs,
    names: Vec<String>,
    features: Vec<Tensor>,
}

impl Sink<'_> {
    fn take(&mut self, path: &Path, row: Tensor) -> Result<()> {
        if self.args.json {
            let (image, image_bytes) = image_name(path);
            match *row.dims() {
                [_, height, width] => {
                    let lines = |map: &'_ [f32]| -> Vec<Vec<f32>> {
                        map.chunks_exact(width).map(<[f32]>::to_vec).collect()
                    };
                    let features: Vec<_> =
                        row.data().chunks_exact(height * width).map(lines).collect();
                    output::json(&Answer {
                        image,
                        image_bytes,
                        features,
                    })?;
                }
                _ => output::json(&Answer {
                    image,
                    image_bytes,
                    features: row.data(),
                })?,
            }
        } else if self.args.out.is_none() {
            let numbers: Vec<String> = row.data().iter().map(f32::to_string).collect();
            output::line(format_args!("{}\t{}", name(path), numbers.join(" ")))?;
        }
        if self.args.out.is_some() {
            self.names.push(name(path).to_string());
            self.features.push(row);
        }
        Ok(())
    }

    fn store(self) -> Result<()> {
        // If no image could be read, nothing is stored, and an existing file stays.
        let (Some(out), Some(first)) = (&self.args.out, self.features.first()) else {
            return Ok(());
        };
        let shape = [&[self.features.len()], first.dims()].concat();
        let data: Vec<f32> = self
            .features
            .iter()
            .flat_map(|row| row.data())
            .copied()
            .collect();
        let features = Tensor::from_vec(data, &shape)?;
        let metadata = HashMap::from([("names".to_string(), output::json_text(&self.names)?)]);
        write_weights(
            out,
            &[("features".to_string(), features)],
            weights::NumberFormat::F32,
            metadata,
        )
    }
}
