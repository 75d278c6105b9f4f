//! One matrix product for the inputs of all steps, then the steps in order: each adds the recurrent product to its rows of
//! `z`, and one pass over these rows computes the gates and the new state.
//!
//! The rows of one sequence are contiguous (`[N, T, ..]`). So step `t` of the mini-batch is a matrix whose row stride is
//! `T` rows. The matrix product reads and writes such a matrix in place.

use super::{Backward, Forward, Grads, Sizes};
use crate::cpu::gates::{self, BackwardRow, ForwardRow};
use crate::cpu::gemm::{Matrix, Product, gemm, gemm_packed};
use crate::cpu::packed::Layout;
use crate::cpu::pixels::Pixels;
use crate::cpu::rows::sum_rows;
use crate::cpu::{Isa, memory};

/// `h'` and `c'` of every step; returns the gates.
pub(crate) fn forward(isa: Isa, sizes: Sizes, pass: Forward) -> Vec<f32> {
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
        h_new,
        c,
        mut c_new,
    } = pass;
    // Elements of a row, and from one sequence to the next.
    let (width, stride) = (4 * hidden, 4 * hidden * steps);
    let mut gates = memory::unset(batch * stride);
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
        let h = match (t, h0) {
            (0, None) => None,
            (0, Some(h0)) => Some(Matrix::new(h0, batch, hidden)),
            _ => Some(Matrix::strided(
                &h_new[(t - 1) * hidden..],
                batch,
                hidden,
                steps * hidden,
            )),
        };
        if let Some(h) = h {
            let z = Product {
                c: &mut gates[t * width..],
                stride,
                accumulate: true,
                bias: None,
            };
            gemm_packed(isa, h, &w_hh, z);
        }
        let mut none = [];
        let mut c_new = match &mut c_new {
            Some(c_new) => c_new.chunks_exact_mut(steps * hidden),
            None => none.chunks_exact_mut(1),
        };
        let rows = gates
            .chunks_exact_mut(stride)
            .zip(h_new.chunks_exact_mut(steps * hidden))
            .zip(c.chunks_exact_mut(hidden));
        let mut rows: Vec<ForwardRow> = rows
            .map(|((gates, h_new), c)| ForwardRow {
                gates: &mut gates[t * width..][..width],
                h: &mut h_new[t * hidden..][..hidden],
                c,
                cell: c_new.next().map(|c_new| &mut c_new[t * hidden..][..hidden]),
            })
            .collect();
        gates::forward(isa, &mut rows);
    }
    gates
}

/// The gradients: first `dz`, which overwrites the gates from the last step to the first; then one product for each wanted
/// gradient.
pub(crate) fn backward(isa: Isa, sizes: Sizes, pass: Backward) -> Grads {
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
        h_new,
        c_new,
        gates,
        above,
        mut dc,
        wanted,
    } = pass;
    // Elements of a row of the gates, and from one sequence to the next in the gates and in the states.
    let (width, stride, state_stride) = (4 * hidden, 4 * hidden * steps, hidden * steps);
    let rows = batch * steps;
    let mut dz = gates;
    let w_hh = Matrix::new(weights.w_hh.data(), width, hidden);
    let w_hh = (steps > 1 || wanted.h0).then(|| w_hh.pack(isa));
    // dh of the step after the one at hand.
    let mut dh = vec![0.0; batch * hidden];
    for t in (0..if hidden == 0 { 0 } else { steps }).rev() {
        let all = dz
            .chunks_exact_mut(stride)
            .zip(dc.chunks_exact_mut(hidden))
            .zip(above.chunks_exact(state_stride))
            .zip(c_new.chunks_exact(state_stride))
            .enumerate();
        let mut all: Vec<BackwardRow> = all
            .map(|(n, (((gates, dc), above), c_new))| BackwardRow {
                gates: &mut gates[t * width..][..width],
                dc,
                dh: [&above[t * hidden..][..hidden], &dh[n * hidden..][..hidden]],
                cell: &c_new[t * hidden..][..hidden],
                before: match t {
                    0 => c0.map(|c0| &c0[n * hidden..][..hidden]),
                    _ => Some(&c_new[(t - 1) * hidden..][..hidden]),
                },
            })
            .collect();
        gates::backward(isa, &mut all);
        drop(all);
        if let Some(w_hh) = w_hh.as_ref().filter(|_| t > 0 || wanted.h0) {
            let dz = Matrix::strided(&dz[t * width..], batch, width, stride);
            gemm_packed(isa, dz, w_hh, Product::into(&mut dh, hidden));
        }
    }

    let all = Matrix::new(&dz, rows, width);
    let dx = wanted.x.then(|| {
        let mut dx = memory::unset(rows * inputs);
        let w_ih = Matrix::new(weights.w_ih.data(), width, inputs);
        gemm(isa, all, w_ih, Product::into(&mut dx, inputs));
        dx
    });
    let dw_ih = wanted.w_ih.then(|| {
        let mut dw = memory::unset(width * inputs);
        gemm(
            isa,
            all.t(),
            Matrix::new(x, rows, inputs),
            Product::into(&mut dw, inputs),
        );
        dw
    });
    let db = wanted.bias.then(|| {
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
    let dw_hh = wanted.w_hh.then(|| {
        let mut dw = memory::zeros(width * hidden);
        if let Some(h0) = h0 {
            let first = Matrix::strided(&dz, batch, width, stride);
            let h0 = Matrix::new(h0, batch, hidden);
            gemm(isa, first.t(), h0, Product::into(&mut dw, hidden));
        }
        if rows > 1 && steps > 1 {
            // Each row of dz is multiplied with the row of h' before it. Before the first step of a sequence that row
            // belongs to another sequence, so dz of the first steps, which is no longer needed, is set to zero.
            dz.chunks_exact_mut(stride.max(1))
                .for_each(|dz| dz[..width].fill(0.0));
            let dz = Matrix::new(&dz[width..], rows - 1, width);
            let h = Matrix::new(h_new, rows - 1, hidden);
            let out = Product::into(&mut dw, hidden);
            let out = if h0.is_some() { out.accumulate() } else { out };
            gemm(isa, dz.t(), h, out);
        }
        dw
    });
    Grads {
        x: dx,
        h0: wanted.h0.then_some(dh),
        c0: dc,
        w_ih: dw_ih,
        w_hh: dw_hh,
        bias: db,
    }
}
