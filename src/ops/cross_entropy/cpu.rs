//! SIMD kernels. Each row is read three times: for its largest logit, for its exponentials and their sum, and for the
//! residual `w (p - q)`.

use super::{CrossEntropy, Job, Saved};
use crate::cpu::elements::{self, exponentials, largest};
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, memory, threads};
use crate::tensor::Tensor;

// Rows per task.
const ROWS: usize = 8;

/// `loss = 1/R sum_r w[r] (-sum_v q[r][v] ln p[r][v])`, and `w (p - q)` if the logits are tracked.
pub(crate) fn forward(isa: Isa, job: &Job) -> (Tensor, Option<Saved>) {
    // The rows that are ignored stay zero.
    let mut residual = match job.logits.is_tracked() {
        true => memory::zeros(job.logits.len()),
        false => Vec::new(),
    };
    let block = ROWS * job.classes;
    let mut residuals = residual.chunks_mut(block);
    let rows = job.logits.data().chunks(block);
    let rows = rows.zip(job.targets.chunks(ROWS).zip(job.weights.chunks(ROWS)));
    let mut blocks: Vec<Block> = rows
        .map(|(logits, (targets, weights))| Block {
            logits,
            classes: job.classes,
            targets,
            weights,
            options: job.options,
            residual: residuals.next(),
            loss: 0.0,
        })
        .collect();
    threads::for_each_chunk(&mut blocks, 1, |_, blocks| {
        for block in blocks {
            block.loss = isa.dispatch(&mut *block);
        }
    });
    let loss = blocks.iter().map(|block| block.loss).sum::<f64>() / job.counted as f64;
    (Tensor::scalar(loss as f32), job.saved(residual))
}

/// The rows of one task.
struct Block<'a> {
    logits: &'a [f32],
    classes: usize,
    targets: &'a [usize],
    weights: &'a [f32],
    options: CrossEntropy,
    /// Receives `w (p - q)`.
    residual: Option<&'a mut [f32]>,
    /// Receives the weighted sum of the rows' losses.
    loss: f64,
}

impl WithSimd for &mut Block<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let (logits, classes) = (self.logits, self.classes);
        let CrossEntropy {
            ignore_index,
            label_smoothing: smoothing,
        } = self.options;
        let mut loss = 0.0;
        for (r, (&target, &weight)) in self.targets.iter().zip(self.weights).enumerate() {
            if Some(target) == ignore_index {
                continue;
            }
            let x = &logits[r * classes..][..classes];
            let largest = largest(s, x);
            let sum = match &mut self.residual {
                None => exponentials(s, x, largest, 1.0, None),
                Some(residual) => {
                    let p = &mut residual[r * classes..][..classes];
                    let sum = exponentials(s, x, largest, 1.0, Some(&mut *p));
                    let (factor, smoothed) = (weight / sum, weight * smoothing / classes as f32);
                    p.iter_mut().for_each(|p| *p = *p * factor - smoothed);
                    p[target] -= weight * (1.0 - smoothing);
                    sum
                }
            };
            let log_sum = f64::from(largest) + f64::from(sum).ln();
            let mut row = log_sum - f64::from(1.0 - smoothing) * f64::from(x[target]);
            if smoothing > 0.0 {
                let total: f64 = x.iter().map(|&x| f64::from(x)).sum();
                row -= f64::from(smoothing) * total / classes as f64;
            }
            loss += f64::from(weight) * row;
        }
        loss
    }
}

/// `dx = dloss / R w (p - q)`
pub(crate) fn backward(isa: Isa, saved: Saved, dloss: &Tensor) -> Tensor {
    let factor = dloss.data()[0] / saved.counted as f32;
    let mut dx = saved.residual;
    elements::scale(isa, dx.data_mut(), factor);
    dx
}
