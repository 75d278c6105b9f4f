//! The steps on the GPU: matrix products of [`crate::gpu::gemm`], and [`crate::gpu::gates`] for the gates.
//!
//! `h'` and `c'` of all steps are one buffer `[2, N, T, H]`, because a dispatch that writes a buffer may bind it only once.

use super::{BIAS, C0, H0, Job, Saved, W_HH, W_IH, X};
use crate::error::Result;
use crate::gpu::copy::{self, Rows};
use crate::gpu::gates::{self, Step, StepGradients};
use crate::gpu::gemm::{Matrix, Product, gemm};
use crate::gpu::{Gpu, Slice, sum};
use crate::tensor::{Tensor, Wanted};

/// `h'`, `c'` and the gates of every step.
pub(crate) fn forward(gpu: &Gpu, job: &Job) -> Result<Saved> {
    let &Job {
        batch,
        steps,
        inputs,
        hidden,
        ..
    } = job;
    let (rows, width) = (job.rows(), 4 * hidden);
    let gates = Slice::from(gpu.unset(rows * width)?);
    let states = Slice::from(gpu.unset(2 * rows * hidden)?);
    let w_ih = Matrix::new(job.weights.w_ih.on(gpu)?, inputs).t();
    let w_hh = Matrix::new(job.weights.w_hh.on(gpu)?, hidden).t();
    let a = Product {
        bias: Some(job.weights.bias.on(gpu)?),
        ..Product::into(gates.clone(), width)
    };
    let x = Matrix::new(job.x.on(gpu)?, inputs);
    gemm(gpu, [rows, inputs, width], &x, &w_ih, &a)?;
    let h0 = job.h0().map(|h0| h0.on(gpu)).transpose()?;
    let c0 = job.c0().map(|c0| c0.on(gpu)).transpose()?;
    for t in 0..steps {
        let h = match t {
            0 => h0.as_ref().map(|h| Matrix::new(h.clone(), hidden)),
            _ => Some(Matrix {
                row: steps * hidden,
                ..Matrix::new(states.after((t - 1) * hidden), hidden)
            }),
        };
        if let Some(h) = h {
            let a = Product {
                accumulate: true,
                ..Product::into(gates.after(t * width), steps * width)
            };
            gemm(gpu, [batch, hidden, width], &h, &w_hh, &a)?;
        }
        gates::forward(gpu, &step(job, &gates, &states, &c0, t), &w_ih.data)?;
    }
    Ok(Saved {
        states: Tensor::from_gpu(states.buffer, &[2, batch, steps, hidden]),
        gates: Tensor::from_gpu(gates.buffer, &[batch, steps, width]),
    })
}

/// Where the arrays of step `t` are.
fn step(job: &Job, gates: &Slice, states: &Slice, c0: &Option<Slice>, t: usize) -> Step {
    let &Job {
        batch,
        steps,
        hidden,
        ..
    } = job;
    let states_from = |first: usize| Rows::new(states.after(first), steps * hidden);
    let cells = job.rows() * hidden;
    let c0 = c0.clone().map(|data| Rows::new(data, hidden));
    Step {
        batch,
        hidden,
        gates: Rows::new(gates.after(t * 4 * hidden), steps * 4 * hidden),
        h_new: states_from(t * hidden),
        c_new: states_from(cells + t * hidden),
        c: match t {
            0 => c0,
            _ => Some(states_from(cells + (t - 1) * hidden)),
        },
    }
}

/// The gradients: first `da`, which overwrites the gates from the last step to the first; then one product for each wanted
/// gradient.
pub(crate) fn backward(
    gpu: &Gpu,
    job: &Job,
    saved: Saved,
    d_output: &Tensor,
    wanted: Wanted,
) -> Result<Vec<Option<Tensor>>> {
    let (inputs, rows, width) = (job.inputs, job.rows(), 4 * job.hidden);
    let states = saved.states.on(gpu)?;
    let da = saved.gates.on(gpu)?;
    let (dh, dc) = walk_back(gpu, job, &da, &states, d_output, wanted.has(H0))?;
    let all = Matrix::new(da.clone(), width);
    let product = |sizes: [usize; 3], left: &Matrix, right: &Matrix, dims: &[usize]| {
        let out = Slice::from(gpu.unset(sizes[0] * sizes[2])?);
        gemm(
            gpu,
            sizes,
            left,
            right,
            &Product::into(out.clone(), sizes[2]),
        )?;
        Ok(Tensor::from_gpu(out.buffer, dims))
    };
    let dx = || {
        let w_ih = Matrix::new(job.weights.w_ih.on(gpu)?, inputs);
        product([rows, width, inputs], &all, &w_ih, job.x.dims())
    };
    let dw_ih = || {
        let x = Matrix::new(job.x.on(gpu)?, inputs);
        product([width, rows, inputs], &all.t(), &x, &[width, inputs])
    };
    let dw_hh = || {
        let h = Matrix::new(states_before(gpu, job, &states)?, job.hidden);
        let dims = [width, job.hidden];
        product([width, rows, job.hidden], &all.t(), &h, &dims)
    };
    let db = || {
        let da = Rows::new(da.clone(), width);
        let db = sum::rows(gpu, &da, [rows, width])?;
        Ok(Tensor::from_gpu(db, &[width]))
    };
    let state = [job.batch, job.hidden];
    Ok(vec![
        wanted.then(X, dx)?,
        wanted.then(W_IH, dw_ih)?,
        wanted.then(W_HH, dw_hh)?,
        wanted.then(BIAS, db)?,
        wanted.then(H0, || Ok(Tensor::from_gpu(dh.buffer, &state)))?,
        wanted.then(C0, || Ok(Tensor::from_gpu(dc.buffer, &state)))?,
    ])
}

/// Overwrites the gates with `da`, from the last step to the first. Returns `dh` and `dc` of the first
/// step; `dh` has meaning only if `h0_wanted`.
fn walk_back(
    gpu: &Gpu,
    job: &Job,
    gates: &Slice,
    states: &Slice,
    d_output: &Tensor,
    h0_wanted: bool,
) -> Result<(Slice, Slice)> {
    let &Job {
        batch,
        steps,
        hidden,
        ..
    } = job;
    let width = 4 * hidden;
    let d_output = d_output.on(gpu)?;
    let dc = match job.state {
        None => Slice::from(gpu.zeros(batch * hidden)?),
        Some(_) => {
            let dc = Slice::from(gpu.unset(batch * hidden)?);
            let from_tape = d_output.after(job.rows() * hidden);
            gpu.copy(&from_tape, &dc, batch * hidden)?;
            dc
        }
    };
    // dh of step t + 1 while step t is computed.
    let dh = Slice::from(gpu.unset(batch * hidden)?);
    let w_hh = Matrix::new(job.weights.w_hh.on(gpu)?, hidden);
    let c0 = job.c0().map(|c0| c0.on(gpu)).transpose()?;
    for t in (0..steps).rev() {
        let dy = Rows::new(d_output.after(t * hidden), steps * hidden);
        let gradients = StepGradients {
            dy: &dy,
            dh: &dh,
            is_last: t + 1 == steps,
            dc: &dc,
        };
        gates::backward(gpu, &step(job, gates, states, &c0, t), &gradients)?;
        if t > 0 || h0_wanted {
            let da = Matrix {
                row: steps * width,
                ..Matrix::new(gates.after(t * width), width)
            };
            let out = Product::into(dh.clone(), hidden);
            gemm(gpu, [batch, width, hidden], &da, &w_hh, &out)?;
        }
    }
    Ok((dh, dc))
}

/// `h` before each step, `[N, T, H]`: `h0` or zero, then `h'` of all steps but the last.
fn states_before(gpu: &Gpu, job: &Job, states: &Slice) -> Result<Slice> {
    let &Job {
        batch,
        steps,
        hidden,
        ..
    } = job;
    let h = Rows::new(gpu.zeros(job.rows() * hidden)?, steps * hidden);
    let h_new = Rows::new(states.clone(), steps * hidden);
    let later = [batch, steps.saturating_sub(1) * hidden];
    copy::columns(gpu, &h_new, &h.from_column(hidden), later)?;
    if let Some(h0) = job.h0() {
        let h0 = Rows::new(h0.on(gpu)?, hidden);
        copy::columns(gpu, &h0, &h, [batch, hidden])?;
    }
    Ok(h.data)
}
