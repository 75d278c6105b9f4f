//! The steps of the backward pass, from the last to the first.

use super::attend::{self, BackwardSentence};
use super::steps::{image_of, step_of};
use crate::cpu::gates::{self, BackwardRow};
use crate::cpu::gemm::{Matrix, Product, gemm_packed};
use crate::cpu::{Isa, memory};
use crate::ops::attention_lstm::{Job, Saved};
use crate::tensor::Tensor;

/// Results of the steps, which the sums over all steps read.
pub(super) struct Steps {
    /// `[S, T, A + V + 4H]`: `q`, `beta`, and the gates; overwritten by `dq`, `dr`, `da`.
    pub(super) rows: Tensor,
    /// `[S, T, V]`: `m`, overwritten by `dm`.
    pub(super) dm: Tensor,
    /// `[S, T, A]`: `q`.
    pub(super) queries: Vec<f32>,
    /// `[S, T, P]`: `de`.
    pub(super) de: Vec<f32>,
    /// `[S, H]`: `dh` of step `t + 1` while step `t` is computed; in the end that of the first step.
    pub(super) dh: Vec<f32>,
    /// `[S, H]`: `dc` of the same step.
    pub(super) dc: Vec<f32>,
}

/// A walk from the last step to the first.
pub(super) struct Walk<'a> {
    job: &'a Job,
    results: Tensor,
    /// The gradient with respect to the results.
    dy: &'a Tensor,
    /// `[S, T, H]`: `c'` of every step.
    cells: Tensor,
    /// The results so far.
    done: Steps,
}

impl<'a> Walk<'a> {
    pub(super) fn new(job: &'a Job, saved: Saved, dy: &'a Tensor) -> Self {
        let s = job.sizes;
        let [_, _, cells_at, _] = s.parts();
        Walk {
            job,
            results: saved.results,
            dy,
            cells: saved.cells,
            done: Steps {
                rows: saved.rows,
                dm: saved.means,
                queries: memory::unset(s.rows() * s.key),
                de: memory::unset(s.rows() * s.positions),
                dh: vec![0.0; s.sentences * s.hidden],
                dc: dy.data()[cells_at..].to_vec(),
            },
        }
    }

    /// Goes from the last step to the first. The `dh` of the result has meaning only if `h0_wanted`.
    pub(super) fn back(mut self, isa: Isa, h0_wanted: bool) -> Steps {
        let (s, weights) = (self.job.sizes, &self.job.weights);
        let width = s.recurrent();
        // The part of dz that comes from the gates.
        let mut dz = memory::unset(s.sentences * s.value);
        let w_iz = &weights.w_ih.data()[s.inputs..];
        let w_iz = Matrix::strided(w_iz, 4 * s.hidden, s.value, s.inputs + s.value).pack(isa);
        let w_hh = Matrix::new(weights.w_hh.data(), width, s.hidden);
        let w_hh = (s.steps > 1 || h0_wanted).then(|| w_hh.pack(isa));
        for t in (0..s.steps).rev() {
            self.gates(isa, t);
            let da = &self.done.rows.data()[t * width + s.gates()..];
            let da = step_of(da, s, 4 * s.hidden, width);
            gemm_packed(isa, da, &w_iz, Product::into(&mut dz, s.value));
            self.attend(isa, t, &dz);
            if let Some(w_hh) = w_hh.as_ref().filter(|_| t > 0 || h0_wanted) {
                let all = step_of(&self.done.rows.data()[t * width..], s, width, width);
                gemm_packed(isa, all, w_hh, Product::into(&mut self.done.dh, s.hidden));
            }
        }
        memory::recycle(dz);
        self.done
    }

    /// `da` and `dc` of step `t`.
    fn gates(&mut self, isa: Isa, t: usize) {
        let (job, s) = (self.job, self.job.sizes);
        let width = s.recurrent();
        let (dy, cells) = (self.dy.data(), self.cells.data());
        let all = self
            .done
            .rows
            .data_mut()
            .chunks_exact_mut(s.steps * width)
            .zip(self.done.dc.chunks_exact_mut(s.hidden))
            .zip(self.done.dh.chunks_exact(s.hidden))
            .enumerate();
        let mut all: Vec<BackwardRow> = all
            .map(|(n, ((rows, dc), dh))| {
                let row = n * s.steps + t;
                BackwardRow {
                    gates: &mut rows[t * width + s.gates()..][..4 * s.hidden],
                    dc,
                    dh_new: [&dy[row * s.output()..][..s.hidden], dh],
                    c_new: &cells[row * s.hidden..][..s.hidden],
                    c: Some(match t {
                        0 => &job.c0.data()[n * s.hidden..][..s.hidden],
                        _ => &cells[(row - 1) * s.hidden..][..s.hidden],
                    }),
                }
            })
            .collect();
        gates::backward(isa, &mut all);
    }

    /// `dr`, `dm`, `de` and `dq` of step `t`. `dz` `[S, V]` is the part from the gates.
    fn attend(&mut self, isa: Isa, t: usize, dz: &[f32]) {
        let (job, s) = (self.job, self.job.sizes);
        let width = s.recurrent();
        let [_, alphas_at, _, _] = s.parts();
        let (dy, results) = (self.dy.data(), self.results.data());
        let all = self
            .done
            .rows
            .data_mut()
            .chunks_exact_mut(s.steps * width)
            .zip(self.done.dm.data_mut().chunks_exact_mut(s.steps * s.value))
            .zip(self.done.queries.chunks_exact_mut(s.steps * s.key))
            .zip(self.done.de.chunks_exact_mut(s.steps * s.positions))
            .zip(&job.image_of)
            .enumerate();
        let mut all: Vec<BackwardSentence> = all
            .map(|(n, ((((rows, dm), queries), de), &image))| {
                let row = n * s.steps + t;
                let (q, rest) = rows[t * width..].split_at_mut(s.key);
                let alphas = alphas_at + row * s.positions..alphas_at + (row + 1) * s.positions;
                BackwardSentence {
                    q,
                    beta: &mut rest[..s.value],
                    mean: &mut dm[t * s.value..][..s.value],
                    query: &mut queries[t * s.key..][..s.key],
                    de: &mut de[t * s.positions..][..s.positions],
                    dz: [
                        &dy[row * s.output() + s.hidden..][..s.value],
                        &dz[n * s.value..][..s.value],
                    ],
                    alpha: &results[alphas.clone()],
                    dalpha: &dy[alphas],
                    keys: image_of(&job.keys, image, s.positions * s.key),
                    values: image_of(&job.values, image, s.positions * s.value),
                }
            })
            .collect();
        attend::backward(isa, job.weights.score.data(), &mut all);
    }
}
