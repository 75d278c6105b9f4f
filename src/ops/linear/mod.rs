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
mod tests;
