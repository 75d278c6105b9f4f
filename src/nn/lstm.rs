use super::{Init, Module, Role};
use crate::error::Result;
use crate::ops::{self, LstmWeights};
use crate::tensor::Tensor;

/// An LSTM; see [`ops::lstm`].
#[derive(Clone)]
pub struct Lstm {
    /// The weights, gates in the order i, f, g, o.
    pub weights: LstmWeights,
}

impl Lstm {
    /// Weights uniform in `[-1 / sqrt(hidden), 1 / sqrt(hidden))`. The biases are 0, except that those of the forget
    /// gates are 1. So these gates start nearly open, and gradients reach many steps back from the beginning of training
    /// on (Jozefowicz et al., 2015).
    pub fn new(init: &mut Init, inputs: usize, hidden: usize) -> Self {
        let bound = 1.0 / (hidden.max(1) as f32).sqrt();
        let mut bias = Tensor::zeros(&[4 * hidden]);
        bias.data_mut()[hidden..2 * hidden].fill(1.0);
        let w_ih = init.uniform(&[4 * hidden, inputs], bound);
        Lstm {
            weights: LstmWeights {
                w_ih,
                w_hh: init.uniform(&[4 * hidden, hidden], bound),
                bias,
            },
        }
    }

    /// Runs all steps of `x` `[N, T, I]` from the zero state; returns `h'` of every step, `[N, T, H]`.
    ///
    /// # Errors
    /// The errors of [`ops::lstm_sequence`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::lstm_sequence(x, &self.weights)
    }

    /// Runs one step: `(h', c')` from `x` `[N, I]`, `h` and `c` `[N, H]`.
    ///
    /// # Errors
    /// The errors of [`ops::lstm_cell`].
    pub fn step(&self, x: &Tensor, h: &Tensor, c: &Tensor) -> Result<(Tensor, Tensor)> {
        ops::lstm_cell(x, h, c, &self.weights)
    }
}

impl Module for Lstm {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        f(
            &format!("{prefix}weight_ih"),
            Role::Weight,
            &mut self.weights.w_ih,
        );
        f(
            &format!("{prefix}weight_hh"),
            Role::Weight,
            &mut self.weights.w_hh,
        );
        f(
            &format!("{prefix}bias"),
            Role::Offset,
            &mut self.weights.bias,
        );
    }
}
