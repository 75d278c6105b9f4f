//! The GPU version: matrix products, `shaders/attention_lstm.wgsl` for the attention, and [`crate::gpu::gates`] for
//! the gates.
//!
//! The results end with `c'` of the last step. Their buffer continues with `c'` of the earlier steps, from the last but one
//! to the first. So the LSTM's shader has `c'` of all steps and `h'` in one buffer.

use super::{BIAS, C0, H0, Job, KEYS, SCORE, Saved, VALUES, W_HH, W_IH, X};
use crate::error::Result;
use crate::gpu::copy::Rows;
use crate::gpu::gates::{self, Step, StepGradients};
use crate::gpu::gemm::{Matrix, Product, gemm};
use crate::gpu::kernel::Kernel;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::{Tensor, Wanted};

shader_params! {
    /// The sizes, the step, and where the inputs begin in their buffers.
    struct Params of AttentionLstm {
        sentences: u32,
        steps: u32,
        step: u32,
        images: u32,
        positions: u32,
        key: u32,
        value: u32,
        hidden: u32,
        keys_start: u32,
        values_start: u32,
        score_start: u32,
        bias_start: u32,
        dy_start: u32,
        h0_start: u32,
    }
}

/// A pass: its inputs and intermediate results on the GPU.
struct Pass<'a> {
    gpu: &'a Gpu,
    job: &'a Job,
    keys: Slice,
    values: Slice,
    score: Slice,
    bias: Slice,
    w_ih: Slice,
    w_hh: Slice,
    h0: Slice,
    c0: Slice,
    /// The results, and after them `c'` of the earlier steps. The shader calls it `outputs`.
    results: Slice,
    /// `[S, T, A + V + 4H]`: `q`, `beta`, and the gates i, f, g, o of every step; overwritten by `dq`, `dr`, `da`.
    rows: Slice,
    /// `[S, T, V]`: `m`, overwritten by `dm`. If a gradient is wanted, it is followed by room for `q` `[S, T, A]`, `de`
    /// `[S, T, P]`, and `dz` `[S, V]`. The shader calls it `saved`.
    means: Slice,
    /// The result of [`lists`].
    lists: Slice,
}

impl<'a> Pass<'a> {
    fn new(gpu: &'a Gpu, job: &'a Job, [results, rows, means]: [Slice; 3]) -> Result<Self> {
        Ok(Pass {
            gpu,
            job,
            keys: job.keys.on(gpu)?,
            values: job.values.on(gpu)?,
            score: job.weights.score.on(gpu)?,
            bias: job.weights.bias.on(gpu)?,
            w_ih: job.weights.w_ih.on(gpu)?,
            w_hh: job.weights.w_hh.on(gpu)?,
            h0: job.h0.on(gpu)?,
            c0: job.c0.on(gpu)?,
            results,
            rows,
            means,
            lists: gpu.upload(&lists(job))?.into(),
        })
    }

    /// An entry point of the attention's shader for step `t`, with the buffers that both passes bind.
    fn attention(&self, entry: &'static str, t: usize, dy_start: u32) -> Kernel<'_> {
        self.kernel(entry, t, dy_start)
            .write(1, &self.rows)
            .read(2, &self.keys)
            .read(3, &self.values)
            .read(4, &self.score)
            .write(6, &self.results)
            .write(7, &self.means)
            .read(8, &self.lists)
    }

    /// The columns of `W_ih` that read the word, and those that read the context: `[4H, E]` and `[4H, V]`.
    fn input_weights(&self) -> [Matrix; 2] {
        let s = self.job.sizes;
        let words = Matrix::new(self.w_ih.clone(), s.inputs + s.value);
        let contexts = Matrix::new(self.w_ih.after(s.inputs), s.inputs + s.value);
        [words, contexts]
    }

    /// An entry point of the attention's shader, for step `t`; `dy_start` is the offset of the gradient with respect to the
    /// results.
    fn kernel(&self, entry: &'static str, t: usize, dy_start: u32) -> Kernel<'a> {
        let s = self.job.sizes;
        self.gpu
            .kernel(Shader::AttentionLstm, entry)
            .params(&Params {
                sentences: s.sentences as u32,
                steps: s.steps as u32,
                step: t as u32,
                images: s.images as u32,
                positions: s.positions as u32,
                key: s.key as u32,
                value: s.value as u32,
                hidden: s.hidden as u32,
                keys_start: self.keys.start(),
                values_start: self.values.start(),
                score_start: self.score.start(),
                bias_start: self.bias.start(),
                dy_start,
                h0_start: self.h0.start(),
            })
    }

    /// Where the arrays of the LSTM's step `t` are.
    fn step(&self, t: usize) -> Step {
        let s = self.job.sizes;
        let [_, _, last_cells, _] = s.parts();
        // The cells of the last step come first.
        let cells = |t: usize| Rows {
            data: self
                .results
                .after(last_cells + (s.steps - 1 - t) * s.sentences * s.hidden),
            stride: s.hidden,
        };
        let c0 = Rows::new(self.c0.clone(), s.hidden);
        Step {
            batch: s.sentences,
            hidden: s.hidden,
            gates: Rows::new(
                self.rows.after(t * s.recurrent() + s.gates()),
                s.steps * s.recurrent(),
            ),
            h_new: Rows::new(self.results.after(t * s.output()), s.steps * s.output()),
            c_new: cells(t),
            c: Some(if t == 0 { c0 } else { cells(t - 1) }),
        }
    }

    /// The rows of one step, from a matrix with a row for each step of each sentence. `data` begins with the first of them;
    /// the rows of successive steps are `width` elements apart.
    fn step_of(&self, data: Slice, width: usize) -> Matrix {
        Matrix::new(data, self.job.sizes.steps * width)
    }
}

/// The image of each sentence; the sentences sorted by image; and for each image where its sentences begin and end in that
/// order.
fn lists(job: &Job) -> Vec<u32> {
    let image_of = &job.image_of;
    let mut order: Vec<usize> = (0..image_of.len()).collect();
    order.sort_by_key(|&sentence| image_of[sentence]);
    let begins = (0..=job.sizes.images)
        .map(|image| order.partition_point(|&sentence| image_of[sentence] < image));
    let all = image_of
        .iter()
        .copied()
        .chain(order.iter().copied())
        .chain(begins);
    all.map(|n| n as u32).collect()
}

/// All results and, if a gradient is wanted, room for the intermediate results of the backward pass.
pub(crate) fn forward(gpu: &Gpu, job: &Job) -> Result<Saved> {
    let s = job.sizes;
    let (width, [_, _, last_cells, end]) = (s.recurrent(), s.parts());
    let all_results = last_cells + s.rows() * s.hidden;
    let means = s.rows() * s.value;
    let more = s.rows() * (s.key + s.positions) + s.sentences * s.value;
    let results = Slice::from(gpu.unset(all_results)?);
    let means = Slice::from(gpu.unset(means + if job.is_tracked() { more } else { 0 })?);
    // Queries and the context's gates start at zero, so one product can add the state's part to all of `rows`.
    let rows = Slice::from(gpu.zeros(s.rows() * width)?);
    let pass = Pass::new(gpu, job, [results, rows, means])?;
    let [w_ix, _] = pass.input_weights();
    let gates = Product {
        bias: Some(pass.bias.after(s.value)),
        ..Product::into(pass.rows.after(s.gates()), width)
    };
    let x = Matrix::new(job.x.on(gpu)?, s.inputs);
    let sizes = [s.rows(), s.inputs, 4 * s.hidden];
    gemm(gpu, sizes, &x, &w_ix.t(), &gates)?;
    for t in 0..s.steps {
        forward_step(&pass, t)?;
    }
    Ok(Saved {
        // A tensor of its own, so that reading it does not read the earlier cells.
        results: Tensor::from_gpu(pass.results.buffer, &[end]),
        rows: Tensor::from_gpu(pass.rows.buffer, &[s.rows(), width]),
        means: Tensor::from_gpu(pass.means.buffer, &[s.rows(), s.value]),
        cells: Tensor::zeros(&[0]),
    })
}

fn forward_step(pass: &Pass, t: usize) -> Result<()> {
    let (gpu, s) = (pass.gpu, pass.job.sizes);
    let width = s.recurrent();
    let add_to = |first: usize| Product {
        accumulate: true,
        ..Product::into(pass.rows.after(first), s.steps * width)
    };
    let h = match t {
        0 => Matrix::new(pass.h0.clone(), s.hidden),
        _ => pass.step_of(pass.results.after((t - 1) * s.output()), s.output()),
    };
    let w_hh = Matrix::new(pass.w_hh.clone(), s.hidden).t();
    let sizes = [s.sentences, s.hidden, width];
    gemm(gpu, sizes, &h, &w_hh, &add_to(t * width))?;
    pass.attention("attention_lstm_forward", t, 0)
        .read(5, &pass.bias)
        .groups(s.sentences)?;
    let z = pass.results.after(t * s.output() + s.hidden);
    let z = pass.step_of(z, s.output());
    let [_, w_iz] = pass.input_weights();
    let gates = add_to(t * width + s.gates());
    let sizes = [s.sentences, s.value, 4 * s.hidden];
    gemm(gpu, sizes, &z, &w_iz.t(), &gates)?;
    gates::forward(gpu, &pass.step(t), &pass.w_ih)
}

/// The wanted gradients. `dy` is laid out like the results.
pub(crate) fn backward(
    gpu: &Gpu,
    job: &Job,
    saved: Saved,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Vec<Option<Tensor>>> {
    let (s, weights) = (job.sizes, &job.weights);
    // The results begin their buffer, so this also reaches the cells behind them.
    let buffers = [
        saved.results.on(gpu)?,
        saved.rows.on(gpu)?,
        saved.means.on(gpu)?,
    ];
    let pass = Pass::new(gpu, job, buffers)?;
    let (dh, dc) = walk_back(&pass, &dy.on(gpu)?, wanted.has(H0))?;
    let [dkeys, dscore] = match wanted.has(KEYS) || wanted.has(SCORE) {
        true => key_gradients(&pass)?.map(Some),
        false => [None, None],
    };
    let da = Matrix::new(pass.rows.after(s.gates()), s.recurrent());
    let dx = || {
        let dx = Slice::from(gpu.unset(job.x.len())?);
        let [w_ix, _] = pass.input_weights();
        let out = Product::into(dx.clone(), s.inputs);
        gemm(gpu, [s.rows(), 4 * s.hidden, s.inputs], &da, &w_ix, &out)?;
        Ok(Tensor::from_gpu(dx.buffer, job.x.dims()))
    };
    let dw_ih = || {
        let dw = Slice::from(gpu.unset(weights.w_ih.len())?);
        let x = Matrix::new(job.x.on(gpu)?, s.inputs);
        let z = Matrix::new(pass.results.after(s.hidden), s.output());
        for (read, columns, first) in [(x, s.inputs, 0), (z, s.value, s.inputs)] {
            let out = Product::into(dw.after(first), s.inputs + s.value);
            gemm(gpu, [4 * s.hidden, s.rows(), columns], &da.t(), &read, &out)?;
        }
        Ok(Tensor::from_gpu(dw.buffer, weights.w_ih.dims()))
    };
    let db = || {
        let biased = Rows::new(pass.rows.after(s.key), s.recurrent());
        let db = sum::rows(gpu, &biased, [s.rows(), s.value + 4 * s.hidden])?;
        Ok(Tensor::from_gpu(db, weights.bias.dims()))
    };
    Ok(vec![
        wanted.then(X, dx)?,
        dkeys.filter(|_| wanted.has(KEYS)),
        wanted.then(VALUES, || value_gradients(&pass))?,
        wanted.then(H0, || Ok(Tensor::from_gpu(dh.buffer, job.h0.dims())))?,
        wanted.then(C0, || Ok(Tensor::from_gpu(dc.buffer, job.c0.dims())))?,
        wanted.then(W_IH, dw_ih)?,
        wanted.then(W_HH, || recurrent_gradients(&pass))?,
        wanted.then(BIAS, db)?,
        dscore.filter(|_| wanted.has(SCORE)),
    ])
}

/// Goes from the last step to the first. Returns `dh` and `dc` of the first step, the gradients with respect to `h0` and
/// `c0`; `dh` has meaning only if `h0_wanted`.
fn walk_back(pass: &Pass, dy: &Slice, h0_wanted: bool) -> Result<(Slice, Slice)> {
    let (gpu, s) = (pass.gpu, pass.job.sizes);
    let width = s.recurrent();
    let [_, _, cells_at, _] = s.parts();
    let dc = Slice::from(gpu.unset(s.sentences * s.hidden)?);
    gpu.copy(&dy.after(cells_at), &dc, s.sentences * s.hidden)?;
    let dh = Slice::from(gpu.unset(s.sentences * s.hidden)?);
    let dz = pass.means.after(s.rows() * (s.value + s.key + s.positions));
    let [_, w_iz] = pass.input_weights();
    let w_hh = Matrix::new(pass.w_hh.clone(), s.hidden);
    for t in (0..s.steps).rev() {
        let dy_of_h = Rows::new(dy.after(t * s.output()), s.steps * s.output());
        let gradients = StepGradients {
            dy: &dy_of_h,
            dh: &dh,
            is_last: t + 1 == s.steps,
            dc: &dc,
        };
        gates::backward(gpu, &pass.step(t), &gradients)?;
        let da = pass.step_of(pass.rows.after(t * width + s.gates()), width);
        let to_dz = Product::into(dz.clone(), s.value);
        let sizes = [s.sentences, 4 * s.hidden, s.value];
        gemm(gpu, sizes, &da, &w_iz, &to_dz)?;
        pass.attention("attention_lstm_backward", t, dy.start())
            .read(9, dy)
            .groups(s.sentences)?;
        if t > 0 || h0_wanted {
            let all = pass.step_of(pass.rows.after(t * width), width);
            let to_dh = Product::into(dh.clone(), s.hidden);
            gemm(gpu, [s.sentences, width, s.hidden], &all, &w_hh, &to_dh)?;
        }
    }
    Ok((dh, dc))
}

/// The gradients with respect to the keys and to `score`.
fn key_gradients(pass: &Pass) -> Result<[Tensor; 2]> {
    let (gpu, keys, s) = (pass.gpu, &pass.job.keys, pass.job.sizes);
    let dkeys = Slice::from(gpu.unset(keys.len())?);
    let parts = Slice::from(gpu.unset(keys.len())?);
    pass.kernel("attention_lstm_dkeys", 0, 0)
        .read(2, &pass.keys)
        .read(4, &pass.score)
        .write(7, &pass.means)
        .read(8, &pass.lists)
        .write(10, &dkeys)
        .write(11, &parts)
        .over(keys.len())?;
    let parts = Rows::new(parts, s.key);
    let dscore = sum::rows(gpu, &parts, [s.images * s.positions, s.key])?;
    Ok([
        Tensor::from_gpu(dkeys.buffer, keys.dims()),
        Tensor::from_gpu(dscore, &[s.key]),
    ])
}

/// The gradient with respect to the values.
fn value_gradients(pass: &Pass) -> Result<Tensor> {
    let values = &pass.job.values;
    let dvalues = Slice::from(pass.gpu.unset(values.len())?);
    pass.kernel("attention_lstm_dvalues", 0, 0)
        .write(6, &pass.results)
        .write(7, &pass.means)
        .read(8, &pass.lists)
        .write(12, &dvalues)
        .over(values.len())?;
    Ok(Tensor::from_gpu(dvalues.buffer, values.dims()))
}

/// The gradient with respect to `W_hh`: the product of `[dq, dr, da]` with `h` before every step.
fn recurrent_gradients(pass: &Pass) -> Result<Tensor> {
    let (gpu, s) = (pass.gpu, pass.job.sizes);
    let w_hh = &pass.job.weights.w_hh;
    let h = Slice::from(gpu.unset(s.rows() * s.hidden)?);
    pass.kernel("attention_lstm_states_before", 0, 0)
        .write(6, &pass.results)
        .write(13, &h)
        .read(14, &pass.h0)
        .over(s.rows() * s.hidden)?;
    let dw = Slice::from(gpu.unset(w_hh.len())?);
    let all = Matrix::new(pass.rows.clone(), s.recurrent());
    let (h, out) = (
        Matrix::new(h, s.hidden),
        Product::into(dw.clone(), s.hidden),
    );
    let sizes = [s.recurrent(), s.rows(), s.hidden];
    gemm(gpu, sizes, &all.t(), &h, &out)?;
    Ok(Tensor::from_gpu(dw.buffer, w_hh.dims()))
}
