use super::*;
use crate::ops::testing::{agrees_with_the_definition, fixture, on_every_device, random};

fn options(weight_decay: f32, decoupled: bool) -> Adam {
    Adam {
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay,
        decoupled,
    }
}

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        let cases = [
            ("adam", options(0.0, false)),
            ("adam_weight_decay", options(0.05, false)),
            ("adamw", options(0.05, true)),
        ];
        for (name, options) in cases {
            let case = fixture(name);
            let param = case.tensor("param");
            let [m, v] = [0, 1].map(|_| Tensor::zeros(param.dims()));
            let grad = m.clone();
            let mut all = [Step {
                param,
                grad,
                m,
                v,
                decays: true,
            }];
            for i in 1..=5 {
                all[0].grad = case.tensor(&format!("grad_{i}"));
                step(&mut all, &Tensor::scalar(1.0), i, &options).unwrap();
                case.close(&format!("param_{i}"), &all[0].param, 1e-6);
            }
        }
    });
}

/// Parameters of these lengths, every other one without decay.
fn several(lengths: &[usize]) -> Vec<Step> {
    let one = |(i, &n): (usize, &usize)| Step {
        param: random(&[n], 1).tracked(),
        grad: random(&[n], 3),
        m: random(&[n], 2),
        v: Tensor::full(&[n], 0.5),
        decays: i % 2 == 0,
    };
    lengths.iter().enumerate().map(one).collect()
}

fn contents(all: &[Step]) -> Vec<f32> {
    let parts = all.iter().flat_map(|s| [&s.param, &s.m, &s.v]);
    parts.flat_map(|t| t.data().to_vec()).collect()
}

#[test]
fn any_lengths_agree_with_the_definition() {
    for (lengths, decoupled) in [(&[0, 1, 37][..], false), (&[5, 70_001, 3, 8], true)] {
        let run = || {
            let mut all = several(lengths);
            for i in 7..9 {
                step(&mut all, &Tensor::scalar(1.0), i, &options(0.1, decoupled)).unwrap();
            }
            assert!(all.iter().all(|s| s.param.is_tracked()));
            contents(&all)
        };
        agrees_with_the_definition("adam", 1e-6, run);
    }
}

#[test]
fn copies_of_the_old_parameters_do_not_change() {
    on_every_device(|| {
        let mut all = several(&[4, 9]);
        let before: Vec<Tensor> = all.iter().map(|s| s.param.detach()).collect();
        let values = contents(&all);
        step(&mut all, &Tensor::scalar(1.0), 1, &options(0.1, true)).unwrap();
        assert_eq!(before[0].data(), &values[..4]);
        assert_ne!(all[0].param.data(), before[0].data());
    });
}

#[test]
fn nothing_moves_by_a_gradient_that_is_no_number() {
    on_every_device(|| {
        let mut all = several(&[4, 9]);
        let before = contents(&all);
        for norm in [f32::NAN, f32::INFINITY] {
            step(&mut all, &Tensor::scalar(norm), 1, &options(0.1, true)).unwrap();
        }
        assert_eq!(contents(&all), before);
    });
}

#[test]
fn mistakes_are_named() {
    let (plain, norm) = (options(0.0, false), Tensor::scalar(1.0));
    assert!(step(&mut several(&[3]), &norm, 0, &plain).is_err());
    let mut wrong = several(&[3]);
    wrong[0].m = Tensor::zeros(&[2]);
    assert!(step(&mut wrong, &norm, 1, &plain).is_err());
    assert!(step(&mut [], &norm, 1, &plain).is_ok());
}
