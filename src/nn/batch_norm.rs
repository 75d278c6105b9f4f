use std::sync::{Mutex, PoisonError};

use super::{Mode, Module, Role};
use crate::error::Result;
use crate::ops::{self, Folded, Moments, Norm, Statistics};
use crate::tensor::Tensor;

// The weight of a mini-batch's statistics in the update of the running ones, as in torchvision.
const MOMENTUM: f32 = 0.1;

/// A batch norm with its running statistics.
pub struct BatchNorm {
    // Gamma and beta, `[C]`, and the number added to the variance before the root. They can only be changed through
    // `visit`, which drops `Running::folded`.
    weight: Tensor,
    bias: Tensor,
    eps: f32,
    // Behind a lock because a forward pass in training updates them and has only a shared reference to the layer.
    running: Mutex<Running>,
}

struct Running {
    mean: Tensor,
    var: Tensor,
    // The norm folded into an affine map; dropped when a parameter or a statistic may have changed.
    folded: Option<Folded>,
}

/// A batch norm prepared for one forward pass; in inference it holds the folded running statistics.
pub(super) struct Prepared<'a> {
    norm: &'a BatchNorm,
    folded: Option<Folded>,
}

impl Prepared<'_> {
    /// The norm as an argument of the operations.
    pub(super) fn norm(&self) -> Norm<'_> {
        let statistics = match &self.folded {
            None => Statistics::Batch,
            Some(folded) => Statistics::Folded(folded),
        };
        let BatchNorm {
            weight, bias, eps, ..
        } = self.norm;
        Norm {
            gamma: weight,
            beta: bias,
            eps: *eps,
            statistics,
        }
    }
}

impl BatchNorm {
    /// A norm with scale 1, shift 0, running mean 0 and running variance 1. `eps` is added to the variance before the root.
    pub fn new(channels: usize, eps: f32) -> Self {
        let (zeros, ones) = (Tensor::zeros(&[channels]), Tensor::full(&[channels], 1.0));
        let running = Mutex::new(Running {
            mean: zeros.clone(),
            var: ones.clone(),
            folded: None,
        });
        BatchNorm {
            weight: ones,
            bias: zeros,
            eps,
            running,
        }
    }

    /// The number of channels.
    pub(super) fn channels(&self) -> usize {
        self.weight.len()
    }

    /// Prepares the norm for a forward pass in `mode`.
    ///
    /// # Errors
    /// Where the GPU does not answer.
    pub(super) fn prepare(&self, mode: Mode) -> Result<Prepared<'_>> {
        let folded = match mode.is_training() {
            true => None,
            false => self.folded()?,
        };
        Ok(Prepared { norm: self, folded })
    }

    /// The norm with its running statistics, folded at the first call after a change.
    fn folded(&self) -> Result<Option<Folded>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Running { mean, var, folded } = &mut *running;
        if folded.is_none() {
            let BatchNorm {
                weight, bias, eps, ..
            } = self;
            *folded = Folded::new(&Norm {
                gamma: weight,
                beta: bias,
                eps: *eps,
                statistics: Statistics::Running { mean, var },
            })?;
        }
        Ok(folded.clone())
    }

    /// Updates the running statistics with the moments of a mini-batch of `rows` pixels:
    /// `running = 0.9 running + 0.1 batch`, with the unbiased variance. Does nothing without moments.
    ///
    /// # Errors
    /// Where the GPU does not answer.
    pub(super) fn update_running(&self, moments: Option<&Moments>, rows: usize) -> Result<()> {
        let Some(moments) = moments else {
            return Ok(());
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Running { mean, var, folded } = &mut *running;
        *folded = None;
        moments.update_running([mean, var], MOMENTUM, rows)
    }

    /// Normalises `x` `[.., C]`; the result has the same shape. In training it updates the running statistics.
    ///
    /// # Errors
    /// The errors of [`ops::batch_norm()`].
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let (y, moments) = ops::batch_norm(x, &self.prepare(mode)?.norm())?;
        self.update_running(moments.as_ref(), x.len() / self.weight.len().max(1))?;
        Ok(y)
    }
}

impl Module for BatchNorm {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        f(&format!("{prefix}weight"), Role::Offset, &mut self.weight);
        f(&format!("{prefix}bias"), Role::Offset, &mut self.bias);
        let running = self
            .running
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        running.folded = None;
        f(
            &format!("{prefix}running_mean"),
            Role::Statistic,
            &mut running.mean,
        );
        f(
            &format!("{prefix}running_var"),
            Role::Statistic,
            &mut running.var,
        );
    }
}
