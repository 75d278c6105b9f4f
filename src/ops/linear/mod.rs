//! Linear layer: every row of the input times a matrix, plus a bias.
//!
//! ```text
//! y = x W^T + b        x [R, in]   W [out, in]   b [out]   y [R, out]
//!
//! dx = dy W            dW = dy^T x            db = sum over rows of dy
//! ```
//!
//! `y[r][o]` is `b[o]` plus the sum over `i` of `x[r][i] W[o][i]`. Its derivative with respect to `x[r][i]` is `W[o][i]`,
//! with respect to `W[o][i]` it is `x[r][i]`, and with respect to `b[o]` it is 1. The chain rule sums over the remaining
//! index, and these sums are the products above:
//!
//! ```text
//! dx[r][i] = sum over o of dy[r][o] W[o][i]        dW[o][i] = sum over r of dy[r][o] x[r][i]
//! ```

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// The sizes of the matrices.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    rows: usize,
    inputs: usize,
    outputs: usize,
}

/// `x W^T + b` of `x` `[.., in]`, `weight` `[out, in]` and an optional `bias` `[out]`: `[.., out]`.
///
/// ```
/// use glimpse::{ops::linear, tensor::Tensor};
/// let x = Tensor::from_vec(vec![1.0, 2.0], &[2])?;
/// let weight = Tensor::from_vec(vec![1.0, 0.0, 0.0, 1.0, 3.0, 4.0], &[3, 2])?;
/// let bias = Tensor::from_vec(vec![0.5, 0.0, 0.0], &[3])?;
/// assert_eq!(linear(&x, &weight, Some(&bias))?.data(), &[1.5, 2.0, 11.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let _timer = profile::time("linear", x.shape(), 0.0);
    let &[outputs, inputs] = weight.dims() else {
        return Err(Error::shape("linear", "a weight [out, in]", weight.shape()));
    };
    if x.dims().last() != Some(&inputs) {
        let got = format_args!("x {} with weight {}", x.shape(), weight.shape());
        return Err(Error::shape(
            "linear",
            format_args!("x [.., {inputs}]"),
            got,
        ));
    }
    if let Some(bias) = bias.filter(|b| b.dims() != [outputs]) {
        let got = format_args!("bias {} with weight {}", bias.shape(), weight.shape());
        return Err(Error::shape(
            "linear",
            format_args!("a bias [{outputs}]"),
            got,
        ));
    }
    let leading = &x.dims()[..x.dims().len() - 1];
    let sizes = Sizes {
        rows: leading.iter().product(),
        inputs,
        outputs,
    };
    let out_dims = [leading, &[outputs]].concat();
    let wanted = [x.is_tracked(), weight.is_tracked()];
    let bias_wanted = bias.map(Tensor::is_tracked);
    let (x_kept, weight_kept) = (x.detach(), weight.detach());
    let parents: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    if let Device::Gpu(gpu) = Device::of(&parents) {
        let y = gpu::forward(&gpu, sizes, x, weight, bias, &out_dims)?;
        return y.record(&parents, move |dy| {
            let dx = || gpu::grad_input(&gpu, sizes, dy, &weight_kept, x_kept.dims());
            let dw = || gpu::grad_weight(&gpu, sizes, dy, &x_kept);
            let db = || gpu::grad_bias(&gpu, sizes, dy);
            let mut grads = vec![
                wanted[0].then(dx).transpose()?,
                wanted[1].then(dw).transpose()?,
            ];
            if let Some(wanted) = bias_wanted {
                grads.push(wanted.then(db).transpose()?);
            }
            Ok(grads)
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let y = forward(isa, sizes, x.data(), weight, bias.map(Tensor::data));
    let y = Tensor::computed(y, &out_dims);
    y.record(&parents, move |dy| {
        let (x, weight, dy) = (x_kept, weight_kept, dy.data());
        let (grad_input, grad_weight, grad_bias) = if isa.is_naive() {
            (
                naive::grad_input as fn(_, _, _, _) -> _,
                naive::grad_weight as fn(_, _, _, _) -> _,
                naive::grad_bias as fn(_, _, _) -> _,
            )
        } else {
            (
                cpu::grad_input as fn(_, _, _, _) -> _,
                cpu::grad_weight as fn(_, _, _, _) -> _,
                cpu::grad_bias as fn(_, _, _) -> _,
            )
        };
        let mut grads = vec![
            wanted[0]
                .then(|| Tensor::computed(grad_input(isa, sizes, dy, weight.data()), x.dims())),
            wanted[1]
                .then(|| Tensor::computed(grad_weight(isa, sizes, dy, x.data()), weight.dims())),
        ];
        if let Some(wanted) = bias_wanted {
            grads.push(
                wanted.then(|| Tensor::computed(grad_bias(isa, sizes, dy), &[sizes.outputs])),
            );
        }
        Ok(grads)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, check_gradients, fixture, on_every_device, random};
    use proptest::prelude::*;

    #[test]
    fn agrees_with_pytorch() {
        on_every_device(|| {
            let case = fixture("linear");
            let (x, w, b) = (
                case.tracked("x"),
                case.tracked("weight"),
                case.tracked("bias"),
            );
            let y = linear(&x, &w, Some(&b)).unwrap();
            case.close("output", &y, 1e-6);
            case.check_grads(&y, &[("x", &x), ("weight", &w), ("bias", &b)], 1e-6);
        });
    }

    #[test]
    fn gradient_is_the_difference_quotient() {
        on_every_device(|| {
            let (x, w, b) = (random(&[2, 3, 5], 1), random(&[7, 5], 2), random(&[7], 3));
            check_gradients(&[x.clone(), w.clone(), b], |i| {
                linear(&i[0], &i[1], Some(&i[2]))
            });
            check_gradients(&[x, w], |i| linear(&i[0], &i[1], None));
        });
    }

    #[test]
    fn long_sums_are_split_and_meet_their_bias() {
        for (rows, inputs, outputs) in [(3, 2000, 40), (1, 600, 1), (900, 20, 30)] {
            let run = || {
                let x = random(&[rows, inputs], 1).tracked();
                let (w, b) = (
                    random(&[outputs, inputs], 2),
                    random(&[outputs], 3).tracked(),
                );
                let y = linear(&x, &w, Some(&b)).unwrap();
                let grads = y.backward_from(&random(&[rows, outputs], 4)).unwrap();
                let all = [&x, &b].map(|leaf| grads.get(leaf).unwrap().data().to_vec());
                [y.data().to_vec(), all.concat()].concat()
            };
            let want = Isa::new(crate::cpu::Level::Naive).unwrap().scope(run);
            on_every_device(|| assert_close("linear", &run(), &want, 1e-6));
        }
    }

    #[test]
    fn mistakes_name_both_shapes() {
        let w = Tensor::zeros(&[3, 4]);
        let e = linear(&Tensor::zeros(&[2, 5]), &w, None).unwrap_err();
        assert_eq!(
            e.to_string(),
            "linear: expected x [.., 4], got x [2, 5] with weight [3, 4]"
        );
        assert!(linear(&Tensor::scalar(1.0), &w, None).is_err());
        assert!(linear(&Tensor::zeros(&[4]), &Tensor::zeros(&[4]), None).is_err());
        assert!(linear(&Tensor::zeros(&[4]), &w, Some(&Tensor::zeros(&[4]))).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_shape_agrees_with_the_definition(rows in 1..20usize, inputs in 1..40usize, outputs in 1..50usize) {
            let run = || {
                let x = random(&[rows, inputs], 1).tracked();
                let (w, b) = (random(&[outputs, inputs], 2).tracked(), random(&[outputs], 3).tracked());
                let y = linear(&x, &w, Some(&b)).unwrap();
                let grads = y.backward_from(&random(&[rows, outputs], 4)).unwrap();
                let all = [&x, &w, &b].map(|leaf| grads.get(leaf).unwrap().data().to_vec());
                [vec![y.data().to_vec()], all.to_vec()].concat().concat()
            };
            let want = Isa::new(crate::cpu::Level::Naive).unwrap().scope(run);
            on_every_device(|| assert_close("linear", &run(), &want, 1e-6));
        }
    }
}
