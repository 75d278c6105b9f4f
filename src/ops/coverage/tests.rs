use super::*;
use crate::ops::testing::{agrees_with_the_definition, fixture, on_every_device, random};
use proptest::prelude::*;

fn flags(count: usize) -> Vec<bool> {
    (0..count).map(|i| i % 5 != 3).collect()
}

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        let case = fixture("coverage");
        let x = case.tracked("attention");
        let counted: Vec<bool> = case.integers("said").iter().map(|&s| s == 1).collect();
        let y = coverage(&x, &counted).unwrap();
        case.close("output", &y, 1e-6);
        case.check_grads(&y, &[("attention", &x)], 1e-6);
    });
}

#[test]
fn mistakes_name_the_shapes() {
    let x = Tensor::zeros(&[2, 3, 4]);
    let e = coverage(&x, &[true]).unwrap_err().to_string();
    assert_eq!(
        e,
        "coverage: expected a flag for each of 6 steps, at least one, got 1 flags"
    );
    assert!(coverage(&Tensor::zeros(&[2, 3]), &[true; 2]).is_err());
    assert!(coverage(&Tensor::zeros(&[0, 3, 4]), &[]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape_agrees_with_the_definition(s in 1..9usize, t in 1..9usize, p in 1..70usize) {
        let run = || {
            let x = random(&[s, t, p], 1).tracked();
            let y = coverage(&x, &flags(s * t)).unwrap();
            let grad = y.backward().unwrap().take(&x).unwrap().into_vec();
            [vec![y.item().unwrap()], grad].concat()
        };
        agrees_with_the_definition("coverage", 1e-6, run);
    }
}
