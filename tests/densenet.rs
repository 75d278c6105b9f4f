//! Tests of DenseNet and its parts against PyTorch: values in inference, gradients and running statistics in training.

#[path = "common/compare.rs"]
mod compare;

use std::path::Path;

use compare::{nhwc, relative};

use glimpse::cpu::{Isa, Precision};
use glimpse::data::weights::WeightFile;
use glimpse::model::{DenseNet, DenseNetConfig, Trained, Tuning, file};
use glimpse::nn::{Init, Mode, Module};
use glimpse::tensor::{Gradients, Tensor};

const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/densenet_tiny.safetensors"
);

#[track_caller]
fn close(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let error = relative(got, want);
    assert!(
        error <= tolerance,
        "{what}: relative error {error:.1e} exceeds {tolerance:.0e}"
    );
}

fn tiny(fixture: &WeightFile) -> DenseNet {
    let config = file::infer_config(fixture, "").unwrap();
    let want = DenseNetConfig {
        growth: 4,
        blocks: vec![2, 2],
        stem: 8,
        bottleneck: 2,
        eps: 1e-5,
    };
    assert_eq!(config, want, "the sizes are read off the shapes");
    let mut net = DenseNet::new(&config, &mut Init::new(1)).unwrap();
    file::load_module(fixture, "", &mut net).unwrap();
    net
}

#[test]
fn inference_agrees_with_pytorch() {
    let fixture = WeightFile::open(FIXTURE).unwrap();
    let x = fixture.tensor("x").unwrap();
    for isa in Isa::available() {
        isa.scope(|| {
            let net = tiny(&fixture);
            let spatial = net.spatial(&x, Mode::Inference).unwrap();
            close(
                "spatial",
                &spatial,
                &fixture.tensor("eval/spatial").unwrap(),
                1e-5,
            );
            let features = net.features(&x, Mode::Inference).unwrap();
            close(
                "pooled",
                &features,
                &fixture.tensor("eval/pooled").unwrap(),
                1e-5,
            );
            assert!(!features.is_tracked());
        });
        println!("passed on {isa}");
    }
}

/// The first two blocks of a network of the published sizes, with random weights and statistics.
fn first_blocks() -> DenseNet {
    let config = DenseNetConfig {
        blocks: vec![6, 3],
        ..DenseNetConfig::named("densenet121").unwrap()
    };
    let mut init = Init::new(3);
    let mut net = DenseNet::new(&config, &mut init).unwrap();
    let mut uniform = Init::new(4);
    net.visit("", &mut |name, _, tensor| {
        if name.ends_with("running_var") || name.contains("norm") && name.ends_with("weight") {
            let drawn = uniform.uniform(tensor.dims(), 0.5);
            for (to, x) in tensor.data_mut().iter_mut().zip(drawn.data()) {
                *to = 1.0 + x;
            }
        } else if name.ends_with("running_mean") || name.contains("norm") {
            *tensor = uniform.uniform(tensor.dims(), 0.1);
        }
    });
    net
}

#[test]
fn bf16_features_are_within_a_hundredth_on_every_instruction_set() {
    let x = Init::new(5).normal(&[2, 64, 48, 3], 1.0);
    let mut net = first_blocks();
    let exact = net.features(&x, Mode::Inference).unwrap();
    net.set_precision(Precision::Bf16);
    let mut all = Vec::new();
    for isa in Isa::available() {
        let features = isa.scope(|| net.features(&x, Mode::Inference).unwrap());
        let error = relative(&features, &exact);
        println!(
            "passed on {isa}, bf16 by instruction {}: {error:.1e}",
            isa.has_bf16()
        );
        assert!((1e-5..=1e-2).contains(&error), "{isa}: {error:.1e}");
        all.push(features);
    }
    // Instruction sets round sums differently, so some operands are rounded to a neighbouring bf16 number.
    for features in &all {
        close("each and the first", features, &all[0], 2e-3);
    }
    // Training ignores the precision.
    let training = net.features(&x, Mode::Training { seed: 0 }).unwrap();
    net.set_precision(Precision::F32);
    let again = net.features(&x, Mode::Training { seed: 0 }).unwrap();
    assert_eq!(training.data(), again.data());
}

#[test]
fn an_image_has_the_same_features_alone_and_in_a_batch() {
    // Large images pass the first stage one by one, small ones pass it together.
    for (side, precision) in [
        (224, Precision::F32),
        (224, Precision::Bf16),
        (32, Precision::F32),
    ] {
        let x = Init::new(6).normal(&[3, side, side, 3], 1.0);
        let mut net = first_blocks();
        net.set_precision(precision);
        let together = net.features(&x, Mode::Inference).unwrap();
        for i in 0..3 {
            let alone = x.narrow(i, 1).unwrap();
            let alone = net.features(&alone, Mode::Inference).unwrap();
            let row = together.narrow(i, 1).unwrap();
            close("alone and together", &row, &alone, 2e-6);
        }
    }
}

#[test]
fn what_is_learnt_is_used_in_inference_at_once() {
    let x = Init::new(5).normal(&[2, 32, 32, 3], 1.0);
    let mut net = first_blocks();
    let before = net.features(&x, Mode::Inference).unwrap();
    net.features(&x, Mode::Training { seed: 0 }).unwrap();
    let after = net.features(&x, Mode::Inference).unwrap();
    assert_ne!(before.data(), after.data(), "the statistics have moved");
    net.visit("", &mut |name, _, tensor| {
        if name == "features.norm0.weight" {
            tensor.data_mut().fill(0.0);
        }
    });
    let changed = net.features(&x, Mode::Inference).unwrap();
    assert_ne!(changed.data(), after.data(), "a scale was set");
}

const TRAINING: Mode = Mode::Training { seed: 0 };

/// Compares the gradient of a parameter with the one recorded under `pass`.
#[track_caller]
fn close_gradient(fixture: &WeightFile, pass: &str, grads: &Gradients, name: &str, leaf: &Tensor) {
    let want = fixture.tensor(&format!("{pass}/grad/{name}")).unwrap();
    // A batch norm undoes any scaling of its input, so some gradients are nearly zero and consist of rounding errors.
    // Their errors are measured relative to 1.
    let squares = want.data().iter().map(|x| f64::from(x * x));
    let norm = squares.sum::<f64>().sqrt();
    close(name, grads.get(leaf).unwrap(), &want, 5e-5 / norm.min(1.0));
}

#[test]
fn training_agrees_with_pytorch() {
    let fixture = WeightFile::open(FIXTURE).unwrap();
    let expected = |name: &str| fixture.tensor(name).unwrap();
    let x = expected("x").tracked();
    for isa in Isa::available() {
        isa.scope(|| {
            for (pass, frozen_statistics) in [("train", false), ("eval", true)] {
                let mut net = tiny(&fixture);
                net.set_tuning(Tuning {
                    frozen_statistics,
                    ..Tuning::default()
                });
                net.track_tuned();
                let features = net.features(&x, TRAINING).unwrap();
                let want = expected(&format!("{pass}/pooled"));
                close("pooled", &features, &want, 1e-5);
                let grads = features
                    .backward_from(&expected("train/grad_pooled"))
                    .unwrap();
                let want = expected(&format!("{pass}/grad_x"));
                close("x", grads.get(&x).unwrap(), &want, 5e-5);
                net.visit("", &mut |name, role, tensor| {
                    if role.is_trained() {
                        close_gradient(&fixture, pass, &grads, name, tensor);
                    } else if frozen_statistics {
                        assert_eq!(tensor.data(), expected(name).data(), "{name}");
                    } else {
                        let want = expected(&format!("train/new/{name}"));
                        close(name, tensor, &want, 1e-5);
                    }
                });
            }
        });
        println!("passed on {isa}");
    }
}

/// Whether a parameter of [`tiny`] is trained if only the last block is.
fn is_last(name: &str) -> bool {
    name.starts_with("features.denseblock2.") || name.starts_with("features.norm5.")
}

#[test]
fn the_last_block_alone_has_the_gradients_that_it_has_with_the_others() {
    let fixture = WeightFile::open(FIXTURE).unwrap();
    let expected = |name: &str| fixture.tensor(name).unwrap();
    // No gradient is computed before the last block, not even for a tracked image.
    let x = expected("x").tracked();
    for isa in Isa::available() {
        isa.scope(|| {
            let mut net = tiny(&fixture);
            net.set_tuning(Tuning {
                trained: Trained::LastBlock,
                frozen_statistics: true,
            });
            net.track_tuned();
            let features = net.features(&x, TRAINING).unwrap();
            close("pooled", &features, &expected("eval/pooled"), 1e-5);
            let grads = features
                .backward_from(&expected("train/grad_pooled"))
                .unwrap();
            assert!(grads.get(&x).is_none());
            net.visit("", &mut |name, role, tensor| {
                assert_eq!(
                    tensor.is_tracked(),
                    role.is_trained() && is_last(name),
                    "{name}"
                );
                if tensor.is_tracked() {
                    close_gradient(&fixture, "eval", &grads, name, tensor);
                }
            });
        });
        println!("passed on {isa}");
    }
}

#[test]
fn only_the_last_blocks_statistics_move_where_only_it_is_trained() {
    let fixture = WeightFile::open(FIXTURE).unwrap();
    let x = fixture.tensor("x").unwrap();
    let mut net = tiny(&fixture);
    net.set_tuning(Tuning {
        trained: Trained::LastBlock,
        frozen_statistics: false,
    });
    net.features(&x, TRAINING).unwrap();
    net.visit("", &mut |name, role, tensor| {
        let moved = tensor.data() != fixture.tensor(name).unwrap().data();
        assert_eq!(moved, !role.is_trained() && is_last(name), "{name}");
    });
}

#[test]
fn what_is_frozen_takes_large_images_in_groups() {
    let x = Init::new(6).normal(&[3, 224, 224, 3], 1.0);
    let mut net = first_blocks();
    let want = net.features(&x, Mode::Inference).unwrap();
    net.set_precision(Precision::Bf16);
    for trained in [Trained::All, Trained::AfterFirstBlock, Trained::LastBlock] {
        net.set_tuning(Tuning {
            trained,
            frozen_statistics: true,
        });
        net.track_tuned();
        let got = net.features(&x, TRAINING).unwrap();
        // All in f32, because training ignores the precision.
        close("features", &got, &want, 2e-6);
    }
}

/// The four published networks with random weights, in the folder that `tools/export_torchvision.py` wrote and
/// `GLIMPSE_TORCHVISION` names. Without the variable, this test does nothing.
#[test]
fn the_published_networks_agree_with_torchvision() {
    let Ok(folder) = std::env::var("GLIMPSE_TORCHVISION") else {
        println!(
            "skipped: GLIMPSE_TORCHVISION does not name a folder of tools/export_torchvision.py"
        );
        return;
    };
    for name in DenseNetConfig::NAMES {
        let folder = Path::new(&folder);
        let (mut net, _) = file::load_encoder(folder.join(format!("{name}.safetensors"))).unwrap();
        assert_eq!(net.config().name(), Some(name));
        let expected =
            WeightFile::open(folder.join(format!("{name}.expected.safetensors"))).unwrap();
        let x = nhwc(&expected.tensor("x").unwrap());
        let spatial = net.spatial(&x, Mode::Inference).unwrap();
        let want = nhwc(&expected.tensor("spatial").unwrap());
        let features = net.features(&x, Mode::Inference).unwrap();
        let want_features = expected.tensor("features").unwrap();
        println!(
            "{name}: spatial {:.1e}, features {:.1e}",
            relative(&spatial, &want),
            relative(&features, &want_features)
        );
        close(name, &spatial, &want, 1e-5);
        close(name, &features, &want_features, 1e-5);
        net.set_precision(Precision::Bf16);
        let features = net.features(&x, Mode::Inference).unwrap();
        let error = relative(&features, &want_features);
        println!("{name}: features in bf16 {error:.1e}");
        assert!(error <= 1e-2, "{name}: {error:.1e}");
    }
}

#[test]
fn a_file_that_does_not_fit_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = WeightFile::open(FIXTURE).unwrap();
    let mut net = tiny(&fixture);
    let mut tensors = file::module_tensors("", &mut net);
    let path = dir.path().join("net.safetensors");
    let message = |tensors: &[(String, Tensor)]| {
        let meta = std::collections::HashMap::new();
        glimpse::data::weights::write_weights(&path, tensors, Default::default(), meta).unwrap();
        file::load_encoder(&path).err().unwrap().to_string()
    };
    let mut broken = tensors.clone();
    broken.retain(|(name, _)| name != "features.norm5.weight");
    assert!(message(&broken).contains("`features.norm5.weight` [16] is missing"));
    tensors.last_mut().unwrap().1.data_mut()[0] = f32::NAN;
    assert!(message(&tensors).contains("not finite"));
    tensors.truncate(1);
    assert!(message(&tensors).contains("no DenseNet"));
}
