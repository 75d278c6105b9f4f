use crate::error::Result;
use crate::nn::Mode;
use crate::ops;
use crate::tensor::Tensor;

// Where decoders apply dropout. Each of these has its own masks in every training step, generated from the step's seed.

/// Word vectors.
pub(super) const WORDS: u64 = 0;
/// The input of the output layer, or of the layer before it that merges words and image.
pub(super) const BEFORE_OUTPUT: u64 = 1;
/// The output of one LSTM layer that the next reads.
pub(super) const BETWEEN_LAYERS: u64 = 2;
/// The image's features.
pub(super) const IMAGE: u64 = 3;

/// Applies dropout with probability `p` in training; returns `x` unchanged in inference. `site` is one of the constants
/// above.
pub(super) fn drop(x: &Tensor, p: f32, mode: Mode, site: u64) -> Result<Tensor> {
    match mode {
        Mode::Inference => Ok(x.clone()),
        Mode::Training { seed } => ops::dropout(x, p, seed ^ site.reverse_bits()),
    }
}
