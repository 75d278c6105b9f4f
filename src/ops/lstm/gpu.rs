//! The same steps on a graphics device, by `shaders/lstm.wgsl` and the tiled product.
//!
//! `h'` and `c'` of all steps are one buffer `[2, N, T, H]`, for a run may not name one buffer twice where it writes it.

use super::{LstmWeights, Sizes, Wanted};
use crate::error::Result;
use crate::gpu::copy::{self, Rows};
use crate::gpu::gemm::{Matrix, Product, gemm};
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

/// What a forward pass leaves.
pub(crate) struct Made {
    /// `[N, T, 4H]`: i, f, g, o of every step.
    gates: Slice,
    /// `[2, N, T, H]`: `h'`, then `c'`, of every step.
    pub(crate) states: Slice,
}

/// The gradients, those that were wanted.
pub(crate) struct Grads {
    pub(crate) x: Option<Tensor>,
    pub(crate) h0: Option<Tensor>,
    pub(crate) c0: Tensor,
    pub(crate) w_ih: Option<Tensor>,
    pub(crate) w_hh: Option<Tensor>,
    pub(crate) bias: Option<Tensor>,
}

/// `h'` and `c'` of every step of x `[N, T, I]`, from the state before the first, which is zero where there is none.
pub(crate) fn forward(
    gpu: &Gpu,
    sizes: Sizes,
    x: &Tensor,
    weights: &LstmWeights,
    before: Option<[&Tensor; 2]>,
) -> Result<Made> {
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
        let h_before = match t {
            0 => h0.as_ref().map(|h| Matrix::new(h.clone(), hidden)),
            _ => Some(Matrix {
                row: steps * hidden,
                ..Matrix::new(states.after((t - 1) * hidden), hidden)
            }),
        };
        if let Some(h) = h_before {
            let z = Product {
                accumulate: true,
                ..Product::into(gates.after(t * width), steps * width)
            };
            gemm(gpu, [batch, hidden, width], &h, &w_hh, &z)?;
        }
        let cells = rows * hidden;
        let (from, c_before) = match (t, &c0) {
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
        let c_before = c_before.unwrap_or(Rows {
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
            c_before.data.offset,
            c_before.stride,
            0,
            0,
            0,
        ];
        // What is not looked at is bound to something that is only read.
        let only_read = if from == 1 {
            &c_before.data
        } else {
            &w_ih.data
        };
        gpu.kernel(Shader::Lstm, "lstm_forward")
            .constant("BEFORE", from)
            .params(&params.map(|n| n as u32))
            .write(1, &gates)
            .read(2, only_read)
            .write(3, &states)
            .over(batch * hidden)?;
    }
    Ok(Made { gates, states })
}

/// What arrives from above, and what the forward pass began with.
pub(crate) struct Backward<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) weights: &'a LstmWeights,
    pub(crate) before: Option<[&'a Tensor; 2]>,
    /// `[N, T, H]`, contiguous.
    pub(crate) dh: Slice,
    /// `[N, H]`; zero where there is none.
    pub(crate) dc: Option<Slice>,
    pub(crate) wanted: Wanted,
}

/// The gradients: `dz` step by step, backward, over the gates; then one product for each that is wanted.
pub(crate) fn backward(gpu: &Gpu, sizes: Sizes, made: Made, job: &Backward) -> Result<Grads> {
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
        dh,
        dc,
        wanted,
    } = job;
    let (rows, width, cells) = (batch * steps, 4 * hidden, batch * steps * hidden);
    let Made { gates: dz, states } = made;
    let [h0, c0] = match before {
        None => [None, None],
        Some([h, c]) => [Some(h.on(gpu)?), Some(c.on(gpu)?)],
    };
    let w_hh = Matrix::new(weights.w_hh.on(gpu)?, hidden);
    let grad_cell = match dc {
        None => Slice::from(gpu.zeros(batch * hidden)?),
        Some(dc) => {
            let own = Slice::from(gpu.unset(batch * hidden)?);
            gpu.copy(dc, &own, batch * hidden)?;
            own
        }
    };
    // What arrives at h of the step before through the recurrent product.
    let through = Slice::from(gpu.unset(batch * hidden)?);
    for t in (0..steps).rev() {
        let c_before = match (t, &c0) {
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
        let has_before = u32::from(c_before.is_some());
        let c_before = c_before.unwrap_or(Rows {
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
            c_before.data.offset,
            c_before.stride,
            dh.offset + t * hidden,
            steps * hidden,
            0,
        ];
        gpu.kernel(Shader::Lstm, "lstm_backward")
            .constant("BEFORE", has_before)
            .constant("HAS_GRAD_AFTER", u32::from(t + 1 < steps))
            .params(&params.map(|n| n as u32))
            .write(1, &dz)
            .read(2, &c_before.data)
            .read(4, &states)
            .read(5, dh)
            .read(6, &through)
            .write(7, &grad_cell)
            .over(batch * hidden)?;
        if t > 0 || wanted.h0 {
            let a = Matrix {
                row: steps * width,
                ..Matrix::new(dz.after(t * width), width)
            };
            gemm(
                gpu,
                [batch, width, hidden],
                &a,
                &w_hh,
                &Product::into(through.clone(), hidden),
            )?;
        }
    }

    let all = Matrix::new(dz.clone(), width);
    let product = |sizes: [usize; 3], a: &Matrix, b: &Matrix, dims: &[usize]| {
        let out = Slice::from(gpu.unset(sizes[0] * sizes[2])?);
        gemm(gpu, sizes, a, b, &Product::into(out.clone(), sizes[2]))?;
        Ok(Tensor::from_gpu(out.buffer, dims))
    };
    let by_x = || {
        let w_ih = Matrix::new(weights.w_ih.on(gpu)?, inputs);
        product([rows, width, inputs], &all, &w_ih, x.dims())
    };
    let by_w_ih = || {
        let x = Matrix::new(x.on(gpu)?, inputs);
        product([width, rows, inputs], &all.t(), &x, &[width, inputs])
    };
    let by_w_hh = || {
        // h before each step: what was there before the first, then h' of all but the last.
        let earlier = Rows {
            data: gpu.zeros(cells)?.into(),
            stride: steps * hidden,
        };
        let h = Rows {
            data: states.clone(),
            stride: steps * hidden,
        };
        copy::columns(
            gpu,
            &h,
            &earlier.from_column(hidden),
            [batch, (steps - 1) * hidden],
        )?;
        if let Some(h0) = &h0 {
            let h0 = Rows {
                data: h0.clone(),
                stride: hidden,
            };
            copy::columns(gpu, &h0, &earlier, [batch, hidden])?;
        }
        let earlier = Matrix::new(earlier.data, hidden);
        product([width, rows, hidden], &all.t(), &earlier, &[width, hidden])
    };
    let by_bias = || {
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
        x: wanted.x.then(by_x).transpose()?,
        h0: wanted
            .h0
            .then(|| Tensor::from_gpu(through.buffer.clone(), &[batch, hidden])),
        c0: Tensor::from_gpu(grad_cell.buffer.clone(), &[batch, hidden]),
        w_ih: wanted.w_ih.then(by_w_ih).transpose()?,
        w_hh: wanted.w_hh.then(by_w_hh).transpose()?,
        bias: wanted.bias.then(by_bias).transpose()?,
    })
}
