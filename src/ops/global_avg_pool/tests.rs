use super::*;
use crate::ops::testing::{fixture, on_every_device};

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        let case = fixture("global_avg_pool");
        let x = case.tracked("x");
        let y = global_avg_pool(&x).unwrap();
        case.close("output", &y, 1e-6);
        case.check_grads(&y, &[("x", &x)], 1e-6);
    });
}

#[test]
fn a_map_without_pixels_has_no_mean() {
    assert!(global_avg_pool(&Tensor::zeros(&[1, 0, 3, 2])).is_err());
    assert!(global_avg_pool(&Tensor::zeros(&[3, 2])).is_err());
    assert_eq!(
        global_avg_pool(&Tensor::zeros(&[0, 1, 3, 2]))
            .unwrap()
            .dims(),
        &[0, 2]
    );
}
