use super::*;
use crate::ops::testing::{agrees_with_the_definition, fixture, on_every_device, random};
use proptest::prelude::*;

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        for name in ["max_pool2d_ties", "max_pool2d_negative"] {
            let case = fixture(name);
            let x = case.tracked("x");
            let y = max_pool2d(&x, [3, 3], [2, 2], [1, 1]).unwrap();
            case.close("output", &y, 0.0);
            case.check_grads(&y, &[("x", &x)], 1e-6);
        }
    });
}

#[test]
fn mistakes_are_named() {
    let x = Tensor::zeros(&[1, 4, 4, 1]);
    assert!(max_pool2d(&Tensor::zeros(&[4, 4]), [2, 2], [2, 2], [0, 0]).is_err());
    assert!(max_pool2d(&x, [0, 2], [2, 2], [0, 0]).is_err());
    assert!(max_pool2d(&x, [2, 2], [2, 0], [0, 0]).is_err());
    assert!(max_pool2d(&x, [3, 3], [2, 2], [2, 1]).is_err());
    let e = max_pool2d(&x, [5, 5], [1, 1], [0, 0])
        .unwrap_err()
        .to_string();
    assert!(e.contains("[1, 4, 4, 1]"), "{e}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_shape_agrees_with_the_definition(
        batch in 1..3usize, height in 1..12usize, width in 1..12usize, channels in 1..40usize,
        kernel in [1..5usize, 1..5usize], stride in [1..4usize, 1..4usize], pad: bool,
    ) {
        let padding = if pad { kernel.map(|k| k / 2) } else { [0, 0] };
        prop_assume!(height + 2 * padding[0] >= kernel[0] && width + 2 * padding[1] >= kernel[1]);
        let run = || {
            let x = random(&[batch, height, width, channels], 1).tracked();
            let y = max_pool2d(&x, kernel, stride, padding).unwrap();
            let grads = y.backward_from(&random(y.dims(), 2)).unwrap();
            [y.data(), grads.get(&x).unwrap().data()].concat()
        };
        agrees_with_the_definition("max_pool2d", 1e-6, run);
    }
}
