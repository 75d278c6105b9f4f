//! Mean squared error.
//!
//! ```text
//! y = 1/n sum over i of (x[i] - t[i])^2
//!
//! dx[i] = dy 2/n (x[i] - t[i])        dt = -dx
//! ```
//!
//! By the chain rule the derivative of `(x - t)^2` with respect to `x` is `2 (x - t)`, and with respect to `t` it is
//! `-2 (x - t)`.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// The mean of `(x - target)^2` over all elements of two tensors of one shape: one number.
///
/// ```
/// use glimpse::{ops::mse, tensor::Tensor};
/// assert_eq!(mse(&Tensor::full(&[3], 2.0), &Tensor::full(&[3], 0.5))?.item()?, 2.25);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ or there are no elements.
pub fn mse(x: &Tensor, target: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("mse", x.shape());
    if x.dims() != target.dims() || x.is_empty() {
        let got = format_args!("{} and {}", x.shape(), target.shape());
        return Err(Error::shape(
            "mse",
            "two tensors of one shape, not empty",
            got,
        ));
    }
    let wanted = [x.is_tracked(), target.is_tracked()];
    let (x_kept, target_kept) = (x.detach(), target.detach());
    if let Device::Gpu(gpu) = Device::of(&[x, target]) {
        let y = gpu::forward(&gpu, x, target)?;
        return y.record(&[x, target], move |dy, _| {
            let factor = (2.0 / x_kept.len() as f64) as f32;
            let dx = |factor| gpu::backward(&gpu, &x_kept, &target_kept, dy, factor);
            Ok(vec![
                wanted[0].then(|| dx(factor)).transpose()?,
                wanted[1].then(|| dx(-factor)).transpose()?,
            ])
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let n = x.len() as f64;
    let y = Tensor::scalar((forward(isa, x.data(), target.data()) / n) as f32);
    y.record(&[x, target], move |dy, _| {
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        let factor = (f64::from(dy.item()?) * 2.0 / n) as f32;
        let dx = |factor| {
            let dx = backward(isa, x_kept.data(), target_kept.data(), factor);
            Tensor::computed(dx, x_kept.dims())
        };
        Ok(vec![
            wanted[0].then(|| dx(factor)),
            wanted[1].then(|| dx(-factor)),
        ])
    })
}

#[cfg(test)]
mod tests;
