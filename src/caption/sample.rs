//! Captions drawn at random, as the decoder's probabilities have it.
//!
//! With temperature `T` the logits are divided by `T` first: below 1 likely words become likelier, above 1 less
//! so. With nucleus sampling (Holtzman et al., 2020, arXiv 1904.09751) only the likeliest words whose
//! probabilities together reach `top_p` are drawn from.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Caption, Sentence, log_softmax};
use crate::data::vocabulary::{END, PAD, START, UNKNOWN};
use crate::error::{Error, Result};
use crate::model::Captioner;
use crate::tensor::Tensor;

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; above 0.
    pub temperature: f64,
    /// The probability that the words drawn from share, in `(0, 1]`.
    pub top_p: f64,
    /// The same seed draws the same captions.
    pub seed: u64,
    /// Captions of each image.
    pub count: usize,
    /// Words of a sentence, at most.
    pub max_words: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_p: 0.9,
            seed: 0,
            count: 1,
            max_words: 20,
        }
    }
}

/// `count` captions of each image with these `features` `[N, F]`. Their log-probabilities are the model's own,
/// whatever the temperature.
///
/// # Errors
/// Where the features do not fit the model or the settings make no sense.
pub fn sample(
    captioner: &Captioner,
    features: &Tensor,
    how: &Sampling,
) -> Result<Vec<Vec<Caption>>> {
    if !(how.temperature > 0.0 && how.temperature.is_finite()) {
        return Err(Error::usage(format!(
            "a temperature of {}: take one above 0",
            how.temperature
        )));
    }
    if !(how.top_p > 0.0 && how.top_p <= 1.0) {
        return Err(Error::usage(format!(
            "a top-p of {}: take one above 0, at most 1",
            how.top_p
        )));
    }
    let images = features.dims().first().copied().unwrap_or(0);
    let mut rng = ChaCha8Rng::seed_from_u64(how.seed);
    (0..images)
        .map(|image| {
            let features = features.narrow(image, 1)?;
            (0..how.count)
                .map(|_| draw(captioner, &features, how, &mut rng))
                .collect()
        })
        .collect()
}

fn draw(
    captioner: &Captioner,
    features: &Tensor,
    how: &Sampling,
    rng: &mut ChaCha8Rng,
) -> Result<Caption> {
    let mut state = captioner.decoder.start(features)?;
    let mut last = START as usize;
    let mut sentence = Sentence {
        words: Vec::new(),
        finished: false,
    };
    while sentence.words.len() < how.max_words && !sentence.finished {
        let (next, logits) = captioner.decoder.step(&state, &[last])?;
        state = next;
        last = choose(logits.data(), how, sentence.words.is_empty(), rng.random());
        sentence
            .words
            .push((last, log_softmax(logits.data())[last]));
        sentence.finished = last == END as usize;
    }
    sentence.caption(captioner)
}

/// The word at `u` in `[0, 1)` of the cumulated probabilities of the nucleus.
fn choose(logits: &[f32], how: &Sampling, first: bool, u: f64) -> usize {
    let warm: Vec<f32> = logits
        .iter()
        .enumerate()
        .map(|(w, &x)| {
            let special = [PAD, START, UNKNOWN].iter().any(|&s| s as usize == w);
            let barred = special || (first && w == END as usize);
            if barred {
                f32::NEG_INFINITY
            } else {
                (f64::from(x) / how.temperature) as f32
            }
        })
        .collect();
    let probs: Vec<f64> = log_softmax(&warm).into_iter().map(f64::exp).collect();
    let mut order: Vec<usize> = (0..probs.len()).collect();
    order.sort_by(|&a, &b| probs[b].total_cmp(&probs[a]).then(a.cmp(&b)));
    let mut mass = 0.0;
    let nucleus = order.iter().position(|&w| {
        mass += probs[w];
        mass >= how.top_p
    });
    order.truncate(nucleus.map_or(order.len(), |n| n + 1));
    let mut left = u * order.iter().map(|&w| probs[w]).sum::<f64>();
    for &w in &order {
        left -= probs[w];
        if left < 0.0 {
            return w;
        }
    }
    order[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nucleus_is_as_small_as_it_may_be() {
        let mut logits = vec![-100.0f32; 8];
        for (w, p) in [(4, 0.6f32), (5, 0.3), (6, 0.1)] {
            logits[w] = p.ln();
        }
        let at = |top_p: f64, u: f64| {
            choose(
                &logits,
                &Sampling {
                    top_p,
                    ..Default::default()
                },
                false,
                u,
            )
        };
        assert_eq!(at(0.5, 0.999), 4);
        assert_eq!(at(0.85, 0.999), 5);
        assert_eq!(at(1.0, 0.95), 6);
        assert_eq!(at(1.0, 0.0), 4);
    }

    #[test]
    fn a_cold_draw_takes_the_likeliest_word() {
        let mut logits = vec![0.0f32; 8];
        logits[6] = 1.0;
        logits[UNKNOWN as usize] = 9.0;
        let how = Sampling {
            temperature: 0.01,
            top_p: 1.0,
            ..Default::default()
        };
        assert!((0..10).all(|i| choose(&logits, &how, true, f64::from(i) / 10.0) == 6));
    }
}
