//! One matrix product for the inputs of all steps, then a step at a time: the recurrent product is added to the
//! rows of that step where they lie, and one pass over them makes the gates and the new state.
//!
//! Rows of one sequence lie side by side (`[N, T, ..]`), so step `t` of the batch is a matrix whose rows are `T`
//! rows apart, which the matrix product reads and writes as it is.

use super::{Backward, Forward, Grads, Sizes};
use crate::cpu::conv::Pixels;
use crate::cpu::gates::{self, BackwardRow, ForwardRow};
use crate::cpu::gemm::{Matrix, Product, gemm, gemm_packed};
use crate::cpu::packed::Layout;
use crate::cpu::rows::sum_rows;
use crate::cpu::{Isa, memory};

/// `h'` and `c'` of every step; returns the gates.
pub(crate) fn forward(isa: Isa, sizes: Sizes, job: Forward) -> Vec<f32> {
    let Sizes {
        batch,
        steps,
        inputs,
        hidden,
    } = sizes;
    let Forward {
        x,
        weights,
        h0,
        h,
        c,
        mut cells,
    } = job;
    let (width, wide) = (4 * hidden, 4 * hidden * steps);
    let mut gates = memory::unset(batch * wide);
    if gates.is_empty() {
        return gates;
    }
    let w_ih = weights.w_ih.packed(isa, Layout::Linear, |w| {
        Matrix::new(w, width, inputs).t().pack(isa)
    });
    let w_hh = weights.w_hh.packed(isa, Layout::Linear, |w| {
        Matrix::new(w, width, hidden).t().pack(isa)
    });
    let x = Matrix::new(x, batch * steps, inputs);
    let bias = Some(weights.bias.data());
    gemm_packed(isa, x, &w_ih, Product::into(&mut gates, width).bias(bias));
    for t in 0..steps {
        let before = match (t, h0) {
            (0, None) => None,
            (0, Some(h0)) => Some(Matrix::new(h0, batch, hidden)),
            _ => Some(Matrix::strided(
                &h[(t - 1) * hidden..],
                batch,
                hidden,
                steps * hidden,
            )),
        };
        if let Some(before) = before {
            let z = Product {
                c: &mut gates[t * width..],
                stride: wide,
                accumulate: true,
                bias: None,
            };
            gemm_packed(isa, before, &w_hh, z);
        }
        let mut no_cells = [];
        let mut cells = match &mut cells {
            Some(cells) => cells.chunks_exact_mut(steps * hidden),
            None => no_cells.chunks_exact_mut(1),
        };
        let rows = gates
            .chunks_exact_mut(wide)
            .zip(h.chunks_exact_mut(steps * hidden))
            .zip(c.chunks_exact_mut(hidden));
        let mut rows: Vec<ForwardRow> = rows
            .map(|((gates, h), c)| ForwardRow {
                gates: &mut gates[t * width..][..width],
                h: &mut h[t * hidden..][..hidden],
                c,
                cell: cells.next().map(|cells| &mut cells[t * hidden..][..hidden]),
            })
            .collect();
        gates::forward(isa, &mut rows);
    }
    gates
}

/// The gradients: `dz` step by step, backward, over the gates; then one product for each that is wanted.
pub(crate) fn backward(isa: Isa, sizes: Sizes, job: Backward) -> Grads {
    let Sizes {
        batch,
        steps,
        inputs,
        hidden,
    } = sizes;
    let Backward {
        x,
        weights,
        h0,
        c0,
        h,
        cells,
        gates,
        dh,
        mut dc,
        wanted,
    } = job;
    let (width, wide, deep) = (4 * hidden, 4 * hidden * steps, hidden * steps);
    let rows = batch * steps;
    let mut dz = gates;
    let w_hh = Matrix::new(weights.w_hh.data(), width, hidden);
    let w_hh = (steps > 1 || wanted.h0).then(|| w_hh.pack(isa));
    // What arrives at h of the step before through the recurrent product.
    let mut through = vec![0.0; batch * hidden];
    for t in (0..if hidden == 0 { 0 } else { steps }).rev() {
        let every = dz
            .chunks_exact_mut(wide)
            .zip(dc.chunks_exact_mut(hidden))
            .zip(dh.chunks_exact(deep))
            .zip(cells.chunks_exact(deep))
            .enumerate();
        let mut every: Vec<BackwardRow> = every
            .map(|(n, (((gates, dc), dh), cells))| BackwardRow {
                gates: &mut gates[t * width..][..width],
                dc,
                dh: [
                    &dh[t * hidden..][..hidden],
                    &through[n * hidden..][..hidden],
                ],
                cell: &cells[t * hidden..][..hidden],
                before: match t {
                    0 => c0.map(|c0| &c0[n * hidden..][..hidden]),
                    _ => Some(&cells[(t - 1) * hidden..][..hidden]),
                },
            })
            .collect();
        gates::backward(isa, &mut every);
        drop(every);
        if let Some(w_hh) = w_hh.as_ref().filter(|_| t > 0 || wanted.h0) {
            let dz = Matrix::strided(&dz[t * width..], batch, width, wide);
            gemm_packed(isa, dz, w_hh, Product::into(&mut through, hidden));
        }
    }

    let all = Matrix::new(&dz, rows, width);
    let grad_x = wanted.x.then(|| {
        let mut dx = memory::unset(rows * inputs);
        let w_ih = Matrix::new(weights.w_ih.data(), width, inputs);
        gemm(isa, all, w_ih, Product::into(&mut dx, inputs));
        dx
    });
    let grad_w_ih = wanted.w_ih.then(|| {
        let mut dw = memory::unset(width * inputs);
        gemm(
            isa,
            all.t(),
            Matrix::new(x, rows, inputs),
            Product::into(&mut dw, inputs),
        );
        dw
    });
    let grad_bias = wanted.bias.then(|| {
        sum_rows(
            isa,
            Pixels {
                data: &dz,
                stride: width,
            },
            rows,
            width,
        )
    });
    let grad_w_hh = wanted.w_hh.then(|| {
        let mut dw = memory::zeros(width * hidden);
        if let Some(h0) = h0 {
            let first = Matrix::strided(&dz, batch, width, wide);
            let h0 = Matrix::new(h0, batch, hidden);
            gemm(isa, first.t(), h0, Product::into(&mut dw, hidden));
        }
        if rows > 1 && steps > 1 {
            // A row of dz meets the row of h before it. Where that belongs to the sequence before, at each first
            // step, dz is no longer needed and becomes zero.
            dz.chunks_exact_mut(wide.max(1))
                .for_each(|dz| dz[..width].fill(0.0));
            let dz = Matrix::new(&dz[width..], rows - 1, width);
            let h = Matrix::new(h, rows - 1, hidden);
            let out = Product::into(&mut dw, hidden);
            let out = if h0.is_some() { out.accumulate() } else { out };
            gemm(isa, dz.t(), h, out);
        }
        dw
    });
    Grads {
        x: grad_x,
        h0: wanted.h0.then_some(through),
        c0: dc,
        w_ih: grad_w_ih,
        w_hh: grad_w_hh,
        bias: grad_bias,
    }
}
