use super::*;
use crate::ops::testing::{check_gradients, fixture, on_every_device, random};

type Binary = fn(&Tensor, &Tensor) -> Result<Tensor>;
type Unary = fn(&Tensor) -> Result<Tensor>;

const BINARY: [(&str, Binary); 3] = [("add", add), ("sub", sub), ("mul", mul)];
const UNARY: [(&str, Unary); 3] = [
    ("scale", |x| scale(x, -1.75)),
    ("tanh", tanh),
    ("sigmoid", sigmoid),
];

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        for (name, f) in BINARY {
            let case = fixture(name);
            let (a, b) = (case.tracked("a"), case.tracked("b"));
            let y = f(&a, &b).unwrap();
            case.close("output", &y, 1e-6);
            case.check_grads(&y, &[("a", &a), ("b", &b)], 1e-6);
        }
        for (name, f) in UNARY {
            let case = fixture(name);
            let x = case.tracked("x");
            let y = f(&x).unwrap();
            case.close("output", &y, 1e-6);
            case.check_grads(&y, &[("x", &x)], 1e-6);
        }
    });
}

#[test]
fn a_constant_beside_the_input_changes_nothing_of_its_gradient() {
    on_every_device(|| {
        let (a, b) = (random(&[3, 7], 1), random(&[3, 7], 2));
        for (_, f) in BINARY {
            check_gradients(std::slice::from_ref(&a), |x| f(&x[0], &b));
            check_gradients(std::slice::from_ref(&b), |x| f(&a, &x[0]));
        }
    });
}

#[test]
fn mistakes_name_both_shapes() {
    let (a, b) = (Tensor::zeros(&[2, 3]), Tensor::zeros(&[3, 2]));
    for (name, f) in BINARY {
        let e = f(&a, &b).unwrap_err().to_string();
        let want = "expected two tensors of one shape, got [2, 3] and [3, 2]";
        assert_eq!(e, format!("{name}: {want}"));
    }
}
