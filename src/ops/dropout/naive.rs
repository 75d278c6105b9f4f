//! The definition as plain loops.

use super::Mask;
use crate::tensor::Tensor;

/// `y[i] = x[i] k[i] / (1 - p)`
pub(crate) fn forward(mask: Mask, x: &Tensor) -> Tensor {
    let data = x.data();
    let mut y = vec![0.0; data.len()];
    for i in 0..data.len() {
        y[i] = data[i] * mask.factor(i as u32, (i as u64 >> 32) as u32);
    }
    Tensor::computed(y, x.dims())
}

/// `dx[i] = dy[i] k[i] / (1 - p)`
pub(crate) fn backward(mask: Mask, dy: &Tensor) -> Tensor {
    forward(mask, dy)
}
