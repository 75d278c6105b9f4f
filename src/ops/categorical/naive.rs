//! The definition: probabilities are added word by word until the sum exceeds the random number.

use super::Job;

/// The word drawn from each row; `None` if the sum of the exponentials is not finite or no word may be drawn.
pub(crate) fn forward(job: &Job) -> Vec<Option<usize>> {
    let rows = job.logits.data().chunks(job.words).zip(job.uniform);
    rows.map(|(x, &u)| draw(job, x, u)).collect()
}

/// The word drawn from the row `x` with the random number `u`.
fn draw(job: &Job, x: &[f32], u: f32) -> Option<usize> {
    let scaled = |w: usize| f64::from(x[w]) * f64::from(job.inverse);
    let allowed = || (0..x.len()).filter(|w| !job.barred.contains(w));
    let largest = allowed().map(scaled).fold(f64::NEG_INFINITY, f64::max);
    let exponential = |w: usize| (scaled(w) - largest).exp();
    let total: f64 = allowed().map(exponential).sum();
    if !total.is_finite() {
        return None;
    }
    let target = f64::from(u) * total;
    let mut sum = 0.0;
    let passes = allowed().find(|&w| {
        sum += exponential(w);
        sum > target
    });
    // For a random number close to 1, rounding may keep the sum below the target.
    passes.or_else(|| allowed().rfind(|&w| exponential(w) > 0.0))
}
