//! SIMD kernels: the exponentials of both rows, then one pass over them for the loss and `q - p`.

use super::{Job, Saved};
use crate::cpu::elements::{self, largest};
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, memory, threads};
use crate::tensor::Tensor;

// Rows per task. They are fixed, so sums do not depend on the number of threads.
const ROWS: usize = 8;

/// `loss = T^2/R sum_r sum_k p[k] (ln p[k] - ln q[k])`, and `q - p` if the student's logits are tracked.
pub(crate) fn forward(isa: Isa, job: &Job) -> (Tensor, Option<Saved>) {
    let mut residual = match job.student.is_tracked() {
        true => memory::unset(job.student.len()),
        false => Vec::new(),
    };
    let block = ROWS * job.classes;
    let mut residuals = residual.chunks_mut(block);
    let rows = job.student.data().chunks(block);
    let rows = rows.zip(job.teacher.data().chunks(block));
    let mut blocks: Vec<Block> = rows
        .map(|(student, teacher)| Block {
            student,
            teacher,
            classes: job.classes,
            temperature: job.temperature,
            residual: residuals.next(),
            loss: 0.0,
        })
        .collect();
    threads::for_each_chunk(&mut blocks, 1, |_, blocks| {
        for block in blocks {
            block.loss = isa.dispatch(&mut *block);
        }
    });
    let sum = blocks.iter().map(|block| block.loss).sum();
    (job.loss(sum), job.saved(residual))
}

/// The rows of one task.
struct Block<'a> {
    student: &'a [f32],
    teacher: &'a [f32],
    classes: usize,
    temperature: f32,
    /// Receives `q - p`.
    residual: Option<&'a mut [f32]>,
    /// Receives the sum of the rows' divergences.
    loss: f64,
}

impl WithSimd for &mut Block<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let classes = self.classes;
        let inverse = 1.0 / self.temperature;
        let mut exponentials = vec![0.0f32; 2 * classes];
        let (p, q) = exponentials.split_at_mut(classes);
        let mut loss = 0.0;
        let rows = self.student.chunks_exact(classes);
        let rows = rows.zip(self.teacher.chunks_exact(classes));
        for (r, (x, t)) in rows.enumerate() {
            let (largest_x, largest_t) = (largest(s, x), largest(s, t));
            let sum_q = elements::exponentials(s, x, largest_x, inverse, Some(&mut *q));
            let sum_p = elements::exponentials(s, t, largest_t, inverse, Some(&mut *p));
            let (factor_p, factor_q) = (1.0 / sum_p, 1.0 / sum_q);
            if let Some(residual) = &mut self.residual {
                let residual = &mut residual[r * classes..][..classes];
                for ((y, &p), &q) in residual.iter_mut().zip(&*p).zip(&*q) {
                    *y = q * factor_q - p * factor_p;
                }
            }
            // The sum over k of e^(t[k] / T) (t[k] - x[k]), where the largest logit of its row is subtracted from each
            // logit.
            let mut sums = [0.0f64; 16];
            for ((p, x), t) in p.chunks(16).zip(x.chunks(16)).zip(t.chunks(16)) {
                for (((sum, &p), &x), &t) in sums.iter_mut().zip(p).zip(x).zip(t) {
                    let difference = f64::from(t - largest_t) - f64::from(x - largest_x);
                    // The difference is finite, so the term is zero where the exponential is zero.
                    *sum += f64::from(p) * difference;
                }
            }
            let expected = sums.iter().sum::<f64>() * f64::from(inverse) / f64::from(sum_p);
            loss += expected + f64::from(sum_q).ln() - f64::from(sum_p).ln();
        }
        loss
    }
}

/// `ds = dloss T / R (q - p)`
pub(crate) fn backward(isa: Isa, saved: Saved, dloss: &Tensor) -> Tensor {
    let factor = dloss.data()[0] * saved.temperature / saved.rows as f32;
    let mut ds = saved.residual;
    elements::scale(isa, ds.data_mut(), factor);
    ds
}
