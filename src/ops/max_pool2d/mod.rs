//! Max pooling: the largest value under a window, for each channel.
//!
//! ```text
//! y[n][p][q][c] = max over u, v of x[n][p S - P + u][q S - P + v][c]        u, v under the kernel
//!
//! dx[n][i][j][c] = sum of dy[n][p][q][c] over the windows whose maximum is at (i, j)
//! ```
//!
//! Padding is not zero but absent: a window takes the largest of those elements that lie on the image. The derivative of
//! the maximum is 1 with respect to the element that was chosen and 0 with respect to all others. Of equal elements the
//! first in row order is chosen. Windows may overlap, and an element that several windows chose receives the sum of their
//! gradients.
//!
//! The backward pass searches the maxima again instead of storing where they are, because the ReLU before the pool keeps
//! the input anyway.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::{memory, profile};
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// Sizes of the feature maps and of the window, height before width.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
}

impl Sizes {
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
    let _timer = profile::time("max_pool2d", x.shape(), 0.0);
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
    let output = [0, 1].map(|a| (padded[a] - kernel[a]) / stride[a] + 1);
    let sizes = Sizes {
        input,
        output,
        channels,
        kernel,
        stride,
        padding,
    };
    let kept = x.detach();
    if let Device::Gpu(gpu) = Device::of(&[x]) {
        return gpu::forward(&gpu, sizes, x)?.record(&[x], move |dy| {
            Ok(vec![Some(gpu::backward(&gpu, sizes, &kept, dy)?)])
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let mut y = memory::unset(batch * output[0] * output[1] * channels);
    forward(isa, sizes, x.data(), &mut y);
    Tensor::computed(y, &[batch, output[0], output[1], channels]).record(&[x], move |dy| {
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        let mut dx = memory::zeros(kept.len());
        backward(isa, sizes, kept.data(), dy.data(), &mut dx);
        Ok(vec![Some(Tensor::computed(dx, kept.dims()))])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Level;
    use crate::ops::testing::{assert_close, check_gradients, fixture, on_every_device, random};
    use proptest::prelude::*;

    #[test]
    fn agrees_with_pytorch() {
        on_every_device(|| {
            for name in ["max_pool2d_ties", "max_pool2d_negative"] {
                let case = fixture(name);
                let x = case.tracked("x");
                let y = max_pool2d(&x, [3, 3], [2, 2], [1, 1]).unwrap();
                case.close("output", &y, 0.0);
                case.check_grads(&y, &[("x", &x)], 1e-6);
            }
        });
    }

    #[test]
    fn gradient_is_the_difference_quotient() {
        // Values so far apart that a small step does not change which is the largest.
        let mut x = random(&[2, 5, 6, 3], 1);
        let n = x.len();
        x.data_mut()
            .iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x = (i * 37 % n) as f32 / 8.0);
        on_every_device(|| {
            check_gradients(&[x.clone()], |x| max_pool2d(&x[0], [3, 2], [2, 1], [1, 1]));
        });
    }

    #[test]
    fn mistakes_are_named() {
        let x = Tensor::zeros(&[1, 4, 4, 1]);
        assert!(max_pool2d(&Tensor::zeros(&[4, 4]), [2, 2], [2, 2], [0, 0]).is_err());
        assert!(max_pool2d(&x, [0, 2], [2, 2], [0, 0]).is_err());
        assert!(max_pool2d(&x, [2, 2], [2, 0], [0, 0]).is_err());
        assert!(max_pool2d(&x, [3, 3], [2, 2], [2, 1]).is_err());
        let e = max_pool2d(&x, [5, 5], [1, 1], [0, 0])
            .unwrap_err()
            .to_string();
        assert!(e.contains("[1, 4, 4, 1]"), "{e}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_shape_agrees_with_the_definition(
            batch in 1..3usize, height in 1..12usize, width in 1..12usize, channels in 1..40usize,
            kernel in [1..5usize, 1..5usize], stride in [1..4usize, 1..4usize], pad: bool,
        ) {
            let padding = if pad { kernel.map(|k| k / 2) } else { [0, 0] };
            prop_assume!(height + 2 * padding[0] >= kernel[0] && width + 2 * padding[1] >= kernel[1]);
            let run = || {
                let x = random(&[batch, height, width, channels], 1).tracked();
                let y = max_pool2d(&x, kernel, stride, padding).unwrap();
                let grads = y.backward_from(&random(y.dims(), 2)).unwrap();
                [y.data(), grads.get(&x).unwrap().data()].concat()
            };
            let want = Isa::new(Level::Naive).unwrap().scope(run);
            on_every_device(|| assert_close("max_pool2d", &run(), &want, 1e-6));
        }
    }
}
