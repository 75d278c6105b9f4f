use std::sync::{Arc, Mutex, PoisonError};

use super::{Mode, Module, Role};
use crate::cpu::rows::{Moments, Normalizer};
use crate::error::Result;
use crate::ops::{self, Norm, Statistics};
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
    folded: Option<Arc<Normalizer>>,
}

/// A batch norm about to be used: in inference it holds the running statistics as they are now.
pub(super) struct Prepared<'a> {
    norm: &'a BatchNorm,
    folded: Option<Arc<Normalizer>>,
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
    pub(super) fn prepare(&self, mode: Mode) -> Prepared<'_> {
        let folded = (!mode.is_training()).then(|| self.folded());
        Prepared { norm: self, folded }
    }

    fn folded(&self) -> Arc<Normalizer> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Running { mean, var, folded } = &mut *running;
        let fold = || {
            let (gamma, beta) = (self.weight.data(), self.bias.data());
            Normalizer::new(gamma, beta, mean.data(), var.data(), self.eps)
        };
        folded.get_or_insert_with(|| Arc::new(fold())).clone()
    }

    /// Moves the running statistics towards those of a batch of `rows` pixels:
    /// `running = 0.9 running + 0.1 batch`, with the unbiased variance.
    pub(super) fn learn(&self, moments: Option<&Moments>, rows: usize) {
        let Some(moments) = moments else { return };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.folded = None;
        let unbiased = rows as f32 / (rows.max(2) - 1) as f32;
        for (r, m) in running.mean.data_mut().iter_mut().zip(&moments.mean) {
            *r += MOMENTUM * (m - *r);
        }
        for (r, v) in running.var.data_mut().iter_mut().zip(&moments.var) {
            *r += MOMENTUM * (v * unbiased - *r);
        }
    }

    /// `[.., C]` to the same shape.
    ///
    /// # Errors
    /// Those of [`ops::batch_norm()`].
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let (y, moments) = ops::batch_norm(x, &self.prepare(mode).norm())?;
        self.learn(moments.as_ref(), x.len() / self.weight.len().max(1));
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
