//! Long short-term memory (Hochreiter and Schmidhuber, 1997): one step, or a whole sequence, as one operation.
//!
//! ```text
//! z = x W_ih^T + h W_hh^T + b            x [N, I]   h, c [N, H]   W_ih [4H, I]   W_hh [4H, H]   b [4H]
//! i = sigmoid(z[0..H])                   input gate
//! f = sigmoid(z[H..2H])                  forget gate
//! g = tanh(z[2H..3H])                    candidate
//! o = sigmoid(z[3H..4H])                 output gate
//! c' = f c + i g
//! h' = o tanh(c')
//! ```
//!
//! A prime means "after the step": `h` and `c` are the state before it, `h'` and `c'` the state after it; the code writes
//! `h_new` and `c_new`. The order i, f, g, o of the gates is PyTorch's. PyTorch has two biases, which only occur as their
//! sum `b`.
//!
//! # The gradient of one step
//!
//! `dh'` and `dc'` arrive from above. `h'` depends on `c'`, which adds a term to `dc'`:
//!
//! ```text
//! dc' += dh' o (1 - tanh(c')^2)
//! ```
//!
//! Then each factor of the products in `c'` and `h'` receives the gradient of the product times the other factor:
//!
//! ```text
//! di = dc' g      df = dc' c      dg = dc' i      do = dh' tanh(c')      dc = dc' f
//! ```
//!
//! The derivative of the sigmoid is `s (1 - s)` and that of tanh is `1 - t^2`, in terms of their own values. They turn the
//! gradients with respect to the gates into `dz`. `z` is a sum of two matrix products and a bias, whose gradients
//! [`linear`](mod@super::linear) derives:
//!
//! ```text
//! dz = [dc' g i (1 - i),  dc' c f (1 - f),  dc' i (1 - g^2),  dh' tanh(c') o (1 - o)]
//! dx = dz W_ih      dh = dz W_hh      dW_ih = dz^T x      dW_hh = dz^T h      db = sum over rows of dz
//! ```
//!
//! # The gradient of a sequence
//!
//! The state before a step is the state after the step before it. So the backward pass goes from the last step to the
//! first, and each step passes its `dh` and `dc` to the step before it:
//!
//! ```text
//! dh'(t) = from above + dh(t+1)        dc'(t) = dc(t+1)        dh(t+1) = dz(t+1) W_hh
//! ```
//!
//! where "from above" is the gradient with respect to the output `h'(t)`, and both terms of step `t+1` are zero at the last
//! step. The remaining products need no order. The product with `W_ih`, and the gradients with respect to the weights, are
//! each one matrix product over all steps at the end.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::{memory, profile};
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// The weights of an LSTM with `I` inputs and `H` cells.
#[derive(Clone, Debug)]
pub struct LstmWeights {
    /// `[4H, I]`, the gates' rows in the order i, f, g, o.
    pub w_ih: Tensor,
    /// `[4H, H]`, in the same order.
    pub w_hh: Tensor,
    /// `[4H]`, in the same order: the sum of PyTorch's `bias_ih` and `bias_hh`.
    pub bias: Tensor,
}

impl LstmWeights {
    /// The sizes `[I, H]`; an error where the shapes do not fit together.
    fn sizes(&self, op: &'static str) -> Result<[usize; 2]> {
        if let (&[rows, inputs], &[_, hidden]) = (self.w_ih.dims(), self.w_hh.dims())
            && self.w_hh.dims()[0] == rows
            && self.bias.dims() == [rows]
            && rows == 4 * hidden
        {
            return Ok([inputs, hidden]);
        }
        Err(Error::shape(
            op,
            "w_ih [4H, I], w_hh [4H, H] and bias [4H]",
            format_args!(
                "{}, {} and {}",
                self.w_ih.shape(),
                self.w_hh.shape(),
                self.bias.shape()
            ),
        ))
    }

    fn detach(&self) -> Self {
        LstmWeights {
            w_ih: self.w_ih.detach(),
            w_hh: self.w_hh.detach(),
            bias: self.bias.detach(),
        }
    }

    /// The gradients that are wanted of a pass over `x` from the zero state.
    fn wanted(&self, x: &Tensor) -> Wanted {
        Wanted {
            x: x.is_tracked(),
            h0: false,
            w_ih: self.w_ih.is_tracked(),
            w_hh: self.w_hh.is_tracked(),
            bias: self.bias.is_tracked(),
        }
    }
}

/// Sizes of the arrays. A single step is a sequence of length 1.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    batch: usize,
    steps: usize,
    inputs: usize,
    hidden: usize,
}

/// Inputs and outputs of a forward pass. `x` is `[N, T, I]`.
pub(crate) struct Forward<'a> {
    x: &'a [f32],
    weights: &'a LstmWeights,
    /// `[N, H]`: `h` before the first step; zero if there is none.
    h0: Option<&'a [f32]>,
    /// `[N, T, H]`: receives `h'` of every step.
    h_new: &'a mut [f32],
    /// `[N, H]`: `c` before the first step, overwritten by `c'` after the last.
    c: &'a mut [f32],
    /// `[N, T, H]`: receives `c'` of every step if it is given.
    c_new: Option<&'a mut [f32]>,
}

/// Inputs of a backward pass; `gates`, `h_new` and `c_new` are results of the forward pass.
pub(crate) struct Backward<'a> {
    x: &'a [f32],
    weights: &'a LstmWeights,
    /// `[N, H]`: `h` before the first step; zero if there is none.
    h0: Option<&'a [f32]>,
    /// `[N, H]`: `c` before the first step; zero if there is none.
    c0: Option<&'a [f32]>,
    /// `[N, T, H]`: `h'` of every step.
    h_new: &'a [f32],
    /// `[N, T, H]`: `c'` of every step.
    c_new: &'a [f32],
    /// `[N, T, 4H]`: i, f, g, o of every step. Overwritten by `dz`.
    gates: Vec<f32>,
    /// `[N, T, H]`: the gradient with respect to `h'` of every step, from above.
    above: &'a [f32],
    /// `[N, H]`: the gradient with respect to `c'` of the last step.
    dc: Vec<f32>,
    wanted: Wanted,
}

/// Which gradients are wanted. The gradient with respect to `c0` is always computed, because it costs nothing.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    x: bool,
    h0: bool,
    w_ih: bool,
    w_hh: bool,
    bias: bool,
}

/// The wanted gradients.
pub(crate) struct Grads {
    x: Option<Vec<f32>>,
    h0: Option<Vec<f32>>,
    c0: Vec<f32>,
    w_ih: Option<Vec<f32>>,
    w_hh: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
}

/// One step: `(h', c')` from `x` `[N, I]` and the state `h`, `c` `[N, H]`.
///
/// It is one node on the tape with the output `[2, N, H]`; `h'` and `c'` are views of that.
///
/// ```
/// use glimpse::{ops::{LstmWeights, lstm_cell}, tensor::Tensor};
/// let weights = LstmWeights {
///     w_ih: Tensor::zeros(&[4, 3]),
///     w_hh: Tensor::zeros(&[4, 1]),
///     bias: Tensor::zeros(&[4]),
/// };
/// let c = Tensor::full(&[1, 1], 2.0);
/// let (h, c) = lstm_cell(&Tensor::zeros(&[1, 3]), &Tensor::zeros(&[1, 1]), &c, &weights)?;
/// assert_eq!(c.item()?, 1.0); // sigmoid(0) is a half
/// assert!((h.item()? - 0.5 * 1f32.tanh()).abs() < 1e-6);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes do not fit.
pub fn lstm_cell(
    x: &Tensor,
    h: &Tensor,
    c: &Tensor,
    weights: &LstmWeights,
) -> Result<(Tensor, Tensor)> {
    let _timer = profile::time("lstm_cell", x.shape());
    let [inputs, hidden] = weights.sizes("lstm_cell")?;
    let batch = x.dims().first().copied().unwrap_or(0);
    if x.dims() != [batch, inputs] || [h, c].iter().any(|s| s.dims() != [batch, hidden]) {
        return Err(Error::shape(
            "lstm_cell",
            format_args!("x [N, {inputs}], h and c [N, {hidden}]"),
            format_args!("{}, {} and {}", x.shape(), h.shape(), c.shape()),
        ));
    }
    let sizes = Sizes {
        batch,
        steps: 1,
        inputs,
        hidden,
    };
    let LstmWeights { w_ih, w_hh, bias } = weights;
    let inputs = [x, h, c, w_ih, w_hh, bias];
    let wanted = Wanted {
        h0: h.is_tracked(),
        ..weights.wanted(x)
    };
    if let Device::Gpu(gpu) = Device::of(&inputs) {
        let forward = gpu::forward(&gpu, sizes, x, weights, Some([h, c]))?;
        let output = Tensor::from_gpu(forward.states.buffer.clone(), &[2, batch, hidden]);
        let (kept, weights) = ([x, h, c].map(Tensor::detach), weights.detach());
        let output = output.record(&inputs, move |above, _| {
            let [x, h, c] = &kept;
            let above = above.on(&gpu)?;
            let dc = above.after(batch * hidden);
            let pass = gpu::Backward {
                x,
                weights: &weights,
                before: Some([h, c]),
                above,
                dc: Some(dc),
                wanted,
            };
            let grads = gpu::backward(&gpu, sizes, forward, &pass)?;
            let inputs = [grads.x, grads.h0, Some(grads.c0)];
            Ok([inputs, [grads.w_ih, grads.w_hh, grads.bias]].concat())
        })?;
        return Ok((output.index(0)?, output.index(1)?));
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let mut output = memory::zeros(2 * batch * hidden);
    let (h_new, c_new) = output.split_at_mut(batch * hidden);
    c_new.copy_from_slice(c.data());
    let pass = Forward {
        x: x.data(),
        weights,
        h0: Some(h.data()),
        h_new,
        c: c_new,
        c_new: None,
    };
    let gates = forward(isa, sizes, pass);
    let output = Tensor::computed(output, &[2, batch, hidden]);

    let kept = [x.detach(), h.detach(), c.detach(), output.clone()];
    let weights = weights.detach();
    let output = output.record(&inputs, move |above, _| {
        let [x, h, c, output] = kept;
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        let (h_new, c_new) = output.data().split_at(batch * hidden);
        let (above, dc) = above.data().split_at(batch * hidden);
        let pass = Backward {
            x: x.data(),
            weights: &weights,
            h0: Some(h.data()),
            c0: Some(c.data()),
            h_new,
            c_new,
            gates,
            above,
            dc: dc.to_vec(),
            wanted,
        };
        let grads = backward(isa, sizes, pass);
        let LstmWeights { w_ih, w_hh, bias } = &weights;
        Ok(vec![
            grads.x.map(|g| Tensor::computed(g, x.dims())),
            grads.h0.map(|g| Tensor::computed(g, h.dims())),
            Some(Tensor::computed(grads.c0, c.dims())),
            grads.w_ih.map(|g| Tensor::computed(g, w_ih.dims())),
            grads.w_hh.map(|g| Tensor::computed(g, w_hh.dims())),
            grads.bias.map(|g| Tensor::computed(g, bias.dims())),
        ])
    })?;
    Ok((output.index(0)?, output.index(1)?))
}

/// `h'` of every step, `[N, T, H]`, for `x` `[N, T, I]`, starting from the zero state.
///
/// ```
/// use glimpse::{ops::{LstmWeights, lstm_sequence}, tensor::Tensor};
/// let weights = LstmWeights {
///     w_ih: Tensor::full(&[8, 3], 0.1),
///     w_hh: Tensor::full(&[8, 2], 0.1),
///     bias: Tensor::zeros(&[8]),
/// };
/// let h = lstm_sequence(&Tensor::full(&[1, 5, 3], 1.0), &weights)?;
/// assert_eq!(h.dims(), &[1, 5, 2]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes do not fit.
pub fn lstm_sequence(x: &Tensor, weights: &LstmWeights) -> Result<Tensor> {
    let _timer = profile::time("lstm_sequence", x.shape());
    let [inputs, hidden] = weights.sizes("lstm_sequence")?;
    let &[batch, steps, width] = x.dims() else {
        return Err(Error::shape("lstm_sequence", "x [N, T, I]", x.shape()));
    };
    if width != inputs {
        return Err(Error::shape(
            "lstm_sequence",
            format_args!("x [N, T, {inputs}]"),
            x.shape(),
        ));
    }
    let sizes = Sizes {
        batch,
        steps,
        inputs,
        hidden,
    };
    let LstmWeights { w_ih, w_hh, bias } = weights;
    let parents = [x, w_ih, w_hh, bias];
    let wanted = weights.wanted(x);
    if let Device::Gpu(gpu) = Device::of(&parents) {
        let forward = gpu::forward(&gpu, sizes, x, weights, None)?;
        let states = Tensor::from_gpu(forward.states.buffer.clone(), &[2, batch, steps, hidden]);
        let (x, weights) = (x.detach(), weights.detach());
        return states.index(0)?.record(&parents, move |above, _| {
            let pass = gpu::Backward {
                x: &x,
                weights: &weights,
                before: None,
                above: above.on(&gpu)?,
                dc: None,
                wanted,
            };
            let grads = gpu::backward(&gpu, sizes, forward, &pass)?;
            Ok(vec![grads.x, grads.w_ih, grads.w_hh, grads.bias])
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let keep = parents.iter().any(|t| t.is_tracked());
    let mut c_new = if keep {
        memory::zeros(batch * steps * hidden)
    } else {
        Vec::new()
    };
    let mut h_new = memory::zeros(batch * steps * hidden);
    let pass = Forward {
        x: x.data(),
        weights,
        h0: None,
        h_new: &mut h_new,
        c: &mut vec![0.0; batch * hidden],
        c_new: keep.then_some(&mut c_new),
    };
    let gates = forward(isa, sizes, pass);
    let h_new = Tensor::computed(h_new, &[batch, steps, hidden]);

    let (x_kept, h_kept, weights) = (x.detach(), h_new.clone(), weights.detach());
    h_new.record(&parents, move |above, _| {
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        let pass = Backward {
            x: x_kept.data(),
            weights: &weights,
            h0: None,
            c0: None,
            h_new: h_kept.data(),
            c_new: &c_new,
            gates,
            above: above.data(),
            dc: vec![0.0; batch * hidden],
            wanted,
        };
        let grads = backward(isa, sizes, pass);
        let LstmWeights { w_ih, w_hh, bias } = &weights;
        Ok(vec![
            grads.x.map(|g| Tensor::computed(g, x_kept.dims())),
            grads.w_ih.map(|g| Tensor::computed(g, w_ih.dims())),
            grads.w_hh.map(|g| Tensor::computed(g, w_hh.dims())),
            grads.bias.map(|g| Tensor::computed(g, bias.dims())),
        ])
    })
}

#[cfg(test)]
mod tests;
