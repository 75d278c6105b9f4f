//! Concatenation along the last axis, the channels of feature maps.
//!
//! ```text
//! y[r] = [a[r], b[r], ...]        a [.., A]   b [.., B]   y [.., A + B + ...]
//!
//! da[r] = dy[r][0..A]             db[r] = dy[r][A..A + B]
//! ```
//!
//! Every element is copied to one element of `y`, so the derivative is 1 there, and its gradient is copied back.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// Concatenates tensors `[.., A]`, `[.., B]` and so on along the last axis: `[.., A + B + ..]`.
///
/// ```
/// use glimpse::{ops::concat, tensor::Tensor};
/// let a = Tensor::from_vec(vec![1.0, 2.0], &[2, 1])?;
/// let b = Tensor::from_vec(vec![3.0, 4.0, 5.0, 6.0], &[2, 2])?;
/// assert_eq!(concat(&[&a, &b])?.data(), &[1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where there is nothing to concatenate, or the axes before the last differ.
pub fn concat(parts: &[&Tensor]) -> Result<Tensor> {
    let _timer = profile::time("concat", format_args!("{} parts", parts.len()));
    let Some((_, leading)) = parts.first().and_then(|p| p.dims().split_last()) else {
        let got = parts
            .first()
            .map_or("none".to_string(), |p| p.shape().to_string());
        return Err(Error::shape("concat", "tensors [.., A]", got));
    };
    if let Some(other) = parts
        .iter()
        .find(|p| p.dims().split_last().map(|s| s.1) != Some(leading))
    {
        let got = format_args!("{} beside {}", other.shape(), parts[0].shape());
        return Err(Error::shape("concat", "the same axes before the last", got));
    }
    let widths: Vec<usize> = parts.iter().map(|p| p.dims()[leading.len()]).collect();
    let rows: usize = leading.iter().product();
    let wanted: Vec<bool> = parts.iter().map(|p| p.is_tracked()).collect();
    let out_dims = [leading, &[widths.iter().sum()]].concat();
    if let Device::Gpu(gpu) = Device::of(parts) {
        let y = gpu::forward(&gpu, rows, &widths, parts, &out_dims)?;
        let leading = leading.to_vec();
        return y.record(parts, move |dy, _| {
            let total = widths.iter().sum();
            let mut first = 0;
            let each = widths.iter().zip(wanted).map(|(&width, wanted)| {
                let columns = first..first + width;
                first += width;
                let dims = [&leading[..], &[width]].concat();
                let dpart = || gpu::backward(&gpu, rows, total, columns, dy, &dims);
                wanted.then(dpart).transpose()
            });
            each.collect()
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let data: Vec<&[f32]> = parts.iter().map(|p| p.data()).collect();
    let y = forward(isa, rows, &widths, &data);
    let y = Tensor::computed(y, &out_dims);
    let leading = leading.to_vec();
    y.record(parts, move |dy, _| {
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        let total: usize = widths.iter().sum();
        let mut first = 0;
        let grads = widths.iter().zip(wanted).map(|(&width, wanted)| {
            let from = first;
            first += width;
            wanted.then(|| {
                let part = backward(isa, rows, total, from..from + width, dy.data());
                Tensor::computed(part, &[&leading[..], &[width]].concat())
            })
        });
        Ok(grads.collect())
    })
}

#[cfg(test)]
mod tests;
