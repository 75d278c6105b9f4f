//! Log-softmax: log-probabilities from logits.
//!
//! ```text
//! y[r][v] = x[r][v] - ln sum_u exp x[r][u]        over the last axis
//!
//! dx[r][v] = dy[r][v] - exp(y[r][v]) sum_u dy[r][u]
//! ```
//!
//! The derivative of `ln sum_u exp x[u]` with respect to `x[v]` is `exp x[v] / sum_u exp x[u] = exp y[v]`. This term occurs
//! in every element of the row, so the derivative of `y[u]` with respect to `x[v]` is `[u = v] - exp y[v]`, where `[u = v]`
//! is 1 for equal indices and 0 otherwise. Summed over `u` with the factors `dy[u]` this is the second line.
//!
//! The kernels subtract the row's largest logit first. That does not change the result, but keeps the exponentials finite.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// Log-probabilities over the last axis of `x` `[.., V]`.
///
/// ```
/// use glimpse::{ops::log_softmax, tensor::Tensor};
/// let y = log_softmax(&Tensor::full(&[1, 4], 3.0))?;
/// assert!(y.data().iter().all(|y| (y + 4f32.ln()).abs() < 1e-6));
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where there is no last axis.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("log_softmax", x.shape(), 0.0);
    let Some(&classes) = x.dims().last() else {
        return Err(Error::shape("log_softmax", "x [.., V]", x.shape()));
    };
    if let Device::Gpu(gpu) = Device::of(&[x]) {
        let sizes = [x.len() / classes.max(1), classes];
        let y = gpu::forward(&gpu, x, sizes)?;
        let kept = y.clone();
        return y.record(&[x], move |dy| {
            Ok(vec![Some(gpu::backward(&gpu, &kept, dy, sizes)?)])
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let y = Tensor::computed(forward(isa, classes, x.data()), x.dims());
    let kept = y.clone();
    y.record(&[x], move |dy| {
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        let dx = backward(isa, classes, kept.data(), dy.data());
        Ok(vec![Some(Tensor::computed(dx, kept.dims()))])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Level;
    use crate::ops::testing::{
        assert_close, check_gradients, fixture, here, on_every_device, random,
    };
    use proptest::prelude::*;

    #[test]
    fn agrees_with_pytorch() {
        on_every_device(|| {
            let case = fixture("log_softmax");
            let x = case.tracked("x");
            let y = log_softmax(&x).unwrap();
            case.close("output", &y, 1e-6);
            case.check_grads(&y, &[("x", &x)], 1e-6);
        });
    }

    #[test]
    fn gradient_is_the_difference_quotient() {
        on_every_device(|| check_gradients(&[random(&[2, 3, 19], 1)], |x| log_softmax(&x[0])));
    }

    #[test]
    fn the_ends_of_the_range() {
        on_every_device(|| {
            let x = here(Tensor::from_vec(vec![1e4, 0.0, -1e4], &[3]).unwrap());
            assert_eq!(log_softmax(&x).unwrap().data(), &[0.0, -1e4, -2e4]);
            assert_eq!(log_softmax(&Tensor::zeros(&[2, 0])).unwrap().len(), 0);
            assert!(log_softmax(&Tensor::scalar(0.0)).is_err());
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_shape_agrees_with_the_definition(rows in 1..40usize, classes in 1..70usize) {
            let run = || {
                let x = random(&[rows, classes], 1).tracked();
                let y = log_softmax(&x).unwrap();
                let grads = y.backward_from(&random(y.dims(), 2)).unwrap();
                [y.data(), grads.get(&x).unwrap().data()].concat()
            };
            let want = Isa::new(Level::Naive).unwrap().scope(run);
            on_every_device(|| assert_close("log_softmax", &run(), &want, 1e-6));
        }
    }
}
