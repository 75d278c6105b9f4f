use super::*;
use crate::ops::testing::{agrees_with_the_definition, fixture, on_every_device, random};
use proptest::prelude::*;

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        let case = fixture("avg_pool2d_2x2");
        let x = case.tracked("x");
        let y = avg_pool2d(&x, [2, 2], [2, 2]).unwrap();
        case.close("output", &y, 1e-6);
        case.check_grads(&y, &[("x", &x)], 1e-6);
    });
}

#[test]
fn mistakes_are_named() {
    let x = Tensor::zeros(&[1, 4, 4, 1]);
    assert!(avg_pool2d(&Tensor::zeros(&[4, 4]), [2, 2], [2, 2]).is_err());
    assert!(avg_pool2d(&x, [0, 2], [2, 2]).is_err());
    let e = avg_pool2d(&x, [5, 2], [2, 2]).unwrap_err().to_string();
    assert!(e.contains("[1, 4, 4, 1]"), "{e}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_shape_agrees_with_the_definition(
        batch in 1..3usize, height in 1..12usize, width in 1..12usize, channels in 1..40usize,
        kernel in [1..5usize, 1..5usize], stride in [1..4usize, 1..4usize],
    ) {
        prop_assume!(height >= kernel[0] && width >= kernel[1]);
        let run = || {
            let x = random(&[batch, height, width, channels], 1).tracked();
            let y = avg_pool2d(&x, kernel, stride).unwrap();
            let grads = y.backward_from(&random(y.dims(), 2)).unwrap();
            [y.data(), grads.get(&x).unwrap().data()].concat()
        };
        agrees_with_the_definition("avg_pool2d", 1e-6, run);
    }
}
