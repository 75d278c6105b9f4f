//! The definition as plain loops.

use super::sizes;
use crate::tensor::Tensor;

/// `y[r][v] = x[r][v] - ln sum_u exp x[r][u]`
pub(crate) fn forward(x: &Tensor) -> Tensor {
    let [_, classes] = sizes(x);
    let mut y = Vec::new();
    for x in x.data().chunks(classes.max(1)) {
        let largest = f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = x.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
        y.extend(
            x.iter()
                .map(|&x| (f64::from(x) - largest - sum.ln()) as f32),
        );
    }
    Tensor::computed(y, x.dims())
}

/// `dx[r][v] = dy[r][v] - exp(y[r][v]) sum_u dy[r][u]`
pub(crate) fn backward(y: &Tensor, dy: &Tensor) -> Tensor {
    let [_, classes] = sizes(y);
    let mut dx = Vec::new();
    let rows = y.data().chunks(classes.max(1));
    for (y, dy) in rows.zip(dy.data().chunks(classes.max(1))) {
        let sum: f32 = dy.iter().sum();
        dx.extend(y.iter().zip(dy).map(|(y, dy)| dy - y.exp() * sum));
    }
    Tensor::computed(dx, y.dims())
}
