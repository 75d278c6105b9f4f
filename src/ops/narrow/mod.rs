//! Consecutive elements of one axis.
//!
//! ```text
//! y[.., i, ..] = x[.., start + i, ..]        dx[.., start + i, ..] = dy[.., i, ..], zero elsewhere
//! ```
//!
//! Every element of `y` is a copy of one element of `x`, so its gradient is copied back; the other elements of `x` do not
//! influence `y`. Along the first axis [`Tensor::narrow`] is a view. Along any other axis the elements are not contiguous
//! and are copied. There is nothing to compute, so one version serves every instruction set.

mod gpu;

use crate::cpu::{memory, profile};
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// Consecutive columns of a matrix.
#[derive(Clone, Copy)]
struct Columns {
    rows: usize,
    /// Number of columns of the matrix.
    stride: usize,
    start: usize,
    len: usize,
}

/// Elements `start .. start + len` along `axis`; the other axes stay whole.
///
/// ```
/// use glimpse::{ops::narrow, tensor::Tensor};
/// let x = Tensor::from_vec((0..6).map(|i| i as f32).collect(), &[2, 3])?;
/// assert_eq!(narrow(&x, 1, 1, 2)?.data(), &[1.0, 2.0, 4.0, 5.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the axis has no such elements.
pub fn narrow(x: &Tensor, axis: usize, start: usize, len: usize) -> Result<Tensor> {
    let _timer = profile::time("narrow", x.shape());
    let dims = x.dims().to_vec();
    if start
        .checked_add(len)
        .is_none_or(|end| dims.get(axis).is_none_or(|&d| end > d))
    {
        return Err(Error::shape(
            "narrow",
            format_args!(
                "at least {} elements on axis {axis}",
                start.saturating_add(len)
            ),
            x.shape(),
        ));
    }
    let inner: usize = dims[axis + 1..].iter().product();
    let (from, width) = (dims[axis] * inner, len * inner);
    let range = start * inner..start * inner + width;
    let mut to = dims.clone();
    to[axis] = len;
    if let Device::Gpu(gpu) = Device::of(&[x]) {
        let columns = Columns {
            rows: dims[..axis].iter().product(),
            stride: from,
            start: range.start,
            len: width,
        };
        let y = gpu::forward(&gpu, &columns, x, &to)?;
        return y.record(&[x], move |dy, _| {
            Ok(vec![Some(gpu::backward(&gpu, &columns, dy, &dims)?)])
        });
    }
    let mut data = Vec::with_capacity(to.iter().product());
    if from > 0 {
        x.data()
            .chunks_exact(from)
            .for_each(|row| data.extend_from_slice(&row[range.clone()]));
    }
    Tensor::computed(data, &to).record(&[x], move |dy, _| {
        let mut dx = memory::zeros(dims.iter().product());
        if width > 0 {
            for (row, dy) in dx.chunks_exact_mut(from).zip(dy.data().chunks_exact(width)) {
                row[range.clone()].copy_from_slice(dy);
            }
        }
        Ok(vec![Some(Tensor::computed(dx, &dims))])
    })
}

#[cfg(test)]
mod tests;
