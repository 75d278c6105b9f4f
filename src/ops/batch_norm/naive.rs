//! The definition as plain loops.

use super::{Folded, Job, Moments, Norm, gradients};
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::tensor::{Tensor, Wanted};

/// Mean and biased variance of each channel.
pub(crate) fn moments(x: Pixels, rows: usize, channels: usize) -> [Vec<f32>; 2] {
    let column = |c: usize| (0..rows).map(move |i| f64::from(x.data[i * x.stride + c]));
    let mean: Vec<f64> = (0..channels)
        .map(|c| column(c).sum::<f64>() / rows as f64)
        .collect();
    let var = (0..channels)
        .map(|c| (column(c).map(|v| (v - mean[c]).powi(2)).sum::<f64>() / rows as f64) as f32);
    [mean.iter().map(|&m| m as f32).collect(), var.collect()]
}

/// Folds `norm` for the pixels `x`; also returns the moments of the mini-batch if the norm uses them.
pub(crate) fn fold_for(norm: &Norm, x: Pixels, rows: usize) -> (Folded, Option<Moments>) {
    norm.fold_by(|| moments(x, rows, norm.gamma.len()))
}

/// `y = scale x + shift`, or with ReLU `y = max(0, scale x + shift)`
pub(crate) fn forward(job: &Job, norm: &Norm) -> (Tensor, Folded, Option<Moments>) {
    let x = Pixels::new(job.x.data(), job.channels);
    let (folded, moments) = fold_for(norm, x, job.rows);
    let y = affine(x, &folded, job.relu, job.rows);
    (Tensor::computed(y, job.x.dims()), folded, moments)
}

/// `scale x + shift`, or with `relu` `max(0, scale x + shift)`, of each pixel
pub(crate) fn affine(x: Pixels, folded: &Folded, relu: bool, rows: usize) -> Vec<f32> {
    let [scale, shift, ..] = folded.rows();
    let mut y = Vec::with_capacity(rows * scale.len());
    for i in 0..rows {
        for c in 0..scale.len() {
            let value = x.data[i * x.stride + c] * scale[c] + shift[c];
            y.push(if relu { value.max(0.0) } else { value });
        }
    }
    y
}

/// `dx`, `dgamma` and `dbeta`
pub(crate) fn backward(
    job: &Job,
    folded: &Folded,
    dy: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let x_and_dy = [&job.x, dy].map(|t| Pixels::new(t.data(), job.channels));
    gradients(&job.x, wanted, |dx| {
        grads(x_and_dy, folded, job.relu, job.rows, dx)
    })
}

/// `dgamma = sum dz xhat` and `dbeta = sum dz`. Adds `scale (dz - dbeta / M - xhat dgamma / M)` to `dx`, or with running
/// statistics `scale dz`.
pub(crate) fn grads(
    [x, dy]: [Pixels; 2],
    folded: &Folded,
    relu: bool,
    rows: usize,
    dx: Option<PixelsMut>,
) -> [Tensor; 2] {
    let [scale, shift, mean, inv_std] = folded.rows();
    let channels = scale.len();
    let dz = |i: usize, c: usize| match x.data[i * x.stride + c] * scale[c] + shift[c] {
        y if !relu || y > 0.0 => f64::from(dy.data[i * dy.stride + c]),
        _ => 0.0,
    };
    let xhat =
        |i: usize, c: usize| f64::from(x.data[i * x.stride + c] - mean[c]) * f64::from(inv_std[c]);
    let (mut dgamma, mut dbeta) = (vec![0.0f64; channels], vec![0.0f64; channels]);
    for i in 0..rows {
        for c in 0..channels {
            dgamma[c] += dz(i, c) * xhat(i, c);
            dbeta[c] += dz(i, c);
        }
    }
    if let Some(dx) = dx {
        for i in 0..rows {
            for c in 0..channels {
                let through_statistics = match folded.batch {
                    true => (dbeta[c] + xhat(i, c) * dgamma[c]) / rows as f64,
                    false => 0.0,
                };
                let d = f64::from(scale[c]) * (dz(i, c) - through_statistics);
                dx.data[i * dx.stride + c] += d as f32;
            }
        }
    }
    [dgamma, dbeta].map(|sums| {
        let sums = sums.iter().map(|&sum| sum as f32).collect();
        Tensor::computed(sums, &[channels])
    })
}

/// `running = (1 - momentum) running + momentum batch`, with the variance of the batch times `unbiased`
pub(super) fn update_running(
    batch: &Moments,
    [mean, var]: [&mut Tensor; 2],
    momentum: f32,
    unbiased: f32,
) {
    for (r, m) in mean.data_mut().iter_mut().zip(batch.mean.data()) {
        *r += momentum * (m - *r);
    }
    for (r, v) in var.data_mut().iter_mut().zip(batch.var.data()) {
        *r += momentum * (v * unbiased - *r);
    }
}
