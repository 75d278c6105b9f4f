//! Floor 4: layers, which are operations that own their parameters.
//!
//! A layer is a plain struct of tensors with a `forward`. [`Module::visit`] calls a function for each parameter with its
//! name. Loading, saving and optimizing are all built on it.

mod attention_lstm;
mod batch_norm;
mod conv;
mod dense;
mod embedding;
mod init;
mod linear;
mod lstm;

pub use attention_lstm::AttentionLstm;
pub use batch_norm::BatchNorm;
pub use conv::{Conv2d, conv_norm_relu};
pub use dense::{DenseBlock, DenseLayer, Transition};
pub use embedding::Embedding;
pub use init::Init;
pub use linear::Linear;
pub use lstm::Lstm;

use crate::error::Result;
use crate::tensor::{Device, Tensor};

/// Whether a forward pass is for training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Running statistics, no dropout.
    Inference,
    /// Dropout, and statistics of the mini-batch, which also update the running statistics.
    Training {
        /// The seed of this step's dropout masks.
        seed: u64,
    },
}

impl Mode {
    /// Whether this is training.
    pub fn is_training(self) -> bool {
        matches!(self, Mode::Training { .. })
    }
}

/// The role of a named tensor of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A matrix or kernel: the optimizer updates it, and weight decay applies.
    Weight,
    /// A bias, a norm's scale or shift, or word vectors: the optimizer updates it without weight decay.
    Offset,
    /// A running statistic: saved with the model, but not updated by the optimizer.
    Statistic,
}

impl Role {
    /// Whether the optimizer updates it.
    pub fn is_trained(self) -> bool {
        self != Role::Statistic
    }
}

/// A layer or a model with named parameters.
pub trait Module {
    /// Calls `f` with the name, role and tensor of each parameter, always in the same order. Names begin with
    /// `prefix`, which is empty or ends in a dot.
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor));

    /// Makes every trained parameter a leaf of the tape if `tracked`, else takes all parameters off the tape.
    fn track(&mut self, tracked: bool)
    where
        Self: Sized,
    {
        self.visit("", &mut |_, role, tensor| {
            *tensor = if tracked && role.is_trained() {
                tensor.tracked()
            } else {
                tensor.detach()
            };
        });
    }

    /// Moves every parameter to `device`, where operations on it run from then on. A parameter that is a leaf of the tape
    /// becomes a new leaf.
    ///
    /// # Errors
    /// Where the GPU has no memory for them, or does not answer.
    fn to(&mut self, device: &Device) -> Result<()>
    where
        Self: Sized,
    {
        let mut result = Ok(());
        self.visit("", &mut |_, _, tensor| match tensor.detach().to(device) {
            Ok(moved) if tensor.is_tracked() => *tensor = moved.tracked(),
            Ok(moved) => *tensor = moved,
            Err(e) => result = Err(e),
        });
        result
    }

    /// The number of elements of all parameters that an optimizer updates.
    fn parameter_count(&mut self) -> usize
    where
        Self: Sized,
    {
        let mut count = 0;
        self.visit("", &mut |_, role, tensor| {
            count += if role.is_trained() { tensor.len() } else { 0 };
        });
        count
    }
}
