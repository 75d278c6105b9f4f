use super::*;
use crate::ops::testing::{fixture, here, on_every_device};

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        for (name, f) in [
            ("sum", sum as fn(&Tensor) -> Result<Tensor>),
            ("mean", mean),
        ] {
            let case = fixture(name);
            let x = case.tracked("x");
            let y = f(&x).unwrap();
            case.close("output", &y, 1e-6);
            case.check_grads(&y, &[("x", &x)], 1e-6);
        }
    });
}

#[test]
fn many_elements_lose_nothing() {
    on_every_device(|| {
        let x = here(Tensor::full(&[3, 100_001], 0.1));
        assert!((mean(&x).unwrap().item().unwrap() - 0.1).abs() < 1e-8);
    });
    assert!(mean(&Tensor::zeros(&[0])).is_err());
    assert_eq!(sum(&Tensor::zeros(&[0])).unwrap().item().unwrap(), 0.0);
}
