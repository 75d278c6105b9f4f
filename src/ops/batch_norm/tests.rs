use super::*;
use crate::cpu::Isa;
use crate::cpu::pixels::Pixels;
use crate::ops::testing::{assert_close, by_definition, fixture, on_every_device, random};

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        for (name, training) in [("batch_norm_train", true), ("batch_norm_eval", false)] {
            let case = fixture(name);
            let x = case.tracked("x");
            let (gamma, beta) = (case.tracked("gamma"), case.tracked("beta"));
            let (mean, var) = (case.tensor("running_mean"), case.tensor("running_var"));
            let running = Statistics::Running {
                mean: &mean,
                var: &var,
            };
            let statistics = if training { Statistics::Batch } else { running };
            let norm = Norm {
                gamma: &gamma,
                beta: &beta,
                eps: 1e-5,
                statistics,
            };
            let (y, moments) = batch_norm(&x, &norm).unwrap();
            case.close("output", &y, 2e-6);
            case.check_grads(&y, &[("x", &x), ("gamma", &gamma), ("beta", &beta)], 3e-6);
            assert_eq!(moments.is_some(), training);
            if let Some(moments) = moments {
                // running = 0.9 running + 0.1 batch
                let want = case.tensor("new_running_mean");
                let got: Vec<f32> = mean
                    .data()
                    .iter()
                    .zip(moments.mean.data())
                    .map(|(r, b)| 0.9 * r + 0.1 * b)
                    .collect();
                assert_close("running_mean", &got, want.data(), 1e-6);
            }
        }
    });
}

#[test]
fn many_rows_and_channels_agree_with_the_definition() {
    // Sums of several chunks; more channels than a workgroup has threads; a mean far from zero.
    for (rows, channels) in [(3000, 5), (40, 300), (1, 33)] {
        let run = |training: bool, relu: bool| {
            let shifted = elementwise_shift(random(&[rows, channels], 1), 8.0);
            let x = crate::ops::testing::here(shifted).tracked();
            let (gamma, beta) = (
                random(&[channels], 2).tracked(),
                random(&[channels], 3).tracked(),
            );
            let (mean, var) = (random(&[channels], 4), Tensor::full(&[channels], 0.7));
            let statistics = match training {
                true => Statistics::Batch,
                false => Statistics::Running {
                    mean: &mean,
                    var: &var,
                },
            };
            let norm = Norm {
                gamma: &gamma,
                beta: &beta,
                eps: 1e-3,
                statistics,
            };
            let (y, moments) = normalise(&x, &norm, relu).unwrap();
            let grads = y.backward_from(&random(y.dims(), 5)).unwrap();
            let of = |t| grads.get(t).unwrap().data().to_vec();
            let mut all = vec![y.data().to_vec(), of(&x), of(&gamma), of(&beta)];
            if let Some(moments) = moments {
                let (mut mean, mut var) = (mean, var);
                moments
                    .update_running([&mut mean, &mut var], 0.1, rows)
                    .unwrap();
                all.extend([&moments.mean, &moments.var, &mean, &var].map(|t| t.data().to_vec()));
            }
            all
        };
        for (training, relu) in [(true, false), (true, true), (false, true)] {
            // One row has the variance 0, so its gradient would consist of rounding errors.
            if training && rows == 1 {
                continue;
            }
            let run = || run(training, relu);
            let want = by_definition(run);
            on_every_device(|| {
                let each = run().into_iter().zip(&want);
                each.for_each(|(got, want)| assert_close("batch_norm", &got, want, 1e-5));
            });
        }
    }
}

#[test]
fn a_folded_norm_of_another_size_is_named() {
    on_every_device(|| {
        let of = |n: usize| (random(&[n], 1), random(&[n], 2));
        let running = |mean, var| Statistics::Running { mean, var };
        let ((g3, b3), (g5, b5)) = (of(3), of(5));
        let norm = |gamma, beta, statistics| Norm {
            gamma,
            beta,
            eps: 1e-5,
            statistics,
        };
        // `on_every_device` requires that the body dispatches work to the GPU. The rest of this body only fails.
        let (x, ones) = (random(&[2, 5], 3), Tensor::full(&[5], 1.0));
        batch_norm(&x, &norm(&g5, &b5, running(&b5, &ones))).unwrap();
        let var = Tensor::full(&[3], 1.0);
        let folded = Folded::new(&norm(&g3, &b3, running(&b3, &var)));
        let folded = folded.unwrap().unwrap();
        let wrong = norm(&g5, &b5, Statistics::Folded(&folded));
        assert_eq!(
            batch_norm(&x, &wrong).unwrap_err().to_string(),
            "batch_norm: expected statistics [5], got [3]"
        );
    });
}

fn elementwise_shift(mut x: Tensor, by: f32) -> Tensor {
    x.data_mut().iter_mut().for_each(|x| *x += by);
    x
}

#[test]
fn a_parameter_of_another_size_is_named() {
    let (x, p) = (Tensor::zeros(&[2, 3]), Tensor::zeros(&[4]));
    let norm = Norm {
        gamma: &p,
        beta: &p,
        eps: 1e-5,
        statistics: Statistics::Batch,
    };
    assert_eq!(
        batch_norm(&x, &norm).unwrap_err().to_string(),
        "batch_norm: expected norm parameters [3], got [4]"
    );
}

#[test]
fn moments_survive_a_large_mean() {
    let rows = 10_000;
    let x: Vec<f32> = (0..rows * 3).map(|i| 4096.0 + (i % 7) as f32).collect();
    for isa in Isa::available() {
        let [mean_got, var_got] = cpu::moments(isa, Pixels::new(&x, 3), rows, 3);
        for c in 0..3 {
            let column: Vec<f64> = x.iter().skip(c).step_by(3).map(|&v| f64::from(v)).collect();
            let mean = column.iter().sum::<f64>() / rows as f64;
            let var = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / rows as f64;
            assert!((f64::from(mean_got[c]) - mean).abs() < 1e-3, "{isa}");
            assert!((f64::from(var_got[c]) - var).abs() < 1e-4 * var, "{isa}");
        }
    }
}
