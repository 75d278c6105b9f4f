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

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// Maximum number of words that can be barred.
const MAX_BARRED: usize = 4;

/// The inputs, whose shapes fit, and their sizes.
pub(crate) struct Job<'a> {
    /// `x` `[R, V]`
    logits: &'a Tensor,
    /// `R`
    rows: usize,
    /// `V`
    words: usize,
    /// `u` `[R]`
    uniform: &'a [f32],
    /// `1 / T`
    inverse: f32,
    /// Words that are never drawn.
    barred: &'a [usize],
}

impl<'a> Job<'a> {
    /// Checks that the arguments fit. Rows that have no word to draw are found later.
    fn check(
        logits: &'a Tensor,
        uniform: &'a [f32],
        temperature: f32,
        barred: &'a [usize],
    ) -> Result<Job<'a>> {
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
        Ok(Job {
            logits,
            rows,
            words,
            uniform,
            inverse: temperature.recip(),
            barred,
        })
    }
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
    let _timer = profile::time("categorical", logits.shape());
    let job = Job::check(logits, uniform, temperature, barred)?;
    let drawn = match &Place::of(&[logits]) {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    };
    let mut found = Vec::with_capacity(drawn.len());
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

#[cfg(test)]
mod tests;
