//! The forward pass.

use std::sync::Arc;

use super::attend::{self, ForwardSentence};
use super::steps::{image_of, step_of};
use crate::cpu::gates::{self, ForwardRow};
use crate::cpu::gemm::{Matrix, Product, gemm_packed, gemm_packed_rows};
use crate::cpu::packed::{Layout, PackedB};
use crate::cpu::{Isa, memory};
use crate::ops::attention_lstm::{Job, Saved};
use crate::tensor::Tensor;

/// All results and, if a gradient is wanted, the intermediate ones for the backward pass.
pub(crate) fn forward(isa: Isa, job: &Job) -> Saved {
    let mut pass = Forward::new(isa, job);
    pass.read_words();
    for t in 0..job.sizes.steps {
        pass.read_state(t);
        pass.attend(t);
        pass.read_context(t);
        pass.activate(t);
    }
    let flat = |data: Vec<f32>| {
        let len = data.len();
        Tensor::computed(data, &[len])
    };
    Saved {
        results: flat(pass.results),
        rows: flat(pass.rows),
        means: flat(pass.means),
        cells: flat(pass.cells),
    }
}

/// A forward pass: its weights and its results so far.
struct Forward<'a> {
    isa: Isa,
    job: &'a Job,
    w_ih: Arc<PackedB>,
    w_hh: Arc<PackedB>,
    /// The output, `alpha`, and `c` of the last step that was computed.
    results: Vec<f32>,
    /// `[S, T, A + V + 4H]`: `q`, `r`, `a`, to which each method adds a term; in the end `q`, `beta`, and the gates.
    rows: Vec<f32>,
    /// `[S, T, V]`: `m`.
    means: Vec<f32>,
    /// `[S, T, H]`: `c'` of every step; empty if no gradient is wanted.
    cells: Vec<f32>,
}

impl<'a> Forward<'a> {
    fn new(isa: Isa, job: &'a Job) -> Self {
        let (s, weights) = (job.sizes, &job.weights);
        let [_, _, cells_at, end] = s.parts();
        let mut results = memory::unset(end);
        results[cells_at..].copy_from_slice(job.c0.data());
        let kept_rows = if job.is_tracked() { s.rows() } else { 0 };
        Forward {
            isa,
            job,
            w_ih: weights.w_ih.packed(isa, Layout::Linear, |w| {
                let inputs = s.inputs + s.value;
                Matrix::new(w, 4 * s.hidden, inputs).t().pack(isa)
            }),
            w_hh: weights.w_hh.packed(isa, Layout::Linear, |w| {
                Matrix::new(w, s.recurrent(), s.hidden).t().pack(isa)
            }),
            results,
            rows: memory::unset(s.rows() * s.recurrent()),
            means: memory::unset(s.rows() * s.value),
            cells: memory::unset(kept_rows * s.hidden),
        }
    }

    /// `[q, r, a] = [0, b] + [0, 0, W_ix x]` of all steps.
    fn read_words(&mut self) {
        let (s, width) = (self.job.sizes, self.job.sizes.recurrent());
        let (gate_bias, lstm_bias) = self.job.weights.bias.data().split_at(s.value);
        for row in self.rows.chunks_exact_mut(width) {
            row[..s.key].fill(0.0);
            row[s.key..s.gates()].copy_from_slice(gate_bias);
        }
        let gates = Product {
            c: &mut self.rows[s.gates()..],
            stride: width,
            accumulate: false,
            bias: Some(lstm_bias),
        };
        let x = Matrix::new(self.job.x.data(), s.rows(), s.inputs);
        gemm_packed_rows(self.isa, x, &self.w_ih, 0, gates);
    }

    /// `[q, r, a] += W_hh h`
    fn read_state(&mut self, t: usize) {
        let (s, width) = (self.job.sizes, self.job.sizes.recurrent());
        let h = match t {
            0 => Matrix::new(self.job.h0.data(), s.sentences, s.hidden),
            _ => {
                let h = &self.results[(t - 1) * s.output()..];
                step_of(h, s, s.hidden, s.output())
            }
        };
        let sums = Product {
            c: &mut self.rows[t * width..],
            stride: s.steps * width,
            accumulate: true,
            bias: None,
        };
        gemm_packed(self.isa, h, &self.w_hh, sums);
    }

    /// `alpha`, `m`, `beta` and `z` of every sentence.
    fn attend(&mut self, t: usize) {
        let (s, width) = (self.job.sizes, self.job.sizes.recurrent());
        let [_, alphas_at, cells_at, _] = s.parts();
        let (output, rest) = self.results.split_at_mut(alphas_at);
        let alphas = &mut rest[..cells_at - alphas_at];
        let all = self
            .rows
            .chunks_exact_mut(s.steps * width)
            .zip(output.chunks_exact_mut(s.steps * s.output()))
            .zip(alphas.chunks_exact_mut(s.steps * s.positions))
            .zip(self.means.chunks_exact_mut(s.steps * s.value))
            .zip(&self.job.image_of);
        let mut all: Vec<ForwardSentence> = all
            .map(|((((rows, output), alphas), means), &image)| {
                let (q, rest) = rows[t * width..].split_at_mut(s.key);
                ForwardSentence {
                    q,
                    beta: &mut rest[..s.value],
                    z: &mut output[t * s.output() + s.hidden..][..s.value],
                    alpha: &mut alphas[t * s.positions..][..s.positions],
                    mean: &mut means[t * s.value..][..s.value],
                    keys: image_of(&self.job.keys, image, s.positions * s.key),
                    values: image_of(&self.job.values, image, s.positions * s.value),
                }
            })
            .collect();
        attend::forward(self.isa, self.job.weights.score.data(), &mut all);
    }

    /// `a' = a + W_iz z`
    fn read_context(&mut self, t: usize) {
        let (s, width) = (self.job.sizes, self.job.sizes.recurrent());
        let z = &self.results[t * s.output() + s.hidden..];
        let z = step_of(z, s, s.value, s.output());
        let gates = Product {
            c: &mut self.rows[t * width + s.gates()..],
            stride: s.steps * width,
            accumulate: true,
            bias: None,
        };
        gemm_packed_rows(self.isa, z, &self.w_ih, s.inputs, gates);
    }

    /// The gates and the new state.
    fn activate(&mut self, t: usize) {
        let (s, width) = (self.job.sizes, self.job.sizes.recurrent());
        let [_, alphas_at, cells_at, _] = s.parts();
        let (output, rest) = self.results.split_at_mut(alphas_at);
        let c = &mut rest[cells_at - alphas_at..];
        let mut cells = self.cells.chunks_exact_mut(s.steps * s.hidden);
        let all = self
            .rows
            .chunks_exact_mut(s.steps * width)
            .zip(output.chunks_exact_mut(s.steps * s.output()))
            .zip(c.chunks_exact_mut(s.hidden));
        let mut all: Vec<ForwardRow> = all
            .map(|((rows, output), c)| ForwardRow {
                gates: &mut rows[t * width + s.gates()..][..4 * s.hidden],
                h_new: &mut output[t * s.output()..][..s.hidden],
                c,
                c_new: cells
                    .next()
                    .map(|cells| &mut cells[t * s.hidden..][..s.hidden]),
            })
            .collect();
        gates::forward(self.isa, &mut all);
    }
}
