//! The definition as plain loops.

use super::{Grads, Variant};
use crate::cpu::Isa;
use crate::cpu::pixels::Pixels;
use crate::cpu::rows::{Moments, Normalizer};

/// Mean and biased variance of each channel.
pub(crate) fn moments(_: Isa, x: Pixels, rows: usize, channels: usize) -> Moments {
    let column = |c: usize| (0..rows).map(move |i| f64::from(x.data[i * x.stride + c]));
    let mean: Vec<f64> = (0..channels)
        .map(|c| column(c).sum::<f64>() / rows as f64)
        .collect();
    let var = (0..channels)
        .map(|c| (column(c).map(|v| (v - mean[c]).powi(2)).sum::<f64>() / rows as f64) as f32);
    Moments {
        var: var.collect(),
        mean: mean.iter().map(|&m| m as f32).collect(),
    }
}

/// `y = scale x + shift`, or `y = max(0, scale x + shift)` with `relu`.
pub(crate) fn forward(_: Isa, x: &[f32], norm: &Normalizer, relu: bool) -> Vec<f32> {
    let c = norm.scale.len();
    x.iter()
        .enumerate()
        .map(|(i, x)| x * norm.scale[i % c] + norm.shift[i % c])
        .map(|y| if relu { y.max(0.0) } else { y })
        .collect()
}

/// `dbeta = sum dy`, `dgamma = sum dy xhat`, `dx = scale (dy - dbeta / M - xhat dgamma / M)`. With
/// running statistics `dx = scale dy`. With ReLU, `dy` is 0 where `y` is.
pub(crate) fn backward(
    isa: Isa,
    x: &[f32],
    dy: &[f32],
    norm: &Normalizer,
    Variant { batch, relu }: Variant,
) -> Grads {
    let y = forward(isa, x, norm, false);
    let passed = dy
        .iter()
        .zip(&y)
        .map(|(&dy, &y)| if relu && y <= 0.0 { 0.0 } else { dy });
    let dy: Vec<f32> = passed.collect();
    let c = norm.scale.len();
    let m = (x.len() / c) as f64;
    let xhat = |i: usize| f64::from(x[i] - norm.mean[i % c]) * f64::from(norm.inv_std[i % c]);
    let (mut dbeta, mut dgamma) = (vec![0.0f64; c], vec![0.0f64; c]);
    for (i, &dy) in dy.iter().enumerate() {
        dbeta[i % c] += f64::from(dy);
        dgamma[i % c] += f64::from(dy) * xhat(i);
    }
    let dx = (0..x.len()).map(|i| {
        let through_statistics = if batch {
            (dbeta[i % c] + xhat(i) * dgamma[i % c]) / m
        } else {
            0.0
        };
        (f64::from(norm.scale[i % c]) * (f64::from(dy[i]) - through_statistics)) as f32
    });
    Grads {
        x: dx.collect(),
        gamma: dgamma.iter().map(|&g| g as f32).collect(),
        beta: dbeta.iter().map(|&b| b as f32).collect(),
    }
}
