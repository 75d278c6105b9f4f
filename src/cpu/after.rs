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
            After::ScaleShiftRelu(f) => {
                let y = s.mul_add(sum, s.load(&f.scale[column..]), s.load(&f.shift[column..]));
                s.max(y, s.splat(0.0))
            }
        }
    }

    /// A sum of one column.
    #[inline]
    pub(super) fn apply_one(&self, sum: f32, column: usize) -> f32 {
        match self {
            After::Nothing => sum,
            After::Bias(bias) => sum + bias[column],
            After::ScaleShiftRelu(f) => (sum * f.scale[column] + f.shift[column]).max(0.0),
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
