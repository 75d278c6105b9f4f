use super::*;
use crate::ops::testing::{fixture, on_every_device};

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        let case = fixture("embedding");
        let table = case.tracked("weight");
        let y = embedding(&table, &case.integers("indices")).unwrap();
        let y = y.reshape(&[2, 5, 4]).unwrap();
        case.close("output", &y, 0.0);
        case.check_grads(&y, &[("weight", &table)], 1e-6);
    });
}

#[test]
fn a_row_that_is_not_there_is_named() {
    let table = Tensor::zeros(&[3, 2]);
    let e = embedding(&table, &[0, 7]).unwrap_err();
    assert_eq!(
        e.to_string(),
        "embedding: there is no row 7 in a table of 3 (from 0 on)"
    );
    assert!(embedding(&Tensor::zeros(&[3]), &[0]).is_err());
    assert_eq!(embedding(&table, &[]).unwrap().dims(), &[0, 2]);
}
