//! Every operation that has a gradient, on views: tensors that are a part of a longer buffer.

use crate::error::Result;
use crate::ops::testing::{agrees_with_the_definition, random};
use crate::ops::*;
use crate::tensor::Tensor;

/// Indices of rows of a table; some occur more than once.
const EMBEDDED: [usize; 40] = [
    4, 0, 4, 1, 33, 2, 7, 8, 9, 0, 31, 12, 12, 12, 5, 6, 7, 30, 3, 1, 2, 29, 28, 4, 0, 4, 1, 49,
    48, 47, 46, 45, 44, 43, 3, 2, 1, 0, 25, 26,
];

/// A random tensor that is the middle of a longer one.
fn view(shape: &[usize], seed: u64) -> Tensor {
    let longer = [&[shape[0] + 3], &shape[1..]].concat();
    random(&longer, seed).narrow(2, shape[0]).unwrap()
}

/// Runs `f` forward and backward on views that start in the middle of a buffer; returns the output and all
/// gradients, whose number is given.
fn output_and_gradients(
    shapes: &[&[usize]],
    gradients: usize,
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<f32> {
    let inputs: Vec<Tensor> = (0..)
        .zip(shapes)
        .map(|(i, s)| view(s, 10 + i).tracked())
        .collect();
    let y = f(&inputs).unwrap();
    let dy = match y.dims() {
        [] => Tensor::scalar(0.7),
        dims => view(dims, 5),
    };
    let grads = y.backward_from(&dy).unwrap();
    let dx: Vec<&Tensor> = inputs.iter().filter_map(|x| grads.get(x)).collect();
    assert_eq!(dx.len(), gradients, "a gradient is missing");
    let all = std::iter::once(&y).chain(dx);
    all.flat_map(|t| t.data().to_vec()).collect()
}

#[test]
fn every_operation_with_a_gradient_takes_views() {
    type Case<'a> = (
        &'a str,
        &'a [&'a [usize]],
        &'a dyn Fn(&[Tensor]) -> Result<Tensor>,
    );
    let window = Window::square(2, 1);
    let eps = 1e-3;
    let batch = Statistics::Batch;
    let cases: &[Case] = &[
        ("add", &[&[9, 700], &[9, 700]], &|x| add(&x[0], &x[1])),
        ("sub", &[&[9, 700], &[9, 700]], &|x| sub(&x[0], &x[1])),
        ("mul", &[&[9, 700], &[9, 700]], &|x| mul(&x[0], &x[1])),
        ("scale", &[&[9, 700]], &|x| scale(&x[0], 0.3)),
        ("tanh", &[&[9, 700]], &|x| tanh(&x[0])),
        ("sigmoid", &[&[9, 700]], &|x| sigmoid(&x[0])),
        ("relu", &[&[9, 700]], &|x| relu(&x[0])),
        ("dropout", &[&[9, 700]], &|x| dropout(&x[0], 0.4, 3)),
        ("matmul", &[&[3, 7], &[7, 33]], &|x| matmul(&x[0], &x[1])),
        ("linear", &[&[3, 7], &[33, 7], &[33]], &|x| {
            linear(&x[0], &x[1], Some(&x[2]))
        }),
        ("concat", &[&[9, 700], &[9, 20]], &|x| {
            concat(&[&x[0], &x[1]])
        }),
        ("narrow", &[&[9, 700]], &|x| narrow(&x[0], 1, 2, 333)),
        ("sum", &[&[9, 700]], &|x| sum(&x[0])),
        ("mean", &[&[9, 700]], &|x| mean(&x[0])),
        ("mse", &[&[9, 700], &[9, 700]], &|x| mse(&x[0], &x[1])),
        ("embedding", &[&[50, 97]], &|x| embedding(&x[0], &EMBEDDED)),
        ("log_softmax", &[&[23, 37]], &|x| log_softmax(&x[0])),
        ("cross_entropy", &[&[23, 37]], &|x| {
            let options = CrossEntropy {
                ignore_index: Some(1),
                label_smoothing: 0.1,
            };
            cross_entropy(&x[0], &EMBEDDED[..23], options)
        }),
        ("coverage", &[&[9, 4, 7]], &|x| {
            coverage(&x[0], &[[true, true, true, false]; 9].concat())
        }),
        ("kl_div", &[&[23, 37], &[23, 37]], &|x| {
            kl_div(&x[0], &x[1], 1.5)
        }),
        ("max_pool2d", &[&[2, 23, 19, 7]], &|x| {
            max_pool2d(&x[0], [3, 3], [2, 2], [1, 1])
        }),
        ("avg_pool2d", &[&[2, 23, 19, 7]], &|x| {
            avg_pool2d(&x[0], [2, 3], [2, 1])
        }),
        ("global_avg_pool", &[&[2, 23, 19, 7]], &|x| {
            global_avg_pool(&x[0])
        }),
        ("conv2d", &[&[2, 23, 19, 7], &[4, 7, 3, 3], &[4]], &|x| {
            conv2d(&x[0], &x[1], Some(&x[2]), window)
        }),
        ("batch_norm", &[&[600, 9], &[9], &[9]], &|x| {
            let norm = Norm {
                gamma: &x[1],
                beta: &x[2],
                eps,
                statistics: batch,
            };
            Ok(batch_norm(&x[0], &norm)?.0)
        }),
        ("norm_relu_pool", &[&[2, 23, 19, 7], &[7], &[7]], &|x| {
            let norm = Norm {
                gamma: &x[1],
                beta: &x[2],
                eps,
                statistics: batch,
            };
            Ok(norm_relu_pool(&x[0], &norm, 2)?.0)
        }),
        (
            "norm_relu_conv",
            &[&[2, 23, 19, 7], &[7], &[7], &[4, 7, 3, 3]],
            &|x| {
                let norm = Norm {
                    gamma: &x[1],
                    beta: &x[2],
                    eps,
                    statistics: batch,
                };
                Ok(norm_relu_conv(&x[0], &norm, &x[3], window)?.0)
            },
        ),
        (
            "conv_norm_relu",
            &[&[2, 23, 19, 7], &[4], &[4], &[4, 7, 3, 3]],
            &|x| {
                let norm = Norm {
                    gamma: &x[1],
                    beta: &x[2],
                    eps,
                    statistics: batch,
                };
                Ok(conv_norm_relu(&x[0], &x[3], window, &norm)?.0)
            },
        ),
        (
            "dense_block",
            &[
                &[2, 13, 11, 3],
                &[3],
                &[3],
                &[4, 3, 1, 1],
                &[4],
                &[4],
                &[2, 4, 3, 3],
            ],
            &|x| {
                let norm = |gamma, beta| Norm {
                    gamma,
                    beta,
                    eps,
                    statistics: batch,
                };
                let layer = DenseLayerWeights {
                    norm1: norm(&x[1], &x[2]),
                    conv1: &x[3],
                    norm2: norm(&x[4], &x[5]),
                    conv2: &x[6],
                };
                Ok(dense_block(&x[0], &[layer])?.0)
            },
        ),
        (
            "lstm_sequence",
            &[&[3, 4, 5], &[28, 5], &[28, 7], &[28]],
            &|x| {
                let [w_ih, w_hh, bias] = [1, 2, 3].map(|i: usize| x[i].clone());
                lstm_sequence(&x[0], &LstmWeights { w_ih, w_hh, bias })
            },
        ),
        (
            "lstm_cell",
            &[&[3, 5], &[3, 7], &[3, 7], &[28, 5], &[28, 7], &[28]],
            &|x| {
                let [w_ih, w_hh, bias] = [3, 4, 5].map(|i: usize| x[i].clone());
                let (h, c) = lstm_cell(&x[0], &x[1], &x[2], &LstmWeights { w_ih, w_hh, bias })?;
                add(&h, &c)
            },
        ),
        (
            "attention_lstm",
            &[
                &[3, 4, 5],
                &[2, 9, 6],
                &[2, 9, 8],
                &[3, 7],
                &[3, 7],
                &[28, 13],
                &[42, 7],
                &[36],
                &[6],
            ],
            &|x| {
                let [w_ih, w_hh, bias, score] = [5, 6, 7, 8].map(|i: usize| x[i].clone());
                let weights = AttentionLstmWeights {
                    w_ih,
                    w_hh,
                    bias,
                    score,
                };
                let memory = Memory {
                    keys: &x[1],
                    values: &x[2],
                    image_of: &[1, 0, 1],
                };
                Ok(attention_lstm(&x[0], &memory, &x[3], &x[4], &weights)?.output)
            },
        ),
    ];
    for (name, shapes, f) in cases {
        let gradients = match *name {
            // There is none with respect to the teacher's logits.
            "kl_div" => 1,
            _ => shapes.len(),
        };
        let run = || output_and_gradients(shapes, gradients, f);
        agrees_with_the_definition(name, 5e-6, run);
    }
}
