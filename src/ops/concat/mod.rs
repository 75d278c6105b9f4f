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
    let _timer = profile::time("concat", format_args!("{} parts", parts.len()), 0.0);
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
        return y.record(parts, move |dy| {
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
    y.record(parts, move |dy| {
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
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, fixture, on_every_device, random};

    #[test]
    fn agrees_with_pytorch() {
        on_every_device(|| {
            let case = fixture("concat_channels");
            let (a, b, c) = (case.tracked("a"), case.tracked("b"), case.tracked("c"));
            let y = concat(&[&a, &b, &c]).unwrap();
            case.close("output", &y, 0.0);
            case.check_grads(&y, &[("a", &a), ("b", &b), ("c", &c)], 0.0);
        });
    }

    #[test]
    fn gradient_is_the_difference_quotient() {
        on_every_device(|| {
            let inputs = [
                random(&[2, 3, 4], 1),
                random(&[2, 3, 1], 2),
                random(&[2, 3, 5], 3),
            ];
            check_gradients(&inputs, |x| concat(&[&x[0], &x[1], &x[2]]));
            check_gradients(&inputs[..1], |x| concat(&[&x[0], &x[0]]));
        });
    }

    #[test]
    fn mistakes_name_both_shapes() {
        let (a, b) = (Tensor::zeros(&[2, 3]), Tensor::zeros(&[3, 3]));
        let e = concat(&[&a, &b]).unwrap_err().to_string();
        assert_eq!(
            e,
            "concat: expected the same axes before the last, got [3, 3] beside [2, 3]"
        );
        assert!(concat(&[]).is_err());
        assert!(concat(&[&Tensor::scalar(1.0)]).is_err());
        assert!(concat(&[&a, &Tensor::scalar(1.0)]).is_err());
    }
}
