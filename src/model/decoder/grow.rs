//! Adds words to the vocabulary of a trained decoder.

use super::Decoder;
use super::config::DecoderConfig;
use crate::data::vocabulary::SPECIAL_WORDS;
use crate::error::{Error, Result};
use crate::nn::Init;
use crate::tensor::Tensor;

/// Standard deviation of a new word's row about the mean of the known words' rows, relative to theirs. It is large enough
/// that new words differ, and small enough that their vectors are like those of known words.
const SPREAD: f32 = 0.3;

/// The fraction of known words whose output bias is below that of a new word. The bias of a word mostly reflects how often
/// it occurs, so a new word starts as a rare one.
const RARITY: f64 = 0.05;

impl Decoder {
    /// The decoder with a vocabulary of `vocabulary` words. The first of them are the known words, which keep their
    /// weights.
    ///
    /// A new word's row in the table of word vectors and in the output matrix is the mean of the known words' rows plus
    /// random numbers. Its output bias is that of a rare word.
    ///
    /// # Errors
    /// If `vocabulary` is smaller than the decoder's, or too large.
    pub fn with_words(mut self, vocabulary: usize, init: &mut Init) -> Result<Self> {
        let known = self.config.vocabulary;
        if vocabulary < known {
            return Err(Error::value(
                "decoder",
                format_args!("{vocabulary} words, fewer than the {known} that it knows"),
            ));
        }
        if vocabulary == known {
            return Ok(self);
        }
        let config = DecoderConfig {
            vocabulary,
            ..self.config.clone()
        };
        // Only tensors with a row for each word differ in size.
        self.rebuilt(&config, |weight, dims| match weight.dims() == dims {
            true => weight,
            false => grown(&weight, dims, init),
        })
    }
}

/// Extends `old` by rows for new words, to the shape `dims`.
fn grown(old: &Tensor, dims: &[usize], init: &mut Init) -> Tensor {
    let known = old.dims()[0];
    let new = dims[0] - known;
    let mut data = old.data().to_vec();
    if dims.len() == 1 {
        data.extend(std::iter::repeat_n(rare_bias(old.data()), new));
        return Tensor::computed(data, dims);
    }
    let width = data.len() / known.max(1);
    let first = first_ordinary(known);
    let (mean, deviation) = moments(&data[first * width..], width);
    let random = init.normal(&[new, width], SPREAD);
    for row in random.data().chunks_exact(width) {
        let element = |i: usize| mean[i] + deviation[i] * row[i];
        data.extend((0..width).map(element));
    }
    Tensor::computed(data, dims)
}

/// The first row of an ordinary word among `known` rows. Special words are left out, because they are not typical.
fn first_ordinary(known: usize) -> usize {
    if known > SPECIAL_WORDS {
        SPECIAL_WORDS
    } else {
        0
    }
}

/// The bias of a rare word, given those of all known words.
fn rare_bias(biases: &[f32]) -> f32 {
    let mut sorted = biases[first_ordinary(biases.len())..].to_vec();
    sorted.sort_by(f32::total_cmp);
    let index = (sorted.len() as f64 * RARITY) as usize;
    sorted.get(index).copied().unwrap_or(0.0)
}

/// Mean and standard deviation of each column.
fn moments(rows: &[f32], width: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut sum, mut squares) = (vec![0.0f64; width], vec![0.0f64; width]);
    for row in rows.chunks_exact(width) {
        for (i, &x) in row.iter().enumerate() {
            sum[i] += f64::from(x);
            squares[i] += f64::from(x).powi(2);
        }
    }
    let n = (rows.len() / width.max(1)).max(1) as f64;
    let mean: Vec<f64> = sum.iter().map(|s| s / n).collect();
    let deviation = squares.iter().zip(&mean);
    let deviation = deviation.map(|(s, m)| (s / n - m * m).max(0.0).sqrt() as f32);
    let deviation = deviation.collect();
    (mean.into_iter().map(|m| m as f32).collect(), deviation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DecoderKind;
    use crate::nn::Module;

    fn config(kind: DecoderKind, tied: bool) -> DecoderConfig {
        DecoderConfig {
            features: 5,
            embedding: 6,
            hidden: 7,
            vocabulary: 40,
            dropout: 0.0,
            kind,
            layers: 1,
            tied,
            attention: if kind == DecoderKind::Attention { 3 } else { 0 },
        }
    }

    fn tensors(decoder: &mut Decoder) -> Vec<(String, Tensor)> {
        let mut all = Vec::new();
        decoder.visit("", &mut |name, _, t| {
            all.push((name.to_string(), t.clone()))
        });
        all
    }

    #[test]
    fn known_words_keep_their_weights_and_new_ones_are_like_rare_words() {
        for kind in DecoderKind::ALL {
            for tied in [false, true] {
                let mut old = Decoder::new(&config(kind, tied), &mut Init::new(3)).unwrap();
                let mut value = 0.0;
                old.visit("", &mut |name, _, tensor| {
                    if name == "output.bias" {
                        tensor.data_mut().fill_with(|| {
                            value += 1.0;
                            value
                        });
                    }
                });
                let mut new = old.clone().with_words(43, &mut Init::new(1)).unwrap();
                assert_eq!(new.config().vocabulary, 43);
                let mut grown = Vec::new();
                for ((name, old), (_, new)) in tensors(&mut old).iter().zip(tensors(&mut new)) {
                    let n = old.len();
                    assert_eq!(old.data(), &new.data()[..n], "{name}");
                    if new.len() == n {
                        continue;
                    }
                    grown.push(name.clone());
                    let more = &new.data()[n..];
                    if name == "output.bias" {
                        // The special words have 1 to 4; a twentieth of the 36 others is below.
                        assert_eq!(more, [6.0; 3]);
                        continue;
                    }
                    let width = n / 40;
                    assert_eq!(more.len(), 3 * width);
                    assert_ne!(more[..width], more[width..2 * width]);
                    let (mean, deviation) = moments(&old.data()[4 * width..], width);
                    for (i, x) in more.iter().enumerate() {
                        let (mean, deviation) = (mean[i % width], deviation[i % width]);
                        assert!((x - mean).abs() < 1.5 * deviation, "{name}: {x} of {mean}");
                    }
                }
                assert_eq!(grown.len(), if tied { 2 } else { 3 }, "{grown:?}");
                let again = old.clone().with_words(43, &mut Init::new(1)).unwrap();
                let mut again = again;
                let both = tensors(&mut new).into_iter().zip(tensors(&mut again));
                both.into_iter()
                    .for_each(|((_, a), (_, b))| assert_eq!(a.data(), b.data()));
                assert!(old.with_words(39, &mut Init::new(1)).is_err());
            }
        }
    }
}
