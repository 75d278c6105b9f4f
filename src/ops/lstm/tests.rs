use super::*;
use crate::cpu::threads;
use crate::ops::testing::{
    Case, agrees_with_the_definition, assert_close, fixture, on_every_device, random,
};
use proptest::prelude::*;

/// The weights of a case; the bias is the sum of PyTorch's two.
fn weights_of(case: &Case) -> LstmWeights {
    let mut bias = case.tensor("b_ih");
    let other = case.tensor("b_hh");
    bias.data_mut()
        .iter_mut()
        .zip(other.data())
        .for_each(|(a, b)| *a += b);
    LstmWeights {
        w_ih: case.tracked("w_ih"),
        w_hh: case.tracked("w_hh"),
        bias: bias.tracked(),
    }
}

fn random_weights(inputs: usize, hidden: usize) -> [Tensor; 3] {
    let rows = 4 * hidden;
    [
        random(&[rows, inputs], 5),
        random(&[rows, hidden], 6),
        random(&[rows], 7),
    ]
}

fn weights(w: &[Tensor]) -> LstmWeights {
    LstmWeights {
        w_ih: w[0].clone(),
        w_hh: w[1].clone(),
        bias: w[2].clone(),
    }
}

#[test]
fn a_step_agrees_with_pytorch() {
    on_every_device(|| {
        let case = fixture("lstm_cell");
        let (x, h, c) = (case.tracked("x"), case.tracked("h"), case.tracked("c"));
        let w = weights_of(&case);
        // The recorded gradients are those of a loss that depends on h' and on c'. They are the sum of the gradients
        // through h' alone and through c' alone.
        let leaves = [
            ("x", &x),
            ("h", &h),
            ("c", &c),
            ("w_ih", &w.w_ih),
            ("w_hh", &w.w_hh),
            ("b_ih", &w.bias),
            ("b_hh", &w.bias),
        ];
        let mut sums: Vec<Tensor> = leaves.iter().map(|l| Tensor::zeros(l.1.dims())).collect();
        for name in ["h", "c"] {
            let (new_h, new_c) = lstm_cell(&x, &h, &c, &w).unwrap();
            let out = if name == "h" { new_h } else { new_c };
            case.close(&format!("output_{name}"), &out, 1e-6);
            let grads = out
                .backward_from(&case.tensor(&format!("grad_output_{name}")))
                .unwrap();
            for ((_, leaf), sum) in leaves.iter().zip(&mut sums) {
                let grad = grads.get(leaf).unwrap().data();
                sum.data_mut()
                    .iter_mut()
                    .zip(grad)
                    .for_each(|(a, b)| *a += b);
            }
        }
        for ((name, _), sum) in leaves.iter().zip(&sums) {
            case.close(&format!("grad_{name}"), sum, 2e-6);
        }
    });
}

#[test]
fn a_sequence_agrees_with_pytorch() {
    on_every_device(|| {
        let case = fixture("lstm_sequence");
        let (x, w) = (case.tracked("x"), weights_of(&case));
        let y = lstm_sequence(&x, &w).unwrap();
        case.close("output", &y, 1e-6);
        let leaves = [
            ("x", &x),
            ("w_ih", &w.w_ih),
            ("w_hh", &w.w_hh),
            ("b_ih", &w.bias),
            ("b_hh", &w.bias),
        ];
        case.check_grads(&y, &leaves, 2e-6);
    });
}

#[test]
fn a_sequence_is_its_steps() {
    on_every_device(|| {
        let (x, w) = (random(&[3, 4, 6], 1), weights(&random_weights(6, 9)));
        let all = lstm_sequence(&x, &w).unwrap();
        assert!(!all.is_tracked());
        let (mut h, mut c) = (Tensor::zeros(&[3, 9]), Tensor::zeros(&[3, 9]));
        for t in 0..4 {
            let rows = (0..3)
                .flat_map(|n| x.data()[(n * 4 + t) * 6..][..6].to_vec())
                .collect();
            let x = Tensor::from_vec(rows, &[3, 6]).unwrap();
            (h, c) = lstm_cell(&x, &h, &c, &w).unwrap();
            let want: Vec<f32> = (0..3)
                .flat_map(|n| all.data()[(n * 4 + t) * 9..][..9].to_vec())
                .collect();
            assert_close("step", h.data(), &want, 1e-6);
        }
    });
}

/// Values and every gradient of a sequence.
fn everything(batch: usize, steps: usize, inputs: usize, hidden: usize) -> Vec<f32> {
    let x = random(&[batch, steps, inputs], 1).tracked();
    let w = weights(&random_weights(inputs, hidden).map(|w| w.tracked()));
    let y = lstm_sequence(&x, &w).unwrap();
    let grads = y.backward_from(&random(y.dims(), 2)).unwrap();
    let leaves = [&x, &w.w_ih, &w.w_hh, &w.bias];
    let grads = leaves.map(|leaf| grads.get(leaf).unwrap().data().to_vec());
    [y.data().to_vec(), grads.concat()].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape_agrees_with_the_definition(
        batch in 1..5usize, steps in 1..5usize, inputs in 1..20usize, hidden in 1..40usize,
    ) {
        let run = || everything(batch, steps, inputs, hidden);
        agrees_with_the_definition("lstm_sequence", 1e-5, run);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let run = |n| threads::with_count(n, || everything(40, 3, 9, 33)).unwrap();
    assert_eq!(run(1), run(3));
}

#[test]
fn mistakes_name_the_shapes() {
    let w = weights(&random_weights(3, 2));
    let (s, x) = (Tensor::zeros(&[1, 2]), Tensor::zeros(&[1, 4]));
    let e = lstm_cell(&x, &s, &s, &w).unwrap_err().to_string();
    assert_eq!(
        e,
        "lstm_cell: expected x [N, 3], h and c [N, 2], got [1, 4], [1, 2] and [1, 2]"
    );
    assert!(lstm_sequence(&x, &w).is_err());
    assert!(lstm_sequence(&Tensor::zeros(&[1, 2, 4]), &w).is_err());
    let bad = LstmWeights {
        bias: Tensor::zeros(&[7]),
        ..w
    };
    assert!(lstm_sequence(&Tensor::zeros(&[1, 2, 3]), &bad).is_err());
}
