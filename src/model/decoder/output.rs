use super::config::DecoderConfig;
use crate::error::Result;
use crate::nn::{Embedding, Init, Linear, Module, Role};
use crate::ops;
use crate::tensor::Tensor;

/// The output layer, which computes the logits of all `V` words from a vector of `n` elements.
///
/// ```text
/// logits = x W^T + b          W [V, n]                  own matrix
/// logits = x E^T + b          E [V, E]                  tied, n = E
/// logits = (x P^T) E^T + b    P [E, n]                  tied, n other than E
/// ```
///
/// Tied means that `E` is the table of word vectors (Press and Wolf, 2017, arXiv 1608.05859; their section 3 has the
/// projection `P`, which needs no bias because `b` can represent it). The table belongs to [`Embedding`] and is borrowed by
/// [`OutputLayer::forward`]. So it exists once, [`Module::visit`] visits it once, and the tape adds the gradients of its
/// two uses.
#[derive(Clone)]
pub(super) enum OutputLayer {
    /// With a matrix of its own.
    Own(Linear),
    /// With the table of word vectors.
    Tied {
        /// `[E, n]`; `None` if `n = E`.
        projection: Option<Tensor>,
        /// `[V]`
        bias: Tensor,
    },
}

/// The number of elements of the parameters of an [`OutputLayer`] for vectors of `inputs` elements, without the table of
/// word vectors.
pub(super) fn elements(config: &DecoderConfig, inputs: usize) -> u128 {
    let [n, e, v] = [inputs, config.embedding, config.vocabulary].map(|n| n as u128);
    match config.tied {
        false => (n + 1) * v,
        true if n == e => v,
        true => e * n + v,
    }
}

impl OutputLayer {
    /// A random output layer for vectors of `inputs` elements.
    pub(super) fn new(config: &DecoderConfig, inputs: usize, init: &mut Init) -> Self {
        if !config.tied {
            return OutputLayer::Own(Linear::new(init, inputs, config.vocabulary));
        }
        let size = config.embedding;
        let project = || Linear::new(init, inputs, size).weight;
        OutputLayer::Tied {
            projection: (inputs != size).then(project),
            bias: Tensor::zeros(&[config.vocabulary]),
        }
    }

    /// The logits `[.., V]` for `x` `[.., n]`; `words` is the decoder's table of word vectors.
    pub(super) fn forward(&self, x: &Tensor, words: &Embedding) -> Result<Tensor> {
        match self {
            OutputLayer::Own(linear) => linear.forward(x),
            OutputLayer::Tied { projection, bias } => {
                let table = |x: &Tensor| ops::linear(x, &words.weight, Some(bias));
                match projection {
                    Some(matrix) => table(&ops::linear(x, matrix, None)?),
                    None => table(x),
                }
            }
        }
    }
}

impl Module for OutputLayer {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        match self {
            OutputLayer::Own(linear) => linear.visit(prefix, f),
            OutputLayer::Tied { projection, bias } => {
                if let Some(matrix) = projection {
                    f(&format!("{prefix}projection.weight"), Role::Weight, matrix);
                }
                f(&format!("{prefix}bias"), Role::Offset, bias);
            }
        }
    }
}
