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
    let _timer = profile::time("lstm_cell", x.shape(), 0.0);
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
        let output = output.record(&inputs, move |above| {
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
    let output = output.record(&inputs, move |above| {
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
    let _timer = profile::time("lstm_sequence", x.shape(), 0.0);
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
        return states.index(0)?.record(&parents, move |above| {
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
    h_new.record(&parents, move |above| {
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
mod tests {
    use super::*;
    use crate::cpu::{Level, threads};
    use crate::ops::testing::{
        Case, assert_close, check_gradients, fixture, on_every_device, random,
    };
    use proptest::prelude::*;

    /// The weights of a case, PyTorch's two biases added.
    fn weights_of(case: &Case) -> LstmWeights {
        let mut bias = case.tensor("b_ih");
        let other = case.tensor("b_hh");
        bias.data_mut()
            .iter_mut()
            .zip(other.data())
            .for_each(|(a, b)| *a += b);
        LstmWeights {
            w_ih: case.tracked("w_ih"),
            w_hh: case.tracked("w_hh"),
            bias: bias.tracked(),
        }
    }

    fn random_weights(inputs: usize, hidden: usize) -> [Tensor; 3] {
        let (rows, half) = (4 * hidden, 5);
        [
            random(&[rows, inputs], half),
            random(&[rows, hidden], 6),
            random(&[rows], 7),
        ]
    }

    fn weights(w: &[Tensor]) -> LstmWeights {
        LstmWeights {
            w_ih: w[0].clone(),
            w_hh: w[1].clone(),
            bias: w[2].clone(),
        }
    }

    #[test]
    fn a_step_agrees_with_pytorch() {
        on_every_device(|| {
            let case = fixture("lstm_cell");
            let (x, h, c) = (case.tracked("x"), case.tracked("h"), case.tracked("c"));
            let w = weights_of(&case);
            // The loss is the sum of both outputs' products with their cotangents: h's gradient is found with
            // c's cotangent zero and the other way round, and the two are added.
            let leaves = [
                ("x", &x),
                ("h", &h),
                ("c", &c),
                ("w_ih", &w.w_ih),
                ("w_hh", &w.w_hh),
                ("b_ih", &w.bias),
                ("b_hh", &w.bias),
            ];
            let mut sums: Vec<Tensor> = leaves.iter().map(|l| Tensor::zeros(l.1.dims())).collect();
            for name in ["h", "c"] {
                let (new_h, new_c) = lstm_cell(&x, &h, &c, &w).unwrap();
                let out = if name == "h" { new_h } else { new_c };
                case.close(&format!("output_{name}"), &out, 1e-6);
                let grads = out
                    .backward_from(&case.tensor(&format!("grad_output_{name}")))
                    .unwrap();
                for ((_, leaf), sum) in leaves.iter().zip(&mut sums) {
                    let grad = grads.get(leaf).unwrap().data();
                    sum.data_mut()
                        .iter_mut()
                        .zip(grad)
                        .for_each(|(a, b)| *a += b);
                }
            }
            for ((name, _), sum) in leaves.iter().zip(&sums) {
                case.close(&format!("grad_{name}"), sum, 2e-6);
            }
        });
    }

    #[test]
    fn a_sequence_agrees_with_pytorch() {
        on_every_device(|| {
            let case = fixture("lstm_sequence");
            let (x, w) = (case.tracked("x"), weights_of(&case));
            let y = lstm_sequence(&x, &w).unwrap();
            case.close("output", &y, 1e-6);
            let leaves = [
                ("x", &x),
                ("w_ih", &w.w_ih),
                ("w_hh", &w.w_hh),
                ("b_ih", &w.bias),
                ("b_hh", &w.bias),
            ];
            case.check_grads(&y, &leaves, 2e-6);
        });
    }

    #[test]
    fn gradients_are_the_difference_quotients() {
        on_every_device(|| {
            let [w_ih, w_hh, bias] = random_weights(5, 17);
            let states = [random(&[2, 5], 1), random(&[2, 17], 2), random(&[2, 17], 3)];
            let [x, h, c] = states;
            let all = [x, h, c, w_ih.clone(), w_hh.clone(), bias.clone()];
            check_gradients(&all[..], |t| {
                Ok(lstm_cell(&t[0], &t[1], &t[2], &weights(&t[3..]))?.1)
            });
            // h' alone, and both together through a second step
            check_gradients(&all[..], |t| {
                Ok(lstm_cell(&t[0], &t[1], &t[2], &weights(&t[3..]))?.0)
            });
            check_gradients(&all[..], |t| {
                let w = weights(&t[3..]);
                let (h, c) = lstm_cell(&t[0], &t[1], &t[2], &w)?;
                Ok(lstm_cell(&t[0], &h, &c, &w)?.0)
            });
            check_gradients(&[random(&[2, 3, 5], 4), w_ih, w_hh, bias], |t| {
                lstm_sequence(&t[0], &weights(&t[1..]))
            });
        });
    }

    #[test]
    fn a_sequence_is_its_steps() {
        on_every_device(|| {
            let (x, w) = (random(&[3, 4, 6], 1), weights(&random_weights(6, 9)));
            let all = lstm_sequence(&x, &w).unwrap();
            assert!(!all.is_tracked());
            let (mut h, mut c) = (Tensor::zeros(&[3, 9]), Tensor::zeros(&[3, 9]));
            for t in 0..4 {
                let rows = (0..3)
                    .flat_map(|n| x.data()[(n * 4 + t) * 6..][..6].to_vec())
                    .collect();
                let x = Tensor::from_vec(rows, &[3, 6]).unwrap();
                (h, c) = lstm_cell(&x, &h, &c, &w).unwrap();
                let want: Vec<f32> = (0..3)
                    .flat_map(|n| all.data()[(n * 4 + t) * 9..][..9].to_vec())
                    .collect();
                assert_close("step", h.data(), &want, 1e-6);
            }
        });
    }

    /// Values and every gradient of a sequence.
    fn everything(batch: usize, steps: usize, inputs: usize, hidden: usize) -> Vec<f32> {
        let x = random(&[batch, steps, inputs], 1).tracked();
        let w = weights(&random_weights(inputs, hidden).map(|w| w.tracked()));
        let y = lstm_sequence(&x, &w).unwrap();
        let grads = y.backward_from(&random(y.dims(), 2)).unwrap();
        let leaves = [&x, &w.w_ih, &w.w_hh, &w.bias];
        let grads = leaves.map(|leaf| grads.get(leaf).unwrap().data().to_vec());
        [y.data().to_vec(), grads.concat()].concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn any_shape_agrees_with_the_definition(
            batch in 1..5usize, steps in 1..5usize, inputs in 1..20usize, hidden in 1..40usize,
        ) {
            let run = || everything(batch, steps, inputs, hidden);
            let want = Isa::new(Level::Naive).unwrap().scope(run);
            on_every_device(|| assert_close("lstm_sequence", &run(), &want, 1e-5));
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let run = |n| threads::with_count(n, || everything(40, 3, 9, 33)).unwrap();
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn mistakes_name_the_shapes() {
        let w = weights(&random_weights(3, 2));
        let (s, x) = (Tensor::zeros(&[1, 2]), Tensor::zeros(&[1, 4]));
        let e = lstm_cell(&x, &s, &s, &w).unwrap_err().to_string();
        assert_eq!(
            e,
            "lstm_cell: expected x [N, 3], h and c [N, 2], got [1, 4], [1, 2] and [1, 2]"
        );
        assert!(lstm_sequence(&x, &w).is_err());
        assert!(lstm_sequence(&Tensor::zeros(&[1, 2, 4]), &w).is_err());
        let bad = LstmWeights {
            bias: Tensor::zeros(&[7]),
            ..w
        };
        assert!(lstm_sequence(&Tensor::zeros(&[1, 2, 3]), &bad).is_err());
    }
}
