//! Long short-term memory (Hochreiter and Schmidhuber, 1997): one step, or a whole sequence, as one operation.
//!
//! ```text
//! a = x W_ih^T + h W_hh^T + b            x [N, I]   h, c [N, H]   W_ih [4H, I]   W_hh [4H, H]   b [4H]
//! i = sigmoid(a[0..H])                   input gate
//! f = sigmoid(a[H..2H])                  forget gate
//! g = tanh(a[2H..3H])                    candidate
//! o = sigmoid(a[3H..4H])                 output gate
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
//! `dh'` and `dc'` arrive from the tape and from the next step. `h'` depends on `c'`, which adds a term to `dc'`:
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
//! gradients with respect to the gates into `da`. `a` is a sum of two matrix products and a bias, whose gradients
//! [`linear`](mod@super::linear) derives:
//!
//! ```text
//! da = [dc' g i (1 - i),  dc' c f (1 - f),  dc' i (1 - g^2),  dh' tanh(c') o (1 - o)]
//! dx = da W_ih      dh = da W_hh      dW_ih = da^T x      dW_hh = da^T h      db = sum over rows of da
//! ```
//!
//! # The gradient of a sequence
//!
//! The state before a step is the state after the step before it. So the backward pass goes from the last step to the
//! first, and each step passes its `dh` and `dc` to the step before it:
//!
//! ```text
//! dh'(t) = dy(t) + dh(t+1)        dc'(t) = dc(t+1)        dh(t+1) = da(t+1) W_hh
//! ```
//!
//! where `dy(t)` is the gradient with respect to the output `h'(t)`, and both terms of step `t+1` are zero at the last step.
//! (A cell is a sequence of one step, for which the tape also gives `dc'`.) The `dh` and `dc` of the first step are the
//! gradients with respect to the initial state.
//! The remaining products need no order. The product with `W_ih`, and the gradients with respect to the weights, are each one
//! matrix product over all steps at the end.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

// The inputs, as the tape numbers them. A sequence from the zero state has no H0 and C0.
const X: usize = 0;
const W_IH: usize = 1;
const W_HH: usize = 2;
const BIAS: usize = 3;
const H0: usize = 4;
const C0: usize = 5;

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
}

/// The inputs, whose shapes fit, and their sizes. A cell is a sequence of one step.
pub(crate) struct Job {
    /// `[N, T, I]`; of a cell, `[N, I]`
    x: Tensor,
    weights: LstmWeights,
    /// Of a cell, `h` and `c` before its step, `[N, H]`; of a sequence `None`, because it begins with the zero state.
    state: Option<[Tensor; 2]>,
    batch: usize,
    steps: usize,
    inputs: usize,
    hidden: usize,
    /// Whether the forward pass on the CPU returns `c'`, which the caller of a cell and the backward pass need. On the
    /// GPU it always does.
    with_cells: bool,
}

/// Results of a forward pass.
pub(crate) struct Saved {
    /// `[2, N, T, H]`: `h'`, then `c'`, of every step. On the CPU `[1, N, T, H]`, only `h'`, where
    /// nothing needs `c'`.
    states: Tensor,
    /// `[N, T, 4H]`: the gates i, f, g, o of every step. The backward pass overwrites them with `da`.
    gates: Tensor,
}

impl Job {
    fn check_cell(x: &Tensor, state: [&Tensor; 2], weights: &LstmWeights) -> Result<Job> {
        let [inputs, hidden] = weights.sizes("lstm_cell")?;
        let batch = x.dims().first().copied().unwrap_or(0);
        if x.dims() != [batch, inputs] || state.iter().any(|s| s.dims() != [batch, hidden]) {
            let [h, c] = state;
            return Err(Error::shape(
                "lstm_cell",
                format_args!("x [N, {inputs}], h and c [N, {hidden}]"),
                format_args!("{}, {} and {}", x.shape(), h.shape(), c.shape()),
            ));
        }
        Ok(Job {
            x: x.clone(),
            weights: weights.clone(),
            state: Some(state.map(Tensor::clone)),
            batch,
            steps: 1,
            inputs,
            hidden,
            with_cells: true,
        })
    }

    fn check_sequence(x: &Tensor, weights: &LstmWeights) -> Result<Job> {
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
        let LstmWeights { w_ih, w_hh, bias } = weights;
        Ok(Job {
            x: x.clone(),
            weights: weights.clone(),
            state: None,
            batch,
            steps,
            inputs,
            hidden,
            with_cells: [x, w_ih, w_hh, bias].iter().any(|t| t.is_tracked()),
        })
    }

    /// Rows of a matrix that has one row for each step of each sequence.
    fn rows(&self) -> usize {
        self.batch * self.steps
    }

    /// `h` before the first step; zero if there is none.
    fn h0(&self) -> Option<&Tensor> {
        self.state.as_ref().map(|[h0, _]| h0)
    }

    /// `c` before the first step; zero if there is none.
    fn c0(&self) -> Option<&Tensor> {
        self.state.as_ref().map(|[_, c0]| c0)
    }

    /// The results of a forward pass on the CPU as tensors.
    fn computed(&self, states: Vec<f32>, gates: Vec<f32>) -> Saved {
        let planes = if self.with_cells { 2 } else { 1 };
        Saved {
            states: Tensor::computed(states, &[planes, self.batch, self.steps, self.hidden]),
            gates: Tensor::computed(gates, &[self.batch, self.steps, 4 * self.hidden]),
        }
    }

    /// The output: `h'` of every step, `[N, T, H]`; of a cell, `h'` and `c'`, `[2, N, H]`.
    fn output(&self, saved: &Saved) -> Result<Tensor> {
        match self.state {
            None => saved.states.index(0),
            Some(_) => saved.states.reshape(&[2, self.batch, self.hidden]),
        }
    }

    /// The gradients that a backward pass on the CPU starts with: `dy`, and `dc'` of the last step. `d_output` is the gradient
    /// with respect to [`Job::output`].
    fn split_gradient<'a>(&self, d_output: &'a Tensor) -> (&'a [f32], Vec<f32>) {
        let (dy, dc) = d_output.data().split_at(self.rows() * self.hidden);
        match self.state {
            None => (dy, vec![0.0; self.batch * self.hidden]),
            Some(_) => (dy, dc.to_vec()),
        }
    }
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
    let job = Job::check_cell(x, [h, c], weights)?;
    let LstmWeights { w_ih, w_hh, bias } = weights;
    let states = all_steps(&[x, w_ih, w_hh, bias, h, c], job)?;
    Ok((states.index(0)?, states.index(1)?))
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
    let job = Job::check_sequence(x, weights)?;
    let LstmWeights { w_ih, w_hh, bias } = weights;
    all_steps(&[x, w_ih, w_hh, bias], job)
}

/// Runs the steps and records them as one node; returns [`Job::output`].
fn all_steps(inputs: &[&Tensor], job: Job) -> Result<Tensor> {
    let place = Place::of(inputs);
    let saved = match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    };
    let output = job.output(&saved)?;
    output.record(inputs, move |d_output, wanted| match &place {
        Place::Naive => Ok(naive::backward(&job, saved, d_output, wanted)),
        Place::Cpu(isa) => Ok(cpu::backward(*isa, &job, saved, d_output, wanted)),
        Place::Gpu(gpu) => gpu::backward(gpu, &job, saved, d_output, wanted),
    })
}

#[cfg(test)]
mod tests;
