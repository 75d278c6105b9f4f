//! The steps on the GPU: matrix products of [`crate::gpu::gemm`], and `shaders/lstm.wgsl` for the gates.
//!
//! `h'` and `c'` of all steps are one buffer `[2, N, T, H]`, because a dispatch that writes a buffer may bind it only once.

use super::{LstmWeights, Sizes, Wanted};
use crate::error::Result;
use crate::gpu::copy::{self, Rows};
use crate::gpu::gemm::{Matrix, Product, gemm};
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

/// The results of a forward pass.
pub(crate) struct ForwardResults {
    /// `[N, T, 4H]`: i, f, g, o of every step.
    gates: Slice,
    /// `[2, N, T, H]`: `h'`, then `c'`, of every step.
    pub(crate) states: Slice,
}

/// The wanted gradients.
pub(crate) struct Grads {
    pub(crate) x: Option<Tensor>,
    pub(crate) h0: Option<Tensor>,
    pub(crate) c0: Tensor,
    pub(crate) w_ih: Option<Tensor>,
    pub(crate) w_hh: Option<Tensor>,
    pub(crate) bias: Option<Tensor>,
}

/// `h'` and `c'` of every step for `x` `[N, T, I]`. The state `before` the first step is zero if there is none.
pub(crate) fn forward(
    gpu: &Gpu,
    sizes: Sizes,
    x: &Tensor,
    weights: &LstmWeights,
    before: Option<[&Tensor; 2]>,
) -> Result<ForwardResults> {
    let Sizes {
        batch,
        steps,
        inputs,
        hidden,
    } = sizes;
    let (rows, width) = (batch * steps, 4 * hidden);
    let gates = Slice::from(gpu.unset(rows * width)?);
    let states = Slice::from(gpu.unset(2 * rows * hidden)?);
    let w_ih = Matrix::new(weights.w_ih.on(gpu)?, inputs).t();
    let w_hh = Matrix::new(weights.w_hh.on(gpu)?, hidden).t();
    let z = Product {
        bias: Some(weights.bias.on(gpu)?),
        ..Product::into(gates.clone(), width)
    };
    gemm(
        gpu,
        [rows, inputs, width],
        &Matrix::new(x.on(gpu)?, inputs),
        &w_ih,
        &z,
    )?;
    let [h0, c0] = match before {
        None => [None, None],
        Some([h, c]) => [Some(h.on(gpu)?), Some(c.on(gpu)?)],
    };
    for t in 0..steps {
        let h = match t {
            0 => h0.as_ref().map(|h| Matrix::new(h.clone(), hidden)),
            _ => Some(Matrix {
                row: steps * hidden,
                ..Matrix::new(states.after((t - 1) * hidden), hidden)
            }),
        };
        if let Some(h) = h {
            let z = Product {
                accumulate: true,
                ..Product::into(gates.after(t * width), steps * width)
            };
            gemm(gpu, [batch, hidden, width], &h, &w_hh, &z)?;
        }
        let cells = rows * hidden;
        let (c_source, c) = match (t, &c0) {
            (0, None) => (0, None),
            (0, Some(c)) => (
                1,
                Some(Rows {
                    data: c.clone(),
                    stride: hidden,
                }),
            ),
            _ => {
                let last = cells + (t - 1) * hidden;
                (
                    2,
                    Some(Rows {
                        data: states.after(last),
                        stride: steps * hidden,
                    }),
                )
            }
        };
        let c = c.unwrap_or(Rows {
            data: gates.clone(),
            stride: 0,
        });
        let params = [
            batch,
            hidden,
            t * width,
            steps * width,
            t * hidden,
            steps * hidden,
            cells + t * hidden,
            steps * hidden,
            c.data.offset,
            c.stride,
            0,
            0,
            0,
        ];
        // A binding that the kernel does not use gets a buffer that this dispatch does not write.
        let before = if c_source == 1 { &c.data } else { &w_ih.data };
        gpu.kernel(Shader::Lstm, "lstm_forward")
            .constant("BEFORE", c_source)
            .words(&params.map(|n| n as u32))
            .write(1, &gates)
            .read(2, before)
            .write(3, &states)
            .over(batch * hidden)?;
    }
    Ok(ForwardResults { gates, states })
}

/// Inputs of a backward pass.
pub(crate) struct Backward<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) weights: &'a LstmWeights,
    /// `h` and `c` before the first step; zero if there are none.
    pub(crate) before: Option<[&'a Tensor; 2]>,
    /// `[N, T, H]`, contiguous: the gradient with respect to `h'` of every step, from above.
    pub(crate) above: Slice,
    /// `[N, H]`: the gradient with respect to `c'` of the last step; zero if there is none.
    pub(crate) dc: Option<Slice>,
    pub(crate) wanted: Wanted,
}

/// The gradients: first `dz`, which overwrites the gates from the last step to the first; then one product for each wanted
/// gradient.
pub(crate) fn backward(
    gpu: &Gpu,
    sizes: Sizes,
    forward: ForwardResults,
    pass: &Backward,
) -> Result<Grads> {
    let Sizes {
        batch,
        steps,
        inputs,
        hidden,
    } = sizes;
    let Backward {
        x,
        weights,
        before,
        above,
        dc: last_dc,
        wanted,
    } = pass;
    let (rows, width, cells) = (batch * steps, 4 * hidden, batch * steps * hidden);
    let ForwardResults { gates: dz, states } = forward;
    let [h0, c0] = match before {
        None => [None, None],
        Some([h, c]) => [Some(h.on(gpu)?), Some(c.on(gpu)?)],
    };
    let w_hh = Matrix::new(weights.w_hh.on(gpu)?, hidden);
    let dc = match last_dc {
        None => Slice::from(gpu.zeros(batch * hidden)?),
        Some(last_dc) => {
            let dc = Slice::from(gpu.unset(batch * hidden)?);
            gpu.copy(last_dc, &dc, batch * hidden)?;
            dc
        }
    };
    // dh of the step after the one at hand.
    let dh = Slice::from(gpu.unset(batch * hidden)?);
    for t in (0..steps).rev() {
        let c = match (t, &c0) {
            (0, None) => None,
            (0, Some(c)) => Some(Rows {
                data: c.clone(),
                stride: hidden,
            }),
            _ => Some(Rows {
                data: states.after(cells + (t - 1) * hidden),
                stride: steps * hidden,
            }),
        };
        let has_c = u32::from(c.is_some());
        let c = c.unwrap_or(Rows {
            data: states.clone(),
            stride: 0,
        });
        let params = [
            batch,
            hidden,
            t * width,
            steps * width,
            0,
            0,
            cells + t * hidden,
            steps * hidden,
            c.data.offset,
            c.stride,
            above.offset + t * hidden,
            steps * hidden,
            0,
        ];
        gpu.kernel(Shader::Lstm, "lstm_backward")
            .constant("BEFORE", has_c)
            .constant("HAS_GRAD_AFTER", u32::from(t + 1 < steps))
            .words(&params.map(|n| n as u32))
            .write(1, &dz)
            .read(2, &c.data)
            .read(4, &states)
            .read(5, above)
            .read(6, &dh)
            .write(7, &dc)
            .over(batch * hidden)?;
        if t > 0 || wanted.h0 {
            let dz = Matrix {
                row: steps * width,
                ..Matrix::new(dz.after(t * width), width)
            };
            gemm(
                gpu,
                [batch, width, hidden],
                &dz,
                &w_hh,
                &Product::into(dh.clone(), hidden),
            )?;
        }
    }

    let all = Matrix::new(dz.clone(), width);
    let product = |sizes: [usize; 3], a: &Matrix, b: &Matrix, dims: &[usize]| {
        let out = Slice::from(gpu.unset(sizes[0] * sizes[2])?);
        gemm(gpu, sizes, a, b, &Product::into(out.clone(), sizes[2]))?;
        Ok(Tensor::from_gpu(out.buffer, dims))
    };
    let dx = || {
        let w_ih = Matrix::new(weights.w_ih.on(gpu)?, inputs);
        product([rows, width, inputs], &all, &w_ih, x.dims())
    };
    let dw_ih = || {
        let x = Matrix::new(x.on(gpu)?, inputs);
        product([width, rows, inputs], &all.t(), &x, &[width, inputs])
    };
    let dw_hh = || {
        // h before each step: h0 or zero before the first, then h' of all steps but the last.
        let h = Rows {
            data: gpu.zeros(cells)?.into(),
            stride: steps * hidden,
        };
        let h_new = Rows {
            data: states.clone(),
            stride: steps * hidden,
        };
        copy::columns(
            gpu,
            &h_new,
            &h.from_column(hidden),
            [batch, (steps - 1) * hidden],
        )?;
        if let Some(h0) = &h0 {
            let h0 = Rows {
                data: h0.clone(),
                stride: hidden,
            };
            copy::columns(gpu, &h0, &h, [batch, hidden])?;
        }
        let h = Matrix::new(h.data, hidden);
        product([width, rows, hidden], &all.t(), &h, &[width, hidden])
    };
    let db = || {
        let dz = Rows {
            data: dz.clone(),
            stride: width,
        };
        Ok(Tensor::from_gpu(
            sum::rows(gpu, &dz, [rows, width])?,
            &[width],
        ))
    };
    Ok(Grads {
        x: wanted.x.then(dx).transpose()?,
        h0: wanted
            .h0
            .then(|| Tensor::from_gpu(dh.buffer.clone(), &[batch, hidden])),
        c0: Tensor::from_gpu(dc.buffer.clone(), &[batch, hidden]),
        w_ih: wanted.w_ih.then(dw_ih).transpose()?,
        w_hh: wanted.w_hh.then(dw_hh).transpose()?,
        bias: wanted.bias.then(db).transpose()?,
    })
}
