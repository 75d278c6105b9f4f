//! The definition: sorts all words and takes the first `k`.

use super::{Allowed, Job, Likeliest};

/// The most likely words of each row.
pub(crate) fn forward(job: &Job) -> Vec<Likeliest> {
    let rows = job.logits.data().chunks(job.words);
    rows.map(|x| likeliest(x, job.k, job.allowed)).collect()
}

fn likeliest(logits: &[f32], k: usize, allowed: Allowed) -> Likeliest {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - largest).exp()).sum();
    let all = (0..logits.len()).filter(|&w| allowed.allows(w));
    let mut words: Vec<(usize, f32)> = all.map(|w| (w, logits[w])).collect();
    words.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    words.truncate(k);
    Likeliest {
        log_sum: f64::from(largest) + sum.ln(),
        words,
    }
}
