//! `glimpse bench`

mod decoder;
mod encoder;
mod flops;
mod gemm;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::device::processor;
use super::images::ms_since;
use super::options::{Precision, count};
use super::output;
use crate::cpu::{Isa, threads};
use crate::error::{self, Result};
use crate::tensor::Device;

/// Measure how fast this machine encodes, decodes and trains
///
/// Weights and inputs are random, from a fixed seed. Each measurement runs three times to warm up, then as often as
/// --runs says; the median counts.
#[derive(Args)]
pub struct BenchArgs {
    /// The work to measure
    #[arg(value_enum, default_value_t = What::Encode)]
    what: What,
    /// The encoder of encode and train-encoder: densenet121, 161, 169 or 201, or a file with one
    #[arg(long, value_name = "NAME|FILE", default_value = "densenet121")]
    encoder: PathBuf,
    /// Images at a time, for encode and train-encoder
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(4096))]
    batch: usize,
    /// Precision of the encoder's products, for encode
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Timed runs, after three untimed ones
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = count(1_000_000))]
    runs: usize,
    /// Print a JSON object for each measurement
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Features of images of 224 x 224 pixels, per image
    Encode,
    /// A step (forward, backward, AdamW) of the encoder with a linear layer of 1000 classes, per image
    TrainEncoder,
    /// A step of the decoder: batch 64, 21 steps, features 1024, embedding 256, hidden 512, vocabulary 2500
    TrainDecoder,
    /// A step of a decoder with soft attention: batch 64, 21 words, 49 positions of 1024 projected to 512, attention 256,
    /// embedding 256, hidden 512, vocabulary 2500
    TrainAttention,
    /// Matrix products, beside those of the matrixmultiply crate (which uses one thread)
    Gemm,
    /// The captioning of one image from its features, beam 5, by the decoder of train-decoder
    Decode,
    /// The captioning of one image from its 7 x 7 map, beam 5, by the decoder of train-attention
    DecodeAttention,
}

/// A measurement and its results.
#[derive(Serialize)]
struct Report {
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<usize>,
    /// `[m, k, n]` of a product.
    #[serde(skip_serializing_if = "Option::is_none")]
    shape: Option<[usize; 3]>,
    ms: Spread,
    /// Billions of operations per second, at the median time.
    gflops: f64,
    /// Time of the kernels in one more run, by the GPU's own clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_ms: Option<f64>,
    /// Whether 16-bit products ran on matrix units.
    #[serde(skip_serializing_if = "Option::is_none")]
    matrix_units: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    matrixmultiply: Option<Peer>,
    #[serde(flatten)]
    machine: Machine,
}

/// The machine on which it was measured.
#[derive(Serialize)]
struct Machine {
    device: String,
    threads: usize,
    precision: &'static str,
    isa: String,
}

/// The arguments and the device of a measurement.
struct Bench<'a> {
    args: &'a BenchArgs,
    device: &'a Device,
}

/// The result of another library for the same work.
#[derive(Serialize)]
struct Peer {
    ms: Spread,
    gflops: f64,
}

/// The fastest, the median and the slowest time of the timed runs, in milliseconds.
#[derive(Clone, Copy, Serialize)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    /// Times `runs` runs of `work` after three warm-up runs; each time is divided by `parts`.
    fn measure(runs: usize, parts: usize, mut work: impl FnMut() -> Result<()>) -> Result<Spread> {
        for _ in 0..3 {
            work()?;
        }
        let mut times = Vec::with_capacity(runs);
        for _ in 0..runs {
            let started = Instant::now();
            work()?;
            times.push(ms_since(started) / parts as f64);
        }
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        let median = match times.len() % 2 {
            0 => (times[middle - 1] + times[middle]) / 2.0,
            _ => times[middle],
        };
        Ok(Spread {
            min: times[0],
            median,
            max: times[times.len() - 1],
        })
    }

    /// Billions of operations per second, if the median run takes `flops` operations.
    fn gflops(&self, flops: f64) -> f64 {
        flops / self.median / 1e6
    }
}

impl Report {
    fn new(what: &'static str, ms: Spread, flops: f64, device: &Device) -> Self {
        let machine = Machine {
            device: device.name().to_string(),
            threads: threads::count(),
            precision: Precision::F32.name(),
            isa: Isa::current().to_string(),
        };
        let gflops = ms.gflops(flops);
        Report {
            what,
            encoder: None,
            batch: None,
            shape: None,
            ms,
            gflops,
            device_ms: None,
            matrix_units: None,
            matrixmultiply: None,
            machine,
        }
    }

    fn text(&self) -> String {
        let mut subject = self.what.to_string();
        if let Some(encoder) = &self.encoder {
            subject += &format!(" {}", error::name(encoder));
        }
        if let Some(batch) = self.batch {
            subject += &format!(", batch {batch}");
        }
        if let Some([m, k, n]) = self.shape {
            subject += &format!(" {m} x {k} x {n}");
        }
        if self.machine.precision != Precision::F32.name() {
            subject += &format!(", {}", self.machine.precision);
        }
        if self.matrix_units == Some(true) {
            subject += " on matrix units";
        }
        let Spread { min, median, max } = self.ms;
        let mut text = format!(
            "{subject}: {median:.3} ms (from {min:.3} to {max:.3}), {:.1} GFLOP/s",
            self.gflops
        );
        if let Some(ms) = self.device_ms {
            text += &format!("; {ms:.3} ms by the device's clock");
        }
        if let Some(peer) = &self.matrixmultiply {
            text += &format!("; matrixmultiply {:.1} GFLOP/s", peer.gflops);
        }
        text
    }
}

impl Bench<'_> {
    /// Measures `work`, then runs it once more by the GPU's clock, if the device is a GPU that has one.
    fn measure(
        &self,
        parts: usize,
        mut work: impl FnMut() -> Result<()>,
    ) -> Result<(Spread, Option<f64>)> {
        let ms = Spread::measure(self.args.runs, parts, &mut work)?;
        let Device::Gpu(gpu) = self.device else {
            return Ok((ms, None));
        };
        if !gpu.start_timing() {
            return Ok((ms, None));
        }
        work()?;
        Ok((ms, gpu.timed_ms().map(|total| total / parts as f64)))
    }
}

pub fn run(args: &BenchArgs, device: &Device) -> Result<ExitCode> {
    if args.precision != Precision::F32 && args.what != What::Encode {
        return Ok(output::misused(
            "--precision bf16 and f16 are for encode; everything else computes with f32",
        ));
    }
    args.precision.check(device)?;
    if !args.json {
        let isa = Isa::current();
        let cpu = format!("{}, {} threads, {isa}", processor(), threads::count());
        output::line(match device {
            Device::Cpu => cpu,
            Device::Gpu(gpu) => format!("{} ({}), driven by {cpu}", gpu.name(), gpu.kind()),
        })?;
    }
    let bench = Bench { args, device };
    let print = |report: Report| {
        if args.json {
            output::json(&report)
        } else {
            output::line(report.text())
        }
    };
    match args.what {
        What::Encode => print(encoder::encode(&bench)?)?,
        What::TrainEncoder => print(encoder::train(&bench)?)?,
        What::TrainDecoder => print(decoder::train(&bench)?)?,
        What::TrainAttention => print(decoder::train_attention(&bench)?)?,
        What::Decode => print(decoder::decode(&bench)?)?,
        What::DecodeAttention => print(decoder::decode_attention(&bench)?)?,
        What::Gemm => {
            for shape in gemm::SHAPES {
                // In the thread pool, as everywhere in the library.
                print(threads::run(|| gemm::product(&bench, shape))?)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
