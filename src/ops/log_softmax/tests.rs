use super::*;
use crate::ops::testing::{agrees_with_the_definition, fixture, here, on_every_device, random};
use proptest::prelude::*;

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        let case = fixture("log_softmax");
        let x = case.tracked("x");
        let y = log_softmax(&x).unwrap();
        case.close("output", &y, 1e-6);
        case.check_grads(&y, &[("x", &x)], 1e-6);
    });
}

#[test]
fn the_ends_of_the_range() {
    on_every_device(|| {
        let x = here(Tensor::from_vec(vec![1e4, 0.0, -1e4], &[3]).unwrap());
        assert_eq!(log_softmax(&x).unwrap().data(), &[0.0, -1e4, -2e4]);
        assert_eq!(log_softmax(&Tensor::zeros(&[2, 0])).unwrap().len(), 0);
        assert!(log_softmax(&Tensor::scalar(0.0)).is_err());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape_agrees_with_the_definition(rows in 1..40usize, classes in 1..70usize) {
        let run = || {
            let x = random(&[rows, classes], 1).tracked();
            let y = log_softmax(&x).unwrap();
            let grads = y.backward_from(&random(y.dims(), 2)).unwrap();
            [y.data(), grads.get(&x).unwrap().data()].concat()
        };
        agrees_with_the_definition("log_softmax", 1e-6, run);
    }
}
