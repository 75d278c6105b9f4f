//! The definition.

use super::Grads;
use crate::cpu::Isa;
use crate::cpu::conv::Pixels;
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

/// `y = x scale + shift`; with `relu`, the larger of that and zero.
pub(crate) fn forward(_: Isa, x: &[f32], f: &Normalizer, relu: bool) -> Vec<f32> {
    let c = f.scale.len();
    x.iter()
        .enumerate()
        .map(|(i, x)| x * f.scale[i % c] + f.shift[i % c])
        .map(|y| if relu { y.max(0.0) } else { y })
        .collect()
}

/// `dbeta = sum dy`, `dgamma = sum dy xhat`, `dx = scale (dy - dbeta / M - xhat dgamma / M)`; with running
/// statistics (`batch` is false) `dx = scale dy`. With `relu`, `dy` counts where `y` is positive.
pub(crate) fn backward(
    isa: Isa,
    x: &[f32],
    grad: &[f32],
    f: &Normalizer,
    [batch, relu]: [bool; 2],
) -> Grads {
    let y = forward(isa, x, f, false);
    let passed = grad
        .iter()
        .zip(&y)
        .map(|(&g, &y)| if relu && y <= 0.0 { 0.0 } else { g });
    let grad: Vec<f32> = passed.collect();
    let c = f.scale.len();
    let m = (x.len() / c) as f64;
    let xhat = |i: usize| f64::from(x[i] - f.mean[i % c]) * f64::from(f.inv_std[i % c]);
    let (mut beta, mut gamma) = (vec![0.0f64; c], vec![0.0f64; c]);
    for (i, &g) in grad.iter().enumerate() {
        beta[i % c] += f64::from(g);
        gamma[i % c] += f64::from(g) * xhat(i);
    }
    let grad_x = (0..x.len()).map(|i| {
        let undone = if batch {
            (beta[i % c] + xhat(i) * gamma[i % c]) / m
        } else {
            0.0
        };
        (f64::from(f.scale[i % c]) * (f64::from(grad[i]) - undone)) as f32
    });
    Grads {
        x: grad_x.collect(),
        gamma: gamma.iter().map(|&g| g as f32).collect(),
        beta: beta.iter().map(|&b| b as f32).collect(),
    }
}
