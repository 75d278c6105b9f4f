use super::{Init, Module, Role};
use crate::error::Result;
use crate::ops;
use crate::tensor::Tensor;

/// A linear layer: a matrix and a bias; see [`ops::linear()`].
#[derive(Clone)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Tensor,
    /// `[out]`
    pub bias: Tensor,
}

impl Linear {
    /// Weights uniform in `[-1 / sqrt(in), 1 / sqrt(in))`, the bias zero.
    pub fn new(init: &mut Init, inputs: usize, out: usize) -> Self {
        let bound = 1.0 / (inputs.max(1) as f32).sqrt();
        Linear {
            weight: init.uniform(&[out, inputs], bound),
            bias: Tensor::zeros(&[out]),
        }
    }

    /// Applies the layer to `x` `[.., in]`: `[.., out]`.
    ///
    /// # Errors
    /// The errors of [`ops::linear()`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, Some(&self.bias))
    }
}

impl Module for Linear {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        f(&format!("{prefix}weight"), Role::Weight, &mut self.weight);
        f(&format!("{prefix}bias"), Role::Offset, &mut self.bias);
    }
}
