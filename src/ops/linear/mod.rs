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

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

// The inputs, as the tape numbers them.
const X: usize = 0;
const WEIGHT: usize = 1;
const BIAS: usize = 2;

/// The inputs, whose shapes fit, and their sizes.
pub(crate) struct Job {
    /// `[.., in]`, which are `R` rows
    x: Tensor,
    /// `[out, in]`
    weight: Tensor,
    /// `[out]`
    bias: Option<Tensor>,
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl Job {
    /// Checks that the shapes fit, and keeps the inputs for the backward pass.
    fn check(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Job> {
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
        Ok(Job {
            rows: x.dims()[..x.dims().len() - 1].iter().product(),
            x: x.clone(),
            weight: weight.clone(),
            bias: bias.cloned(),
            inputs,
            outputs,
        })
    }

    /// `[.., out]`
    fn out_dims(&self) -> Vec<usize> {
        let mut dims = self.x.dims().to_vec();
        dims.pop();
        dims.push(self.outputs);
        dims
    }
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
    let _timer = profile::time("linear", x.shape());
    let job = Job::check(x, weight, bias)?;
    let inputs: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    let place = Place::of(&inputs);
    let y = match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    };
    y.record(&inputs, move |dy, wanted| match &place {
        Place::Naive => Ok(naive::backward(&job, dy, wanted)),
        Place::Cpu(isa) => Ok(cpu::backward(*isa, &job, dy, wanted)),
        Place::Gpu(gpu) => gpu::backward(gpu, &job, dy, wanted),
    })
}

#[cfg(test)]
mod tests;
