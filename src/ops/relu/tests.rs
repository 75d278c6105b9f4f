use super::*;
use crate::ops::testing::{fixture, on_every_device};

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        let case = fixture("relu");
        let x = case.tracked("x");
        let y = relu(&x).unwrap();
        case.close("output", &y, 0.0);
        case.check_grads(&y, &[("x", &x)], 0.0);
    });
}
