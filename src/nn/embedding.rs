use super::{Init, Module, Role};
use crate::error::Result;
use crate::ops;
use crate::tensor::Tensor;

/// A table of vectors, one for each word of the vocabulary.
#[derive(Clone)]
pub struct Embedding {
    /// `[words, size]`
    pub weight: Tensor,
}

impl Embedding {
    /// Random vectors, normal with standard deviation `std`.
    pub fn new(init: &mut Init, words: usize, size: usize, std: f32) -> Self {
        Embedding {
            weight: init.normal(&[words, size], std),
        }
    }

    /// The vectors of the words `ids`: `[ids.len(), size]`.
    ///
    /// # Errors
    /// The errors of [`ops::embedding()`].
    pub fn forward(&self, ids: &[usize]) -> Result<Tensor> {
        ops::embedding(&self.weight, ids)
    }
}

impl Module for Embedding {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        f(&format!("{prefix}weight"), Role::Offset, &mut self.weight);
    }
}
