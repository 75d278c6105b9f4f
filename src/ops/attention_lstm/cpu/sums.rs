//! The gradients with respect to keys, values and `score`: sums over all steps of all sentences of an image.
//!
//! Each task takes some positions of one image and reads that image's sentences in order. So each element is written by one
//! task, and its sum has a fixed order.

use std::ops::Range;

use crate::cpu::elements::{get, put};
use crate::cpu::pixels::Pixels;
use crate::cpu::rows::sum_rows;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, math, memory, threads};
use crate::ops::attention_lstm::Job;

// Positions per task.
const POSITIONS: usize = 8;

/// Inputs of the gradients with respect to the keys and `score`, one row for each step of each sentence.
pub(super) struct KeySteps<'a> {
    /// `[S, T, A]`
    pub(super) queries: &'a [f32],
    /// `[S, T, P]`
    pub(super) de: &'a [f32],
}

/// The sentences of each image, in order.
fn sentences_of(job: &Job) -> Vec<Vec<usize>> {
    let mut of = vec![Vec::new(); job.sizes.images];
    for (sentence, &image) in job.image_of.iter().enumerate() {
        of[image].push(sentence);
    }
    of
}

/// A task: some positions of one image.
struct Task<'a> {
    /// The image's sentences.
    sentences: &'a [usize],
    steps: usize,
    positions: usize,
    /// The first of this task's positions.
    first: usize,
    /// Receives the gradients of this task's positions.
    grad: &'a mut [f32],
}

impl<'a> Task<'a> {
    /// The tasks that together fill `grad`, whose positions have `width` elements each.
    fn all(
        job: &Job,
        sentences: &'a [Vec<usize>],
        grad: &'a mut [f32],
        width: usize,
    ) -> Vec<Task<'a>> {
        let (steps, positions) = (job.sizes.steps, job.sizes.positions);
        let images = grad.chunks_mut(positions * width).zip(sentences);
        let tasks = images.flat_map(|(grad, sentences)| {
            let positions_of_tasks = grad.chunks_mut(POSITIONS * width).enumerate();
            positions_of_tasks.map(move |(i, grad)| Task {
                sentences,
                steps,
                positions,
                first: i * POSITIONS,
                grad,
            })
        });
        tasks.collect()
    }

    /// The range of rows of each of this image's sentences, in order.
    #[inline(always)]
    fn rows(&self) -> impl Iterator<Item = Range<usize>> {
        let steps = self.steps;
        self.sentences
            .iter()
            .map(move |s| s * steps..(s + 1) * steps)
    }
}

/// The gradients with respect to the keys and to `score`:
/// `dk_p = score sum of de_p (1 - u_p^2)` and `dscore = sum of de_p u_p`, with `u_p = tanh(k_p + q)` computed again.
pub(super) fn keys(isa: Isa, job: &Job, steps: &KeySteps) -> (Vec<f32>, Vec<f32>) {
    let s = job.sizes;
    let (keys, score) = (job.keys.data(), job.weights.score.data());
    let sentences = sentences_of(job);
    let mut dkeys = memory::unset(keys.len());
    let mut tasks = Task::all(job, &sentences, &mut dkeys, s.key);
    let count = tasks.len();
    // The contribution of each task to the gradient with respect to `score`.
    let mut parts = memory::zeros(count * s.key);
    let mut tasks: Vec<_> = tasks
        .drain(..)
        .zip(parts.chunks_exact_mut(s.key))
        .zip(
            keys.chunks(s.positions * s.key)
                .flat_map(|keys| keys.chunks(POSITIONS * s.key)),
        )
        .collect();
    threads::for_each_chunk(&mut tasks, 1, |_, tasks| {
        for ((task, part), keys) in tasks {
            isa.dispatch(KeyGrads {
                task,
                part,
                keys,
                score,
                steps,
            });
        }
    });
    let all = Pixels::new(&parts, s.key);
    let dscore = sum_rows(isa, all, count, s.key);
    memory::recycle(parts);
    (dkeys, dscore)
}

struct KeyGrads<'a, 'b> {
    task: &'a mut Task<'b>,
    part: &'a mut [f32],
    keys: &'a [f32],
    score: &'a [f32],
    steps: &'a KeySteps<'a>,
}

impl WithSimd for KeyGrads<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.score.len();
        let one = s.splat(1.0);
        for (i, key) in self.keys.chunks_exact(width).enumerate() {
            for a in (0..width).step_by(S::LANES) {
                let k = get(s, key, a);
                let (mut slopes, mut values) = (s.splat(0.0), s.splat(0.0));
                let position = self.task.first + i;
                for row in self.task.rows().flatten() {
                    let q = &self.steps.queries[row * width..][..width];
                    let de = s.splat(self.steps.de[row * self.task.positions + position]);
                    let u = math::tanh(s, s.add(k, get(s, q, a)));
                    slopes = s.mul_add(de, s.sub(one, s.mul(u, u)), slopes);
                    values = s.mul_add(de, u, values);
                }
                let dk = s.mul(slopes, get(s, self.score, a));
                put(s, &mut self.task.grad[i * width..][..width], a, dk);
                put(s, self.part, a, s.add(get(s, self.part, a), values));
            }
        }
    }
}

/// The gradient with respect to the values: `dv_p = sum of alpha_p dm`.
pub(super) fn values(isa: Isa, job: &Job, alphas: &[f32], dm: &[f32]) -> Vec<f32> {
    let sentences = sentences_of(job);
    let mut dvalues = memory::unset(job.values.len());
    let width = job.sizes.value;
    let mut tasks = Task::all(job, &sentences, &mut dvalues, width);
    threads::for_each_chunk(&mut tasks, 1, |_, tasks| {
        for task in tasks {
            isa.dispatch(ValueGrads {
                task,
                alphas,
                dm,
                width,
            });
        }
    });
    dvalues
}

struct ValueGrads<'a, 'b> {
    task: &'a mut Task<'b>,
    alphas: &'a [f32],
    dm: &'a [f32],
    width: usize,
}

// Vectors of a position's gradient that are summed at a time.
const VECTORS: usize = 4;

impl WithSimd for ValueGrads<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let width = self.width;
        for i in 0..self.task.grad.len() / width {
            let whole = width / (VECTORS * S::LANES) * VECTORS * S::LANES;
            for j in (0..whole).step_by(VECTORS * S::LANES) {
                self.vectors::<S, VECTORS>(s, i, j);
            }
            for j in (whole..width).step_by(S::LANES) {
                self.vectors::<S, 1>(s, i, j);
            }
        }
    }
}

impl ValueGrads<'_, '_> {
    /// Computes `N` vectors, from element `j` on, of the gradient of the task's position `i`.
    #[inline(always)]
    fn vectors<S: Simd, const N: usize>(&mut self, s: S, i: usize, j: usize) {
        let (width, dm) = (self.width, self.dm);
        let mut sums = [s.splat(0.0); N];
        let position = self.task.first + i;
        for row in self.task.rows().flatten() {
            let alpha = s.splat(self.alphas[row * self.task.positions + position]);
            let dm = &dm[row * width..][..width];
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = s.mul_add(alpha, get(s, dm, j + n * S::LANES), *sum);
            }
        }
        let grad = &mut self.task.grad[i * width..][..width];
        for (n, sum) in sums.into_iter().enumerate() {
            put(s, grad, j + n * S::LANES, sum);
        }
    }
}
