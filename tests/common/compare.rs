//! The distance of two tensors, and conversions between their layouts.

use glimpse::tensor::Tensor;

/// Returns the norm of the difference, divided by the norm of `want`.
#[track_caller]
pub fn relative(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.dims(), want.dims());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let pairs = got.data().iter().zip(want.data());
    let distance: f64 = pairs.map(|(&g, &w)| square(g - w)).sum();
    let norm: f64 = want.data().iter().map(|&w| square(w)).sum();
    (distance / norm.max(1e-12)).sqrt()
}

/// Converts `[N, C, H, W]` to `[N, H, W, C]`.
pub fn nhwc(x: &Tensor) -> Tensor {
    Tensor::from(&x.view().permuted_axes(ndarray::IxDyn(&[0, 2, 3, 1])))
}
