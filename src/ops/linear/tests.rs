use super::*;
use crate::ops::testing::{agrees_with_the_definition, fixture, on_every_device, random};
use proptest::prelude::*;

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        let case = fixture("linear");
        let (x, w, b) = (
            case.tracked("x"),
            case.tracked("weight"),
            case.tracked("bias"),
        );
        let y = linear(&x, &w, Some(&b)).unwrap();
        case.close("output", &y, 1e-6);
        case.check_grads(&y, &[("x", &x), ("weight", &w), ("bias", &b)], 1e-6);
    });
}

#[test]
fn long_sums_are_split_and_meet_their_bias() {
    for (rows, inputs, outputs) in [(3, 2000, 40), (1, 600, 1), (900, 20, 30)] {
        let run = || {
            let x = random(&[rows, inputs], 1).tracked();
            let (w, b) = (
                random(&[outputs, inputs], 2),
                random(&[outputs], 3).tracked(),
            );
            let y = linear(&x, &w, Some(&b)).unwrap();
            let grads = y.backward_from(&random(&[rows, outputs], 4)).unwrap();
            let all = [&x, &b].map(|leaf| grads.get(leaf).unwrap().data().to_vec());
            [y.data().to_vec(), all.concat()].concat()
        };
        agrees_with_the_definition("linear", 1e-6, run);
    }
}

#[test]
fn mistakes_name_both_shapes() {
    let w = Tensor::zeros(&[3, 4]);
    let e = linear(&Tensor::zeros(&[2, 5]), &w, None).unwrap_err();
    assert_eq!(
        e.to_string(),
        "linear: expected x [.., 4], got x [2, 5] with weight [3, 4]"
    );
    assert!(linear(&Tensor::scalar(1.0), &w, None).is_err());
    assert!(linear(&Tensor::zeros(&[4]), &Tensor::zeros(&[4]), None).is_err());
    assert!(linear(&Tensor::zeros(&[4]), &w, Some(&Tensor::zeros(&[4]))).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape_agrees_with_the_definition(rows in 1..20usize, inputs in 1..40usize, outputs in 1..50usize) {
        let run = || {
            let x = random(&[rows, inputs], 1).tracked();
            let (w, b) = (random(&[outputs, inputs], 2).tracked(), random(&[outputs], 3).tracked());
            let y = linear(&x, &w, Some(&b)).unwrap();
            let grads = y.backward_from(&random(&[rows, outputs], 4)).unwrap();
            let all = [&x, &w, &b].map(|leaf| grads.get(leaf).unwrap().data().to_vec());
            [vec![y.data().to_vec()], all.to_vec()].concat().concat()
        };
        agrees_with_the_definition("linear", 1e-6, run);
    }
}
