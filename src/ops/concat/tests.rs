use super::*;
use crate::ops::testing::{fixture, on_every_device};

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
