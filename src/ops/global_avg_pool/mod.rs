//! Global average pooling: the mean of each channel over the whole map.
//!
//! ```text
//! y[n][c] = 1/(H W) sum over i, j of x[n][i][j][c]
//!
//! dx[n][i][j][c] = dy[n][c] / (H W)
//! ```
//!
//! The derivative of the mean with respect to each pixel is `1/(H W)`.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// The mean over the pixels of `x` `[N, H, W, C]`: `[N, C]`.
///
/// ```
/// use glimpse::{ops::global_avg_pool, tensor::Tensor};
/// let x = Tensor::from_vec(vec![1.0, 10.0, 3.0, 30.0], &[1, 1, 2, 2])?;
/// assert_eq!(global_avg_pool(&x)?.data(), &[2.0, 20.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where `x` is not `[N, H, W, C]` or has no pixels.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("global_avg_pool", x.shape());
    let &[batch, height, width, channels] = x.dims() else {
        return Err(Error::shape("global_avg_pool", "x [N, H, W, C]", x.shape()));
    };
    let pixels = height * width;
    if pixels == 0 {
        return Err(Error::shape(
            "global_avg_pool",
            "a map with pixels",
            x.shape(),
        ));
    }
    let dims = x.dims().to_vec();
    if let Device::Gpu(gpu) = Device::of(&[x]) {
        let sizes = [batch, pixels, channels];
        return gpu::forward(&gpu, sizes, x)?.record(&[x], move |dy, _| {
            Ok(vec![Some(gpu::backward(&gpu, sizes, dy, &dims)?)])
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let mut y = vec![0.0; batch * channels];
    forward(isa, pixels, channels, x.data(), &mut y);
    Tensor::computed(y, &[batch, channels]).record(&[x], move |dy, _| {
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        let mut dx = vec![0.0; dims.iter().product()];
        backward(isa, pixels, channels, dy.data(), &mut dx);
        Ok(vec![Some(Tensor::computed(dx, &dims))])
    })
}

#[cfg(test)]
mod tests;
