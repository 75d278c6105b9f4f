//! Average pooling: the mean under a window, for each channel.
//!
//! ```text
//! y[n][p][q][c] = 1/K sum over u, v of x[n][p S + u][q S + v][c]        K = kernel height * width, S: stride
//!
//! dx[n][i][j][c] = 1/K sum of dy[n][p][q][c] over the windows that cover (i, j)
//! ```
//!
//! The stride may differ between the axes; the equation writes one `S` for both. The derivative of a mean of `K` elements
//! is `1/K` with respect to each of them. There is no padding. Rows and columns at the lower and right edge that do not
//! fill a window are ignored.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// Sizes of the feature maps and of the window, height before width. The gradient does not need the input.
pub(crate) struct Job {
    batch: usize,
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
}

impl Job {
    /// Checks that the window fits `x`.
    fn check(x: &Tensor, kernel: [usize; 2], stride: [usize; 2]) -> Result<Job> {
        let &[batch, height, width, channels] = x.dims() else {
            return Err(Error::shape("avg_pool2d", "x [N, H, W, C]", x.shape()));
        };
        if kernel.contains(&0) || stride.contains(&0) {
            let what = format_args!("kernel {kernel:?} and stride {stride:?} must not be zero");
            return Err(Error::value("avg_pool2d", what));
        }
        let input = [height, width];
        if (0..2).any(|a| input[a] < kernel[a]) {
            let want = format_args!("a map of at least {kernel:?}");
            return Err(Error::shape("avg_pool2d", want, x.shape()));
        }
        Ok(Job {
            batch,
            input,
            output: [0, 1].map(|a| (input[a] - kernel[a]) / stride[a] + 1),
            channels,
            kernel,
            stride,
        })
    }

    /// `[N, H, W, C]`
    fn in_dims(&self) -> [usize; 4] {
        [self.batch, self.input[0], self.input[1], self.channels]
    }

    /// `[N, OH, OW, C]`
    fn out_dims(&self) -> [usize; 4] {
        [self.batch, self.output[0], self.output[1], self.channels]
    }
}

/// Average pooling of `x` `[N, H, W, C]`: `[N, OH, OW, C]`, where `OH = (H - kernel) / stride + 1`, rounded down, and `OW`
/// likewise. Pairs are `[vertical, horizontal]`.
///
/// ```
/// use glimpse::{ops::avg_pool2d, tensor::Tensor};
/// let x = Tensor::from_vec((0..8).map(|i| i as f32).collect(), &[1, 2, 4, 1])?;
/// assert_eq!(avg_pool2d(&x, [2, 2], [2, 2])?.data(), &[2.5, 4.5]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where `x` is not `[N, H, W, C]`, a kernel or stride is zero, or the kernel exceeds the map.
pub fn avg_pool2d(x: &Tensor, kernel: [usize; 2], stride: [usize; 2]) -> Result<Tensor> {
    let _timer = profile::time("avg_pool2d", x.shape());
    let job = Job::check(x, kernel, stride)?;
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
