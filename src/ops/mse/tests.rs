use super::*;
use crate::ops::testing::{fixture, on_every_device};

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        let case = fixture("mse_loss");
        let (x, t) = (case.tracked("x"), case.tracked("target"));
        let y = mse(&x, &t).unwrap();
        case.close("output", &y, 1e-6);
        case.check_grads(&y, &[("x", &x), ("target", &t)], 1e-6);
    });
}

#[test]
fn mistakes_name_both_shapes() {
    let e = mse(&Tensor::zeros(&[2]), &Tensor::zeros(&[3]))
        .unwrap_err()
        .to_string();
    assert_eq!(
        e,
        "mse: expected two tensors of one shape, not empty, got [2] and [3]"
    );
    assert!(mse(&Tensor::zeros(&[0]), &Tensor::zeros(&[0])).is_err());
}
