//! Softmax and cross-entropy in one operation: the negative log-likelihood of the targets.
//!
//! ```text
//! p = softmax(x)                         x [R, V]: logits, one row for each prediction
//! q = (1 - s) onehot(target) + s / V     s: label smoothing
//! loss = 1/R sum over rows of w[r] (-sum_v q[r][v] ln p[r][v])        w: the rows' weights, all 1 by default
//!
//! dx[r] = dloss w[r] / R (p[r] - q[r])
//! ```
//!
//! With `ln p[v] = x[v] - ln sum_u exp x[u]` and `sum_v q[v] = 1`, the inner sum of a row is
//! `ln sum_u exp x[u] - sum_v q[v] x[v]`. The derivative of the first term with respect to `x[v]` is
//! `exp x[v] / sum_u exp x[u] = p[v]`, that of the second is `q[v]`. Rows whose target is ignored count neither in the sum
//! nor in `R`, and their gradient is zero.
//!
//! If the logits are tracked, the forward pass writes `w (p - q)` over its own exponentials. The backward pass only
//! multiplies that buffer by `dloss / R`.
//!
//! With the advantages of sampled words as weights, [`weighted_cross_entropy`] has the policy gradient of REINFORCE
//! (Williams, 1992) as its gradient.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::{memory, profile};
use crate::error::{Error, Result};
use crate::gpu::Slice;
use crate::tensor::{Device, Tensor};

/// Options of [`cross_entropy`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// Rows with this target are left out; it need not be a class.
    pub ignore_index: Option<usize>,
    /// The part of the target probability that is spread evenly over all classes, in `[0, 1]`.
    pub label_smoothing: f32,
}

/// Mean cross-entropy of logits `[.., V]` and one target for each row, over the rows that are not ignored: one number.
///
/// ```
/// use glimpse::{ops::{CrossEntropy, cross_entropy}, tensor::Tensor};
/// let logits = Tensor::zeros(&[2, 4]);
/// let loss = cross_entropy(&logits, &[3, 0], CrossEntropy::default())?;
/// assert!((loss.item()? - 4f32.ln()).abs() < 1e-6);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the number of targets is not that of the rows, a target is not a class, the smoothing is outside `[0, 1]`, or
/// every row is ignored, so that there is no mean.
pub fn cross_entropy(logits: &Tensor, targets: &[usize], options: CrossEntropy) -> Result<Tensor> {
    weighted_cross_entropy(logits, targets, &vec![1.0; targets.len()], options)
}

/// Cross-entropy with a weight for each row: `1/R sum_r w[r] loss[r]` over the `R` rows that are not ignored; one number.
///
/// A weight may be negative; the row's target then becomes less likely.
///
/// ```
/// use glimpse::{ops::{CrossEntropy, weighted_cross_entropy}, tensor::Tensor};
/// let logits = Tensor::zeros(&[2, 4]);
/// let loss = weighted_cross_entropy(&logits, &[3, 0], &[3.0, -1.0], CrossEntropy::default())?;
/// assert!((loss.item()? - 4f32.ln()).abs() < 1e-6);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where there is not one finite weight for each row; also those of [`cross_entropy`].
pub fn weighted_cross_entropy(
    logits: &Tensor,
    targets: &[usize],
    weights: &[f32],
    options: CrossEntropy,
) -> Result<Tensor> {
    let _timer = profile::time("cross_entropy", logits.shape(), 0.0);
    let (classes, counted) = check(logits, targets, weights, options)?;
    let inputs = Inputs {
        logits: &[],
        classes,
        targets,
        weights,
        options,
    };
    if let Device::Gpu(gpu) = Device::of(&[logits]) {
        let (loss, residual) = gpu::forward(&gpu, logits, inputs, counted)?;
        let dims = logits.dims().to_vec();
        return loss.record(&[logits], move |dloss| {
            let dx = |r: Slice| gpu::backward(&gpu, &r, dloss, &dims, counted);
            Ok(vec![residual.map(dx).transpose()?])
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let inputs = Inputs {
        logits: logits.data(),
        ..inputs
    };
    // w (p - q), which the backward pass needs.
    let mut residual = if logits.is_tracked() {
        memory::zeros(logits.len())
    } else {
        Vec::new()
    };
    let loss = forward(isa, inputs, &mut residual) / counted as f64;
    let dims = logits.dims().to_vec();
    Tensor::scalar(loss as f32).record(&[logits], move |dloss| {
        let scale = if isa.is_naive() {
            naive::scale
        } else {
            cpu::scale
        };
        scale(isa, &mut residual, dloss.item()? / counted as f32);
        Ok(vec![Some(Tensor::computed(residual, &dims))])
    })
}

/// Checks the arguments; returns the number of classes and of the rows that are not ignored.
fn check(
    logits: &Tensor,
    targets: &[usize],
    weights: &[f32],
    options: CrossEntropy,
) -> Result<(usize, usize)> {
    let Some((&classes, leading)) = logits.dims().split_last() else {
        return Err(Error::shape(
            "cross_entropy",
            "logits [.., V]",
            logits.shape(),
        ));
    };
    let rows: usize = leading.iter().product();
    if rows != targets.len() {
        let got = format_args!("{} targets for {}", targets.len(), logits.shape());
        return Err(Error::shape(
            "cross_entropy",
            format_args!("{rows} targets"),
            got,
        ));
    }
    if weights.len() != rows || weights.iter().any(|w| !w.is_finite()) {
        return Err(Error::shape(
            "cross_entropy",
            format_args!("{rows} finite weights"),
            format_args!("{} weights, some perhaps not finite", weights.len()),
        ));
    }
    let CrossEntropy {
        ignore_index,
        label_smoothing,
    } = options;
    if !(0.0..=1.0).contains(&label_smoothing) {
        let what = format_args!("label smoothing {label_smoothing} is not between 0 and 1");
        return Err(Error::value("cross_entropy", what));
    }
    let counts = |target: usize| Some(target) != ignore_index;
    if let Some(target) = targets.iter().find(|&&t| counts(t) && t >= classes) {
        let what = format_args!("there is no class {target} among {classes} (from 0 on)");
        return Err(Error::value("cross_entropy", what));
    }
    let counted = targets.iter().filter(|&&t| counts(t)).count();
    if counted == 0 {
        return Err(Error::value(
            "cross_entropy",
            "every target is ignored, so there is no mean",
        ));
    }
    Ok((classes, counted))
}

/// Inputs of the kernels. On the GPU the logits are passed as a tensor, and `logits` is empty.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    logits: &'a [f32],
    classes: usize,
    targets: &'a [usize],
    weights: &'a [f32],
    options: CrossEntropy,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Level;
    use crate::ops::testing::{
        assert_close, check_gradients, fixture, here, on_every_device, random,
    };
    use proptest::prelude::*;

    fn options(smoothing: f32) -> CrossEntropy {
        CrossEntropy {
            ignore_index: Some(0),
            label_smoothing: smoothing,
        }
    }

    #[test]
    fn agrees_with_pytorch() {
        on_every_device(|| {
            for (name, smoothing) in [("cross_entropy", 0.0), ("cross_entropy_smoothed", 0.1)] {
                let case = fixture(name);
                let logits = case.tracked("logits");
                let y = cross_entropy(&logits, &case.integers("targets"), options(smoothing));
                let y = y.unwrap();
                case.close("output", &y, 1e-6);
                case.check_grads(&y, &[("logits", &logits)], 1e-6);
                let untracked = cross_entropy(
                    &logits.detach(),
                    &case.integers("targets"),
                    options(smoothing),
                );
                case.close("output", &untracked.unwrap(), 1e-6);
            }
        });
    }

    #[test]
    fn gradient_is_the_difference_quotient() {
        on_every_device(|| {
            let targets = [3, 0, 18, 0, 7, 3];
            check_gradients(&[random(&[2, 3, 19], 1)], |x| {
                cross_entropy(&x[0], &targets, options(0.2))
            });
        });
    }

    #[test]
    fn a_weight_multiplies_its_row() {
        on_every_device(|| {
            let (targets, weights) = ([3, 0, 18, 0, 7, 3], [0.5, 9.0, -2.0, 9.0, 0.0, 1.0]);
            let x = random(&[6, 19], 1);
            let whole = weighted_cross_entropy(&x, &targets, &weights, options(0.2)).unwrap();
            // Rows 1 and 3 are ignored, so four rows count.
            let rows = [0, 2, 4, 5].map(|r| {
                let row = x.narrow(r, 1).unwrap();
                let loss = cross_entropy(&row, &targets[r..r + 1], options(0.2)).unwrap();
                weights[r] * loss.item().unwrap() / 4.0
            });
            let got = whole.item().unwrap();
            assert_close("loss", &[got], &[rows.iter().sum()], 1e-5);
            check_gradients(&[x], |x| {
                weighted_cross_entropy(&x[0], &targets, &weights, options(0.2))
            });
        });
    }

    #[test]
    fn large_logits_stay_finite() {
        on_every_device(|| {
            let x = here(Tensor::from_vec(vec![1e4, -1e4, 0.0], &[1, 3]).unwrap()).tracked();
            let y = cross_entropy(&x, &[1], CrossEntropy::default()).unwrap();
            assert_eq!(y.item().unwrap(), 2e4);
            let grads = y.backward().unwrap();
            assert_close(
                "grad",
                grads.get(&x).unwrap().data(),
                &[1.0, -1.0, 0.0],
                1e-6,
            );
        });
    }

    #[test]
    fn mistakes_are_named() {
        let x = Tensor::zeros(&[2, 3]);
        let plain = CrossEntropy::default();
        let message = |targets: &[usize], options| {
            cross_entropy(&x, targets, options).unwrap_err().to_string()
        };
        assert_eq!(
            message(&[1], plain),
            "cross_entropy: expected 2 targets, got 1 targets for [2, 3]"
        );
        assert!(message(&[1, 3], plain).contains("no class 3 among 3"));
        assert!(message(&[0, 0], options(0.0)).contains("every target is ignored"));
        assert!(message(&[1, 1], options(-0.1)).contains("smoothing"));
        assert!(message(&[1, 1], options(f32::NAN)).contains("smoothing"));
        assert!(cross_entropy(&Tensor::scalar(0.0), &[0], plain).is_err());
        for weights in [&[1.0][..], &[1.0, f32::NAN]] {
            let error = weighted_cross_entropy(&x, &[0, 1], weights, plain).unwrap_err();
            assert!(error.to_string().contains("2 finite weights"), "{error}");
        }
        let ignored = CrossEntropy {
            ignore_index: Some(99),
            label_smoothing: 0.0,
        };
        assert!(cross_entropy(&x, &[99, 1], ignored).is_ok());
    }

    // The loss is exactly zero here, so what rounding leaves is measured against the logits instead of against itself.
    #[test]
    fn a_single_class_costs_nothing() {
        on_every_device(|| {
            let x = random(&[5, 1], 1).tracked();
            let options = CrossEntropy {
                ignore_index: None,
                label_smoothing: 0.43,
            };
            let y = cross_entropy(&x, &[0; 5], options).unwrap();
            assert!(y.item().unwrap().abs() <= 2e-7);
            let grad = y.backward().unwrap().take(&x).unwrap().into_vec();
            assert!(grad.iter().all(|g| g.abs() <= 2e-7), "{grad:?}");
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_shape_agrees_with_the_definition(rows in 1..40usize, classes in 2..70usize, smoothing in 0.0..1.0f32) {
            let targets: Vec<usize> = (0..rows).map(|r| if r == 0 { 0 } else { r * 7 % classes }).collect();
            let run = || {
                let x = random(&[rows, classes], 1).tracked();
                let options = CrossEntropy { ignore_index: Some(classes / 2 + 1), label_smoothing: smoothing };
                let y = cross_entropy(&x, &targets, options).unwrap();
                let grad = y.backward().unwrap().take(&x).unwrap().into_vec();
                [vec![y.item().unwrap()], grad].concat()
            };
            let want = Isa::new(Level::Naive).unwrap().scope(run);
            on_every_device(|| assert_close("cross_entropy", &run(), &want, 2e-6));
        }
    }
}
