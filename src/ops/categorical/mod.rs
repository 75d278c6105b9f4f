//! Sampling: draws one word for each row of logits from the categorical distribution given by their softmax.
//!
//! ```text
//! p[r][w] = e^(x[r][w] / T) / sum over allowed v of e^(x[r][v] / T)        T: the temperature
//!
//! drawn[r] = the first allowed w with  p[r][0] + ... + p[r][w] > u[r]
//! ```
//!
//! A word is an index of the vocabulary. `u[r]` is a uniform random number in `[0, 1)` from the caller, so the same numbers
//! draw the same words. This is sampling by inversion. It needs one random number for each row, where the Gumbel-max trick
//! (`argmax of x / T + Gumbel noise`) needs one for each word. Its only cost beyond the softmax's sum is to find where the
//! cumulative sum exceeds `u` times the total. On the GPU only the drawn words are read back, not the logits.
//!
//! Rounding may move the border between two neighbouring words by a few millionths, so devices can disagree on a `u` that
//! falls on a border. Sampling has no gradient.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::{Isa, profile, threads};
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// Maximum number of words that can be barred.
const MAX_BARRED: usize = 4;

/// The settings of a draw.
#[derive(Clone, Copy)]
pub(crate) struct Draw<'a> {
    /// `1 / T`
    inverse: f32,
    /// Words that are never drawn.
    barred: &'a [usize],
}

/// Draws a word for each row of `logits` `[R, V]` at `temperature`.
///
/// `uniform` has a random number in `[0, 1)` for each row. The `barred` words, at most four, are never drawn.
///
/// ```
/// use glimpse::{ops::categorical, tensor::Tensor};
/// // Three words with the probabilities 0.2, 0.5 and 0.3, cumulated 0.2, 0.7 and 1.
/// let row = [0.2f32, 0.5, 0.3].map(f32::ln);
/// let logits = Tensor::from_vec([row, row, row].concat(), &[3, 3])?;
/// assert_eq!(categorical(&logits, &[0.1, 0.6, 0.9], 1.0, &[])?, [0, 1, 2]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where `logits` is not a matrix or has no words, `uniform` has another length or numbers outside `[0, 1)`, the
/// temperature is not a finite number above 0, more than four words are barred, all words are, or a row has logits that are
/// not finite.
pub fn categorical(
    logits: &Tensor,
    uniform: &[f32],
    temperature: f32,
    barred: &[usize],
) -> Result<Vec<usize>> {
    let _timer = profile::time("categorical", logits.shape(), 0.0);
    let (rows, words) = check(logits, uniform, temperature, barred)?;
    let draw = Draw {
        inverse: temperature.recip(),
        barred,
    };
    let drawn = if let Device::Gpu(gpu) = Device::of(&[logits]) {
        gpu::forward(&gpu, draw, logits, uniform)?
    } else {
        let isa = Isa::current();
        let row = if isa.is_naive() { naive::row } else { cpu::row };
        let data = logits.data();
        threads::map(rows, |r| {
            row(isa, draw, &data[r * words..][..words], uniform[r])
        })
    };
    let mut found = Vec::with_capacity(rows);
    for (row, word) in drawn.into_iter().enumerate() {
        let Some(word) = word else {
            let what = format_args!(
                "row {row} has no word to draw: its logits are not finite, or all words are barred"
            );
            return Err(Error::value("categorical", what));
        };
        found.push(word);
    }
    Ok(found)
}

/// Checks the arguments; returns the numbers of rows and words of `logits`.
fn check(
    logits: &Tensor,
    uniform: &[f32],
    temperature: f32,
    barred: &[usize],
) -> Result<(usize, usize)> {
    let &[rows, words] = logits.dims() else {
        return Err(Error::shape("categorical", "logits [R, V]", logits.shape()));
    };
    if words == 0 {
        return Err(Error::shape(
            "categorical",
            "at least one word",
            logits.shape(),
        ));
    }
    if uniform.len() != rows {
        return Err(Error::shape(
            "categorical",
            format_args!("a random number for each of {rows} rows"),
            format_args!("{} numbers", uniform.len()),
        ));
    }
    if let Some(u) = uniform.iter().find(|u| !(0.0..1.0).contains(*u)) {
        let what = format_args!("the random number {u} is not at least 0 and below 1");
        return Err(Error::value("categorical", what));
    }
    // A temperature so small that its inverse is infinite is refused too.
    if !(temperature > 0.0 && temperature.is_finite() && temperature.recip().is_finite()) {
        let what = format_args!("a temperature of {temperature}: take a finite one above 0");
        return Err(Error::value("categorical", what));
    }
    if barred.len() > MAX_BARRED {
        let what = format_args!(
            "{} words are barred, {MAX_BARRED} are the most",
            barred.len()
        );
        return Err(Error::value("categorical", what));
    }
    Ok((rows, words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{here, on_every_device, random};
    use proptest::prelude::*;

    /// The cumulated probabilities of a row, by the definition in `f64`; those of barred words add nothing.
    fn cumulated(row: &[f32], temperature: f32, barred: &[usize]) -> Vec<f64> {
        let allowed = |w: usize| !barred.contains(&w);
        let warm = |w: usize| f64::from(row[w]) / f64::from(temperature);
        let most = (0..row.len())
            .filter(|&w| allowed(w))
            .map(warm)
            .fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        let all: Vec<f64> = (0..row.len())
            .map(|w| {
                sum += if allowed(w) {
                    (warm(w) - most).exp()
                } else {
                    0.0
                };
                sum
            })
            .collect();
        all.iter().map(|c| c / sum).collect()
    }

    /// Draws by evenly spread numbers, and fails where a word's interval does not hold its number.
    fn check_draws(logits: &Tensor, temperature: f32, barred: &[usize]) {
        let [rows, words] = [0, 1].map(|axis| logits.dims()[axis]);
        let uniform: Vec<f32> = (0..rows).map(|r| r as f32 / rows as f32).collect();
        let drawn = categorical(logits, &uniform, temperature, barred).unwrap();
        let data = logits.data();
        for (r, &word) in drawn.iter().enumerate() {
            let row = cumulated(&data[r * words..][..words], temperature, barred);
            let low = if word == 0 { 0.0 } else { row[word - 1] };
            let u = f64::from(uniform[r]);
            assert!(!barred.contains(&word), "word {word} is barred");
            assert!(
                low - 1e-5 <= u && u < row[word] + 1e-5 && row[word] > low,
                "row {r} of {words} words: {u} drew {word}, whose interval is {low} to {}",
                row[word]
            );
        }
    }

    #[test]
    fn a_word_is_drawn_where_the_cumulated_sum_passes_the_number() {
        on_every_device(|| {
            for words in [1, 2, 7, 255, 256, 257, 513, 2538] {
                let logits = random(&[64, words], 3);
                let logits = logits.data().iter().map(|x| x * 6.0).collect();
                let logits = here(Tensor::from_vec(logits, &[64, words]).unwrap());
                for temperature in [0.5, 1.0, 2.0] {
                    check_draws(&logits, temperature, &[]);
                    if words > 4 {
                        check_draws(&logits, temperature, &[0, 1, 3, words - 1]);
                    }
                }
            }
        });
    }

    #[test]
    fn words_come_as_often_as_their_probability_says() {
        on_every_device(|| {
            let chances = [0.1f32, 0.0, 0.6, 0.25, 0.05];
            let row: Vec<f32> = chances.iter().map(|p| p.max(1e-30).ln()).collect();
            let rows = 1000;
            let logits = here(Tensor::from_vec(row.repeat(rows), &[rows, 5]).unwrap());
            let uniform: Vec<f32> = (0..rows).map(|r| (r as f32 + 0.5) / 1000.0).collect();
            let drawn = categorical(&logits, &uniform, 1.0, &[]).unwrap();
            for (word, chance) in chances.iter().enumerate() {
                let count = drawn.iter().filter(|&&w| w == word).count() as f32;
                assert!((count - chance * 1000.0).abs() <= 1.0, "{word}: {count}");
            }
        });
    }

    #[test]
    fn the_ends_of_the_interval_draw_words_that_can_be_drawn() {
        on_every_device(|| {
            let mut row = vec![f32::NEG_INFINITY; 600];
            (row[3], row[299], row[580]) = (1.0, 80.0, 79.0);
            let logits = here(Tensor::from_vec(row.repeat(3), &[3, 600]).unwrap());
            let uniform = [0.0, 0.5, 1.0 - f32::EPSILON / 2.0];
            let drawn = categorical(&logits, &uniform, 1.0, &[]).unwrap();
            assert!([3, 299].contains(&drawn[0]), "{drawn:?}");
            assert_eq!(drawn[1..], [299, 580]);
            // A barred word is never drawn, however large its logit.
            let drawn = categorical(&logits, &uniform, 1.0, &[299]).unwrap();
            assert_eq!(drawn[1..], [580, 580]);
        });
    }

    #[test]
    fn a_view_that_starts_within_a_buffer_is_read_from_there() {
        on_every_device(|| {
            let logits = random(&[8, 300], 5);
            let uniform = [0.1, 0.3, 0.5, 0.7];
            let view = logits.narrow(4, 4).unwrap();
            let alone = here(Tensor::from_vec(view.data().to_vec(), &[4, 300]).unwrap());
            assert_eq!(
                categorical(&view, &uniform, 1.0, &[2]).unwrap(),
                categorical(&alone, &uniform, 1.0, &[2]).unwrap()
            );
        });
    }

    #[test]
    fn mistakes_are_named() {
        on_every_device(|| {
            let logits = random(&[2, 6], 1);
            let message = |logits: &Tensor, uniform: &[f32], t: f32, barred: &[usize]| {
                let error = categorical(logits, uniform, t, barred).unwrap_err();
                error.to_string()
            };
            let fine = [0.5, 0.5];
            assert!(message(&Tensor::zeros(&[3]), &fine, 1.0, &[]).contains("[R, V]"));
            assert!(message(&Tensor::zeros(&[2, 0]), &fine, 1.0, &[]).contains("one word"));
            assert!(message(&logits, &[0.5], 1.0, &[]).contains("2 rows"));
            assert!(message(&logits, &[0.5, 1.0], 1.0, &[]).contains("random number 1"));
            assert!(message(&logits, &[0.5, f32::NAN], 1.0, &[]).contains("random number NaN"));
            for t in [0.0, -1.0, 1e-40, f32::INFINITY, f32::NAN] {
                assert!(message(&logits, &fine, t, &[]).contains("temperature"));
            }
            assert!(message(&logits, &fine, 1.0, &[0, 1, 2, 3, 4]).contains("5 words"));
            for bad in [f32::NAN, f32::INFINITY] {
                let mut data = random(&[2, 6], 1).into_vec();
                data[9] = bad;
                let logits = here(Tensor::from_vec(data, &[2, 6]).unwrap());
                let text = message(&logits, &fine, 1.0, &[]);
                assert!(text.contains("row 1"), "{bad}: {text}");
            }
            let single = random(&[1, 1], 1);
            assert!(message(&single, &[0.5], 1.0, &[0]).contains("row 0"));
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn any_shape_agrees_with_the_definition(rows in 1..20usize, words in 2..700usize, seed in 0..9u64) {
            on_every_device(|| check_draws(&random(&[rows, words], seed), 1.0, &[1]));
        }
    }
}
