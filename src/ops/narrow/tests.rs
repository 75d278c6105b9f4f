use super::*;
use crate::ops::testing::{on_every_device, random};

#[test]
fn elements_are_those_that_the_axes_say() {
    on_every_device(|| {
        let x = random(&[3, 4, 5], 1);
        for (axis, start, len) in [(0, 1, 2), (1, 2, 2), (2, 1, 3), (2, 0, 0)] {
            let y = narrow(&x, axis, start, len).unwrap();
            let slice = ndarray::Slice::from(start..start + len);
            let want = x.view().slice_axis(ndarray::Axis(axis), slice).to_owned();
            assert_eq!(y.view(), want);
        }
    });
}

#[test]
fn what_is_not_there_is_named() {
    let x = Tensor::zeros(&[2, 3]);
    for (axis, start, len) in [(0, 2, 1), (1, 1, 3), (2, 0, 0), (1, usize::MAX, 1)] {
        assert!(narrow(&x, axis, start, len).is_err());
    }
    assert_eq!(narrow(&x, 1, 3, 0).unwrap().dims(), &[2, 0]);
}
