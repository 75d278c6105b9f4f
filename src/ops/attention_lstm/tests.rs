use super::*;
use crate::cpu::threads;
use crate::ops::testing::{
    Case, agrees_with_the_definition, assert_close, fixture, on_every_device, on_every_isa, random,
};
use crate::ops::{add, mul, narrow, sum};
use proptest::prelude::*;

/// Names of everything that has a gradient, as the tape numbers them.
const NAMES: [&str; 9] = [
    "x", "keys", "values", "h0", "c0", "w_ih", "w_hh", "bias", "score",
];

/// The operation on tensors in the order of [`NAMES`].
fn run(t: &[Tensor], image_of: &[usize]) -> Result<Attended> {
    let [x, keys, values, h0, c0, w_ih, w_hh, bias, score] = t else {
        panic!("nine tensors")
    };
    let memory = Memory {
        keys,
        values,
        image_of,
    };
    let weights = AttentionLstmWeights {
        w_ih: w_ih.clone(),
        w_hh: w_hh.clone(),
        bias: bias.clone(),
        score: score.clone(),
    };
    attention_lstm(x, &memory, h0, c0, &weights)
}

/// Shapes in the order of [`NAMES`].
fn shapes(s: Sizes) -> [Vec<usize>; 9] {
    [
        vec![s.sentences, s.steps, s.inputs],
        vec![s.images, s.positions, s.key],
        vec![s.images, s.positions, s.value],
        vec![s.sentences, s.hidden],
        vec![s.sentences, s.hidden],
        vec![4 * s.hidden, s.inputs + s.value],
        vec![s.recurrent(), s.hidden],
        vec![s.value + 4 * s.hidden],
        vec![s.key],
    ]
}

fn random_inputs(s: Sizes) -> Vec<Tensor> {
    let shapes = shapes(s);
    (1..)
        .zip(&shapes)
        .map(|(seed, dims)| random(dims, seed))
        .collect()
}

fn tracked(inputs: &[Tensor]) -> Vec<Tensor> {
    inputs.iter().map(Tensor::tracked).collect()
}

/// One number that depends on every element of all results.
fn loss(attended: &Attended, cotangents: [Tensor; 3]) -> Tensor {
    let results = [&attended.output, &attended.weights, &attended.c];
    let parts = results
        .iter()
        .zip(&cotangents)
        .map(|(y, g)| sum(&mul(y, g).unwrap()).unwrap());
    parts.reduce(|a, b| add(&a, &b).unwrap()).unwrap()
}

fn agrees_with_pytorch(case: &Case) {
    let inputs: Vec<Tensor> = NAMES.iter().map(|name| case.tracked(name)).collect();
    let attended = run(&inputs, &case.integers("image_of")).unwrap();
    case.close("output_output", &attended.output, 1e-6);
    case.close("output_weights", &attended.weights, 1e-6);
    case.close("output_c", &attended.c, 1e-6);
    let cotangents = ["output", "weights", "c"].map(|n| case.tensor(&format!("grad_output_{n}")));
    let grads = loss(&attended, cotangents).backward().unwrap();
    for (name, leaf) in NAMES.iter().zip(&inputs) {
        case.close(&format!("grad_{name}"), grads.get(leaf).unwrap(), 2e-6);
    }
}

#[test]
fn one_step_agrees_with_pytorch() {
    on_every_device(|| agrees_with_pytorch(&fixture("attention_lstm_step")));
}

#[test]
fn a_sequence_with_shared_images_agrees_with_pytorch() {
    on_every_device(|| agrees_with_pytorch(&fixture("attention_lstm_sequence")));
}

/// Small, and no size a multiple of a vector's.
const SMALL: Sizes = Sizes {
    sentences: 3,
    steps: 3,
    images: 2,
    positions: 5,
    inputs: 4,
    key: 19,
    value: 7,
    hidden: 6,
};

#[test]
fn a_sequence_is_its_steps() {
    on_every_device(|| {
        let inputs = random_inputs(SMALL);
        let image_of = [1, 0, 1];
        let all = run(&inputs, &image_of).unwrap();
        assert!(!all.output.is_tracked() && !all.weights.is_tracked());
        let mut step = inputs.clone();
        for t in 0..SMALL.steps {
            step[0] = narrow(&inputs[0], 1, t, 1).unwrap();
            let one = run(&step, &image_of).unwrap();
            for (name, one, all) in [
                ("output", &one.output, &all.output),
                ("weights", &one.weights, &all.weights),
            ] {
                let want = narrow(all, 1, t, 1).unwrap();
                assert_close(name, one.data(), want.data(), 1e-6);
            }
            let state = [SMALL.sentences, SMALL.hidden];
            step[3] = narrow(&one.output, 2, 0, SMALL.hidden)
                .and_then(|h| h.reshape(&state))
                .unwrap();
            step[4] = one.c;
        }
        assert_close("c", step[4].data(), all.c.data(), 1e-6);
    });
}

/// Results and every gradient, one after the other.
fn everything(sizes: Sizes, image_of: &[usize]) -> Vec<f32> {
    let inputs = tracked(&random_inputs(sizes));
    let attended = run(&inputs, image_of).unwrap();
    let results = [&attended.output, &attended.weights, &attended.c];
    let mut seed = 20;
    let cotangents = results.map(|y| {
        seed += 1;
        random(y.dims(), seed)
    });
    let grads = loss(&attended, cotangents).backward().unwrap();
    let grads = inputs.iter().map(|leaf| grads.get(leaf).unwrap());
    let all = results.into_iter().chain(grads);
    all.flat_map(|t| t.data().to_vec()).collect()
}

/// The first of `images` images is looked at by most sentences.
fn some_images(sizes: Sizes) -> Vec<usize> {
    (0..sizes.sentences)
        .map(|s| (s * s + 1) % (s + 1) % sizes.images)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape_agrees_with_the_definition(
        (sentences, steps, images) in (1..6usize, 1..4usize, 1..4usize),
        (positions, inputs, key) in (1..20usize, 1..12usize, 1..40usize),
        (value, hidden) in (1..40usize, 1..30usize),
    ) {
        let sizes = Sizes { sentences, steps, images, positions, inputs, key, value, hidden };
        let run = || everything(sizes, &some_images(sizes));
        agrees_with_the_definition("attention_lstm", 1e-5, run);
    }
}

#[test]
fn large_maps_and_many_sentences_agree_with_the_definition() {
    let sizes = Sizes {
        sentences: 21,
        steps: 2,
        images: 3,
        positions: 196,
        inputs: 9,
        key: 33,
        value: 70,
        hidden: 20,
    };
    let run = || everything(sizes, &some_images(sizes));
    agrees_with_the_definition("attention_lstm", 1e-5, run);
}

#[test]
fn the_weights_are_a_distribution_even_where_scores_are_huge() {
    on_every_device(|| {
        let mut inputs = random_inputs(SMALL);
        inputs[8] = crate::ops::scale(&inputs[8], 1e4).unwrap();
        let weights = run(&inputs, &[0, 1, 1]).unwrap().weights;
        for row in weights.data().chunks(SMALL.positions) {
            let total: f32 = row.iter().sum();
            assert!((total - 1.0).abs() < 1e-5, "{row:?}");
            assert!(row.iter().all(|w| (0.0..=1.0).contains(w)), "{row:?}");
        }
    });
}

#[test]
fn only_what_is_tracked_has_a_gradient() {
    on_every_device(|| {
        let inputs = random_inputs(SMALL);
        let all = tracked(&inputs);
        let full = run(&all, &[0, 1, 1]).unwrap().output;
        let above = random(full.dims(), 30);
        let full = full.backward_from(&above).unwrap();
        for (i, name) in NAMES.iter().enumerate() {
            let mut one = inputs.clone();
            one[i] = one[i].tracked();
            let y = run(&one, &[0, 1, 1]).unwrap().output;
            let grads = y.backward_from(&above).unwrap();
            let (got, want) = (grads.get(&one[i]).unwrap(), full.get(&all[i]).unwrap());
            assert_close(name, got.data(), want.data(), 1e-6);
        }
    });
}

#[test]
fn the_number_of_threads_and_another_run_change_nothing() {
    let sizes = Sizes {
        sentences: 40,
        steps: 3,
        images: 7,
        positions: 20,
        inputs: 9,
        key: 33,
        value: 18,
        hidden: 21,
    };
    let run = || everything(sizes, &some_images(sizes));
    let with = |n| threads::with_count(n, run).unwrap();
    assert_eq!(with(1), with(3));
    on_every_device(|| assert_eq!(run(), run()));
}

#[test]
fn nan_stays_visible() {
    on_every_isa(|| {
        let mut inputs = random_inputs(SMALL);
        inputs[1].data_mut()[0] = f32::NAN;
        let attended = run(&inputs, &[0, 1, 1]).unwrap();
        assert!(attended.weights.data()[0].is_nan());
        assert!(attended.output.data()[0].is_nan());
    });
}

#[test]
fn mistakes_name_the_shapes() {
    let inputs = random_inputs(SMALL);
    let complaint = |change: &dyn Fn(&mut Vec<Tensor>), image_of: &[usize]| {
        let mut inputs = inputs.clone();
        change(&mut inputs);
        run(&inputs, image_of).unwrap_err().to_string()
    };
    let images = [0, 1, 1];
    assert_eq!(
        complaint(&|t| t[8] = Tensor::zeros(&[20]), &images),
        "attention_lstm: expected x [S, T, E], keys [N, P, A], values [N, P, V], S images, w_ih [4H, E + V], \
         w_hh [A + V + 4H, H], bias [V + 4H] and score [A], none of them empty, got [3, 3, 4], [2, 5, 19], \
         [2, 5, 7], 3, [24, 11], [50, 6], [31] and [20]"
    );
    assert_eq!(
        complaint(&|t| t[4] = Tensor::zeros(&[3, 5]), &images),
        "attention_lstm: expected h0 and c0 [3, 6], got [3, 6] and [3, 5]"
    );
    assert_eq!(
        complaint(&|_| (), &[0, 1, 2]),
        "attention_lstm: there is no image 2 among 2 (from 0 on)"
    );
    for i in 0..9 {
        let grown = |t: &mut Vec<Tensor>| {
            let mut dims = t[i].dims().to_vec();
            *dims.last_mut().unwrap() += 1;
            t[i] = Tensor::zeros(&dims);
        };
        assert!(
            complaint(&grown, &images).contains("expected"),
            "{}",
            NAMES[i]
        );
        let flat = |t: &mut Vec<Tensor>| t[i] = Tensor::scalar(1.0);
        assert!(
            complaint(&flat, &images).contains("expected"),
            "{}",
            NAMES[i]
        );
    }
    assert!(
        complaint(&|t| t[0] = Tensor::zeros(&[3, 0, 4]), &images).contains("none of them empty")
    );
    assert!(complaint(&|_| (), &[0, 1]).contains("S images"));
}
