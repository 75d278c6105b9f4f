//! The losses on held-out views.

use super::Distillation;
use super::heads::{Heads, LOSSES};
use crate::error::Result;
use crate::tensor::Tensor;

/// Mean losses over the held-out views.
#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    /// The loss that training minimises, as a mean over views.
    pub total: f64,
    /// For each teacher: its name, and the means of its [`LOSSES`].
    pub parts: Vec<(String, [Option<f64>; LOSSES.len()])>,
    /// Number of views in the validation.
    pub views: usize,
}

impl Distillation {
    /// Computes mean losses over the held-out views in mini-batches of `batch` views; `None` if none are held out.
    /// `encode` turns images `[N, S, S, 3]` into the student's last maps `[N, h, w, F]`, in inference mode.
    ///
    /// # Errors
    /// Fails if a picture cannot be read, or `encode` fails.
    pub fn validate(
        &self,
        heads: &Heads,
        batch: usize,
        encode: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Option<Validation>> {
        if self.held_out.is_empty() {
            return Ok(None);
        }
        let mut total = 0.0;
        // For each teacher: the sum of each loss, and the number of views in it.
        let mut sums = vec![[(0.0, 0); LOSSES.len()]; self.objectives.len()];
        for views in self.held_out.chunks(batch.max(1)) {
            let batch = self.assemble(views.iter().map(|&view| view as usize).collect())?;
            let losses = self.loss(heads, &encode(&batch.images)?, &batch)?;
            total += f64::from(losses.total.item()?) * views.len() as f64;
            let seen = (0..)
                .zip(&batch.teachers)
                .filter(|(_, rows)| !rows.places.is_empty());
            for ((teacher, _), part) in seen.zip(&losses.parts) {
                let teacher: usize = teacher;
                for (sum, loss) in sums[teacher].iter_mut().zip(&part.losses) {
                    if let Some(loss) = loss {
                        sum.0 += f64::from(loss.item()?) * part.views as f64;
                        sum.1 += part.views;
                    }
                }
            }
        }
        let mean = |(sum, views): (f64, usize)| (views > 0).then(|| sum / views as f64);
        let parts = self.objectives.iter().zip(sums);
        Ok(Some(Validation {
            total: total / self.held_out.len() as f64,
            parts: parts
                .map(|(objective, sums)| (objective.name.clone(), sums.map(mean)))
                .collect(),
            views: self.held_out.len(),
        }))
    }
}
