//! One matrix product for the inputs of all steps, then a step at a time: the recurrent product is added to the
//! rows of that step where they lie, and one pass over them makes the gates and the new state.
//!
//! Rows of one sequence lie side by side (`[N, T, ..]`), so step `t` of the batch is a matrix whose rows are `T`
//! rows apart, which the matrix product reads and writes as it is.

use super::{Backward, Forward, Grads, Sizes};
use crate::cpu::conv::Pixels;
use crate::cpu::gemm::{Matrix, Product, gemm, gemm_packed};
use crate::cpu::packed::Layout;
use crate::cpu::rows::sum_rows;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, math, memory, threads};

// Sequences that one task takes through the gates of a step.
const ROWS: usize = 8;

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
        threads::for_each_chunk(&mut rows, ROWS, |_, rows| isa.dispatch(Gates(rows)));
    }
    gates
}

/// One sequence at one step, on the way forward.
struct ForwardRow<'a> {
    /// `z` before, i, f, g, o after.
    gates: &'a mut [f32],
    h: &'a mut [f32],
    /// `c` before, `c'` after.
    c: &'a mut [f32],
    /// A copy of `c'`, where it is wanted.
    cell: Option<&'a mut [f32]>,
}

/// Splits `[4H]` into the four gates.
#[inline(always)]
fn four(gates: &mut [f32], hidden: usize) -> [&mut [f32]; 4] {
    let (i, rest) = gates.split_at_mut(hidden);
    let (f, rest) = rest.split_at_mut(hidden);
    let (g, o) = rest.split_at_mut(hidden);
    [i, f, g, &mut o[..hidden]]
}

struct Gates<'a, 'b>(&'a mut [ForwardRow<'b>]);

impl WithSimd for Gates<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.0 {
            let hidden = row.c.len();
            let [i, f, g, o] = four(row.gates, hidden);
            let whole = hidden / S::LANES * S::LANES;
            for k in (0..whole).step_by(S::LANES) {
                let gates = activate(
                    s,
                    [
                        s.load(&i[k..]),
                        s.load(&f[k..]),
                        s.load(&g[k..]),
                        s.load(&o[k..]),
                    ],
                );
                let (new_c, new_h) = state(s, gates, s.load(&row.c[k..]));
                s.store(&mut i[k..], gates[0]);
                s.store(&mut f[k..], gates[1]);
                s.store(&mut g[k..], gates[2]);
                s.store(&mut o[k..], gates[3]);
                s.store(&mut row.c[k..], new_c);
                s.store(&mut row.h[k..], new_h);
            }
            let k = whole;
            if k < hidden {
                let part = |x: &[f32]| s.load_part(&x[k..], 0.0);
                let gates = activate(s, [part(i), part(f), part(g), part(o)]);
                let (new_c, new_h) = state(s, gates, part(row.c));
                s.store_part(&mut i[k..], gates[0]);
                s.store_part(&mut f[k..], gates[1]);
                s.store_part(&mut g[k..], gates[2]);
                s.store_part(&mut o[k..], gates[3]);
                s.store_part(&mut row.c[k..], new_c);
                s.store_part(&mut row.h[k..], new_h);
            }
            if let Some(cell) = &mut row.cell {
                cell.copy_from_slice(row.c);
            }
        }
    }
}

#[inline(always)]
fn activate<S: Simd>(s: S, [i, f, g, o]: [S::V; 4]) -> [S::V; 4] {
    [
        math::sigmoid(s, i),
        math::sigmoid(s, f),
        math::tanh(s, g),
        math::sigmoid(s, o),
    ]
}

/// `c' = f c + i g` and `h' = o tanh(c')`
#[inline(always)]
fn state<S: Simd>(s: S, [i, f, g, o]: [S::V; 4], c: S::V) -> (S::V, S::V) {
    let new_c = s.mul_add(f, c, s.mul(i, g));
    (new_c, s.mul(o, math::tanh(s, new_c)))
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
        threads::for_each_chunk(&mut every, ROWS, |_, rows| isa.dispatch(GateGrads(rows)));
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

/// One sequence at one step, on the way back.
struct BackwardRow<'a> {
    /// i, f, g, o before, `dz` after.
    gates: &'a mut [f32],
    /// The gradient by `c'` before, by `c` after.
    dc: &'a mut [f32],
    /// The gradient by `h'`, in two parts: from above and from the step after.
    dh: [&'a [f32]; 2],
    /// `c'`
    cell: &'a [f32],
    /// `c`, zero where there is none.
    before: Option<&'a [f32]>,
}

struct GateGrads<'a, 'b>(&'a mut [BackwardRow<'b>]);

impl WithSimd for GateGrads<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.0 {
            let hidden = row.dc.len();
            let [i, f, g, o] = four(row.gates, hidden);
            let whole = hidden / S::LANES * S::LANES;
            for k in (0..whole).step_by(S::LANES) {
                let gates = [
                    s.load(&i[k..]),
                    s.load(&f[k..]),
                    s.load(&g[k..]),
                    s.load(&o[k..]),
                ];
                let dh = s.add(s.load(&row.dh[0][k..]), s.load(&row.dh[1][k..]));
                let before = row.before.map_or(s.splat(0.0), |c| s.load(&c[k..]));
                let (dc, cell) = (s.load(&row.dc[k..]), s.load(&row.cell[k..]));
                let (dz, dc) = gate_grads(s, gates, dh, dc, cell, before);
                s.store(&mut i[k..], dz[0]);
                s.store(&mut f[k..], dz[1]);
                s.store(&mut g[k..], dz[2]);
                s.store(&mut o[k..], dz[3]);
                s.store(&mut row.dc[k..], dc);
            }
            let k = whole;
            if k < hidden {
                let part = |x: &[f32]| s.load_part(&x[k..], 0.0);
                let dh = s.add(part(row.dh[0]), part(row.dh[1]));
                let before = row.before.map_or(s.splat(0.0), part);
                let gates = [part(i), part(f), part(g), part(o)];
                let (dz, dc) = gate_grads(s, gates, dh, part(row.dc), part(row.cell), before);
                s.store_part(&mut i[k..], dz[0]);
                s.store_part(&mut f[k..], dz[1]);
                s.store_part(&mut g[k..], dz[2]);
                s.store_part(&mut o[k..], dz[3]);
                s.store_part(&mut row.dc[k..], dc);
            }
        }
    }
}

/// `dz` and `dc` of one vector.
#[inline(always)]
fn gate_grads<S: Simd>(
    s: S,
    [i, f, g, o]: [S::V; 4],
    dh: S::V,
    dc: S::V,
    cell: S::V,
    before: S::V,
) -> ([S::V; 4], S::V) {
    let one = s.splat(1.0);
    let tanh_c = math::tanh(s, cell);
    let dcell = s.add(dc, s.mul(s.mul(dh, o), s.sub(one, s.mul(tanh_c, tanh_c))));
    let dz = [
        s.mul(s.mul(dcell, g), slope(s, i)),
        s.mul(s.mul(dcell, before), slope(s, f)),
        s.mul(s.mul(dcell, i), s.sub(one, s.mul(g, g))),
        s.mul(s.mul(dh, tanh_c), slope(s, o)),
    ];
    (dz, s.mul(dcell, f))
}

/// `x (1 - x)`, the slope of the sigmoid where its value is `x`.
#[inline(always)]
fn slope<S: Simd>(s: S, x: S::V) -> S::V {
    s.mul(x, s.sub(s.splat(1.0), x))
}
