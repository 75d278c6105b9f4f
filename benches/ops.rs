//! The expensive operations, forward and gradient, at the shapes that they have in DenseNet-121 and in the decoder.
//!
//! `cargo bench --bench ops -- conv` times the operations whose names contain `conv`. Throughput counts multiplications and
//! additions: "Gelem/s" is to be read as GFLOP/s.

mod common;

use common::random;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use glimpse::cpu::{Isa, Level, Precision};
use glimpse::ops::{
    self, CrossEntropy, DenseLayerWeights, LstmWeights, Norm, Statistics, Window, adam::Adam,
};
use glimpse::tensor::Tensor;

/// Computes `f` with the definitions of the operations and with the kernels to be timed. Panics where the results differ by
/// more than 1e-4 of their norm.
fn check(what: &str, f: impl Fn() -> Vec<Tensor>) {
    let naive = Isa::new(Level::Naive)
        .expect("the naive level runs anywhere")
        .scope(&f);
    for (i, (got, want)) in f().iter().zip(&naive).enumerate() {
        let square = |x: f32| f64::from(x) * f64::from(x);
        let pairs = got.data().iter().zip(want.data());
        let distance = pairs.map(|(&g, &w)| square(g - w)).sum::<f64>().sqrt();
        let norm = want.data().iter().map(|&w| square(w)).sum::<f64>().sqrt();
        let relative = distance / norm.max(1e-6);
        assert!(
            relative <= 1e-4,
            "{what}: result {i} is off by {relative:.1e}, nothing is timed"
        );
    }
}

/// Name, image side, input channels, output channels, kernel, window.
const CONVOLUTIONS: [(&str, usize, usize, usize, usize, Window); 9] = [
    ("stem 7x7/2 at 224", 224, 3, 64, 7, Window::square(2, 3)),
    (
        "1x1 256 to 128 at 56",
        56,
        256,
        128,
        1,
        Window::square(1, 0),
    ),
    ("3x3 128 to 32 at 56", 56, 128, 32, 3, Window::square(1, 1)),
    (
        "1x1 512 to 128 at 28",
        28,
        512,
        128,
        1,
        Window::square(1, 0),
    ),
    ("3x3 128 to 32 at 28", 28, 128, 32, 3, Window::square(1, 1)),
    (
        "1x1 1024 to 128 at 14",
        14,
        1024,
        128,
        1,
        Window::square(1, 0),
    ),
    ("3x3 128 to 32 at 14", 14, 128, 32, 3, Window::square(1, 1)),
    (
        "1x1 1024 to 128 at 7",
        7,
        1024,
        128,
        1,
        Window::square(1, 0),
    ),
    ("3x3 128 to 32 at 7", 7, 128, 32, 3, Window::square(1, 1)),
];

fn flops(side: usize, channels: usize, out: usize, kernel: usize, window: Window) -> u64 {
    let out_side = (side + 2 * window.padding[0] - kernel) / window.stride[0] + 1;
    2 * (out_side * out_side * out * kernel * kernel * channels) as u64
}

fn convolution(c: &mut Criterion) {
    let mut group = c.benchmark_group("norm_relu_conv forward");
    for (name, side, channels, out, kernel, window) in CONVOLUTIONS {
        let x = random(&[1, side, side, channels], 1);
        let weight = random(&[out, channels, kernel, kernel], 2);
        let [gamma, beta, mean] = [3, 4, 5].map(|seed| random(&[channels], seed));
        let var = Tensor::full(&[channels], 0.5);
        let norm = Norm {
            gamma: &gamma,
            beta: &beta,
            eps: 1e-5,
            statistics: Statistics::Running {
                mean: &mean,
                var: &var,
            },
        };
        let run = || {
            vec![
                ops::norm_relu_conv(&x, &norm, &weight, window)
                    .expect("shapes fit")
                    .0,
            ]
        };
        let flops = flops(side, channels, out, kernel, window);
        group.throughput(Throughput::Elements(flops));
        let in_bf16 = format!("{name}, bf16");
        for (name, precision) in [(name, Precision::F32), (&in_bf16, Precision::Bf16)] {
            precision.scope(|| {
                check(name, run);
                group.bench_function(name, |b| b.iter(run));
            });
        }
    }
    group.finish();
}

fn convolution_gradient(c: &mut Criterion) {
    let mut group = c.benchmark_group("conv2d forward and gradients");
    for (name, side, channels, out, kernel, window) in CONVOLUTIONS {
        let x = random(&[1, side, side, channels], 1).tracked();
        let weight = random(&[out, channels, kernel, kernel], 2).tracked();
        let run = || {
            let y = ops::conv2d(&x, &weight, None, window).expect("shapes fit");
            let grads = y.backward_from(&y.detach()).expect("tracked");
            [&x, &weight]
                .map(|t| grads.get(t).expect("tracked").clone())
                .to_vec()
        };
        check(name, run);
        group.throughput(Throughput::Elements(
            3 * flops(side, channels, out, kernel, window),
        ));
        group.bench_function(name, |b| b.iter(run));
    }
    group.finish();
}

fn dense_layer(c: &mut Criterion) {
    let mut group = c.benchmark_group("dense_block, one layer in training");
    for (side, channels) in [(28, 256), (14, 512)] {
        let x = random(&[2, side, side, channels], 1).tracked();
        // ReLU passes half of the channels and stops the others, all far from zero. Near zero the last bit of a sum decides
        // whether a gradient passes, and two correct kernels could differ.
        let norm_weights = |n: usize, seed| {
            let small = random(&[n], seed).data().iter().map(|g| 0.3 * g).collect();
            let far = (0..n)
                .map(|c| if c % 2 == 0 { 3.0 } else { -3.0 })
                .collect();
            [small, far].map(|v| Tensor::from_vec(v, &[n]).expect("one a channel").tracked())
        };
        let [g1, b1] = norm_weights(channels, 2);
        let [g2, b2] = norm_weights(128, 4);
        let cotangent = random(&[2, side, side, channels + 32], 8);
        let conv1 = random(&[128, channels, 1, 1], 6).tracked();
        let conv2 = random(&[32, 128, 3, 3], 7).tracked();
        let norm = |gamma, beta| Norm {
            gamma,
            beta,
            eps: 1e-5,
            statistics: Statistics::Batch,
        };
        let layer = DenseLayerWeights {
            norm1: norm(&g1, &b1),
            conv1: &conv1,
            norm2: norm(&g2, &b2),
            conv2: &conv2,
        };
        let run = || {
            let (y, _) = ops::dense_block(&x, &[layer]).expect("shapes fit");
            let grads = y.backward_from(&cotangent).expect("tracked");
            [&x, &conv1, &conv2]
                .map(|t| grads.get(t).expect("tracked").clone())
                .to_vec()
        };
        let name = format!("{channels} channels at {side}, batch 2");
        check(&name, run);
        group.bench_function(name, |b| b.iter(run));
    }
    group.finish();
}

fn decoder(c: &mut Criterion) {
    let mut group = c.benchmark_group("decoder");
    let (batch, steps, inputs, hidden, words) = (16, 21, 256, 512, 2500);
    let x = random(&[batch, steps, inputs], 1).tracked();
    let scaled = |shape: &[usize], seed| {
        ops::scale(&random(shape, seed), 0.05)
            .expect("any shape")
            .tracked()
    };
    let weights = LstmWeights {
        w_ih: scaled(&[4 * hidden, inputs], 2),
        w_hh: scaled(&[4 * hidden, hidden], 3),
        bias: scaled(&[4 * hidden], 4),
    };
    let run = || {
        let h = ops::lstm_sequence(&x, &weights).expect("shapes fit");
        let grads = h.backward_from(&h.detach()).expect("tracked");
        [&x, &weights.w_ih, &weights.w_hh]
            .map(|t| grads.get(t).expect("tracked").clone())
            .to_vec()
    };
    check("lstm", run);
    let products = batch * steps * 4 * hidden * (inputs + hidden);
    group.throughput(Throughput::Elements(6 * products as u64));
    group.bench_function("lstm_sequence, batch 16, 21 steps, 256/512", |b| {
        b.iter(run)
    });

    let logits = random(&[batch * steps, words], 5).tracked();
    let targets: Vec<usize> = (0..batch * steps).map(|i| i * 7 % words).collect();
    let options = CrossEntropy {
        ignore_index: Some(0),
        label_smoothing: 0.1,
    };
    let run = || {
        let loss = ops::cross_entropy(&logits, &targets, options).expect("targets are words");
        vec![
            loss.backward()
                .expect("tracked")
                .get(&logits)
                .expect("tracked")
                .clone(),
        ]
    };
    check("cross_entropy", run);
    group.throughput(Throughput::Elements((batch * steps * words) as u64));
    group.bench_function("cross_entropy, 336 x 2500", |b| b.iter(run));
    group.finish();
}

fn optimizer(c: &mut Criterion) {
    let n = 1 << 20;
    let grad = random(&[n], 1);
    let options = Adam {
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        decoupled: true,
    };
    let norm = Tensor::scalar(1.0);
    let fresh = || ops::adam::Step {
        param: random(&[n], 2),
        grad: grad.clone(),
        m: Tensor::zeros(&[n]),
        v: Tensor::zeros(&[n]),
        decays: true,
    };
    let run = || {
        let mut all = [fresh()];
        ops::adam::step(&mut all, &norm, 1, &options).expect("sizes fit");
        all.into_iter().map(|step| step.param).collect()
    };
    check("adam", run);
    let mut all = [fresh()];
    let mut group = c.benchmark_group("adam");
    group.throughput(Throughput::Elements(n as u64));
    group.bench_function("a million parameters", |b| {
        b.iter(|| ops::adam::step(&mut all, &norm, 1, &options));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = convolution, convolution_gradient, dense_layer, decoder, optimizer
}
criterion_main!(benches);
