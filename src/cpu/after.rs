//! What becomes of a sum before it is written: nothing, a bias, or the batch norm and ReLU that follow.

use super::simd::Simd;

/// `max(0, x * scale[c] + shift[c])` for channel `c`: batch norm and ReLU.
#[derive(Clone, Copy)]
pub struct ScaleShiftRelu<'a> {
    /// One factor a channel.
    pub scale: &'a [f32],
    /// One summand a channel.
    pub shift: &'a [f32],
}

impl<'a> ScaleShiftRelu<'a> {
    /// The same for some of the channels.
    pub(crate) fn of(self, channels: std::ops::Range<usize>) -> ScaleShiftRelu<'a> {
        ScaleShiftRelu {
            scale: &self.scale[channels.clone()],
            shift: &self.shift[channels],
        }
    }

    /// A whole vector of the channels from `channel` on.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(&self, s: S, x: S::V, channel: usize) -> S::V {
        let (scale, shift) = (
            s.load(&self.scale[channel..]),
            s.load(&self.shift[channel..]),
        );
        s.max(s.mul_add(x, scale, shift), s.splat(0.0))
    }

    /// An element of one channel.
    #[inline]
    pub(crate) fn apply_one(&self, x: f32, channel: usize) -> f32 {
        (x * self.scale[channel] + self.shift[channel]).max(0.0)
    }
}

/// What is done to a finished sum before it is written, one element of each slice for a column of C.
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
    /// A whole vector of sums of the columns from `column` on.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(&self, s: S, sum: S::V, column: usize) -> S::V {
        match self {
            After::Nothing => sum,
            After::Bias(bias) => s.add(sum, s.load(&bias[column..])),
            After::ScaleShiftRelu(f) => f.apply(s, sum, column),
        }
    }

    /// A sum of one column.
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
