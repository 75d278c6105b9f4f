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

use crate::cpu::Isa;
use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

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
    let &[rows, width] = weight.dims() else {
        return Err(Error::shape("embedding", "a table [V, E]", weight.shape()));
    };
    if let Some(id) = ids.iter().find(|&&id| id >= rows) {
        let what = format_args!("there is no row {id} in a table of {rows} (from 0 on)");
        return Err(Error::value("embedding", what));
    }
    if let Device::Gpu(gpu) = Device::of(&[weight]) {
        let y = gpu::forward(&gpu, weight, ids, width)?;
        let ids = ids.to_vec();
        return y.record(&[weight], move |dy, _| {
            Ok(vec![Some(gpu::backward(&gpu, &[rows, width], &ids, dy)?)])
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let y = Tensor::computed(forward(isa, weight.data(), width, ids), &[ids.len(), width]);
    let ids = if weight.is_tracked() {
        ids.to_vec()
    } else {
        Vec::new()
    };
    y.record(&[weight], move |dy, _| {
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        let dw = backward(isa, dy.data(), rows, width, &ids);
        Ok(vec![Some(Tensor::computed(dw, &[rows, width]))])
    })
}

#[cfg(test)]
mod tests;
