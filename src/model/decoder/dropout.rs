use crate::error::Result;
use crate::nn::Mode;
use crate::ops;
use crate::tensor::Tensor;

// The places where decoders drop elements. Each has masks of its own in every step, made from the step's seed.

/// Word vectors.
pub(super) const WORDS: u64 = 0;
/// The input of the output layer, or of the layer before it that merges words and image.
pub(super) const BEFORE_OUTPUT: u64 = 1;
/// What one LSTM layer gives the next.
pub(super) const BETWEEN_LAYERS: u64 = 2;
/// The image's features.
pub(super) const IMAGE: u64 = 3;

/// In training, `x` with elements dropped with probability `p`; in inference `x` as it is.
pub(super) fn drop(x: &Tensor, p: f32, mode: Mode, place: u64) -> Result<Tensor> {
    match mode {
        Mode::Inference => Ok(x.clone()),
        Mode::Training { seed } => ops::dropout(x, p, seed ^ place.reverse_bits()),
    }
}
