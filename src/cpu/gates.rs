//! The elementwise part of an LSTM's step, after its matrix products, and its gradient.
//!
//! `a` are the four pre-activations; `ops::attention_lstm` calls them `a'`. A prime means "after the step": `c` is the cell
//! state before it, `c'` after it.
//!
//! ```text
//! i, f, o = sigmoid(a)    g = tanh(a)      c' = f c + i g      h' = o tanh(c')
//!
//! dc' += dh' o (1 - tanh(c')^2)            dc = dc' f
//! da = [dc' g i (1 - i),  dc' c f (1 - f),  dc' i (1 - g^2),  dh' tanh(c') o (1 - o)]
//! ```
//!
//! `ops::lstm` derives the gradient. Every operation with such a cell uses these loops.

use super::simd::{Simd, WithSimd};
use super::{Isa, math, threads};

// The order of the gates in the rows of the weights, and in a row of activations `[4H]`.
/// The input gate `i`.
pub(crate) const INPUT: usize = 0;
/// The forget gate `f`.
pub(crate) const FORGET: usize = 1;
/// The candidate `g` for the new cell state.
pub(crate) const CELL: usize = 2;
/// The output gate `o`.
pub(crate) const OUTPUT: usize = 3;

// Sequences of one task.
const ROWS: usize = 8;

/// Activates the gates of every row and computes its new state.
pub(crate) fn forward(isa: Isa, rows: &mut [ForwardRow]) {
    threads::for_each_chunk(rows, ROWS, |_, rows| isa.dispatch(Gates(rows)));
}

/// Computes the gradients with respect to the pre-activations and to the previous cell state of every row.
pub(crate) fn backward(isa: Isa, rows: &mut [BackwardRow]) {
    threads::for_each_chunk(rows, ROWS, |_, rows| isa.dispatch(GateGrads(rows)));
}

/// One sequence at one step of the forward pass.
pub(crate) struct ForwardRow<'a> {
    /// `[4H]`: holds `a`, overwritten by the gates i, f, g, o.
    pub(crate) gates: &'a mut [f32],
    /// Receives `h'`, `[H]`.
    pub(crate) h_new: &'a mut [f32],
    /// `[H]`: holds `c`, overwritten by `c'`.
    pub(crate) c: &'a mut [f32],
    /// Receives a copy of `c'`, where the caller needs one.
    pub(crate) c_new: Option<&'a mut [f32]>,
}

/// Splits `[4H]` into the four gates.
#[inline(always)]
fn split_gates(gates: &mut [f32], hidden: usize) -> [&mut [f32]; 4] {
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
            let [i, f, g, o] = split_gates(row.gates, hidden);
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
                let (c_new, h_new) = state(s, gates, s.load(&row.c[k..]));
                s.store(&mut i[k..], gates[INPUT]);
                s.store(&mut f[k..], gates[FORGET]);
                s.store(&mut g[k..], gates[CELL]);
                s.store(&mut o[k..], gates[OUTPUT]);
                s.store(&mut row.c[k..], c_new);
                s.store(&mut row.h_new[k..], h_new);
            }
            let k = whole;
            if k < hidden {
                let part = |x: &[f32]| s.load_part(&x[k..], 0.0);
                let gates = activate(s, [part(i), part(f), part(g), part(o)]);
                let (c_new, h_new) = state(s, gates, part(row.c));
                s.store_part(&mut i[k..], gates[INPUT]);
                s.store_part(&mut f[k..], gates[FORGET]);
                s.store_part(&mut g[k..], gates[CELL]);
                s.store_part(&mut o[k..], gates[OUTPUT]);
                s.store_part(&mut row.c[k..], c_new);
                s.store_part(&mut row.h_new[k..], h_new);
            }
            if let Some(c_new) = &mut row.c_new {
                c_new.copy_from_slice(row.c);
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
    let c_new = s.mul_add(f, c, s.mul(i, g));
    (c_new, s.mul(o, math::tanh(s, c_new)))
}

/// One sequence at one step of the backward pass.
pub(crate) struct BackwardRow<'a> {
    /// `[4H]`: holds the gates i, f, g, o, overwritten by `da`.
    pub(crate) gates: &'a mut [f32],
    /// `[H]`: holds the gradient with respect to `c'`, without the part through `h'`; overwritten by that with respect to
    /// `c`.
    pub(crate) dc: &'a mut [f32],
    /// `[H]` each: the two summands of the gradient with respect to `h'`, from the tape and from the next step.
    pub(crate) dh_new: [&'a [f32]; 2],
    /// `[H]`: `c'`.
    pub(crate) c_new: &'a [f32],
    /// `[H]`: `c`; `None` if it is zero, as at the first step of a sequence from the zero state.
    pub(crate) c: Option<&'a [f32]>,
}

struct GateGrads<'a, 'b>(&'a mut [BackwardRow<'b>]);

impl WithSimd for GateGrads<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.0 {
            let hidden = row.dc.len();
            let [i, f, g, o] = split_gates(row.gates, hidden);
            let whole = hidden / S::LANES * S::LANES;
            for k in (0..whole).step_by(S::LANES) {
                let gates = [
                    s.load(&i[k..]),
                    s.load(&f[k..]),
                    s.load(&g[k..]),
                    s.load(&o[k..]),
                ];
                let dh_new = s.add(s.load(&row.dh_new[0][k..]), s.load(&row.dh_new[1][k..]));
                let c = row.c.map_or(s.splat(0.0), |c| s.load(&c[k..]));
                let (dc, c_new) = (s.load(&row.dc[k..]), s.load(&row.c_new[k..]));
                let (da, dc) = gate_grads(s, gates, dh_new, dc, c_new, c);
                s.store(&mut i[k..], da[INPUT]);
                s.store(&mut f[k..], da[FORGET]);
                s.store(&mut g[k..], da[CELL]);
                s.store(&mut o[k..], da[OUTPUT]);
                s.store(&mut row.dc[k..], dc);
            }
            let k = whole;
            if k < hidden {
                let part = |x: &[f32]| s.load_part(&x[k..], 0.0);
                let dh_new = s.add(part(row.dh_new[0]), part(row.dh_new[1]));
                let c = row.c.map_or(s.splat(0.0), part);
                let gates = [part(i), part(f), part(g), part(o)];
                let (da, dc) = gate_grads(s, gates, dh_new, part(row.dc), part(row.c_new), c);
                s.store_part(&mut i[k..], da[INPUT]);
                s.store_part(&mut f[k..], da[FORGET]);
                s.store_part(&mut g[k..], da[CELL]);
                s.store_part(&mut o[k..], da[OUTPUT]);
                s.store_part(&mut row.dc[k..], dc);
            }
        }
    }
}

/// Computes `da` and `dc` of one vector. The argument `dc` is the gradient with respect to `c'`, without the part through
/// `h'`.
#[inline(always)]
fn gate_grads<S: Simd>(
    s: S,
    [i, f, g, o]: [S::V; 4],
    dh_new: S::V,
    dc: S::V,
    c_new: S::V,
    c: S::V,
) -> ([S::V; 4], S::V) {
    let one = s.splat(1.0);
    let tanh_c = math::tanh(s, c_new);
    let through_h = s.mul(s.mul(dh_new, o), s.sub(one, s.mul(tanh_c, tanh_c)));
    let dc_new = s.add(dc, through_h);
    let da = [
        s.mul(s.mul(dc_new, g), slope(s, i)),
        s.mul(s.mul(dc_new, c), slope(s, f)),
        s.mul(s.mul(dc_new, i), s.sub(one, s.mul(g, g))),
        s.mul(s.mul(dh_new, tanh_c), slope(s, o)),
    ];
    (da, s.mul(dc_new, f))
}

/// The derivative of the sigmoid where its value is `x`: `x (1 - x)`.
#[inline(always)]
fn slope<S: Simd>(s: S, x: S::V) -> S::V {
    s.mul(x, s.sub(s.splat(1.0), x))
}
