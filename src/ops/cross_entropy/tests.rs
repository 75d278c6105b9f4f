use super::*;
use crate::ops::testing::{
    agrees_with_the_definition, assert_close, fixture, here, on_every_device, random,
};
use proptest::prelude::*;

fn options(smoothing: f32) -> CrossEntropy {
    CrossEntropy {
        ignore_index: Some(0),
        label_smoothing: smoothing,
    }
}

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        for (name, smoothing) in [("cross_entropy", 0.0), ("cross_entropy_smoothed", 0.1)] {
            let case = fixture(name);
            let logits = case.tracked("logits");
            let y = cross_entropy(&logits, &case.integers("targets"), options(smoothing));
            let y = y.unwrap();
            case.close("output", &y, 1e-6);
            case.check_grads(&y, &[("logits", &logits)], 1e-6);
            let untracked = cross_entropy(
                &logits.detach(),
                &case.integers("targets"),
                options(smoothing),
            );
            case.close("output", &untracked.unwrap(), 1e-6);
        }
    });
}

#[test]
fn a_weight_multiplies_its_row() {
    on_every_device(|| {
        let (targets, weights) = ([3, 0, 18, 0, 7, 3], [0.5, 9.0, -2.0, 9.0, 0.0, 1.0]);
        let x = random(&[6, 19], 1);
        let whole = weighted_cross_entropy(&x, &targets, &weights, options(0.2)).unwrap();
        // Rows 1 and 3 are ignored, so four rows count.
        let rows = [0, 2, 4, 5].map(|r| {
            let row = x.narrow(r, 1).unwrap();
            let loss = cross_entropy(&row, &targets[r..r + 1], options(0.2)).unwrap();
            weights[r] * loss.item().unwrap() / 4.0
        });
        let got = whole.item().unwrap();
        assert_close("loss", &[got], &[rows.iter().sum()], 1e-5);
    });
}

#[test]
fn large_logits_stay_finite() {
    on_every_device(|| {
        let x = here(Tensor::from_vec(vec![1e4, -1e4, 0.0], &[1, 3]).unwrap()).tracked();
        let y = cross_entropy(&x, &[1], CrossEntropy::default()).unwrap();
        assert_eq!(y.item().unwrap(), 2e4);
        let grads = y.backward().unwrap();
        assert_close(
            "grad",
            grads.get(&x).unwrap().data(),
            &[1.0, -1.0, 0.0],
            1e-6,
        );
    });
}

#[test]
fn mistakes_are_named() {
    let x = Tensor::zeros(&[2, 3]);
    let plain = CrossEntropy::default();
    let message =
        |targets: &[usize], options| cross_entropy(&x, targets, options).unwrap_err().to_string();
    assert_eq!(
        message(&[1], plain),
        "cross_entropy: expected 2 targets, got 1 targets for [2, 3]"
    );
    assert!(message(&[1, 3], plain).contains("no class 3 among 3"));
    assert!(message(&[0, 0], options(0.0)).contains("every target is ignored"));
    assert!(message(&[1, 1], options(-0.1)).contains("smoothing"));
    assert!(message(&[1, 1], options(f32::NAN)).contains("smoothing"));
    assert!(cross_entropy(&Tensor::scalar(0.0), &[0], plain).is_err());
    for (weights, part) in [
        (&[1.0][..], "expected 2 weights, got 1 weights"),
        (&[1.0, f32::NAN], "the weight NaN is not finite"),
    ] {
        let error = weighted_cross_entropy(&x, &[0, 1], weights, plain).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let ignored = CrossEntropy {
        ignore_index: Some(99),
        label_smoothing: 0.0,
    };
    assert!(cross_entropy(&x, &[99, 1], ignored).is_ok());
}

// The loss is exactly zero here, so the rounding error is compared with the size of the logits and not with the loss.
#[test]
fn a_single_class_costs_nothing() {
    on_every_device(|| {
        let x = random(&[5, 1], 1).tracked();
        let options = CrossEntropy {
            ignore_index: None,
            label_smoothing: 0.43,
        };
        let y = cross_entropy(&x, &[0; 5], options).unwrap();
        assert!(y.item().unwrap().abs() <= 2e-7);
        let grad = y.backward().unwrap().take(&x).unwrap().into_vec();
        assert!(grad.iter().all(|g| g.abs() <= 2e-7), "{grad:?}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape_agrees_with_the_definition(rows in 1..40usize, classes in 2..70usize, smoothing in 0.0..1.0f32) {
        let targets: Vec<usize> = (0..rows).map(|r| if r == 0 { 0 } else { r * 7 % classes }).collect();
        let run = || {
            let x = random(&[rows, classes], 1).tracked();
            let options = CrossEntropy { ignore_index: Some(classes / 2 + 1), label_smoothing: smoothing };
            let y = cross_entropy(&x, &targets, options).unwrap();
            let grad = y.backward().unwrap().take(&x).unwrap().into_vec();
            [vec![y.item().unwrap()], grad].concat()
        };
        agrees_with_the_definition("cross_entropy", 2e-6, run);
    }
}
