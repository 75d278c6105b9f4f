//! Sums, differences, products and functions, element by element.
//!
//! ```text
//! add      y = a + b            da = dy          db = dy
//! sub      y = a - b            da = dy          db = -dy
//! mul      y = a b              da = dy b        db = dy a
//! scale    y = k x              dx = k dy
//! tanh     y = tanh x           dx = dy (1 - y^2)
//! sigmoid  y = 1/(1 + e^-x)     dx = dy y (1 - y)
//! ```
//!
//! Each element of `y` depends on one element of each input, so the chain rule is a single product. The product rule
//! gives the row of `mul`. The derivatives of tanh and of the sigmoid are functions of their own values:
//!
//! ```text
//! tanh x = sinh x / cosh x         derivative (cosh^2 x - sinh^2 x) / cosh^2 x = 1 - y^2
//! sigmoid x = 1/(1 + e^-x)         derivative e^-x / (1 + e^-x)^2 = y (1 - y),   as 1 - y = e^-x / (1 + e^-x)
//! ```
//!
//! So the backward pass of these two needs only the output.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

// The inputs of a function of two tensors, as the tape numbers them.
const A: usize = 0;
const B: usize = 1;

/// A function of two elements `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pair {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a b`
    Mul,
    /// `a (1 - b^2)`: the gradient of tanh, with `a = dy` and `b = y`.
    TanhGrad,
    /// `a b (1 - b)`: the gradient of the sigmoid, with `a = dy` and `b = y`.
    SigmoidGrad,
}

/// A function of one element `x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Single {
    /// `k x`
    Scale(f32),
    /// `tanh x`
    Tanh,
    /// `1 / (1 + e^-x)`
    Sigmoid,
}

fn pair(place: &Place, f: Pair, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match place {
        Place::Naive => Ok(naive::pair(f, a, b)),
        Place::Cpu(isa) => Ok(cpu::pair(*isa, f, a, b)),
        Place::Gpu(gpu) => gpu::pair(gpu, f, a, b),
    }
}

fn single(place: &Place, f: Single, x: &Tensor) -> Result<Tensor> {
    match place {
        Place::Naive => Ok(naive::single(f, x)),
        Place::Cpu(isa) => Ok(cpu::single(*isa, f, x)),
        Place::Gpu(gpu) => gpu::single(gpu, f, x),
    }
}

fn same_shape(op: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dims() == b.dims() {
        return Ok(());
    }
    let got = format_args!("{} and {}", a.shape(), b.shape());
    Err(Error::shape(op, "two tensors of one shape", got))
}

/// `a + b`, of the same shape.
///
/// ```
/// use glimpse::{ops::add, tensor::Tensor};
/// let (a, b) = (Tensor::full(&[2], 1.0), Tensor::full(&[2], 0.5));
/// assert_eq!(add(&a, &b)?.data(), &[1.5, 1.5]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("add", a.shape());
    same_shape("add", a, b)?;
    let place = Place::of(&[a, b]);
    pair(&place, Pair::Add, a, b)?.record(&[a, b], |dy, _| {
        Ok(vec![Some(dy.clone()), Some(dy.clone())])
    })
}

/// `a - b`, of the same shape.
///
/// ```
/// use glimpse::{ops::sub, tensor::Tensor};
/// let (a, b) = (Tensor::full(&[2], 1.0), Tensor::full(&[2], 0.25));
/// assert_eq!(sub(&a, &b)?.data(), &[0.75, 0.75]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ.
pub fn sub(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("sub", a.shape());
    same_shape("sub", a, b)?;
    let place = Place::of(&[a, b]);
    pair(&place, Pair::Sub, a, b)?.record(&[a, b], move |dy, wanted| {
        let db = || single(&place, Single::Scale(-1.0), dy);
        Ok(vec![Some(dy.clone()), wanted.then(B, db)?])
    })
}

/// `a b`, element by element, of the same shape.
///
/// ```
/// use glimpse::{ops::mul, tensor::Tensor};
/// let (a, b) = (Tensor::full(&[2], 3.0), Tensor::full(&[2], 0.5));
/// assert_eq!(mul(&a, &b)?.data(), &[1.5, 1.5]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ.
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("mul", a.shape());
    same_shape("mul", a, b)?;
    let place = Place::of(&[a, b]);
    let (a_kept, b_kept) = (a.clone(), b.clone());
    pair(&place, Pair::Mul, a, b)?.record(&[a, b], move |dy, wanted| {
        Ok(vec![
            wanted.then(A, || pair(&place, Pair::Mul, dy, &b_kept))?,
            wanted.then(B, || pair(&place, Pair::Mul, dy, &a_kept))?,
        ])
    })
}

/// `factor x`, of any shape.
///
/// ```
/// use glimpse::{ops::scale, tensor::Tensor};
/// assert_eq!(scale(&Tensor::full(&[2], 3.0), -0.5)?.data(), &[-1.5, -1.5]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// On the GPU, where its memory is used up or it no longer answers.
pub fn scale(x: &Tensor, factor: f32) -> Result<Tensor> {
    let _timer = profile::time("scale", x.shape());
    let (place, f) = (Place::of(&[x]), Single::Scale(factor));
    single(&place, f, x)?.record(&[x], move |dy, _| Ok(vec![Some(single(&place, f, dy)?)]))
}

/// The hyperbolic tangent, of any shape.
///
/// ```
/// use glimpse::{ops::tanh, tensor::Tensor};
/// assert!((tanh(&Tensor::scalar(1.0))?.item()? - 0.7615942).abs() < 1e-6);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// On the GPU, where its memory is used up or it no longer answers.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("tanh", x.shape());
    function(x, Single::Tanh, Pair::TanhGrad)
}

/// `1 / (1 + e^-x)`, of any shape.
///
/// ```
/// use glimpse::{ops::sigmoid, tensor::Tensor};
/// assert_eq!(sigmoid(&Tensor::scalar(0.0))?.item()?, 0.5);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// On the GPU, where its memory is used up or it no longer answers.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("sigmoid", x.shape());
    function(x, Single::Sigmoid, Pair::SigmoidGrad)
}

/// Computes the function `f`, whose derivative is a function of its own value, and records its gradient
/// `dx = gradient(dy, y)`.
fn function(x: &Tensor, f: Single, gradient: Pair) -> Result<Tensor> {
    let place = Place::of(&[x]);
    let y = single(&place, f, x)?;
    let kept = y.clone();
    y.record(&[x], move |dy, _| {
        Ok(vec![Some(pair(&place, gradient, dy, &kept)?)])
    })
}

#[cfg(test)]
mod tests;
