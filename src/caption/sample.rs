//! Captions drawn at random, following the decoder's probabilities.
//!
//! With a temperature `T` the logits are divided by `T` first. Below 1, likely words become likelier still; above 1,
//! less likely. Nucleus sampling (Holtzman et al., 2020, arXiv 1904.09751) draws only from the likeliest words whose
//! probabilities together reach `top_p`.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Caption;
use super::confidence::Evidence;
use super::probability::log_softmax;
use super::sentence::{Sentence, Word, attention};
use super::settings::Search;
use crate::cpu::{Isa, threads};
use crate::data::vocabulary::{END, PAD, START, UNKNOWN};
use crate::error::{Error, Result};
use crate::model::Captioner;
use crate::ops::top_k::log_sum_exp;
use crate::tensor::{Device, Tensor};

/// Settings of a random draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The divisor of the logits; above 0.
    pub temperature: f64,
    /// The total probability of the words that are drawn from, in `(0, 1]`.
    pub top_p: f64,
    /// The seed of the random numbers; equal seeds draw equal captions.
    pub seed: u64,
    /// The number of captions of each image.
    pub count: usize,
    /// The largest number of words in a sentence.
    pub max_words: usize,
    /// Whether each word is returned with the attention weights that it was chosen with, if the decoder attends.
    pub attention: bool,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_p: 0.9,
            seed: 0,
            count: 1,
            max_words: 20,
            attention: false,
        }
    }
}

/// Draws `count` captions of each image.
///
/// `features` are `[N, C]`, or the maps `[N, P, C]` that an attention decoder takes. The captions' log-probabilities
/// are the model's own, whatever the temperature. Each image starts from the seed, so its captions do not depend on the
/// other images.
///
/// # Errors
/// If the features do not fit the model or the settings make no sense.
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
    if images == 0 {
        return Ok(Vec::new());
    }
    let mut generators = vec![ChaCha8Rng::seed_from_u64(how.seed); images];
    let mut drawn: Vec<Vec<Sentence>> = vec![Vec::new(); images];
    for _ in 0..how.count {
        let sentences = draw(captioner, features, how, &mut generators)?;
        drawn
            .iter_mut()
            .zip(sentences)
            .for_each(|(drawn, sentence)| drawn.push(sentence));
    }
    let recognition = captioner.recognition.as_ref();
    let seen = recognition.map_or_else(|| Ok(Vec::new()), |r| r.recognise(features))?;
    let captions = |(image, sentences): (usize, &Vec<Sentence>)| {
        let evidence = recognition
            .zip(seen.get(image))
            .map(|(recognition, seen)| Evidence::new(&captioner.vocabulary, recognition, seen));
        let judged = sentences.iter().map(|sentence| {
            let caption = sentence.caption(captioner)?;
            Ok(match &evidence {
                Some(evidence) => evidence.judged(caption, sentence, sentences, &Search::default()),
                None => caption,
            })
        });
        judged.collect()
    };
    drawn.iter().enumerate().map(captions).collect()
}

/// Draws one sentence for each image, all of them word by word in one batch.
fn draw(
    captioner: &Captioner,
    features: &Tensor,
    how: &Sampling,
    generators: &mut [ChaCha8Rng],
) -> Result<Vec<Sentence>> {
    let (isa, decoder) = (Isa::current(), &captioner.decoder);
    let mut sentences = vec![Sentence::default(); generators.len()];
    // The images whose sentences have not ended, in the order of the rows of `state`.
    let mut open: Vec<usize> = (0..generators.len()).collect();
    let mut last = vec![START as usize; open.len()];
    let mut state = decoder.start(features)?;
    for step in 0..how.max_words {
        let (next, logits) = decoder.step(&state, &last)?;
        let weights = attention(&next, how.attention)?;
        let logits = logits.to(&Device::Cpu)?;
        let words = logits.dims()[1];
        let at: Vec<f64> = open.iter().map(|&i| generators[i].random()).collect();
        let drawn = threads::map(open.len(), |row| {
            let logits = &logits.data()[row * words..][..words];
            let word = choose(logits, how, step == 0, at[row]);
            (word, f64::from(logits[word]) - log_sum_exp(isa, logits))
        });
        for (row, (&image, &(id, log_prob))) in open.iter().zip(&drawn).enumerate() {
            let word = Word {
                id,
                log_prob,
                attention: weights.get(row).cloned(),
            };
            sentences[image].push(word, log_prob);
        }
        let goes_on = |&row: &usize| drawn[row].0 != END as usize;
        let kept: Vec<usize> = (0..open.len()).filter(goes_on).collect();
        if kept.is_empty() {
            break;
        }
        last = kept.iter().map(|&row| drawn[row].0).collect();
        open = kept.iter().map(|&row| open[row]).collect();
        state = next.select(&kept)?;
    }
    Ok(sentences)
}

/// Returns the word at `u` in `[0, 1)` of the cumulative probabilities of the nucleus.
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
