use super::*;
use crate::cpu::Precision;
use crate::ops::batch_norm::Statistics;
use crate::ops::testing::{assert_close, by_definition, fixture, on_every_device, on_gpu, random};

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        for (name, training) in [("dense_block_train", true), ("dense_block_eval", false)] {
            let case = fixture(name);
            let x = case.tracked("x");
            let names: Vec<String> = (1..=3)
                .flat_map(|l| {
                    [
                        "norm1.weight",
                        "norm1.bias",
                        "conv1.weight",
                        "norm2.weight",
                        "norm2.bias",
                        "conv2.weight",
                    ]
                    .map(|p| format!("denselayer{l}.{p}"))
                })
                .collect();
            let p: Vec<Tensor> = names.iter().map(|n| case.tracked(n)).collect();
            let running: Vec<Tensor> = (1..=3)
                .flat_map(|l| {
                    [
                        "norm1.running_mean",
                        "norm1.running_var",
                        "norm2.running_mean",
                        "norm2.running_var",
                    ]
                    .map(|s| case.tensor(&format!("denselayer{l}.{s}")))
                })
                .collect();
            let statistics = |i: usize| match training {
                true => Statistics::Batch,
                false => Statistics::Running {
                    mean: &running[i],
                    var: &running[i + 1],
                },
            };
            let norm = |i: usize, s: usize| Norm {
                gamma: &p[i],
                beta: &p[i + 1],
                eps: 1e-5,
                statistics: statistics(s),
            };
            let layers: Vec<DenseLayerWeights> = (0..3)
                .map(|l| DenseLayerWeights {
                    norm1: norm(6 * l, 4 * l),
                    conv1: &p[6 * l + 2],
                    norm2: norm(6 * l + 3, 4 * l + 2),
                    conv2: &p[6 * l + 5],
                })
                .collect();
            let (y, moments) = dense_block(&x, &layers).unwrap();
            case.close("output", &y, 3e-6);
            let mut leaves: Vec<(&str, &Tensor)> = vec![("x", &x)];
            leaves.extend(names.iter().map(String::as_str).zip(&p));
            case.check_grads(&y, &leaves, 1e-5);
            if training {
                let last = moments[2].as_ref().unwrap();
                let old = case.tensor("denselayer3.norm1.running_mean");
                let new: Vec<f32> = old
                    .data()
                    .iter()
                    .zip(last[0].mean.data())
                    .map(|(o, m)| 0.9 * o + 0.1 * m)
                    .collect();
                let want = case.tensor("new_denselayer3.norm1.running_mean");
                assert_close("running_mean", &new, want.data(), 1e-5);
            }
        }
    });
}

#[test]
fn sixteen_bits_are_near_the_others() {
    let (growth, middle, first) = (32, 128, 64);
    let run = || {
        let ones = |n: usize| Tensor::full(&[n], 1.0);
        let x = random(&[2, 9, 7, first], 1);
        let mut parts = Vec::new();
        for l in 0..2 {
            let c = first + l * growth;
            let scale = |t: Tensor, by: f32| crate::ops::scale(&t, by).unwrap();
            let one = scale(random(&[middle, c, 1, 1], 5), 0.1);
            let three = scale(random(&[growth, middle, 3, 3], 6), 0.05);
            parts.push((
                ones(c),
                random(&[c], 3),
                one,
                ones(middle),
                random(&[middle], 4),
                three,
            ));
        }
        let layers: Vec<DenseLayerWeights> = parts
            .iter()
            .map(|(one1, shift1, conv1, one2, shift2, conv2)| {
                let norm = |gamma, beta| Norm {
                    gamma,
                    beta,
                    eps: 1e-5,
                    statistics: Statistics::Running {
                        mean: beta,
                        var: gamma,
                    },
                };
                let (norm1, norm2) = (norm(one1, shift1), norm(one2, shift2));
                DenseLayerWeights {
                    norm1,
                    conv1,
                    norm2,
                    conv2,
                }
            })
            .collect();
        let [exact, rounded] = [Precision::F32, Precision::Bf16]
            .map(|p| p.scope(|| dense_block(&x, &layers).unwrap().0.into_vec()));
        assert_close("16 bits", &rounded, &exact, 1e-2);
        exact
    };
    let want = by_definition(run);
    on_gpu(|| assert_close("dense_block", &run(), &want, 1e-6));
}

#[test]
fn a_layer_that_does_not_fit_is_named() {
    let (x, one) = (Tensor::zeros(&[1, 2, 2, 3]), Tensor::full(&[3], 1.0));
    let norm = Norm {
        gamma: &one,
        beta: &one,
        eps: 1e-5,
        statistics: Statistics::Batch,
    };
    let (conv1, conv2) = (Tensor::zeros(&[4, 5, 1, 1]), Tensor::zeros(&[2, 4, 3, 3]));
    let layer = DenseLayerWeights {
        norm1: norm,
        conv1: &conv1,
        norm2: norm,
        conv2: &conv2,
    };
    let message = dense_block(&x, &[layer]).unwrap_err().to_string();
    assert!(
        message.contains("[B, 3, 1, 1]") && message.contains("layer 0"),
        "{message}"
    );
}
