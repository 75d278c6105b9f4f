//! Dropout: in training, random elements are set to zero and the others are scaled up to compensate.
//!
//! ```text
//! y[i] = x[i] k[i] / (1 - p)        k[i] = 0 with probability p, else 1
//!
//! dx[i] = dy[i] k[i] / (1 - p)
//! ```
//!
//! The expectation of `y[i]` is `x[i] (1 - p) / (1 - p) = x[i]`, so inference uses `x` as it is. The mask `k` does not
//! depend on `x`, so the derivative of `y[i]` with respect to `x[i]` is its factor, and the backward pass is the forward
//! pass applied to `dy`.
//!
//! Whether element `i` is kept depends on the seed and `i` alone, through a counter-based generator:
//!
//! ```text
//! key  = splitmix64(seed)                                  once; its halves are low and high
//! bits = mix(mix(low(i) ^ low(key)) ^ high(i) ^ high(key))
//! k[i] = (bits >> 8) >= ceil(p 2^24)
//! mix(x): x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15; x *= 0x846ca68b; x ^= x >> 16
//! ```
//!
//! `mix` is Wellons' `lowbias32` (2018), a bijection of 32 bits: each input bit flips each output bit with a probability
//! close to one half. `splitmix64` is the generator of Steele, Lea and Flood (2014). After the key, all of it is 32-bit
//! integer arithmetic, element by element. So every device, instruction set and thread computes the same mask, and the
//! backward pass computes the mask again instead of storing it.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// Decides which elements are kept, and holds their factor.
#[derive(Clone, Copy)]
pub(crate) struct Mask {
    key: [u32; 2],
    threshold: u32,
    factor: f32,
}

impl Mask {
    fn new(p: f32, seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        Mask {
            key: [z as u32, (z >> 32) as u32],
            threshold: (f64::from(p) * f64::from(1 << 24)).ceil() as u32,
            factor: 1.0 / (1.0 - p),
        }
    }

    /// `k / (1 - p)` of the element with the index `high * 2^32 + low`.
    #[inline(always)]
    fn factor(&self, low: u32, high: u32) -> f32 {
        let bits = mix(mix(low ^ self.key[0]) ^ high ^ self.key[1]);
        if bits >> 8 >= self.threshold {
            self.factor
        } else {
            0.0
        }
    }
}

/// Wellons' `lowbias32`.
#[inline(always)]
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Sets elements of `x`, of any shape, to zero with probability `p` and divides the others by `1 - p`. The same seed drops
/// the same elements.
///
/// ```
/// use glimpse::{ops::dropout, tensor::Tensor};
/// let x = Tensor::full(&[1000], 1.0);
/// let y = dropout(&x, 0.5, 7)?;
/// assert!(y.data().iter().all(|&y| y == 0.0 || y == 2.0));
/// assert_eq!(y.data(), dropout(&x, 0.5, 7)?.data());
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where `p` is not in `[0, 1)`.
pub fn dropout(x: &Tensor, p: f32, seed: u64) -> Result<Tensor> {
    let _timer = profile::time("dropout", x.shape());
    if !(0.0..1.0).contains(&p) {
        let what = format_args!("the probability {p} is not at least 0 and below 1");
        return Err(Error::value("dropout", what));
    }
    if p == 0.0 {
        return Ok(x.clone());
    }
    let mask = Mask::new(p, seed);
    let place = Place::of(&[x]);
    let y = match &place {
        Place::Naive => naive::forward(mask, x),
        Place::Cpu(isa) => cpu::forward(*isa, mask, x),
        Place::Gpu(gpu) => gpu::forward(gpu, mask, x)?,
    };
    y.record(&[x], move |dy, _| {
        let dx = match &place {
            Place::Naive => naive::backward(mask, dy),
            Place::Cpu(isa) => cpu::backward(*isa, mask, dy),
            Place::Gpu(gpu) => gpu::backward(gpu, mask, dy)?,
        };
        Ok(vec![Some(dx)])
    })
}

#[cfg(test)]
mod tests;
