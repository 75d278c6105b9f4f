//! Benchmarks of DenseNet: features, and a training step.

use super::{Bench, BenchArgs, Precision, Report, Spread, flops};
use crate::cpu::available;
use crate::data::preprocess::DEFAULT_SIZE;
use crate::error::{Error, Result};
use crate::model::{DenseNet, DenseNetConfig, Trained, file};
use crate::nn::{Init, Linear, Mode, Module, Role};
use crate::ops::{CrossEntropy, cross_entropy};
use crate::tensor::{Device, Tensor};
use crate::train::config::OptimizerConfig;
use crate::train::optimizer::Optimizer;

const SIZE: usize = DEFAULT_SIZE as usize;
const CLASSES: usize = 1000;

/// Measures the features of a batch, per image.
pub fn encode(bench: &Bench) -> Result<Report> {
    let args = bench.args;
    let mut init = Init::new(1);
    let mut encoder = open(args, &mut init)?;
    // Only the images need memory: they go through the network a few at a time.
    check_memory(bench, SIZE * SIZE * 3)?;
    args.precision.apply(&mut encoder, bench.device)?;
    encoder.to(bench.device)?;
    let images = images(args, &mut init).to(bench.device)?;
    let (ms, device_ms) = bench.measure(args.batch, || {
        let features = encoder.features(&images, Mode::Inference)?;
        check_finite(features.to(&Device::Cpu)?.data())
    })?;
    let flops = flops::densenet(encoder.config(), SIZE);
    let mut report = report("encode", bench, ms, flops);
    report.device_ms = device_ms;
    if let (Device::Gpu(gpu), Precision::F16) = (bench.device, args.precision) {
        report.matrix_units = Some(gpu.matrices().is_some());
    }
    report.machine.precision = args.precision.name();
    Ok(report)
}

/// An encoder with a linear classifier on top.
struct Classifier {
    encoder: DenseNet,
    head: Linear,
}

impl Module for Classifier {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.encoder.visit(prefix, f);
        self.head.visit(&format!("{prefix}classifier."), f);
    }
}

/// Measures forward, backward and AdamW, per image.
pub fn train(bench: &Bench) -> Result<Report> {
    let args = bench.args;
    let mut init = Init::new(1);
    let encoder = open(args, &mut init)?;
    check_memory(
        bench,
        encoder.config().kept_elements(Trained::All, SIZE) as usize,
    )?;
    let features = encoder.config().features();
    let flops = flops::densenet(encoder.config(), SIZE) + flops::product([1, features, CLASSES]);
    let mut network = Classifier {
        encoder,
        head: Linear::new(&mut init, features, CLASSES),
    };
    network.to(bench.device)?;
    network.track(true);
    let mut optimizer = Optimizer::new(&OptimizerConfig::default(), &mut network);
    let images = images(args, &mut init).to(bench.device)?;
    let classes: Vec<usize> = (0..args.batch).map(|i| i * 37 % CLASSES).collect();
    let (ms, device_ms) = bench.measure(args.batch, || {
        let features = network
            .encoder
            .features(&images, Mode::Training { seed: 1 })?;
        let loss = cross_entropy(
            &network.head.forward(&features)?,
            &classes,
            CrossEntropy::default(),
        )?;
        let grads = loss.backward()?;
        drop((features, loss));
        optimizer.step(&mut network, grads, 0.1).map(|_| ())
    })?;
    let mut report = report("train-encoder", bench, ms, flops::TRAINING * flops);
    report.device_ms = device_ms;
    Ok(report)
}

fn report(what: &'static str, bench: &Bench, ms: Spread, flops: f64) -> Report {
    let args = bench.args;
    let encoder = Some(args.encoder.to_string_lossy().into_owned());
    Report {
        encoder,
        batch: Some(args.batch),
        ..Report::new(what, ms, flops, bench.device)
    }
}

/// The named network with random weights, or the one in the file.
fn open(args: &BenchArgs, init: &mut Init) -> Result<DenseNet> {
    let named = args.encoder.to_str().and_then(DenseNetConfig::named);
    match named {
        Some(config) => DenseNet::new(&config, init),
        None if args.encoder.exists() => Ok(file::load_encoder(&args.encoder)?.0),
        None => Err(Error::file(
            &args.encoder,
            format_args!(
                "is neither a file nor one of {}",
                DenseNetConfig::NAMES.join(", ")
            ),
        )),
    }
}

/// Refuses a batch that does not fit the memory, if an image takes at least `numbers` floats.
fn check_memory(bench: &Bench, numbers: usize) -> Result<()> {
    let batch = bench.args.batch;
    if matches!(bench.device, Device::Gpu(_)) {
        return Ok(());
    }
    let bytes = 4 * numbers as u128 * batch as u128;
    let what = format_args!("a batch of {batch} images");
    available::require(bytes, what, "take a smaller --batch")
}

fn images(args: &BenchArgs, init: &mut Init) -> Tensor {
    init.normal(&[args.batch, SIZE, SIZE, 3], 1.0)
}

/// Refuses features that are not finite: a network that overflows runs at another speed.
fn check_finite(features: &[f32]) -> Result<()> {
    match features.iter().all(|x| x.is_finite()) {
        true => Ok(()),
        false => Err(Error::value("bench", "the features are not finite numbers")),
    }
}
