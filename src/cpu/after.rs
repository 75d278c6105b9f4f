//! The epilogue of a matrix product: nothing, a bias, or the batch norm and ReLU that follow.
//!
//! The [kernel](super::kernel) applies it to each finished sum while the sum is still in a register.

use super::simd::Simd;

/// `max(0, x * scale[c] + shift[c])` for channel `c`: batch norm and ReLU.
#[derive(Clone, Copy)]
pub struct ScaleShiftRelu<'a> {
    /// One factor per channel.
    pub scale: &'a [f32],
    /// One summand per channel.
    pub shift: &'a [f32],
}

impl<'a> ScaleShiftRelu<'a> {
    /// Returns the part for a range of channels.
    pub(crate) fn channels(self, channels: std::ops::Range<usize>) -> ScaleShiftRelu<'a> {
        ScaleShiftRelu {
            scale: &self.scale[channels.clone()],
            shift: &self.shift[channels],
        }
    }

    /// Applies it to a vector whose first lane is channel `channel`.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(&self, s: S, x: S::V, channel: usize) -> S::V {
        let (scale, shift) = (
            s.load(&self.scale[channel..]),
            s.load(&self.shift[channel..]),
        );
        s.max(s.mul_add(x, scale, shift), s.splat(0.0))
    }

    /// Applies it to one element of `channel`.
    #[inline]
    pub(crate) fn apply_one(&self, x: f32, channel: usize) -> f32 {
        (x * self.scale[channel] + self.shift[channel]).max(0.0)
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
    /// The batch norm and ReLU that follow a convolution.
    ScaleShiftRelu(ScaleShiftRelu<'a>),
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
            After::ScaleShiftRelu(f) => f.apply(s, sum, column),
        }
    }

    /// Applies it to one sum of `column`.
    #[inline]
    pub(super) fn apply_one(&self, sum: f32, column: usize) -> f32 {
        match self {
            After::Nothing => sum,
            After::Bias(bias) => sum + bias[column],
            After::ScaleShiftRelu(f) => f.apply_one(sum, column),
        }
    }

    pub(super) fn fits(&self, columns: usize) -> bool {
        match self {
            After::Nothing => true,
            After::Bias(bias) => bias.len() == columns,
            After::ScaleShiftRelu(f) => f.scale.len() == columns && f.shift.len() == columns,
        }
    }
}
