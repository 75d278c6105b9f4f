//! Tests of fine-tuning an encoder: which parameters change, by how much, and which stay as they were.

#[path = "common/dataset.rs"]
mod dataset;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use glimpse::data::weights::{self, WeightFile};
use glimpse::model::{DenseNet, DenseNetConfig, file};
use glimpse::nn::{Init, Module, Role};
use glimpse::tensor::Device;
use glimpse::train::{Control, Event, RunOptions, Source, TrainConfig, Trainer};

/// A folder with four pictures, their captions, and `encoder.safetensors`, an encoder with random statistics.
fn with_encoder() -> tempfile::TempDir {
    let dir = dataset::dataset(4);
    let mut net = encoder();
    let tensors = file::module_tensors("", &mut net);
    let path = dir.path().join("encoder.safetensors");
    weights::write_weights(&path, &tensors, Default::default(), HashMap::new()).unwrap();
    dir
}

fn encoder() -> DenseNet {
    let config = DenseNetConfig {
        growth: 8,
        blocks: vec![2, 2, 2],
        stem: 8,
        bottleneck: 4,
        eps: 1e-5,
    };
    let mut init = Init::new(1);
    let mut net = DenseNet::new(&config, &mut init).unwrap();
    net.visit("", &mut |_, role, tensor| {
        if role == Role::Statistic {
            let drawn = init.uniform(tensor.dims(), 0.2);
            for (to, x) in tensor.data_mut().iter_mut().zip(drawn.data()) {
                *to += x;
            }
        }
    });
    net
}

fn config(encoder: &str, optimizer: &str) -> TrainConfig {
    let text = format!(
        "batch = 2\nmin_count = 1\nvalidate_every = 0\n[decoder]\nembedding = 8\nhidden = 8\ndropout = 0.0\n\
         [image]\nsize = 32\n[optimizer]\n{optimizer}\n[encoder]\n{encoder}\n"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, text).unwrap();
    TrainConfig::read(&path).unwrap()
}

/// Trains for `steps`, and returns the model and the number of trained elements.
fn train(data: &Path, config: TrainConfig, steps: u64) -> (WeightFile, usize) {
    let out = data.join("a.safetensors");
    let encoder = data.join("encoder.safetensors");
    let mut trainer = Trainer::new(data, Source::Encoder(&encoder), config, &Device::Cpu).unwrap();
    let options = RunOptions {
        out: out.clone(),
        checkpoint_every: 0,
        max_steps: Some(steps),
    };
    let mut counted = 0;
    let mut watch = |event| {
        if let Event::Start { parameters, .. } = event {
            counted = parameters;
        }
        Control::Continue
    };
    trainer.run(&options, &mut watch).unwrap();
    (WeightFile::open(out).unwrap(), counted)
}

/// The change of a tensor of the encoder: the norm of the difference, and whether any bit differs.
fn moved(file: &WeightFile, name: &str, before: &[f32]) -> (f64, bool) {
    let after = file.tensor(&format!("encoder.{name}")).unwrap();
    let pairs = || after.data().iter().zip(before);
    let squares = pairs().map(|(a, b)| f64::from(a - b).powi(2));
    let changed = pairs().any(|(a, b)| a.to_bits() != b.to_bits());
    (squares.sum::<f64>().sqrt(), changed)
}

#[test]
fn what_is_frozen_keeps_every_bit_and_the_rest_moves() {
    let data = with_encoder();
    let mut decoder = None;
    for (train_what, statistics) in [
        ("last-block", "batch"),
        ("last-block", "frozen"),
        ("after-first-block", "batch"),
        ("all", "batch"),
        ("all", "frozen"),
    ] {
        let text = format!("train = \"{train_what}\"\nstatistics = \"{statistics}\"");
        let (file, counted) = train(data.path(), config(&text, "lr = 1e-2"), 3);
        let mut tuned = 0;
        encoder().visit("", &mut |name, role, before| {
            let last = name.contains("denseblock3") || name.contains("norm5");
            let trained = match train_what {
                "all" => true,
                "after-first-block" => {
                    last || name.contains("denseblock2") || name.contains("transition2")
                }
                _ => last,
            };
            let moves = trained && (role.is_trained() || statistics == "batch");
            let (_, changed) = moved(&file, name, before.data());
            assert_eq!(changed, moves, "{train_what}, {statistics}: {name}");
            if trained && role.is_trained() {
                tuned += before.len();
            }
        });
        // The count includes the decoder, which is equal in all cases.
        assert_eq!(
            *decoder.get_or_insert(counted - tuned),
            counted - tuned,
            "{train_what}"
        );
    }
}

/// The norm of the change of the encoder's parameters in one step of plain gradient descent.
fn length_of_a_step(data: &Path, text: &str) -> f64 {
    let optimizer = "kind = \"sgd\"\nlr = 0.5\nmomentum = 0.0\nweight_decay = 0.0\nwarmup = 0.0";
    let (file, _) = train(data, config(text, optimizer), 1);
    let mut square = 0.0;
    encoder().visit("", &mut |name, role, before| {
        if role.is_trained() {
            square += moved(&file, name, before.data()).0.powi(2);
        }
    });
    square.sqrt()
}

#[test]
fn the_encoder_moves_at_its_own_learning_rate() {
    let data = with_encoder();
    let length = |text: &str| length_of_a_step(data.path(), text);
    for part in ["train = \"all\"", "train = \"last-block\""] {
        let whole = length(part);
        let half = length(&format!("{part}\nlr = 0.25"));
        let hardly = length(&format!("{part}\nlr = 1e-9"));
        assert!(whole > 1e-3, "{whole}");
        assert!((half / whole - 0.5).abs() < 1e-3, "{half} and {whole}");
        assert!(hardly < 1e-3 * whole, "{hardly} and {whole}");
        let decaying = length(&format!("{part}\nweight_decay = 0.5"));
        assert!(decaying > 1.5 * whole, "{decaying} and {whole}");
    }
}

#[test]
fn a_pace_that_is_the_optimizers_changes_nothing() {
    let data = with_encoder();
    let bytes = |text: &str| {
        let (file, _) = train(data.path(), config(text, "lr = 1e-2"), 3);
        let mut all = Vec::new();
        encoder().visit("", &mut |name, _, _| {
            all.extend(file.tensor(&format!("encoder.{name}")).unwrap().into_vec());
        });
        all
    };
    let plain = bytes("train = \"all\"");
    let told = bytes("train = \"all\"\nlr = 1e-2\nweight_decay = 0.05\nstatistics = \"batch\"");
    assert!(plain == told);
}
