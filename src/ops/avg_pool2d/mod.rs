//! Average pooling: the mean under a window, for each channel.
//!
//! ```text
//! y[n][p][q][c] = 1/K sum over u, v of x[n][p S + u][q S + v][c]        K = kernel height * width
//!
//! dx[n][i][j][c] = 1/K sum of dy[n][p][q][c] over the windows that cover (i, j)
//! ```
//!
//! The derivative of a mean of `K` elements is `1/K` with respect to each of them. There is no padding. Rows and columns at
//! the lower and right edge that do not fill a window are ignored.

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
    let _timer = profile::time("avg_pool2d", x.shape(), 0.0);
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
    let output = [0, 1].map(|a| (input[a] - kernel[a]) / stride[a] + 1);
    let sizes = Sizes {
        input,
        output,
        channels,
        kernel,
        stride,
    };
    let dims = x.dims().to_vec();
    if let Device::Gpu(gpu) = Device::of(&[x]) {
        return gpu::forward(&gpu, sizes, x)?.record(&[x], move |dy| {
            Ok(vec![Some(gpu::backward(&gpu, sizes, dy, &dims)?)])
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let mut y = memory::zeros(batch * output[0] * output[1] * channels);
    forward(isa, sizes, x.data(), &mut y);
    Tensor::computed(y, &[batch, output[0], output[1], channels]).record(&[x], move |dy| {
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        let mut dx = memory::zeros(dims.iter().product());
        backward(isa, sizes, dy.data(), &mut dx);
        Ok(vec![Some(Tensor::computed(dx, &dims))])
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
            let case = fixture("avg_pool2d_2x2");
            let x = case.tracked("x");
            let y = avg_pool2d(&x, [2, 2], [2, 2]).unwrap();
            case.close("output", &y, 1e-6);
            case.check_grads(&y, &[("x", &x)], 1e-6);
        });
    }

    #[test]
    fn gradient_is_the_difference_quotient() {
        on_every_device(|| {
            check_gradients(&[random(&[2, 5, 6, 3], 1)], |x| {
                avg_pool2d(&x[0], [3, 2], [1, 2])
            });
        });
    }

    #[test]
    fn mistakes_are_named() {
        let x = Tensor::zeros(&[1, 4, 4, 1]);
        assert!(avg_pool2d(&Tensor::zeros(&[4, 4]), [2, 2], [2, 2]).is_err());
        assert!(avg_pool2d(&x, [0, 2], [2, 2]).is_err());
        let e = avg_pool2d(&x, [5, 2], [2, 2]).unwrap_err().to_string();
        assert!(e.contains("[1, 4, 4, 1]"), "{e}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_shape_agrees_with_the_definition(
            batch in 1..3usize, height in 1..12usize, width in 1..12usize, channels in 1..40usize,
            kernel in [1..5usize, 1..5usize], stride in [1..4usize, 1..4usize],
        ) {
            prop_assume!(height >= kernel[0] && width >= kernel[1]);
            let run = || {
                let x = random(&[batch, height, width, channels], 1).tracked();
                let y = avg_pool2d(&x, kernel, stride).unwrap();
                let grads = y.backward_from(&random(y.dims(), 2)).unwrap();
                [y.data(), grads.get(&x).unwrap().data()].concat()
            };
            let want = Isa::new(Level::Naive).unwrap().scope(run);
            on_every_device(|| assert_close("avg_pool2d", &run(), &want, 1e-6));
        }
    }
}
