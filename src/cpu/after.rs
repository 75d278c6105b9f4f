//! The epilogue of a matrix product: nothing, a bias, or the batch norm and ReLU that follow.
//!
//! The [kernel](super::kernel) applies it to each finished sum while the sum is still in a register.

use super::simd::Simd;

/// The affine map of a batch norm, `y = scale[c] x + shift[c]` for channel `c`. Its methods compute the ReLU of it.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    /// One factor per channel.
    pub scale: &'a [f32],
    /// One summand per channel.
    pub shift: &'a [f32],
}

impl<'a> Affine<'a> {
    /// Returns the part for a range of channels.
    pub(crate) fn channels(self, channels: std::ops::Range<usize>) -> Affine<'a> {
        Affine {
            scale: &self.scale[channels.clone()],
            shift: &self.shift[channels],
        }
    }

    /// `max(0, scale x + shift)` of a vector whose first lane is channel `channel`.
    #[inline(always)]
    pub(crate) fn relu<S: Simd>(&self, s: S, x: S::V, channel: usize) -> S::V {
        let (scale, shift) = (
            s.load(&self.scale[channel..]),
            s.load(&self.shift[channel..]),
        );
        s.max(s.mul_add(x, scale, shift), s.splat(0.0))
    }

    /// `max(0, scale x + shift)` of one element of `channel`.
    #[inline]
    pub(crate) fn relu_one(&self, x: f32, channel: usize) -> f32 {
        (x * self.scale[channel] + self.shift[channel]).max(0.0)
    }

    /// Computes `to = max(0, scale from + shift)` for the channels of one pixel.
    #[inline(always)]
    pub(crate) fn relu_pixel<S: Simd>(self, s: S, from: &[f32], to: &mut [f32]) {
        let n = from.len();
        let (affine, to) = (self.channels(0..n), &mut to[..n]);
        let whole = n - n % S::LANES;
        for c in (0..whole).step_by(S::LANES) {
            s.store(&mut to[c..], affine.relu(s, s.load(&from[c..]), c));
        }
        for c in whole..n {
            to[c] = affine.relu_one(from[c], c);
        }
    }
}

/// The operation applied to a finished sum before it is written. Each slice has one element per column of C.
#[derive(Clone, Copy, Default)]
pub enum After<'a> {
    /// Nothing.
    #[default]
    Nothing,
    /// `sum + bias`
    Bias(&'a [f32]),
    /// `max(0, scale sum + shift)`: the batch norm and ReLU that follow a convolution.
    AffineRelu(Affine<'a>),
}

impl<'a> From<Option<&'a [f32]>> for After<'a> {
    fn from(bias: Option<&'a [f32]>) -> Self {
        bias.map_or(After::Nothing, After::Bias)
    }
}

impl After<'_> {
    /// Applies it to a vector of sums whose first lane is column `column`.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(&self, s: S, sum: S::V, column: usize) -> S::V {
        match self {
            After::Nothing => sum,
            After::Bias(bias) => s.add(sum, s.load(&bias[column..])),
            After::AffineRelu(f) => f.relu(s, sum, column),
        }
    }

    /// Applies it to one sum of `column`.
    #[inline]
    pub(super) fn apply_one(&self, sum: f32, column: usize) -> f32 {
        match self {
            After::Nothing => sum,
            After::Bias(bias) => sum + bias[column],
            After::AffineRelu(f) => f.relu_one(sum, column),
        }
    }

    pub(super) fn fits(&self, columns: usize) -> bool {
        match self {
            After::Nothing => true,
            After::Bias(bias) => bias.len() == columns,
            After::AffineRelu(f) => f.scale.len() == columns && f.shift.len() == columns,
        }
    }
}
