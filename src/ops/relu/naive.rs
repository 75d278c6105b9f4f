//! The definition as plain loops.

use crate::tensor::Tensor;

/// `y = max(0, x)`
pub(crate) fn forward(x: &Tensor) -> Tensor {
    let y = x.data().iter().map(|&x| if x > 0.0 { x } else { 0.0 });
    Tensor::computed(y.collect(), x.dims())
}

/// `dx = dy` where `y > 0`, else 0
pub(crate) fn backward(y: &Tensor, dy: &Tensor) -> Tensor {
    let pairs = y.data().iter().zip(dy.data());
    let dx = pairs.map(|(&y, &dy)| if y > 0.0 { dy } else { 0.0 });
    Tensor::computed(dx.collect(), y.dims())
}
