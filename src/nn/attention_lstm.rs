use super::{Init, Module, Role};
use crate::error::Result;
use crate::ops::{self, Attended, AttentionLstmWeights, Memory};
use crate::tensor::Tensor;

/// An LSTM that attends to the positions of an image; see [`ops::attention_lstm`](mod@ops::attention_lstm).
#[derive(Clone)]
pub struct AttentionLstm {
    /// The weights.
    pub weights: AttentionLstmWeights,
}

impl AttentionLstm {
    /// Random weights for words of `inputs` elements, keys of `key`, values of `value`, and `hidden` cells.
    ///
    /// Matrices are uniform in `[-1 / sqrt(hidden), 1 / sqrt(hidden))`, the score's vector in
    /// `[-1 / sqrt(key), 1 / sqrt(key))`. As in [`Lstm`](super::Lstm), the biases are 0 but those of the forget gates,
    /// which are 1.
    pub fn new(init: &mut Init, [inputs, key, value]: [usize; 3], hidden: usize) -> Self {
        let bound = |n: usize| 1.0 / (n.max(1) as f32).sqrt();
        let mut bias = Tensor::zeros(&[value + 4 * hidden]);
        bias.data_mut()[value + hidden..value + 2 * hidden].fill(1.0);
        AttentionLstm {
            weights: AttentionLstmWeights {
                w_ih: init.uniform(&[4 * hidden, inputs + value], bound(hidden)),
                w_hh: init.uniform(&[key + value + 4 * hidden, hidden], bound(hidden)),
                bias,
                score: init.uniform(&[key], bound(key)),
            },
        }
    }

    /// Runs all steps of `x` `[S, T, E]` from the state `h`, `c` `[S, H]`.
    ///
    /// # Errors
    /// The errors of [`ops::attention_lstm()`].
    pub fn forward(&self, x: &Tensor, memory: &Memory, h: &Tensor, c: &Tensor) -> Result<Attended> {
        ops::attention_lstm(x, memory, h, c, &self.weights)
    }
}

impl Module for AttentionLstm {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        let AttentionLstmWeights {
            w_ih,
            w_hh,
            bias,
            score,
        } = &mut self.weights;
        f(&format!("{prefix}weight_ih"), Role::Weight, w_ih);
        f(&format!("{prefix}weight_hh"), Role::Weight, w_hh);
        f(&format!("{prefix}bias"), Role::Offset, bias);
        f(&format!("{prefix}score"), Role::Weight, score);
    }
}
