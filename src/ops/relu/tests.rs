use super::*;
use crate::ops::testing::{check_gradients, fixture, on_every_device, random};

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

#[test]
fn gradient_is_the_difference_quotient() {
    on_every_device(|| check_gradients(&[random(&[3, 21], 1)], |x| relu(&x[0])));
}
