//! The attention of one step, sentence by sentence.

use crate::cpu::elements::{get, largest, put};
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, math, threads};

// Maximum number of sentences per task.
const SENTENCES: usize = 4;

/// One sentence at one step of the forward pass.
pub(super) struct ForwardSentence<'a> {
    /// `[A]`
    pub(super) q: &'a [f32],
    /// `[V]`: holds `r`, overwritten by `beta`.
    pub(super) beta: &'a mut [f32],
    /// Receives `m`, `[V]`.
    pub(super) mean: &'a mut [f32],
    /// Receives the gated context, `[V]`.
    pub(super) z: &'a mut [f32],
    /// Receives the weights, `[P]`.
    pub(super) alpha: &'a mut [f32],
    /// `[P, A]`
    pub(super) keys: &'a [f32],
    /// `[P, V]`
    pub(super) values: &'a [f32],
}

/// One sentence at one step of the backward pass.
pub(super) struct BackwardSentence<'a> {
    /// `[A]`: holds `q`, overwritten by `dq`.
    pub(super) q: &'a mut [f32],
    /// `[V]`: holds `beta`, overwritten by `dr`.
    pub(super) beta: &'a mut [f32],
    /// `[V]`: holds `m`, overwritten by `dm`.
    pub(super) mean: &'a mut [f32],
    /// Receives a copy of `q`.
    pub(super) query: &'a mut [f32],
    /// Receives `de`, `[P]`.
    pub(super) de: &'a mut [f32],
    /// The gradient with respect to `z` in two parts: from the tape and from the gates.
    pub(super) dz: [&'a [f32]; 2],
    /// `[P]`
    pub(super) alpha: &'a [f32],
    /// `[P]`: the part of the gradient with respect to `alpha` that comes from the tape.
    pub(super) dalpha: &'a [f32],
    /// `[P, A]`
    pub(super) keys: &'a [f32],
    /// `[P, V]`
    pub(super) values: &'a [f32],
}

/// Weights, mean and gated context of every sentence.
pub(super) fn forward(isa: Isa, score: &[f32], sentences: &mut [ForwardSentence]) {
    let per_task = threads::balanced(sentences.len(), SENTENCES);
    threads::for_each_chunk(sentences, per_task, |_, sentences| {
        isa.dispatch(Forward { score, sentences });
    });
}

/// `dr`, `dm`, `de` and `dq` of every sentence.
pub(super) fn backward(isa: Isa, score: &[f32], sentences: &mut [BackwardSentence]) {
    let per_task = threads::balanced(sentences.len(), SENTENCES);
    threads::for_each_chunk(sentences, per_task, |_, sentences| {
        isa.dispatch(Backward { score, sentences });
    });
}

struct Forward<'a, 'b> {
    score: &'a [f32],
    sentences: &'a mut [ForwardSentence<'b>],
}

impl WithSimd for Forward<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for sentence in self.sentences {
            scores(s, self.score, sentence.q, sentence.keys, sentence.alpha);
            softmax(s, sentence.alpha);
            mean_of_values(s, sentence.alpha, sentence.values, sentence.mean);
            for j in (0..sentence.mean.len()).step_by(S::LANES) {
                let beta = math::sigmoid(s, get(s, sentence.beta, j));
                let z = s.mul(beta, get(s, sentence.mean, j));
                put(s, sentence.beta, j, beta);
                put(s, sentence.z, j, z);
            }
        }
    }
}

/// `e_p = score . tanh(k_p + q)`
#[inline(always)]
fn scores<S: Simd>(s: S, score: &[f32], q: &[f32], keys: &[f32], e: &mut [f32]) {
    for (e, key) in e.iter_mut().zip(keys.chunks_exact(q.len())) {
        let mut sum = s.splat(0.0);
        for a in (0..q.len()).step_by(S::LANES) {
            let u = math::tanh(s, s.add(get(s, key, a), get(s, q, a)));
            sum = s.mul_add(get(s, score, a), u, sum);
        }
        *e = s.sum(sum);
    }
}

/// `alpha = softmax(e)`, in place.
#[inline(always)]
fn softmax<S: Simd>(s: S, e: &mut [f32]) {
    let largest = s.splat(largest(s, e));
    let mut sum = 0.0;
    for p in (0..e.len()).step_by(S::LANES) {
        let exponential = math::exp(s, s.sub(get(s, e, p), largest));
        put(s, e, p, exponential);
        sum += match e.len() - p >= S::LANES {
            true => s.sum(exponential),
            false => e[p..].iter().sum(),
        };
    }
    let factor = s.splat(1.0 / sum);
    for p in (0..e.len()).step_by(S::LANES) {
        let alpha = s.mul(get(s, e, p), factor);
        put(s, e, p, alpha);
    }
}

// Positions whose values are added in one pass over `m`, or multiplied with each vector of `dm` that is loaded.
const BLOCK: usize = 4;

/// `m = sum over p of alpha_p v_p`
#[inline(always)]
fn mean_of_values<S: Simd>(s: S, alpha: &[f32], values: &[f32], mean: &mut [f32]) {
    let width = mean.len();
    mean.fill(0.0);
    let mut some = alpha.chunks_exact(BLOCK);
    let mut rows = values.chunks_exact(BLOCK * width);
    for (alpha, values) in some.by_ref().zip(rows.by_ref()) {
        add_values::<S, BLOCK>(s, alpha, values, mean);
    }
    let rest = rows.remainder().chunks_exact(width);
    for (alpha, value) in some.remainder().chunks_exact(1).zip(rest) {
        add_values::<S, 1>(s, alpha, value, mean);
    }
}

/// Adds the values of `N` positions to the mean.
#[inline(always)]
fn add_values<S: Simd, const N: usize>(s: S, alpha: &[f32], values: &[f32], mean: &mut [f32]) {
    let width = mean.len();
    let rows: [&[f32]; N] = std::array::from_fn(|i| &values[i * width..][..width]);
    let mut factors = [s.splat(0.0); N];
    for (factor, &alpha) in factors.iter_mut().zip(alpha) {
        *factor = s.splat(alpha);
    }
    for j in (0..width).step_by(S::LANES) {
        let mut sum = get(s, mean, j);
        for (&factor, row) in factors.iter().zip(rows) {
            sum = s.mul_add(factor, get(s, row, j), sum);
        }
        put(s, mean, j, sum);
    }
}

struct Backward<'a, 'b> {
    score: &'a [f32],
    sentences: &'a mut [BackwardSentence<'b>],
}

impl WithSimd for Backward<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for sentence in self.sentences {
            gate_grads(s, sentence);
            weight_grads(s, sentence);
            query_grad(s, self.score, sentence);
        }
    }
}

/// `dm = dz beta` and `dr = dz m beta (1 - beta)`
#[inline(always)]
fn gate_grads<S: Simd>(s: S, sentence: &mut BackwardSentence) {
    let BackwardSentence { beta, mean, dz, .. } = sentence;
    for j in (0..mean.len()).step_by(S::LANES) {
        let dz = s.add(get(s, dz[0], j), get(s, dz[1], j));
        let (gate, m) = (get(s, beta, j), get(s, mean, j));
        let dm = s.mul(dz, gate);
        let dr = s.mul(s.mul(dm, m), s.sub(s.splat(1.0), gate));
        put(s, beta, j, dr);
        put(s, mean, j, dm);
    }
}

/// `dalpha_p = dy of alpha_p + dm . v_p`, then `de_p = alpha_p (dalpha_p - sum over j of alpha_j dalpha_j)`
#[inline(always)]
fn weight_grads<S: Simd>(s: S, sentence: &mut BackwardSentence) {
    let BackwardSentence {
        mean,
        de,
        alpha,
        dalpha,
        values,
        ..
    } = sentence;
    let width = mean.len();
    let mut some = de.chunks_exact_mut(BLOCK);
    let mut rows = values.chunks_exact(BLOCK * width);
    for (products, values) in some.by_ref().zip(rows.by_ref()) {
        products.copy_from_slice(&dot_values::<S, BLOCK>(s, mean, values));
    }
    let rest = rows.remainder().chunks_exact(width);
    for (product, value) in some.into_remainder().iter_mut().zip(rest) {
        [*product] = dot_values::<S, 1>(s, mean, value);
    }
    let mut sum = s.splat(0.0);
    for p in (0..de.len()).step_by(S::LANES) {
        let d = s.add(get(s, de, p), get(s, dalpha, p));
        sum = s.mul_add(get(s, alpha, p), d, sum);
        put(s, de, p, d);
    }
    let mean_dalpha = s.splat(s.sum(sum));
    for p in (0..de.len()).step_by(S::LANES) {
        let d = s.sub(get(s, de, p), mean_dalpha);
        put(s, de, p, s.mul(get(s, alpha, p), d));
    }
}

/// `dm . v_p` of `N` positions.
#[inline(always)]
fn dot_values<S: Simd, const N: usize>(s: S, dm: &[f32], values: &[f32]) -> [f32; N] {
    let width = dm.len();
    let rows: [&[f32]; N] = std::array::from_fn(|i| &values[i * width..][..width]);
    let mut sums = [s.splat(0.0); N];
    for j in (0..width).step_by(S::LANES) {
        let dm = get(s, dm, j);
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = s.mul_add(dm, get(s, row, j), *sum);
        }
    }
    let mut totals = [0.0; N];
    for (total, sum) in totals.iter_mut().zip(sums) {
        *total = s.sum(sum);
    }
    totals
}

/// `dq = score (sum over p of de_p (1 - u_p^2))`, with `u_p = tanh(k_p + q)` computed again.
#[inline(always)]
fn query_grad<S: Simd>(s: S, score: &[f32], sentence: &mut BackwardSentence) {
    let BackwardSentence {
        q: dq,
        query: q,
        de,
        keys,
        ..
    } = sentence;
    q.copy_from_slice(dq);
    dq.fill(0.0);
    let one = s.splat(1.0);
    for (&de, key) in de.iter().zip(keys.chunks_exact(q.len())) {
        let de = s.splat(de);
        for a in (0..q.len()).step_by(S::LANES) {
            let u = math::tanh(s, s.add(get(s, key, a), get(s, q, a)));
            let slope = s.sub(one, s.mul(u, u));
            let sum = s.mul_add(de, slope, get(s, dq, a));
            put(s, dq, a, sum);
        }
    }
    for a in (0..q.len()).step_by(S::LANES) {
        let sum = s.mul(get(s, dq, a), get(s, score, a));
        put(s, dq, a, sum);
    }
}
