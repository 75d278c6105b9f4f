//! Rectified linear unit, element by element.
//!
//! ```text
//! y = max(0, x)        dx = dy where x > 0, else 0
//! ```
//!
//! The derivative of `max(0, x)` is 1 for `x > 0` and 0 for `x < 0`. At `x = 0` there is none; as usual it is set to 0.
//! Because `y > 0` exactly where `x > 0`, the gradient needs only the output, which the next operation keeps anyway.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::profile;
use crate::error::Result;
use crate::tensor::{Device, Tensor};

/// `max(0, x)`, of any shape.
///
/// ```
/// use glimpse::{ops::relu, tensor::Tensor};
/// let x = Tensor::from_vec(vec![-1.0, 0.0, 2.0], &[3])?;
/// assert_eq!(relu(&x)?.data(), &[0.0, 0.0, 2.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// On the GPU, where its memory is used up or it no longer answers.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("relu", x.shape(), 0.0);
    if let Device::Gpu(gpu) = Device::of(&[x]) {
        let y = gpu::select(&gpu, x, x)?;
        let kept = y.clone();
        return y.record(&[x], move |dy| {
            Ok(vec![Some(gpu::select(&gpu, &kept, dy)?)])
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let y = Tensor::computed(forward(isa, x.data()), x.dims());
    let kept = y.clone();
    y.record(&[x], move |dy| {
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        Ok(vec![Some(Tensor::computed(
            backward(isa, kept.data(), dy.data()),
            kept.dims(),
        ))])
    })
}

#[cfg(test)]
mod tests;
