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

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// The inputs, whose shapes fit, and their sizes.
pub(crate) struct Job<'a> {
    /// `s` `[.., K]`, which are `R` rows
    student: &'a Tensor,
    /// `t`, of the same shape
    teacher: &'a Tensor,
    /// `R`
    rows: usize,
    /// `K`
    classes: usize,
    /// `T`
    temperature: f32,
}

/// The forward pass's results that the backward pass reads.
pub(crate) struct Saved {
    /// `q - p`, with the dimensions of the logits
    residual: Tensor,
    /// `R`
    rows: usize,
    /// `T`
    temperature: f32,
}

impl<'a> Job<'a> {
    /// Checks that the shapes fit.
    fn check(student: &'a Tensor, teacher: &'a Tensor, temperature: f32) -> Result<Job<'a>> {
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
        Ok(Job {
            student,
            teacher,
            rows: student.len() / classes,
            classes,
            temperature,
        })
    }

    /// The loss, given the sum over rows of `sum_k p[k] (ln p[k] - ln q[k])`.
    fn loss(&self, sum: f64) -> Tensor {
        let square = f64::from(self.temperature) * f64::from(self.temperature);
        Tensor::scalar((square * sum / self.rows as f64) as f32)
    }

    /// Keeps `residual` for the backward pass, if there will be one.
    fn saved(&self, residual: Vec<f32>) -> Option<Saved> {
        self.student.is_tracked().then(|| Saved {
            residual: Tensor::computed(residual, self.student.dims()),
            rows: self.rows,
            temperature: self.temperature,
        })
    }
}

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
    let job = Job::check(student, teacher, temperature)?;
    let place = Place::of(&[student, teacher]);
    let (loss, saved) = match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    };
    loss.record(&[student], move |dloss, _| {
        let ds = saved.map(|saved| match &place {
            Place::Naive => Ok(naive::backward(saved, dloss)),
            Place::Cpu(isa) => Ok(cpu::backward(*isa, saved, dloss)),
            Place::Gpu(gpu) => gpu::backward(gpu, saved, dloss),
        });
        Ok(vec![ds.transpose()?])
    })
}

#[cfg(test)]
mod tests;
