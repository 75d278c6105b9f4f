//! The reader that an archive's tensors come from.

use super::hdf5::Hdf5;
use super::torch::TorchFile;
use crate::data::bytes::Bytes;
use crate::data::weights::WeightFile;

/// The largest ratio of a file's unpacked size to its own. Weights hardly compress, so a larger ratio is an attempt to
/// exhaust memory.
const EXPANSION: usize = 16;

/// The opened file, by its format.
pub(super) enum Source {
    Safetensors(WeightFile),
    Torch(TorchFile),
    Hdf5(Hdf5),
}

/// Returns the largest number of bytes that are unpacked at a time.
pub(super) fn largest(bytes: &Bytes) -> usize {
    bytes.as_ref().len().saturating_mul(EXPANSION)
}
