//! The GPU version: matrix products, `shaders/attention_lstm.wgsl` for the attention, and `shaders/lstm.wgsl` for the
//! gates.
//!
//! The results end with `c'` of the last step. Their buffer continues with `c'` of the earlier steps, from the last but one
//! to the first. So the LSTM's shader has `c'` of all steps and `h'` in one buffer.

use super::{Grads, Inputs, Wanted};
use crate::error::Result;
use crate::gpu::copy::Rows;
use crate::gpu::gemm::{Matrix, Product, gemm};
use crate::gpu::kernel::Kernel;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

/// The results of a forward pass.
pub(crate) struct ForwardResults {
    /// The results, and after them `c'` of the earlier steps.
    pub(crate) results: Slice,
    /// `[S, T, A + V + 4H]`: `q`, `beta`, and the gates i, f, g, o of every step.
    rows: Slice,
    /// `[S, T, V]`: `m`; after it room for `q` `[S, T, A]`, `de` `[S, T, P]`, and `dz` `[S, V]` of the backward pass.
    saved: Slice,
    /// The result of [`lists`].
    lists: Slice,
}

/// A pass, and its inputs on the GPU.
struct Pass<'a> {
    gpu: &'a Gpu,
    inputs: &'a Inputs,
    keys: Slice,
    values: Slice,
    score: Slice,
    bias: Slice,
    w_ih: Slice,
    w_hh: Slice,
    h0: Slice,
    c0: Slice,
}

impl<'a> Pass<'a> {
    fn new(gpu: &'a Gpu, inputs: &'a Inputs) -> Result<Self> {
        Ok(Pass {
            gpu,
            inputs,
            keys: inputs.keys.on(gpu)?,
            values: inputs.values.on(gpu)?,
            score: inputs.weights.score.on(gpu)?,
            bias: inputs.weights.bias.on(gpu)?,
            w_ih: inputs.weights.w_ih.on(gpu)?,
            w_hh: inputs.weights.w_hh.on(gpu)?,
            h0: inputs.h0.on(gpu)?,
            c0: inputs.c0.on(gpu)?,
        })
    }

    /// The columns of `W_ih` that read the word, and those that read the context: `[4H, E]` and `[4H, V]`.
    fn input_weights(&self) -> [Matrix; 2] {
        let s = self.inputs.sizes;
        let words = Matrix::new(self.w_ih.clone(), s.inputs + s.value);
        let contexts = Matrix::new(self.w_ih.after(s.inputs), s.inputs + s.value);
        [words, contexts]
    }

    /// The offset of `c'` of step `t` in the buffer of the results.
    fn cells(&self, t: usize) -> usize {
        let s = self.inputs.sizes;
        let [_, _, last, _] = s.parts();
        last + (s.steps - 1 - t) * s.sentences * s.hidden
    }

    /// An entry point of the attention's shader, for step `t`; `above` is the offset of the gradient from above.
    fn kernel(&self, entry: &'static str, t: usize, above: u32) -> Kernel<'a> {
        let s = self.inputs.sizes;
        let sizes = [
            s.sentences,
            s.steps,
            t,
            s.images,
            s.positions,
            s.key,
            s.value,
            s.hidden,
        ];
        let starts = [
            self.keys.start(),
            self.values.start(),
            self.score.start(),
            self.bias.start(),
            above,
            self.h0.start(),
        ];
        self.gpu
            .kernel(Shader::AttentionLstm, entry)
            .words(&sizes.map(|n| n as u32))
            .words(&starts)
    }

    /// An entry point of the LSTM's shader, for step `t`. `before` is the offset of `c` before the step in its buffer, and
    /// `above` that of the gradient with respect to `h'` from above.
    fn gates(&self, entry: &'static str, t: usize, before: usize, above: usize) -> Kernel<'a> {
        let s = self.inputs.sizes;
        let params = [
            s.sentences,
            s.hidden,
            t * s.recurrent() + s.gates(),
            s.steps * s.recurrent(),
            t * s.output(),
            s.steps * s.output(),
            self.cells(t),
            s.hidden,
            before,
            s.hidden,
            above,
            s.steps * s.output(),
            0,
        ];
        self.gpu
            .kernel(Shader::Lstm, entry)
            .words(&params.map(|n| n as u32))
    }

    /// The rows of one step, from a matrix with a row for each step of each sentence. `data` begins with the first of them;
    /// the rows of successive steps are `width` elements apart.
    fn step_of(&self, data: Slice, width: usize) -> Matrix {
        Matrix::new(data, self.inputs.sizes.steps * width)
    }
}

/// The image of each sentence; the sentences sorted by image; and for each image where its sentences begin and end in that
/// order.
fn lists(inputs: &Inputs) -> Vec<u32> {
    let image_of = &inputs.image_of;
    let mut order: Vec<usize> = (0..image_of.len()).collect();
    order.sort_by_key(|&sentence| image_of[sentence]);
    let begins = (0..=inputs.sizes.images)
        .map(|image| order.partition_point(|&sentence| image_of[sentence] < image));
    let all = image_of
        .iter()
        .copied()
        .chain(order.iter().copied())
        .chain(begins);
    all.map(|n| n as u32).collect()
}

/// Runs all steps. `keep` leaves room in the buffers for the results of the backward pass.
pub(crate) fn forward(gpu: &Gpu, inputs: &Inputs, keep: bool) -> Result<ForwardResults> {
    let pass = Pass::new(gpu, inputs)?;
    let s = inputs.sizes;
    let (width, [_, _, last_cells, _]) = (s.recurrent(), s.parts());
    let results = Slice::from(gpu.unset(last_cells + s.rows() * s.hidden)?);
    let means = s.rows() * s.value;
    let more = s.rows() * (s.key + s.positions) + s.sentences * s.value;
    let saved = Slice::from(gpu.unset(means + if keep { more } else { 0 })?);
    let lists = Slice::from(gpu.upload(&lists(inputs))?);
    // Queries and the context's gates start at zero, so one product can add the state's part to all of `rows`.
    let rows = Slice::from(gpu.zeros(s.rows() * width)?);
    let [w_ix, w_iz] = pass.input_weights();
    let w_hh = Matrix::new(pass.w_hh.clone(), s.hidden).t();
    let gates = Product {
        bias: Some(pass.bias.after(s.value)),
        ..Product::into(rows.after(s.gates()), width)
    };
    let x = Matrix::new(inputs.x.on(gpu)?, s.inputs);
    gemm(
        gpu,
        [s.rows(), s.inputs, 4 * s.hidden],
        &x,
        &w_ix.t(),
        &gates,
    )?;
    let add_to = |first: usize| Product {
        accumulate: true,
        ..Product::into(rows.after(first), s.steps * width)
    };
    for t in 0..s.steps {
        let h = match t {
            0 => Matrix::new(pass.h0.clone(), s.hidden),
            _ => pass.step_of(results.after((t - 1) * s.output()), s.output()),
        };
        gemm(
            gpu,
            [s.sentences, s.hidden, width],
            &h,
            &w_hh,
            &add_to(t * width),
        )?;
        pass.kernel("attention_lstm_forward", t, 0)
            .write(1, &rows)
            .read(2, &pass.keys)
            .read(3, &pass.values)
            .read(4, &pass.score)
            .read(5, &pass.bias)
            .write(6, &results)
            .write(7, &saved)
            .read(8, &lists)
            .groups(s.sentences)?;
        let z = pass.step_of(results.after(t * s.output() + s.hidden), s.output());
        let gates = add_to(t * width + s.gates());
        gemm(
            gpu,
            [s.sentences, s.value, 4 * s.hidden],
            &z,
            &w_iz.t(),
            &gates,
        )?;
        // A binding that the kernel does not use gets a buffer that this dispatch does not write.
        let (c_source, before, buffer) = match t {
            0 => (1, pass.c0.offset, &pass.c0),
            _ => (2, pass.cells(t - 1), &pass.w_ih),
        };
        pass.gates("lstm_forward", t, before, 0)
            .constant("BEFORE", c_source)
            .write(1, &rows)
            .read(2, buffer)
            .write(3, &results)
            .over(s.sentences * s.hidden)?;
    }
    Ok(ForwardResults {
        results,
        rows,
        saved,
        lists,
    })
}

/// The wanted gradients. `above` is laid out like the results.
pub(crate) fn backward(
    gpu: &Gpu,
    inputs: &Inputs,
    forward: &ForwardResults,
    above: &Tensor,
    wanted: Wanted,
) -> Result<Grads> {
    let pass = Pass::new(gpu, inputs)?;
    let s = inputs.sizes;
    let above = above.on(gpu)?;
    let (dh, dc) = walk_back(&pass, forward, &above, wanted.h0)?;
    let weights = &inputs.weights;
    let [dkeys, dscore] = match wanted.keys || wanted.score {
        true => key_grads(&pass, forward)?.map(Some),
        false => [None, None],
    };
    let dvalues = || {
        let dvalues = Slice::from(gpu.unset(inputs.values.len())?);
        pass.kernel("attention_lstm_value_grads", 0, 0)
            .write(6, &forward.results)
            .write(7, &forward.saved)
            .read(8, &forward.lists)
            .write(10, &dvalues)
            .over(inputs.values.len())?;
        Ok(Tensor::from_gpu(dvalues.buffer, inputs.values.dims()))
    };
    let (width, words) = (s.recurrent(), s.inputs + s.value);
    let all = Matrix::new(forward.rows.clone(), width);
    let da = Matrix::new(forward.rows.after(s.gates()), width);
    let dx = || {
        let dx = Slice::from(gpu.unset(inputs.x.len())?);
        let [w_ix, _] = pass.input_weights();
        let out = Product::into(dx.clone(), s.inputs);
        gemm(gpu, [s.rows(), 4 * s.hidden, s.inputs], &da, &w_ix, &out)?;
        Ok(Tensor::from_gpu(dx.buffer, inputs.x.dims()))
    };
    let dw_ih = || {
        let dw = Slice::from(gpu.unset(weights.w_ih.len())?);
        let x = Matrix::new(inputs.x.on(gpu)?, s.inputs);
        let z = Matrix::new(forward.results.after(s.hidden), s.output());
        for (read, columns, first) in [(x, s.inputs, 0), (z, s.value, s.inputs)] {
            let out = Product::into(dw.after(first), words);
            gemm(gpu, [4 * s.hidden, s.rows(), columns], &da.t(), &read, &out)?;
        }
        Ok(Tensor::from_gpu(dw.buffer, weights.w_ih.dims()))
    };
    let dw_hh = || {
        let before = Slice::from(gpu.unset(s.rows() * s.hidden)?);
        pass.kernel("attention_lstm_states_before", 0, 0)
            .read(5, &pass.h0)
            .write(6, &forward.results)
            .write(10, &before)
            .over(s.rows() * s.hidden)?;
        let dw = Slice::from(gpu.unset(weights.w_hh.len())?);
        let before = Matrix::new(before, s.hidden);
        let out = Product::into(dw.clone(), s.hidden);
        gemm(gpu, [width, s.rows(), s.hidden], &all.t(), &before, &out)?;
        Ok(Tensor::from_gpu(dw.buffer, weights.w_hh.dims()))
    };
    let db = || {
        let biased = Rows {
            data: forward.rows.after(s.key),
            stride: width,
        };
        let db = sum::rows(gpu, &biased, [s.rows(), s.value + 4 * s.hidden])?;
        Ok(Tensor::from_gpu(db, weights.bias.dims()))
    };
    Ok(Grads {
        x: wanted.x.then(dx).transpose()?,
        keys: dkeys,
        values: wanted.values.then(dvalues).transpose()?,
        h0: wanted
            .h0
            .then(|| Tensor::from_gpu(dh.buffer, inputs.h0.dims())),
        c0: wanted
            .c0
            .then(|| Tensor::from_gpu(dc.buffer, inputs.c0.dims())),
        w_ih: wanted.w_ih.then(dw_ih).transpose()?,
        w_hh: wanted.w_hh.then(dw_hh).transpose()?,
        bias: wanted.bias.then(db).transpose()?,
        score: dscore,
    })
}

/// Goes from the last step to the first; returns the gradients with respect to the state before the first.
fn walk_back(
    pass: &Pass,
    forward: &ForwardResults,
    above: &Slice,
    h0_wanted: bool,
) -> Result<(Slice, Slice)> {
    let (gpu, s) = (pass.gpu, pass.inputs.sizes);
    let width = s.recurrent();
    let [_, _, cells_at, _] = s.parts();
    let ForwardResults {
        results,
        rows,
        saved,
        lists,
    } = forward;
    let dc = Slice::from(gpu.unset(s.sentences * s.hidden)?);
    gpu.copy(&above.after(cells_at), &dc, s.sentences * s.hidden)?;
    let dh = Slice::from(gpu.unset(s.sentences * s.hidden)?);
    let dz = saved.after(s.rows() * (s.value + s.key + s.positions));
    let [_, w_iz] = pass.input_weights();
    let w_hh = Matrix::new(pass.w_hh.clone(), s.hidden);
    for t in (0..s.steps).rev() {
        let (before, buffer) = match t {
            0 => (pass.c0.offset, &pass.c0),
            _ => (pass.cells(t - 1), results),
        };
        pass.gates("lstm_backward", t, before, above.offset + t * s.output())
            .constant("BEFORE", 1)
            .constant("HAS_GRAD_AFTER", u32::from(t + 1 < s.steps))
            .write(1, rows)
            .read(2, buffer)
            .read(4, results)
            .read(5, above)
            .read(6, &dh)
            .write(7, &dc)
            .over(s.sentences * s.hidden)?;
        let da = pass.step_of(rows.after(t * width + s.gates()), width);
        let to_dz = Product::into(dz.clone(), s.value);
        gemm(
            gpu,
            [s.sentences, 4 * s.hidden, s.value],
            &da,
            &w_iz,
            &to_dz,
        )?;
        pass.kernel("attention_lstm_backward", t, above.start())
            .write(1, rows)
            .read(2, &pass.keys)
            .read(3, &pass.values)
            .read(4, &pass.score)
            .write(6, results)
            .write(7, saved)
            .read(8, lists)
            .read(9, above)
            .groups(s.sentences)?;
        if t > 0 || h0_wanted {
            let all = pass.step_of(rows.after(t * width), width);
            let to_dh = Product::into(dh.clone(), s.hidden);
            gemm(gpu, [s.sentences, width, s.hidden], &all, &w_hh, &to_dh)?;
        }
    }
    Ok((dh, dc))
}

/// The gradients with respect to the keys and to `score`.
fn key_grads(pass: &Pass, forward: &ForwardResults) -> Result<[Tensor; 2]> {
    let (gpu, inputs) = (pass.gpu, pass.inputs);
    let (keys, s) = (&inputs.keys, inputs.sizes);
    let dkeys = Slice::from(gpu.unset(keys.len())?);
    let parts = Slice::from(gpu.unset(keys.len())?);
    pass.kernel("attention_lstm_key_grads", 0, 0)
        .read(2, &pass.keys)
        .read(4, &pass.score)
        .write(7, &forward.saved)
        .read(8, &forward.lists)
        .write(10, &dkeys)
        .write(11, &parts)
        .over(keys.len())?;
    let parts = Rows {
        data: parts,
        stride: s.key,
    };
    let dscore = sum::rows(gpu, &parts, [s.images * s.positions, s.key])?;
    Ok([
        Tensor::from_gpu(dkeys.buffer, keys.dims()),
        Tensor::from_gpu(dscore, &[s.key]),
    ])
}
