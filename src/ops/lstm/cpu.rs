//! One matrix product for the inputs of all steps, then the steps in order: each adds the recurrent product to its rows of
//! `a`, and one pass over these rows computes the gates and the new state.
//!
//! The rows of one sequence are contiguous (`[N, T, ..]`). So step `t` of the mini-batch is a matrix whose row stride is
//! `T` rows. The matrix product reads and writes such a matrix in place.

use super::{BIAS, C0, H0, Job, Saved, W_HH, W_IH, X};
use crate::cpu::gates::{self, BackwardRow, ForwardRow};
use crate::cpu::gemm::{Matrix, Product, gemm, gemm_packed};
use crate::cpu::packed::Layout;
use crate::cpu::pixels::Pixels;
use crate::cpu::rows::sum_rows;
use crate::cpu::{Isa, memory};
use crate::tensor::{Tensor, Wanted};

impl Job {
    /// The elements of a row of the gates, and those from the first row of one sequence to that of the next.
    fn gate_strides(&self) -> (usize, usize) {
        (4 * self.hidden, self.steps * 4 * self.hidden)
    }
}

/// `h'`, `c'` and the gates of every step. Weights that are not trained are packed once and kept.
pub(crate) fn forward(isa: Isa, job: &Job) -> Saved {
    let &Job { batch, hidden, .. } = job;
    let (width, stride) = job.gate_strides();
    let mut gates = memory::unset(batch * stride);
    let planes = if job.with_cells { 2 } else { 1 };
    let mut states = memory::unset(planes * job.rows() * hidden);
    if gates.is_empty() {
        return job.computed(states, gates);
    }
    let weights = &job.weights;
    let w_ih = weights.w_ih.packed(isa, Layout::Linear, |w| {
        Matrix::new(w, width, job.inputs).t().pack(isa)
    });
    let w_hh = weights.w_hh.packed(isa, Layout::Linear, |w| {
        Matrix::new(w, width, hidden).t().pack(isa)
    });
    let x = Matrix::new(job.x.data(), job.rows(), job.inputs);
    let bias = Some(weights.bias.data());
    gemm_packed(isa, x, &w_ih, Product::into(&mut gates, width).bias(bias));
    let mut c = match job.c0() {
        Some(c0) => c0.data().to_vec(),
        None => vec![0.0; batch * hidden],
    };
    for t in 0..job.steps {
        if let Some(h) = h_before(job, &states, t) {
            let a = Product {
                c: &mut gates[t * width..],
                stride,
                accumulate: true,
                bias: None,
            };
            gemm_packed(isa, h, &w_hh, a);
        }
        activate(isa, job, t, &mut gates, &mut states, &mut c);
    }
    job.computed(states, gates)
}

/// `h` before step `t`, `[N, H]`; `None` if it is zero.
fn h_before<'a>(job: &'a Job, states: &'a [f32], t: usize) -> Option<Matrix<'a>> {
    let &Job {
        batch,
        steps,
        hidden,
        ..
    } = job;
    match t {
        0 => job.h0().map(|h0| Matrix::new(h0.data(), batch, hidden)),
        _ => {
            let h = &states[(t - 1) * hidden..];
            Some(Matrix::strided(h, batch, hidden, steps * hidden))
        }
    }
}

/// Replaces `a` of step `t` by the gates, computes the new state, and replaces `c` by `c'`.
fn activate(isa: Isa, job: &Job, t: usize, gates: &mut [f32], states: &mut [f32], c: &mut [f32]) {
    let hidden = job.hidden;
    let (width, stride) = job.gate_strides();
    let (h_new, c_new) = states.split_at_mut(job.rows() * hidden);
    // Empty where c' is not needed.
    let mut c_new = c_new.chunks_exact_mut(job.steps * hidden);
    let rows = gates
        .chunks_exact_mut(stride)
        .zip(h_new.chunks_exact_mut(job.steps * hidden))
        .zip(c.chunks_exact_mut(hidden));
    let mut rows: Vec<ForwardRow> = rows
        .map(|((gates, h_new), c)| ForwardRow {
            gates: &mut gates[t * width..][..width],
            h_new: &mut h_new[t * hidden..][..hidden],
            c,
            c_new: c_new.next().map(|c_new| &mut c_new[t * hidden..][..hidden]),
        })
        .collect();
    gates::forward(isa, &mut rows);
}

/// The gradients: first `da`, which overwrites the gates from the last step to the first; then one product for each wanted
/// gradient.
pub(crate) fn backward(
    isa: Isa,
    job: &Job,
    saved: Saved,
    d_output: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let Saved { states, mut gates } = saved;
    let (inputs, rows) = (job.inputs, job.rows());
    let (width, _) = job.gate_strides();
    let (h_new, c_new) = states.data().split_at(rows * job.hidden);
    let da = gates.data_mut();
    let (dh, dc) = walk_back(isa, job, da, c_new, d_output, wanted.has(H0));
    let all = Matrix::new(da, rows, width);
    let dx = wanted.has(X).then(|| {
        let mut dx = memory::unset(rows * inputs);
        let w_ih = Matrix::new(job.weights.w_ih.data(), width, inputs);
        gemm(isa, all, w_ih, Product::into(&mut dx, inputs));
        Tensor::computed(dx, job.x.dims())
    });
    let dw_ih = wanted.has(W_IH).then(|| {
        let mut dw = memory::unset(width * inputs);
        let x = Matrix::new(job.x.data(), rows, inputs);
        gemm(isa, all.t(), x, Product::into(&mut dw, inputs));
        Tensor::computed(dw, job.weights.w_ih.dims())
    });
    let db = wanted.has(BIAS).then(|| {
        let all = Pixels::new(da, width);
        Tensor::computed(sum_rows(isa, all, rows, width), &[width])
    });
    // Computed last, because it changes da.
    let dw_hh = wanted.has(W_HH).then(|| dw_hh(isa, job, h_new, da));
    let state = [job.batch, job.hidden];
    let dh0 = wanted.has(H0).then(|| Tensor::computed(dh, &state));
    let dc0 = wanted.has(C0).then(|| Tensor::computed(dc, &state));
    vec![dx, dw_ih, dw_hh, db, dh0, dc0]
}

/// Overwrites the gates with `da`, from the last step to the first. Returns `dh` and `dc` of the first
/// step; `dh` has meaning only if `h0_wanted`.
fn walk_back(
    isa: Isa,
    job: &Job,
    gates: &mut [f32],
    c_new: &[f32],
    d_output: &Tensor,
    h0_wanted: bool,
) -> (Vec<f32>, Vec<f32>) {
    let &Job {
        batch,
        steps,
        hidden,
        ..
    } = job;
    let (width, stride) = job.gate_strides();
    let (dy, mut dc) = job.split_gradient(d_output);
    // dh of step t + 1 while step t is computed.
    let mut dh = vec![0.0; batch * hidden];
    if hidden == 0 {
        return (dh, dc);
    }
    let c0 = job.c0().map(Tensor::data);
    let w_hh = Matrix::new(job.weights.w_hh.data(), width, hidden);
    let w_hh = (steps > 1 || h0_wanted).then(|| w_hh.pack(isa));
    for t in (0..steps).rev() {
        let rows = gates
            .chunks_exact_mut(stride)
            .zip(dc.chunks_exact_mut(hidden))
            .zip(dy.chunks_exact(steps * hidden))
            .zip(c_new.chunks_exact(steps * hidden))
            .enumerate();
        let mut rows: Vec<BackwardRow> = rows
            .map(|(n, (((gates, dc), dy), c_new))| BackwardRow {
                gates: &mut gates[t * width..][..width],
                dc,
                dh_new: [&dy[t * hidden..][..hidden], &dh[n * hidden..][..hidden]],
                c_new: &c_new[t * hidden..][..hidden],
                c: match t {
                    0 => c0.map(|c0| &c0[n * hidden..][..hidden]),
                    _ => Some(&c_new[(t - 1) * hidden..][..hidden]),
                },
            })
            .collect();
        gates::backward(isa, &mut rows);
        drop(rows);
        if let Some(w_hh) = w_hh.as_ref().filter(|_| t > 0 || h0_wanted) {
            let da = Matrix::strided(&gates[t * width..], batch, width, stride);
            gemm_packed(isa, da, w_hh, Product::into(&mut dh, hidden));
        }
    }
    (dh, dc)
}

/// `dW_hh = da^T h` over all steps. Sets `da` of the first steps to zero.
fn dw_hh(isa: Isa, job: &Job, h_new: &[f32], da: &mut [f32]) -> Tensor {
    let &Job { batch, hidden, .. } = job;
    let (width, stride) = job.gate_strides();
    let mut dw = memory::zeros(width * hidden);
    if let Some(h0) = job.h0() {
        let first = Matrix::strided(da, batch, width, stride);
        let h0 = Matrix::new(h0.data(), batch, hidden);
        gemm(isa, first.t(), h0, Product::into(&mut dw, hidden));
    }
    if job.rows() > 1 && job.steps > 1 {
        // Each row of da is multiplied with the row of h' before it. Before the first step of a sequence that row belongs to
        // another sequence, so da of the first steps, which is no longer needed, is set to zero.
        da.chunks_exact_mut(stride.max(1))
            .for_each(|da| da[..width].fill(0.0));
        let da = Matrix::new(&da[width..], job.rows() - 1, width);
        let h = Matrix::new(h_new, job.rows() - 1, hidden);
        let out = Product::into(&mut dw, hidden);
        let out = match job.h0() {
            Some(_) => out.accumulate(),
            None => out,
        };
        gemm(isa, da.t(), h, out);
    }
    Tensor::computed(dw, job.weights.w_hh.dims())
}
