use super::*;
use crate::ops::batch_norm::Statistics;
use crate::ops::testing::{agrees_with_the_definition, random};
use proptest::prelude::*;

#[test]
fn mistakes_are_named() {
    let (x, p) = (Tensor::zeros(&[1, 1, 4, 3]), Tensor::zeros(&[3]));
    let norm = Norm {
        gamma: &p,
        beta: &p,
        eps: 1e-5,
        statistics: Statistics::Batch,
    };
    for (x, window) in [
        (&x, 2),
        (&x, 0),
        (&p, 1),
        (&Tensor::zeros(&[1, 4, 4, 2]), 2),
    ] {
        let error = norm_relu_pool(x, &norm, window).unwrap_err().to_string();
        assert!(error.starts_with("norm_relu_pool"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_shape_agrees_with_the_three_operations(
        batch in 1..3usize, height in 3..9usize, width in 3..9usize, channels in 1..40usize,
        window in 1..4usize, training: bool,
    ) {
        let (mean, var) = (random(&[channels], 5), Tensor::full(&[channels], 0.4));
        let run = || {
            let x = random(&[batch, height, width, channels], 1).tracked();
            let (gamma, beta) = (random(&[channels], 2).tracked(), random(&[channels], 3).tracked());
            let statistics = match training {
                true => Statistics::Batch,
                false => Statistics::Running { mean: &mean, var: &var },
            };
            let norm = Norm { gamma: &gamma, beta: &beta, eps: 1e-3, statistics };
            let (y, moments) = norm_relu_pool(&x, &norm, window).unwrap();
            assert_eq!(moments.is_some(), training);
            let grads = y.backward_from(&random(y.dims(), 4)).unwrap();
            let of = |t| grads.get(t).unwrap().data().to_vec();
            [y.data().to_vec(), of(&x), of(&gamma), of(&beta)].concat()
        };
        agrees_with_the_definition("norm_relu_pool", 1e-5, run);
    }
}
