//! The most likely words of each row of logits, and the row's log-sum-exp.
//!
//! ```text
//! log p[r][w] = x[r][w] - ln sum over v of e^x[r][v]
//! ```
//!
//! A word is an index of the vocabulary. A search reads only a few words of each row of thousands, so on the GPU only those
//! are read back. Of equally likely words the lower index comes first. Selecting words has no gradient.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};
pub(crate) use cpu::log_sum_exp;

/// Which words may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed<'a> {
    /// All but these, at most four.
    Except(&'a [usize]),
    /// This one alone.
    Only(usize),
}

impl Allowed<'_> {
    fn allows(&self, word: usize) -> bool {
        match self {
            Allowed::Except(barred) => !barred.contains(&word),
            Allowed::Only(only) => *only == word,
        }
    }
}

/// The most likely words of one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Likeliest {
    /// `ln sum e^x` over the whole row.
    pub log_sum: f64,
    /// The words and their logits, the most likely first.
    pub words: Vec<(usize, f32)>,
}

/// The inputs, whose shapes fit, and their sizes.
pub(crate) struct Job<'a> {
    /// `x` `[R, V]`
    logits: &'a Tensor,
    /// `R`
    rows: usize,
    /// `V`
    words: usize,
    /// Words to find in each row.
    k: usize,
    allowed: Allowed<'a>,
}

impl<'a> Job<'a> {
    /// Checks that there are words to choose from.
    fn check(logits: &'a Tensor, k: usize, allowed: Allowed<'a>) -> Result<Job<'a>> {
        let &[rows, words] = logits.dims() else {
            return Err(Error::shape("top_k", "logits [R, V]", logits.shape()));
        };
        if words == 0 {
            return Err(Error::shape("top_k", "at least one word", logits.shape()));
        }
        if let Allowed::Except(barred) = allowed
            && barred.len() > 4
        {
            let what = format_args!("{} words are barred, four are the most", barred.len());
            return Err(Error::value("top_k", what));
        }
        Ok(Job {
            logits,
            rows,
            words,
            k,
            allowed,
        })
    }
}

/// The `k` most likely `allowed` words of each row of `logits` `[R, V]`; fewer if fewer are allowed.
///
/// ```
/// use glimpse::{ops::top_k::{Allowed, top_k}, tensor::Tensor};
/// let logits = Tensor::from_vec(vec![0.0, 3.0, 1.0, 2.0], &[1, 4])?;
/// let found = top_k(&logits, 2, Allowed::Except(&[1]))?;
/// assert_eq!(found[0].words, [(3, 2.0), (2, 1.0)]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where `logits` is not a matrix or has no words, or more than four words are barred.
pub fn top_k(logits: &Tensor, k: usize, allowed: Allowed) -> Result<Vec<Likeliest>> {
    let _timer = profile::time("top_k", logits.shape());
    let job = Job::check(logits, k, allowed)?;
    // The shader reads the whole row for each word that it finds, so a search for many words runs on the CPU.
    let place = match k <= gpu::MAX_K {
        true => Place::of(&[logits]),
        false => Place::of(&[]),
    };
    Ok(match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    })
}

#[cfg(test)]
mod tests;
