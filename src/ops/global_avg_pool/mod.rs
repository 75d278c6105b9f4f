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

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// The sizes. The gradient does not need the input.
pub(crate) struct Job {
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
}

impl Job {
    /// Checks that `x` is a map with pixels.
    fn check(x: &Tensor) -> Result<Job> {
        let &[batch, height, width, channels] = x.dims() else {
            return Err(Error::shape("global_avg_pool", "x [N, H, W, C]", x.shape()));
        };
        if height * width == 0 {
            return Err(Error::shape(
                "global_avg_pool",
                "a map with pixels",
                x.shape(),
            ));
        }
        Ok(Job {
            batch,
            height,
            width,
            channels,
        })
    }

    /// `H W`, the number of pixels of one image.
    fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// `[N, H, W, C]`
    fn in_dims(&self) -> [usize; 4] {
        [self.batch, self.height, self.width, self.channels]
    }

    /// `[N, C]`
    fn out_dims(&self) -> [usize; 2] {
        [self.batch, self.channels]
    }
}

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
    let job = Job::check(x)?;
    let place = Place::of(&[x]);
    let y = match &place {
        Place::Naive => naive::forward(&job, x),
        Place::Cpu(isa) => cpu::forward(*isa, &job, x),
        Place::Gpu(gpu) => gpu::forward(gpu, &job, x)?,
    };
    y.record(&[x], move |dy, _| {
        let dx = match &place {
            Place::Naive => naive::backward(&job, dy),
            Place::Cpu(isa) => cpu::backward(*isa, &job, dy),
            Place::Gpu(gpu) => gpu::backward(gpu, &job, dy)?,
        };
        Ok(vec![Some(dx)])
    })
}

#[cfg(test)]
mod tests;
