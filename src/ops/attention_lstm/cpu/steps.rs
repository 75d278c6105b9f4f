//! The parts of the arrays that belong to one step or to one image.

use crate::cpu::gemm::Matrix;
use crate::ops::attention_lstm::Sizes;
use crate::tensor::Tensor;

/// The rows of one step, from a matrix with a row for each step of each sentence. `data` begins with the first of them.
/// They have `columns` elements, and the rows of successive steps are `width` elements apart.
pub(super) fn step_of(data: &[f32], s: Sizes, columns: usize, width: usize) -> Matrix<'_> {
    Matrix::strided(data, s.sentences, columns, s.steps * width)
}

/// The `len` elements of one image.
pub(super) fn image_of(all: &Tensor, image: usize, len: usize) -> &[f32] {
    &all.data()[image * len..][..len]
}
