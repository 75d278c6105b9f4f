use super::*;
use crate::ops::batch_norm::Statistics;
use crate::ops::testing::{fixture, on_every_device};

#[test]
fn agrees_with_pytorch() {
    let cases = [
        ("norm_relu_conv_1x1_train", true, 0),
        ("norm_relu_conv_3x3_train", true, 1),
        ("norm_relu_conv_1x1_eval", false, 0),
        ("norm_relu_conv_3x3_eval", false, 1),
    ];
    on_every_device(|| {
        for (name, training, padding) in cases {
            let case = fixture(name);
            let (x, w) = (case.tracked("x"), case.tracked("weight"));
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
            let (y, _) = norm_relu_conv(&x, &norm, &w, Window::square(1, padding)).unwrap();
            case.close("output", &y, 3e-6);
            let leaves = [
                ("x", &x),
                ("gamma", &gamma),
                ("beta", &beta),
                ("weight", &w),
            ];
            case.check_grads(&y, &leaves, 5e-6);
        }
    });
}
