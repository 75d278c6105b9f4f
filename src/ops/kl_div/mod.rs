//! Kullback-Leibler divergence of a student's class probabilities from a teacher's, at a temperature.
//!
//! ```text
//! p = softmax(t / T)                     t [R, K]: the teacher's logits, one row for each image
//! q = softmax(s / T)                     s [R, K]: the student's logits
//! loss = T^2 mean over rows of sum_k p[k] (ln p[k] - ln q[k])
//!
//! ds[r] = dloss T / R (q[r] - p[r])
//! ```
//!
//! With `ln q[k] = s[k]/T - ln sum exp(s/T)` and `sum p = 1`, the part of a row's loss that depends on `s` is
//! `ln sum exp(s/T) - sum_k p[k] s[k]/T`. The derivative of the first term with respect to `s[k]` is `q[k]/T`, that of
//! the second `p[k]/T`. The factor `T^2` turns `1/T` into `T`: a high temperature flattens both distributions, which
//! makes `q - p` smaller by about `1/T`. So the size of the gradient hardly depends on the temperature (Hinton, Vinyals and
//! Dean 2015, section 2, arXiv 1503.02531).
//!
//! The teacher is a constant: no gradient flows into its logits. If the student's logits are tracked, the forward
//! pass keeps `q - p`; the backward pass only multiplies that buffer.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::{memory, profile};
use crate::error::{Error, Result};
use crate::gpu::Slice;
use crate::tensor::{Device, Tensor};

/// The mean over rows of `T^2 KL(softmax(teacher / T) || softmax(student / T))`, for logits `[.., K]` of one shape: one
/// number. The gradient flows to `student` alone.
///
/// ```
/// use glimpse::{ops::kl_div, tensor::Tensor};
/// let teacher = Tensor::from_vec(vec![2.0, 0.0, 0.0], &[1, 3])?;
/// assert_eq!(kl_div(&teacher, &teacher, 2.0)?.item()?, 0.0);
/// assert!(kl_div(&Tensor::zeros(&[1, 3]), &teacher, 2.0)?.item()? > 0.0);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ, there is no row or no class, or the temperature is not a finite number above 0.
pub fn kl_div(student: &Tensor, teacher: &Tensor, temperature: f32) -> Result<Tensor> {
    let _timer = profile::time("kl_div", student.shape());
    if student.dims() != teacher.dims() || student.dims().is_empty() || student.is_empty() {
        return Err(Error::shape(
            "kl_div",
            "logits of one shape [.., K], not empty",
            format_args!("{} and {}", student.shape(), teacher.shape()),
        ));
    }
    if !(temperature.is_finite() && temperature > 0.0) {
        let what = format_args!("temperature {temperature} is not a finite number above 0");
        return Err(Error::value("kl_div", what));
    }
    let classes = student.dims().last().copied().unwrap_or(1);
    let rows = student.len() / classes;
    let dims = student.dims().to_vec();

    if let Device::Gpu(gpu) = Device::of(&[student, teacher]) {
        let (loss, residual) = gpu::forward(&gpu, student, teacher, temperature)?;
        return loss.record(&[student], move |dloss, _| {
            let ds = |r: Slice| gpu::backward(&gpu, &r, dloss, &dims, temperature);
            Ok(vec![residual.map(ds).transpose()?])
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let inputs = Inputs {
        student: student.data(),
        teacher: teacher.data(),
        classes,
        temperature,
    };
    // q - p, which the backward pass needs.
    let mut residual = if student.is_tracked() {
        memory::zeros(student.len())
    } else {
        Vec::new()
    };
    let square = f64::from(temperature) * f64::from(temperature);
    let loss = square * forward(isa, inputs, &mut residual) / rows as f64;
    Tensor::scalar(loss as f32).record(&[student], move |dloss, _| {
        let scale = if isa.is_naive() {
            naive::scale
        } else {
            cpu::scale
        };
        scale(
            isa,
            &mut residual,
            dloss.item()? * temperature / rows as f32,
        );
        Ok(vec![Some(Tensor::computed(residual, &dims))])
    })
}

/// Inputs of the CPU kernels: the logits of both networks, row by row.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    student: &'a [f32],
    teacher: &'a [f32],
    classes: usize,
    temperature: f32,
}

#[cfg(test)]
mod tests;
