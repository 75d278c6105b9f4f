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
    let _timer = profile::time("kl_div", student.shape(), 0.0);
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
        return loss.record(&[student], move |dloss| {
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
    Tensor::scalar(loss as f32).record(&[student], move |dloss| {
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
mod tests {
    use super::*;
    use crate::cpu::Level;
    use crate::ops::testing::{
        assert_close, check_gradients, fixture, here, on_every_device, random,
    };
    use proptest::prelude::*;

    #[test]
    fn agrees_with_pytorch() {
        on_every_device(|| {
            for (name, temperature) in [("kl_div", 1.0), ("kl_div_temperature", 2.5)] {
                let case = fixture(name);
                let (student, teacher) = (case.tracked("student"), case.tensor("teacher"));
                let y = kl_div(&student, &teacher, temperature).unwrap();
                case.close("output", &y, 1e-6);
                case.check_grads(&y, &[("student", &student)], 1e-6);
                let untracked = kl_div(&student.detach(), &teacher, temperature).unwrap();
                case.close("output", &untracked, 1e-6);
            }
        });
    }

    #[test]
    fn gradient_is_the_difference_quotient() {
        on_every_device(|| {
            let teacher = random(&[2, 3, 19], 2);
            for temperature in [0.7, 2.0] {
                check_gradients(&[random(&[2, 3, 19], 1)], |x| {
                    kl_div(&x[0], &teacher, temperature)
                });
            }
        });
    }

    #[test]
    fn the_teacher_is_a_constant() {
        on_every_device(|| {
            let (student, teacher) = (random(&[2, 5], 1).tracked(), random(&[2, 5], 2).tracked());
            let grads = kl_div(&student, &teacher, 1.0).unwrap().backward().unwrap();
            assert!(grads.get(&student).is_some() && grads.get(&teacher).is_none());
        });
    }

    #[test]
    fn equal_logits_differ_by_nothing_and_a_shift_is_no_difference() {
        on_every_device(|| {
            let logits = random(&[3, 40], 1);
            let shifted = logits.data().iter().map(|x| x + 3.0).collect();
            let shifted = here(Tensor::from_vec(shifted, &[3, 40]).unwrap());
            let loss = kl_div(&shifted, &logits, 2.0).unwrap().item().unwrap();
            assert!(loss.abs() < 1e-5, "{loss}");
        });
    }

    #[test]
    fn large_logits_stay_finite() {
        on_every_device(|| {
            let row = |x: [f32; 3]| here(Tensor::from_vec(x.to_vec(), &[1, 3]).unwrap());
            let student = row([1e4, -1e4, 0.0]).tracked();
            let y = kl_div(&student, &row([-1e4, 1e4, 0.0]), 1.0).unwrap();
            assert_eq!(y.item().unwrap(), 2e4);
            let grads = y.backward().unwrap();
            let got = grads.get(&student).unwrap().data();
            assert_close("grad", got, &[1.0, -1.0, 0.0], 1e-6);
        });
    }

    #[test]
    fn mistakes_are_named() {
        let (x, y) = (Tensor::zeros(&[2, 3]), Tensor::zeros(&[2, 4]));
        let message = |a: &Tensor, b: &Tensor, t| kl_div(a, b, t).unwrap_err().to_string();
        assert_eq!(
            message(&x, &y, 1.0),
            "kl_div: expected logits of one shape [.., K], not empty, got [2, 3] and [2, 4]"
        );
        for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(message(&x, &x, temperature).contains("temperature"));
        }
        let (none, one) = (Tensor::zeros(&[0, 3]), Tensor::scalar(1.0));
        assert!(kl_div(&none, &none, 1.0).is_err());
        assert!(kl_div(&one, &one, 1.0).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_shape_agrees_with_the_definition(rows in 1..40usize, classes in 1..70usize, temperature in 0.5..4.0f32) {
            let run = || {
                let student = random(&[rows, classes], 1).tracked();
                let y = kl_div(&student, &random(&[rows, classes], 2), temperature).unwrap();
                let grad = y.backward().unwrap().take(&student).unwrap().into_vec();
                // The divergence of one class is zero: what rounding leaves is measured beside a one.
                [vec![1.0, y.item().unwrap()], grad].concat()
            };
            let want = Isa::new(Level::Naive).unwrap().scope(run);
            on_every_device(|| assert_close("kl_div", &run(), &want, 2e-6));
        }
    }
}
