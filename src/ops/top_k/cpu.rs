//! One pass over the logits. After a few words are found, nearly every block is below all of them and is skipped whole.

use super::{Job, Likeliest};
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, elements, math, threads};

// Exponentials that are summed in `f32` before they are added to the `f64` total, which bounds the rounding error of a
// large vocabulary. A multiple of every vector's length.
const BLOCK: usize = 256;

/// The most likely words of each row. Each task takes one row.
pub(crate) fn forward(isa: Isa, job: &Job) -> Vec<Likeliest> {
    let x = job.logits.data();
    threads::map(job.rows, |r| {
        let logits = &x[r * job.words..][..job.words];
        let mut words: Vec<(usize, f32)> = likeliest(logits, job.k, |w| job.allowed.allows(w))
            .into_iter()
            .map(|w| (w, logits[w]))
            .collect();
        words.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Likeliest {
            log_sum: log_sum_exp(isa, logits),
            words,
        }
    })
}

/// The `n` words with the largest logits among those `allowed`, in any order; of equal logits the lower index.
fn likeliest(logits: &[f32], n: usize, allowed: impl Fn(usize) -> bool) -> Vec<usize> {
    // Words that are compared together. Nearly always none of them is among the best.
    const COMPARED: usize = 16;
    if n == 0 {
        return Vec::new();
    }
    let keep_best = |words: &mut Vec<usize>| {
        if words.len() > n {
            words.select_nth_unstable_by(n - 1, |&a, &b| {
                logits[b].total_cmp(&logits[a]).then(a.cmp(&b))
            });
            words.truncate(n);
        }
    };
    let mut best = Vec::with_capacity(2 * n);
    // The logit that a word has to exceed. No comparison with NaN is true, so at first every word passes.
    let mut threshold = f32::NAN;
    for (block, first) in logits.chunks(COMPARED).zip((0..).step_by(COMPARED)) {
        if block.iter().fold(true, |none, &x| none & (x <= threshold)) {
            continue;
        }
        for (&x, word) in block.iter().zip(first..) {
            if x <= threshold || !allowed(word) {
                continue;
            }
            best.push(word);
            if best.len() == 2 * n {
                keep_best(&mut best);
                threshold = logits[best[n - 1]];
            }
        }
    }
    keep_best(&mut best);
    best
}

/// `ln sum exp x` over logits `[V]`. A word's log-probability is its logit minus this.
pub(crate) fn log_sum_exp(isa: Isa, logits: &[f32]) -> f64 {
    isa.dispatch(LogSumExp(logits))
}

struct LogSumExp<'a>(&'a [f32]);

impl WithSimd for LogSumExp<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let largest = elements::largest(s, self.0);
        let (shift, mut total) = (s.splat(largest), 0.0);
        for block in self.0.chunks(BLOCK) {
            let mut sum = s.splat(0.0);
            let vectors = block.chunks_exact(S::LANES);
            let tail = vectors.remainder();
            for x in vectors {
                sum = s.add(sum, math::exp(s, s.sub(s.load(x), shift)));
            }
            // The exponential of the -inf that pads the last vector is negligible.
            let last = s.load_part(tail, f32::NEG_INFINITY);
            sum = s.add(sum, math::exp(s, s.sub(last, shift)));
            total += f64::from(s.sum(sum));
        }
        f64::from(largest) + total.ln()
    }
}
