use super::*;
use crate::ops::testing::{
    agrees_with_the_definition, assert_close, by_definition, fixture, on_every_device, random,
};
use proptest::prelude::*;

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        let case = fixture("matmul");
        let (a, b) = (case.tracked("a"), case.tracked("b"));
        let c = matmul(&a, &b).unwrap();
        case.close("output", &c, 1e-6);
        case.check_grads(&c, &[("a", &a), ("b", &b)], 1e-6);
    });
}

#[test]
fn products_of_every_tile_and_split_agree() {
    for (m, k, n) in [
        (1, 4000, 3),
        (5, 513, 700),
        (130, 260, 68),
        (64, 36, 64),
        (700, 33, 9),
        (33, 0, 7),
    ] {
        let run = || {
            let (a, b) = (random(&[m, k], 1).tracked(), random(&[k, n], 2).tracked());
            let c = matmul(&a, &b).unwrap();
            let grads = c.backward_from(&random(&[m, n], 3)).unwrap();
            [&c, grads.get(&a).unwrap(), grads.get(&b).unwrap()].map(|t| t.data().to_vec())
        };
        let want = by_definition(run);
        on_every_device(|| {
            let each = run().into_iter().zip(&want);
            each.for_each(|(got, want)| assert_close("matmul", &got, want, 1e-6));
        });
    }
}

#[test]
fn mistakes_name_both_shapes() {
    let e = matmul(&Tensor::zeros(&[2, 3]), &Tensor::zeros(&[2, 3])).unwrap_err();
    assert_eq!(
        e.to_string(),
        "matmul: expected [M, K] and [K, N], got [2, 3] and [2, 3]"
    );
    assert!(matmul(&Tensor::zeros(&[3]), &Tensor::zeros(&[3, 2])).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape_agrees_with_the_definition(m in 1..20usize, k in 1..40usize, n in 1..50usize) {
        let run = || matmul(&random(&[m, k], 1), &random(&[k, n], 2)).unwrap().into_vec();
        agrees_with_the_definition("matmul", 1e-6, run);
    }
}
