//! Max pooling: the largest value under a window, for each channel.
//!
//! ```text
//! y[n][p][q][c] = max over u, v of x[n][p S - P + u][q S - P + v][c]        u, v under the kernel
//!
//! dx[n][i][j][c] = sum of dy[n][p][q][c] over the windows whose maximum is at (i, j)
//! ```
//!
//! `S` is the stride and `P` the padding; both may differ between the axes, and the equation writes one letter for both
//! axes. Padding adds no zeros: a window takes the largest of those elements that lie on the image. The derivative of the
//! maximum is 1 with respect to the element that was chosen and 0 with respect to all others. Of equal elements the first
//! in row order is chosen. A NaN counts as larger than every number. Windows may overlap, and an element that several
//! windows chose receives the sum of their gradients.
//!
//! The backward pass searches for the maxima again. That needs the input instead of the positions of the maxima, and the
//! ReLU before the pool keeps the input anyway.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// The input, and the sizes of the feature maps and of the window, height before width.
pub(crate) struct Job {
    /// `[N, H, W, C]`
    x: Tensor,
    batch: usize,
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
}

impl Job {
    /// Checks that the window fits `x`, and keeps `x` for the backward pass.
    fn check(
        x: &Tensor,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Result<Job> {
        let &[batch, height, width, channels] = x.dims() else {
            return Err(Error::shape("max_pool2d", "x [N, H, W, C]", x.shape()));
        };
        if kernel.contains(&0) || stride.contains(&0) {
            let what = format_args!("kernel {kernel:?} and stride {stride:?} must not be zero");
            return Err(Error::value("max_pool2d", what));
        }
        if (0..2).any(|a| padding[a] > kernel[a] / 2) {
            let what = format_args!("padding {padding:?} exceeds half the kernel {kernel:?}");
            return Err(Error::value("max_pool2d", what));
        }
        let input = [height, width];
        let padded = [0, 1].map(|a| input[a] + 2 * padding[a]);
        if (0..2).any(|a| padded[a] < kernel[a] || input[a] == 0) {
            let want = format_args!("a map of at least {kernel:?} with padding {padding:?}");
            return Err(Error::shape("max_pool2d", want, x.shape()));
        }
        Ok(Job {
            x: x.clone(),
            batch,
            input,
            output: [0, 1].map(|a| (padded[a] - kernel[a]) / stride[a] + 1),
            channels,
            kernel,
            stride,
            padding,
        })
    }

    /// `[N, OH, OW, C]`
    fn out_dims(&self) -> [usize; 4] {
        [self.batch, self.output[0], self.output[1], self.channels]
    }

    /// The rows and the columns of the image under the window of the output pixel `[row, column]`.
    fn window(&self, pixel: [usize; 2]) -> [std::ops::Range<usize>; 2] {
        [0, 1].map(|axis| {
            let start = pixel[axis] * self.stride[axis];
            let end = (start + self.kernel[axis]).saturating_sub(self.padding[axis]);
            start.saturating_sub(self.padding[axis])..end.min(self.input[axis])
        })
    }
}

/// Max pooling of `x` `[N, H, W, C]`: `[N, OH, OW, C]`, where `OH = (H + 2 padding - kernel) / stride + 1`, rounded down,
/// and `OW` likewise. Pairs are `[vertical, horizontal]`.
///
/// ```
/// use glimpse::{ops::max_pool2d, tensor::Tensor};
/// let x = Tensor::from_vec((0..16).map(|i| i as f32).collect(), &[1, 4, 4, 1])?;
/// let y = max_pool2d(&x, [3, 3], [2, 2], [1, 1])?;
/// assert_eq!(y.dims(), &[1, 2, 2, 1]);
/// assert_eq!(y.data(), &[5.0, 7.0, 13.0, 15.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where `x` is not `[N, H, W, C]`, a kernel or stride is zero, the padding exceeds half the kernel, or the kernel exceeds
/// the padded image.
pub fn max_pool2d(
    x: &Tensor,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Result<Tensor> {
    let _timer = profile::time("max_pool2d", x.shape());
    let job = Job::check(x, kernel, stride, padding)?;
    let place = Place::of(&[x]);
    let y = match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
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
