use super::*;
use crate::ops::testing::{check_gradients, fixture, on_every_device, random};

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        let case = fixture("concat_channels");
        let (a, b, c) = (case.tracked("a"), case.tracked("b"), case.tracked("c"));
        let y = concat(&[&a, &b, &c]).unwrap();
        case.close("output", &y, 0.0);
        case.check_grads(&y, &[("a", &a), ("b", &b), ("c", &c)], 0.0);
    });
}

#[test]
fn gradient_is_the_difference_quotient() {
    on_every_device(|| {
        let inputs = [
            random(&[2, 3, 4], 1),
            random(&[2, 3, 1], 2),
            random(&[2, 3, 5], 3),
        ];
        check_gradients(&inputs, |x| concat(&[&x[0], &x[1], &x[2]]));
        check_gradients(&inputs[..1], |x| concat(&[&x[0], &x[0]]));
    });
}

#[test]
fn mistakes_name_both_shapes() {
    let (a, b) = (Tensor::zeros(&[2, 3]), Tensor::zeros(&[3, 3]));
    let e = concat(&[&a, &b]).unwrap_err().to_string();
    assert_eq!(
        e,
        "concat: expected the same axes before the last, got [3, 3] beside [2, 3]"
    );
    assert!(concat(&[]).is_err());
    assert!(concat(&[&Tensor::scalar(1.0)]).is_err());
    assert!(concat(&[&a, &Tensor::scalar(1.0)]).is_err());
}
