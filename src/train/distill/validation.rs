//! The losses on held-out views.

use super::Distillation;
use super::heads::Heads;
use crate::error::Result;
use crate::tensor::Tensor;

/// Mean losses over the held-out views.
#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    /// The loss that training minimises, as a mean over views.
    pub total: f64,
    /// For each teacher: its name, the mean of its features' loss, and the mean of its classes' loss.
    pub parts: Vec<(String, Option<f64>, Option<f64>)>,
    /// Number of views in the validation.
    pub views: usize,
}

impl Distillation {
    /// Computes mean losses over the held-out views in mini-batches of `batch` views; `None` if none are held out.
    /// `encode` turns images `[N, S, S, 3]` into features `[N, F]`, in inference mode.
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
        // For each teacher: the sums of both losses, and the number of views in each.
        let mut sums: Vec<[(f64, usize); 2]> = vec![[(0.0, 0); 2]; self.objectives.len()];
        for views in self.held_out.chunks(batch.max(1)) {
            let batch = self.assemble(views.iter().map(|&view| view as usize).collect())?;
            let losses = self.loss(heads, &encode(&batch.images)?, &batch)?;
            total += f64::from(losses.total.item()?) * views.len() as f64;
            let seen = (0..)
                .zip(&batch.teachers)
                .filter(|(_, rows)| !rows.places.is_empty());
            for ((teacher, _), part) in seen.zip(&losses.parts) {
                let teacher: usize = teacher;
                for (sum, loss) in sums[teacher]
                    .iter_mut()
                    .zip([&part.features, &part.classes])
                {
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
                .map(|(objective, [features, classes])| {
                    (objective.name.clone(), mean(features), mean(classes))
                })
                .collect(),
            views: self.held_out.len(),
        }))
    }
}
