use super::*;
use crate::ops::testing::{
    agrees_with_the_definition, assert_close, fixture, here, on_every_device, random,
};
use proptest::prelude::*;

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        for (name, temperature) in [("kl_div", 1.0), ("kl_div_temperature", 2.5)] {
            let case = fixture(name);
            let (student, teacher) = (case.tracked("student"), case.tensor("teacher"));
            let y = kl_div(&student, &teacher, temperature).unwrap();
            case.close("output", &y, 1e-6);
            case.check_grads(&y, &[("student", &student)], 1e-6);
            let untracked = kl_div(&student.detach(), &teacher, temperature).unwrap();
            case.close("output", &untracked, 1e-6);
        }
    });
}

#[test]
fn the_teacher_is_a_constant() {
    on_every_device(|| {
        let (student, teacher) = (random(&[2, 5], 1).tracked(), random(&[2, 5], 2).tracked());
        let grads = kl_div(&student, &teacher, 1.0).unwrap().backward().unwrap();
        assert!(grads.get(&student).is_some() && grads.get(&teacher).is_none());
    });
}

#[test]
fn equal_logits_differ_by_nothing_and_a_shift_is_no_difference() {
    on_every_device(|| {
        let logits = random(&[3, 40], 1);
        let shifted = logits.data().iter().map(|x| x + 3.0).collect();
        let shifted = here(Tensor::from_vec(shifted, &[3, 40]).unwrap());
        let loss = kl_div(&shifted, &logits, 2.0).unwrap().item().unwrap();
        assert!(loss.abs() < 1e-5, "{loss}");
    });
}

#[test]
fn large_logits_stay_finite() {
    on_every_device(|| {
        let row = |x: [f32; 3]| here(Tensor::from_vec(x.to_vec(), &[1, 3]).unwrap());
        let student = row([1e4, -1e4, 0.0]).tracked();
        let y = kl_div(&student, &row([-1e4, 1e4, 0.0]), 1.0).unwrap();
        assert_eq!(y.item().unwrap(), 2e4);
        let grads = y.backward().unwrap();
        let got = grads.get(&student).unwrap().data();
        assert_close("grad", got, &[1.0, -1.0, 0.0], 1e-6);
    });
}

#[test]
fn mistakes_are_named() {
    let (x, y) = (Tensor::zeros(&[2, 3]), Tensor::zeros(&[2, 4]));
    let message = |a: &Tensor, b: &Tensor, t| kl_div(a, b, t).unwrap_err().to_string();
    assert_eq!(
        message(&x, &y, 1.0),
        "kl_div: expected logits of one shape [.., K], not empty, got [2, 3] and [2, 4]"
    );
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert!(message(&x, &x, temperature).contains("temperature"));
    }
    let (none, one) = (Tensor::zeros(&[0, 3]), Tensor::scalar(1.0));
    assert!(kl_div(&none, &none, 1.0).is_err());
    assert!(kl_div(&one, &one, 1.0).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape_agrees_with_the_definition(rows in 1..40usize, classes in 1..70usize, temperature in 0.5..4.0f32) {
        let run = || {
            let student = random(&[rows, classes], 1).tracked();
            let y = kl_div(&student, &random(&[rows, classes], 2), temperature).unwrap();
            let grad = y.backward().unwrap().take(&student).unwrap().into_vec();
            // The divergence of a single class is zero. The 1 makes the tolerance relative to 1 instead of to the
            // rounding error.
            [vec![1.0, y.item().unwrap()], grad].concat()
        };
        agrees_with_the_definition("kl_div", 2e-6, run);
    }
}
