//! Draws many sentences of each image at once, as ids. Self-critical training (Rennie et al., 2017, arXiv 1612.00563)
//! scores them and learns from them.
//!
//! All sentences advance together, one word at a time, in one batch. They share what the decoder computes once for each
//! image. The first step is equal for all sentences of an image, so it is computed once for each image. Sentences that
//! have ended leave the batch. Each step's words are drawn on the device that holds the logits (see
//! [`ops::categorical()`]), so that a GPU transfers only one word for each sentence.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::data::vocabulary::{END, PAD, START, UNKNOWN};
use crate::error::{Error, Result};
use crate::model::Decoder;
use crate::ops;
use crate::tensor::Tensor;

/// Draws `count` sentences of each image. The features are `[N, C]`, or maps `[N, P, C]` if the decoder attends.
///
/// Returns the words' ids: `count` sentences of the first image, then those of the second, and so on. If a sentence
/// ended within `max_words`, the end mark is its last id. The end mark counts as one of the `max_words`.
///
/// Each word is drawn from the softmax of the decoder's logits divided by `temperature`, without nucleus sampling. The
/// padding mark, the start mark and the mark of unknown words are never drawn, and no sentence is empty.
///
/// Every sentence has its own random number generator, made from `seed` and the sentence's position in the result. The
/// result therefore does not depend on the number of threads or on when other sentences end.
///
/// The decoder's parameters should not be tracked meanwhile; if they are, the tape keeps every step.
///
/// ```
/// use glimpse::caption::sample_ids;
/// use glimpse::data::vocabulary::END;
/// use glimpse::{model::Captioner, tensor::Tensor};
///
/// let captioner = Captioner::bundled()?;
/// // Two maps of 4 x 4 positions.
/// let maps = Tensor::zeros(&[2, 16, captioner.decoder.config().features]);
/// let drawn = sample_ids(&captioner.decoder, &maps, 5, 1.0, 20, 7)?;
/// assert_eq!(drawn.len(), 10);
/// assert!(drawn.iter().all(|ids| ids.len() == 20 || ids.ends_with(&[END as usize])));
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// If the features do not fit the decoder, if `count` or `max_words` is 0, if the temperature is not a finite number
/// above 0, or if logits are not finite.
pub fn sample_ids(
    decoder: &Decoder,
    image: &Tensor,
    count: usize,
    temperature: f32,
    max_words: usize,
    seed: u64,
) -> Result<Vec<Vec<usize>>> {
    if count == 0 || max_words == 0 {
        return Err(Error::usage(format_args!(
            "{count} samples of {max_words} words: take at least one of each"
        )));
    }
    let images = image.dims().first().copied().unwrap_or(0);
    if images == 0 {
        return Ok(Vec::new());
    }
    let [pad, start, unknown, end] = [PAD, START, UNKNOWN, END].map(|word| word as usize);
    let mut generators: Vec<ChaCha8Rng> = (0..images * count)
        .map(|place| generator(seed, place))
        .collect();
    let mut sentences = vec![Vec::new(); images * count];

    let (next, logits) = decoder.step(&decoder.start(image)?, &vec![start; images])?;
    let image_of: Vec<usize> = (0..images * count).map(|place| place / count).collect();
    let mut state = next.select(&image_of)?;
    let mut logits = ops::embedding(&logits, &image_of)?;
    // The sentences that have not ended, in the order of the rows of `state`.
    let mut open: Vec<usize> = (0..images * count).collect();
    for words in 1..=max_words {
        let uniform: Vec<f32> = open.iter().map(|&i| uniform(&mut generators[i])).collect();
        // As in a search, the end mark is barred at the first step, so that there is at least one word.
        let barred = [pad, start, unknown, end];
        let barred = &barred[..if words == 1 { 4 } else { 3 }];
        let drawn = ops::categorical(&logits, &uniform, temperature, barred)?;
        for (&sentence, &word) in open.iter().zip(&drawn) {
            sentences[sentence].push(word);
        }
        let kept: Vec<usize> = (0..open.len()).filter(|&row| drawn[row] != end).collect();
        if kept.is_empty() || words == max_words {
            break;
        }
        if kept.len() < open.len() {
            open = kept.iter().map(|&row| open[row]).collect();
            state = state.select(&kept)?;
        }
        let last: Vec<usize> = kept.iter().map(|&row| drawn[row]).collect();
        (state, logits) = decoder.step(&state, &last)?;
    }
    Ok(sentences)
}

/// Creates the generator of the sentence at `place`: its own stream of the generator with this seed.
fn generator(seed: u64, place: usize) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(place as u64);
    generator
}

/// Draws the middle of one of 2^23 equal parts of `[0, 1)`: never 0, and below 1 as an `f32`.
fn uniform(generator: &mut ChaCha8Rng) -> f32 {
    let part = generator.random::<u32>() >> 9;
    (part as f32 + 0.5) / (1 << 23) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::threads;
    use crate::model::{DecoderConfig, DecoderKind};
    use crate::nn::{Init, Module};
    use crate::ops::testing::{device, on_every_device, random};

    fn decoder() -> Decoder {
        let config = DecoderConfig {
            features: 5,
            embedding: 6,
            hidden: 7,
            vocabulary: 9,
            dropout: 0.0,
            kind: DecoderKind::Inject,
            layers: 1,
            tied: false,
            attention: 0,
        };
        let mut decoder = Decoder::new(&config, &mut Init::new(3)).unwrap();
        // Weights large enough that the words' probabilities differ clearly.
        decoder.visit("", &mut |_, _, t| {
            t.data_mut().iter_mut().for_each(|x| *x *= 3.0);
        });
        decoder.to(&device()).unwrap();
        decoder
    }

    #[test]
    fn each_sentence_depends_on_its_seed_and_place_alone() {
        on_every_device(|| {
            let (decoder, image) = (decoder(), random(&[3, 5], 1));
            let draw = |seed| sample_ids(&decoder, &image, 4, 1.0, 8, seed).unwrap();
            let drawn = draw(7);
            assert_eq!(drawn.len(), 12);
            for threads in [1, 3] {
                let again = threads::with_count(threads, || draw(7)).unwrap();
                assert_eq!(again, drawn, "{threads} threads");
            }
            assert_ne!(draw(8), drawn);
            // Sentences of one image differ from each other.
            assert!(drawn[..4].iter().any(|ids| *ids != drawn[0]));
            for ids in &drawn {
                let (last, before) = ids.split_last().unwrap();
                assert!(before.iter().all(|&w| w >= 4), "{ids:?}");
                assert!(*last >= 4 || *last == END as usize && !before.is_empty());
                assert!(ids.len() == 8 || *last == END as usize, "{ids:?}");
            }
        });
    }

    #[test]
    fn words_are_as_frequent_as_the_decoder_says() {
        on_every_device(|| {
            let (decoder, image) = (decoder(), random(&[1, 5], 2));
            let count = 4000;
            let drawn = sample_ids(&decoder, &image, count, 1.3, 2, 1).unwrap();
            // The distribution of pairs of words, computed from the decoder's logits step by step.
            let chances = |logits: &Tensor, barred: &[usize]| -> Vec<f64> {
                let powers = logits.data().iter().enumerate().map(|(w, &x)| {
                    if barred.contains(&w) {
                        0.0
                    } else {
                        (f64::from(x) / 1.3).exp()
                    }
                });
                let powers: Vec<f64> = powers.collect();
                let sum: f64 = powers.iter().sum();
                powers.iter().map(|p| p / sum).collect()
            };
            let start = decoder.start(&image).unwrap();
            let (state, logits) = decoder.step(&start, &[START as usize]).unwrap();
            let first = chances(&logits, &[0, 1, 2, 3]);
            for (word, &p) in first.iter().enumerate().skip(4) {
                let (_, logits) = decoder.step(&state, &[word]).unwrap();
                for (next, &q) in chances(&logits, &[0, 1, 3]).iter().enumerate() {
                    let found = drawn.iter().filter(|ids| ids[..] == [word, next]).count();
                    let expected = p * q * f64::from(count as u32);
                    // Five standard deviations of a binomial distribution.
                    let slack = 5.0 * expected.max(1.0).sqrt();
                    let off = (found as f64 - expected).abs();
                    assert!(off <= slack, "{word} {next}: {found}, not {expected}");
                }
            }
        });
    }

    #[test]
    fn a_cold_draw_is_greedy_search() {
        use crate::caption::{Search, search_ids};
        on_every_device(|| {
            let (decoder, image) = (decoder(), random(&[4, 5], 3));
            let greedy = Search {
                beam: 1,
                max_words: 6,
                ..Search::default()
            };
            let found = search_ids(&decoder, &image, &greedy).unwrap();
            let drawn = sample_ids(&decoder, &image, 2, 1e-4, 6, 0).unwrap();
            for (image, best) in found.iter().enumerate() {
                // A search may end a sentence after its last word; a draw counts the end mark as a word.
                let best = &best[..best.len().min(6)];
                assert_eq!(drawn[2 * image], best);
                assert_eq!(drawn[2 * image + 1], best);
            }
        });
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let (decoder, image) = (decoder(), random(&[1, 5], 1));
        let refused = |count, temperature, words| {
            sample_ids(&decoder, &image, count, temperature, words, 0).is_err()
        };
        assert!(refused(0, 1.0, 5) && refused(1, 1.0, 0));
        assert!(refused(1, 0.0, 5) && refused(1, f32::NAN, 5));
        assert!(sample_ids(&decoder, &random(&[1, 4], 1), 1, 1.0, 5, 0).is_err());
        let none = sample_ids(&decoder, &Tensor::zeros(&[0, 5]), 3, 1.0, 5, 0).unwrap();
        assert!(none.is_empty());
    }
}
