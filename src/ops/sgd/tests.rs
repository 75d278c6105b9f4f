use super::*;
use crate::cpu::{Isa, Level};
use crate::ops::testing::{assert_close, fixture, on_every_device, random};

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        for (name, nesterov) in [("sgd_momentum", false), ("sgd_nesterov", true)] {
            let options = Sgd {
                lr: 0.1,
                momentum: 0.9,
                weight_decay: 0.01,
                nesterov,
            };
            let case = fixture(name);
            let param = case.tensor("param");
            let velocity = Tensor::zeros(param.dims());
            let grad = velocity.clone();
            let mut all = [Step {
                param,
                grad,
                velocity,
                decays: true,
            }];
            for i in 1..=5 {
                all[0].grad = case.tensor(&format!("grad_{i}"));
                step(&mut all, &Tensor::scalar(1.0), &options).unwrap();
                case.close(&format!("param_{i}"), &all[0].param, 1e-6);
            }
        }
    });
}

fn several(lengths: &[usize]) -> Vec<Step> {
    let one = |(i, &n): (usize, &usize)| Step {
        param: random(&[n], 1).tracked(),
        grad: random(&[n], 3),
        velocity: random(&[n], 2),
        decays: i % 2 == 1,
    };
    lengths.iter().enumerate().map(one).collect()
}

#[test]
fn any_lengths_agree_with_the_definition() {
    for (lengths, momentum) in [(&[0, 1][..], 0.0), (&[37, 70_001, 5], 0.9)] {
        let options = Sgd {
            lr: 0.1,
            momentum,
            weight_decay: 0.1,
            nesterov: lengths.len() == 3,
        };
        let run = |norm: f32| {
            let mut all = several(lengths);
            (0..2).for_each(|_| step(&mut all, &Tensor::scalar(norm), &options).unwrap());
            let parts = all.iter().flat_map(|s| [&s.param, &s.velocity]);
            parts.flat_map(|t| t.data().to_vec()).collect::<Vec<f32>>()
        };
        let naive = Isa::new(Level::Naive).unwrap();
        let [want, still] = [1.0, f32::NAN].map(|norm| naive.scope(|| run(norm)));
        on_every_device(|| {
            assert_close("sgd", &run(1.0), &want, 1e-6);
            assert_eq!(run(f32::NAN), still);
        });
    }
    let mut wrong = several(&[3]);
    wrong[0].grad = Tensor::zeros(&[2]);
    let options = Sgd {
        lr: 0.1,
        momentum: 0.9,
        weight_decay: 0.0,
        nesterov: false,
    };
    assert!(step(&mut wrong, &Tensor::scalar(1.0), &options).is_err());
}
