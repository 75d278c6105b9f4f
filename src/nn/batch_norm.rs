use std::sync::{Mutex, PoisonError};

use super::{Mode, Module, Role};
use crate::error::Result;
use crate::ops::{self, Folded, Moments, Norm, Statistics};
use crate::tensor::Tensor;

// How far the running statistics move towards the batch's, as in torchvision.
const MOMENTUM: f32 = 0.1;

/// A batch norm with its running statistics.
pub struct BatchNorm {
    // Gamma and beta, `[C]`, and what is added to the variance before the root. Whoever changes them does so by
    // `visit`, so that nothing stays folded that is no longer true.
    weight: Tensor,
    bias: Tensor,
    eps: f32,
    // A forward pass in training moves them, and takes the layer by shared reference like any other.
    running: Mutex<Running>,
}

struct Running {
    mean: Tensor,
    var: Tensor,
    // Everything folded, until a parameter or a statistic may have changed.
    folded: Option<Folded>,
}

/// A batch norm about to be used: in inference it holds the running statistics as they are now.
pub(super) struct Prepared<'a> {
    norm: &'a BatchNorm,
    folded: Option<Folded>,
}

impl Prepared<'_> {
    /// As the operations take it.
    pub(super) fn norm(&self) -> Norm<'_> {
        let statistics = match &self.folded {
            None => Statistics::Batch,
            Some(folded) => Statistics::Folded(folded),
        };
        let BatchNorm {
            weight, bias, eps, ..
        } = self.norm;
        Norm {
            weight,
            bias,
            eps: *eps,
            statistics,
        }
    }
}

impl BatchNorm {
    /// The identity: scale 1, shift 0, running mean 0 and variance 1.
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

    /// How many channels.
    pub(super) fn channels(&self) -> usize {
        self.weight.len()
    }

    /// The parameters as `mode` wants them.
    ///
    /// # Errors
    /// Where a graphics device does not answer.
    pub(super) fn prepare(&self, mode: Mode) -> Result<Prepared<'_>> {
        let folded = match mode.is_training() {
            true => None,
            false => self.folded()?,
        };
        Ok(Prepared { norm: self, folded })
    }

    fn folded(&self) -> Result<Option<Folded>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Running { mean, var, folded } = &mut *running;
        if folded.is_none() {
            let BatchNorm {
                weight, bias, eps, ..
            } = self;
            *folded = Folded::new(&Norm {
                weight,
                bias,
                eps: *eps,
                statistics: Statistics::Running { mean, var },
            })?;
        }
        Ok(folded.clone())
    }

    /// Moves the running statistics towards those of a batch of `rows` pixels:
    /// `running = 0.9 running + 0.1 batch`, with the unbiased variance.
    ///
    /// # Errors
    /// Where a graphics device does not answer.
    pub(super) fn learn(&self, moments: Option<&Moments>, rows: usize) -> Result<()> {
        let Some(moments) = moments else {
            return Ok(());
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Running { mean, var, folded } = &mut *running;
        *folded = None;
        moments.update_running([mean, var], MOMENTUM, rows)
    }

    /// `[.., C]` to the same shape.
    ///
    /// # Errors
    /// Those of [`ops::batch_norm()`].
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let (y, moments) = ops::batch_norm(x, &self.prepare(mode)?.norm())?;
        self.learn(moments.as_ref(), x.len() / self.weight.len().max(1))?;
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
