use super::*;
use crate::ops::testing::{here, on_every_device, random};
use crate::tensor::Device;
use proptest::prelude::*;

/// The definition: sorts all words and takes the first `k`.
fn sorted(row: &[f32], k: usize, allowed: Allowed) -> Vec<(usize, f32)> {
    let mut all: Vec<(usize, f32)> = row.iter().copied().enumerate().collect();
    all.retain(|(w, _)| allowed.allows(*w));
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

/// Returns a body that runs `body`, and on a GPU with subgroups again without them, because there are two shaders.
fn with_and_without_subgroups(body: impl Fn()) -> impl Fn() {
    move || {
        body();
        if let Device::Gpu(gpu) = crate::ops::testing::device()
            && gpu.has_subgroups()
        {
            gpu.use_subgroups(false);
            body();
            gpu.use_subgroups(true);
        }
    }
}

fn check(logits: &Tensor, k: usize, allowed: Allowed) {
    let words = logits.dims()[1];
    let found = top_k(logits, k, allowed).unwrap();
    assert_eq!(found.len(), logits.dims()[0]);
    for (found, row) in found.iter().zip(logits.data().chunks_exact(words)) {
        assert_eq!(
            found.words,
            sorted(row, k, allowed),
            "{k} of {words}, {allowed:?}"
        );
        let largest = row.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = row.iter().map(|&x| f64::from(x - largest).exp()).sum();
        let want = f64::from(largest) + sum.ln();
        assert!((found.log_sum - want).abs() < 1e-5 * want.abs().max(1.0));
    }
}

#[test]
fn the_likeliest_are_those_that_sorting_finds() {
    on_every_device(with_and_without_subgroups(|| {
        for words in [1, 5, 16, 17, 300, 2500] {
            for k in [1, 2, 6, 40, 70] {
                check(&random(&[3, words], 7), k, Allowed::Except(&[0, 2, 3]));
                // Rows in the middle of a longer buffer.
                let part = random(&[7, words], 7).narrow(2, 3).unwrap();
                check(&part, k, Allowed::Except(&[0, 2, 3]));
                // Rounded logits, of which many are equal.
                let few = random(&[2, words], 8)
                    .data()
                    .iter()
                    .map(|x| (x * 5.0).round())
                    .collect();
                let few = here(Tensor::from_vec(few, &[2, words]).unwrap());
                check(&few, k, Allowed::Except(&[]));
                check(&few, k, Allowed::Only(words / 2));
            }
        }
    }));
}

#[test]
fn large_logits_do_not_overflow() {
    on_every_device(with_and_without_subgroups(|| {
        let logits = here(Tensor::from_vec(vec![-1e30, 500.0, 499.0, -1e30], &[1, 4]).unwrap());
        check(&logits, 3, Allowed::Except(&[]));
        let mut many = random(&[2, 700], 9).into_vec();
        (many[650], many[700]) = (300.0, 400.0);
        let many = here(Tensor::from_vec(many, &[2, 700]).unwrap());
        check(&many, 3, Allowed::Except(&[4]));
    }));
}

#[test]
fn mistakes_are_named() {
    for wrong in [Tensor::zeros(&[3]), Tensor::zeros(&[2, 0])] {
        let error = top_k(&wrong, 1, Allowed::Except(&[])).unwrap_err();
        assert!(error.to_string().starts_with("top_k"), "{error}");
    }
    let logits = Tensor::zeros(&[1, 9]);
    assert!(top_k(&logits, 1, Allowed::Except(&[0, 1, 2, 3, 4])).is_err());
    assert!(
        top_k(&Tensor::zeros(&[0, 9]), 1, Allowed::Only(1))
            .unwrap()
            .is_empty()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape_agrees_with_the_definition(rows in 1..6usize, words in 1..700usize, k in 1..30usize) {
        let body = || check(&random(&[rows, words], 1), k, Allowed::Except(&[1]));
        on_every_device(with_and_without_subgroups(body));
    }
}
