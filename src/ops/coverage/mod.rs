//! Penalty for attention that covers the positions of a map unevenly: doubly stochastic attention (Xu et al., 2015,
//! arXiv 1502.03044, section 4.2.1).
//!
//! The attention weights `a[s, t, p]` of sentence `s` sum to 1 over the positions `p` of each step `t`. The penalty is the
//! squared distance of their sums over the steps from 1, so that no part of the image is ignored. Steps that only pad the
//! mini-batch, and say no word, are left out:
//!
//! ```text
//! m[s, p] = 1 - sum over said t of a[s, t, p]            attention missing at position p
//! y = 1/S sum over s, p of m[s, p]^2
//!
//! da[s, t, p] = -2/S m[s, p] dy                          where t says a word, else 0
//! ```
//!
//! The derivative of `m^2` with respect to `m` is `2 m`, and that of `m[s, p]` with respect to `a[s, t, p]` is -1 where
//! step `t` says a word. The chain rule multiplies the two with `1/S` and `dy`.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::{Isa, profile};
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// The arrays' sizes.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    sentences: usize,
    steps: usize,
    positions: usize,
}

/// The mean over sentences of the squared distance of each position's summed attention from one: one number.
///
/// `attention` is `[S, T, P]`. `said` has `S T` entries: true for steps that say a word, false for padding.
///
/// ```
/// use glimpse::{ops::coverage, tensor::Tensor};
/// // Two steps share out their attention evenly over two positions: each is looked at once.
/// assert_eq!(coverage(&Tensor::full(&[1, 2, 2], 0.5), &[true, true])?.item()?, 0.0);
/// // With the second step left out, half is missing at both.
/// assert_eq!(coverage(&Tensor::full(&[1, 2, 2], 0.5), &[true, false])?.item()?, 0.5);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes do not fit or there are no sentences.
pub fn coverage(attention: &Tensor, said: &[bool]) -> Result<Tensor> {
    let _timer = profile::time("coverage", attention.shape());
    let &[sentences, steps, positions] = attention.dims() else {
        return Err(Error::shape(
            "coverage",
            "attention [S, T, P]",
            attention.shape(),
        ));
    };
    if sentences == 0 || said.len() != sentences * steps {
        return Err(Error::shape(
            "coverage",
            format_args!(
                "a flag for each of {} steps, at least one",
                sentences * steps
            ),
            format_args!("{} flags", said.len()),
        ));
    }
    let sizes = Sizes {
        sentences,
        steps,
        positions,
    };
    if let Device::Gpu(gpu) = Device::of(&[attention]) {
        let (y, saved) = gpu::forward(&gpu, sizes, attention, said)?;
        return y.record(&[attention], move |dy, _| {
            Ok(vec![Some(gpu::backward(&gpu, sizes, &saved, dy)?)])
        });
    }
    let isa = Isa::current();
    let missing = match isa.is_naive() {
        true => naive::forward(isa, sizes, attention.data(), said),
        false => cpu::forward(isa, sizes, attention.data(), said),
    };
    let squares: f64 = missing.iter().map(|&m| f64::from(m) * f64::from(m)).sum();
    let y = Tensor::scalar((squares / sentences as f64) as f32);
    let said = said.to_vec();
    y.record(&[attention], move |dy, _| {
        let factor = -2.0 / sentences as f32 * dy.item()?;
        let da = match isa.is_naive() {
            true => naive::backward(isa, sizes, &missing, &said, factor),
            false => cpu::backward(isa, sizes, &missing, &said, factor),
        };
        Ok(vec![Some(Tensor::computed(
            da,
            &[sentences, steps, positions],
        ))])
    })
}

#[cfg(test)]
mod tests;
