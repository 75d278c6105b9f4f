use super::*;
use crate::ops::batch_norm::{Statistics, batch_norm};
use crate::ops::relu::relu;
use crate::ops::testing::{assert_close, here, on_every_device, random};

fn norm<'a>(p: &'a [Tensor], statistics: Statistics<'a>) -> Norm<'a> {
    Norm {
        gamma: &p[0],
        beta: &p[1],
        eps: 1e-3,
        statistics,
    }
}

#[test]
fn is_the_three_operations_with_and_without_a_gradient() {
    let window = Window::square(2, 3);
    // The second case has 5 output channels, which do not fill whole vectors.
    for (side, channels, outputs, kernel) in [(23, 3, 64, 7), (9, 16, 5, 3), (16, 16, 16, 3)] {
        let x = random(&[2, side, side, channels], 1);
        let weight = random(&[outputs, channels, kernel, kernel], 2);
        let p = [3, 4, 5].map(|seed| random(&[outputs], seed));
        let var = Tensor::full(&[outputs], 0.7);
        on_every_device(|| {
            let (x, weight) = (here(x.clone()), here(weight.clone()));
            for training in [false, true] {
                let statistics = match training {
                    true => Statistics::Batch,
                    false => Statistics::Running {
                        mean: &p[2],
                        var: &var,
                    },
                };
                let norm = norm(&p, statistics);
                let apart = conv2d(&x, &weight, None, window).unwrap();
                let (apart, want) = batch_norm(&apart, &norm).unwrap();
                let apart = relu(&apart).unwrap();
                for weight in [weight.clone(), weight.tracked()] {
                    let (y, moments) = conv_norm_relu(&x, &weight, window, &norm).unwrap();
                    assert_eq!(y.dims(), apart.dims());
                    assert_eq!(y.is_tracked(), weight.is_tracked());
                    assert_close("conv_norm_relu", y.data(), apart.data(), 1e-6);
                    assert_eq!(
                        moments.map(|m| m.mean.into_vec()),
                        want.as_ref().map(|m| m.mean.data().to_vec())
                    );
                }
            }
        });
    }
}

#[test]
fn mistakes_are_named() {
    let (x, weight) = (Tensor::zeros(&[1, 4, 4, 3]), Tensor::zeros(&[8, 3, 3, 3]));
    let p = [3, 4].map(|seed| random(&[7], seed));
    let wrong = norm(&p, Statistics::Batch);
    let error = conv_norm_relu(&x, &weight, Window::square(1, 1), &wrong).unwrap_err();
    assert!(error.to_string().starts_with("conv_norm_relu"), "{error}");
}
