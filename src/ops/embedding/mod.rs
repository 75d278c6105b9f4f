//! Embedding: rows of a table, looked up by index.
//!
//! ```text
//! y[r] = W[ids[r]]        W [V, E]   ids [R]   y [R, E]
//!
//! dW[v] = sum of dy[r] over those r with ids[r] = v
//! ```
//!
//! Each `y[r]` is a copy of one row, so its derivative with respect to that row is 1. A row that is looked up several times
//! receives the sum of the gradients, added in the order of `ids`.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// The inputs, which fit, and the sizes of the table.
pub(crate) struct Job {
    /// `[V, E]`
    weight: Tensor,
    ids: Vec<usize>,
    rows: usize,
    width: usize,
}

impl Job {
    fn check(weight: &Tensor, ids: &[usize]) -> Result<Job> {
        let &[rows, width] = weight.dims() else {
            return Err(Error::shape("embedding", "a table [V, E]", weight.shape()));
        };
        if let Some(id) = ids.iter().find(|&&id| id >= rows) {
            let what = format_args!("there is no row {id} in a table of {rows} (from 0 on)");
            return Err(Error::value("embedding", what));
        }
        Ok(Job {
            weight: weight.clone(),
            ids: ids.to_vec(),
            rows,
            width,
        })
    }
}

/// The rows `ids` of a table `[V, E]`, as `[ids.len(), E]`.
///
/// ```
/// use glimpse::{ops::embedding, tensor::Tensor};
/// let table = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], &[2, 2])?;
/// assert_eq!(embedding(&table, &[1, 0, 1])?.data(), &[3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
/// assert!(embedding(&table, &[2]).is_err());
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the table is not a matrix, or an id is not below the number of its rows.
pub fn embedding(weight: &Tensor, ids: &[usize]) -> Result<Tensor> {
    let _timer = profile::time(
        "embedding",
        format_args!("{} of {}", ids.len(), weight.shape()),
    );
    let job = Job::check(weight, ids)?;
    let place = Place::of(&[weight]);
    let y = match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    };
    y.record(&[weight], move |dy, _| {
        let dw = match &place {
            Place::Naive => naive::backward(&job, dy),
            Place::Cpu(isa) => cpu::backward(*isa, &job, dy),
            Place::Gpu(gpu) => gpu::backward(gpu, &job, dy)?,
        };
        Ok(vec![Some(dw)])
    })
}

#[cfg(test)]
mod tests;
