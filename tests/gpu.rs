//! Tests of faults of the GPU and of the program's state after them.
//!
//! Without a GPU, not even a software one, these tests print a message and do nothing, unless `GLIMPSE_TEST_GPU` is
//! set.

#[path = "common/dataset.rs"]
mod dataset;

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use glimpse::error::Error;
use glimpse::gpu::{Choice, Gpu};
use glimpse::model::{Captioner, DenseNetConfig, Trained, Tuning};
use glimpse::nn::{Module, Role};
use glimpse::ops;
use glimpse::tensor::{Device, Tensor};
use glimpse::train::config::{OptimizerConfig, OptimizerKind};
use glimpse::train::optimizer::{GroupSettings, Optimizer};
use glimpse::train::{Control, Event, RunOptions, Source, TrainConfig, Trainer};

/// Opens a new device, because tests may lose theirs. Returns `None` without a GPU.
fn open() -> Option<Gpu> {
    let named = std::env::var("GLIMPSE_GPU").ok();
    match Gpu::open(&named.map_or(Choice::Best, Choice::Named)) {
        Ok(gpu) => Some(gpu),
        Err(e) => {
            assert!(std::env::var_os("GLIMPSE_TEST_GPU").is_none(), "{e}");
            println!("skipped: {e}");
            None
        }
    }
}

fn one_line(error: &Error) -> String {
    let text = error.to_string();
    assert!(
        !text.contains('\n') && matches!(error, Error::Gpu { .. }),
        "{text}"
    );
    text
}

fn config() -> TrainConfig {
    let text = r#"
        epochs = 4
        batch = 2
        min_count = 1
        validate_every = 0
        [decoder]
        embedding = 8
        hidden = 8
        [encoder]
        train = "all"
        new = { growth = 8, blocks = [1, 1], stem = 8 }
        [image]
        size = 32
    "#;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, text).unwrap();
    TrainConfig::read(&path).unwrap()
}

fn options(out: &Path) -> RunOptions {
    RunOptions {
        out: out.to_path_buf(),
        checkpoint_every: 2,
        max_steps: None,
    }
}

#[test]
fn a_device_that_disappears_while_training_leaves_the_last_checkpoint_whole() {
    let Some(gpu) = open() else { return };
    let data = dataset::dataset(8);
    let out = data.path().join("a.safetensors");
    let mut trainer = Trainer::new(
        data.path(),
        Source::Default,
        config(),
        &Device::Gpu(gpu.clone()),
    )
    .unwrap();
    let error = trainer
        .run(&options(&out), &mut |event| {
            if matches!(event, Event::Step(report) if report.step == 3) {
                gpu.lose();
            }
            Control::Continue
        })
        .unwrap_err();
    let text = one_line(&error);
    assert!(text.contains("lost") && text.contains("--resume"), "{text}");
    assert!(!out.exists());

    // The training can be resumed after step 2, on another device or on the CPU.
    let checkpoint = data.path().join("a.checkpoint.safetensors");
    let Some(other) = open() else { return };
    for device in [Device::Gpu(other), Device::Cpu] {
        let mut resumed = Trainer::resume(data.path(), &checkpoint, &device).unwrap();
        assert_eq!(resumed.step().unwrap().step, 3);
    }
}

#[test]
fn a_step_that_is_too_large_is_refused_with_its_numbers_and_saves_what_there_is() {
    let Some(gpu) = open() else { return };
    let data = dataset::dataset(8);
    let out = data.path().join("a.safetensors");
    let mut trainer = Trainer::new(
        data.path(),
        Source::Default,
        config(),
        &Device::Gpu(gpu.clone()),
    )
    .unwrap();
    let most = gpu.max_elements();
    let error = trainer
        .run(&options(&out), &mut |event| {
            // From here on, the device has no buffer that is large enough for a batch.
            if matches!(event, Event::Step(report) if report.step == 3) {
                gpu.limit(500);
            }
            Control::Continue
        })
        .unwrap_err();
    let text = one_line(&error);
    assert!(
        text.contains("MB") && text.contains("smaller batch"),
        "{text}"
    );
    assert!(text.contains("saved after step 3"), "{text}");
    gpu.limit(most);
    let checkpoint = data.path().join("a.checkpoint.safetensors");
    let mut resumed = Trainer::resume(data.path(), &checkpoint, &Device::Gpu(gpu)).unwrap();
    assert_eq!(resumed.step().unwrap().step, 4);
}

#[test]
fn a_device_without_memory_left_is_refused_with_what_it_needed_and_saves_what_there_is() {
    let Some(gpu) = open() else { return };
    let data = dataset::dataset(8);
    let out = data.path().join("a.safetensors");
    let mut trainer = Trainer::new(
        data.path(),
        Source::Default,
        config(),
        &Device::Gpu(gpu.clone()),
    )
    .unwrap();
    let error = trainer
        .run(&options(&out), &mut |event| {
            if matches!(event, Event::Step(report) if report.step == 3) {
                let [in_use, ..] = gpu.memory();
                gpu.limit_memory((in_use * 1e6) as u64 + 1000);
            }
            Control::Continue
        })
        .unwrap_err();
    let text = one_line(&error);
    assert!(
        text.contains("no memory is left") && text.contains("smaller batch"),
        "{text}"
    );
    assert!(text.contains("saved after step 3"), "{text}");
    gpu.limit_memory(u64::MAX);
    // Both this run and a run resumed from the checkpoint can continue with step 4.
    let checkpoint = data.path().join("a.checkpoint.safetensors");
    let mut resumed = Trainer::resume(data.path(), &checkpoint, &Device::Gpu(gpu)).unwrap();
    assert_eq!(resumed.step().unwrap().step, 4);
    assert_eq!(trainer.step().unwrap().step, 4);
}

#[test]
fn what_waits_makes_room_for_what_is_needed() {
    let Some(gpu) = open() else { return };
    let device = Device::Gpu(gpu.clone());
    gpu.limit_memory(1_000_000);
    // All sizes differ, so no freed buffer can be reused, and together the buffers are much larger than the limit.
    for n in (10_000..60_000).step_by(7000) {
        let x = Tensor::full(&[n], 1.0).to(&device).unwrap();
        assert_eq!(
            ops::sum(&ops::scale(&x, 2.0).unwrap())
                .unwrap()
                .item()
                .unwrap(),
            2.0 * n as f32
        );
    }
    assert!(Tensor::zeros(&[300_000]).to(&device).is_err());
}

#[test]
fn a_buffer_beyond_the_limit_is_refused_and_everything_else_goes_on() {
    let Some(gpu) = open() else { return };
    gpu.limit(1000);
    let device = Device::Gpu(gpu.clone());
    let text = one_line(&Tensor::zeros(&[1001]).to(&device).unwrap_err());
    assert!(
        text.contains(gpu.name()) && text.contains("0.0 MB"),
        "{text}"
    );
    let x = Tensor::full(&[1000], 2.0).to(&device).unwrap();
    let two = ops::concat(&[&x, &x]);
    assert!(two.is_err());
    assert_eq!(ops::sum(&x).unwrap().item().unwrap(), 2000.0);
}

#[test]
fn a_lost_device_answers_every_question_with_an_error() {
    let Some(gpu) = open() else { return };
    let device = Device::Gpu(gpu.clone());
    let x = Tensor::full(&[3], 1.0).to(&device).unwrap();
    let y = ops::scale(&x, 2.0).unwrap();
    gpu.lose();
    assert!(y.data().iter().all(|v| v.is_nan()));
    for error in [
        y.item().unwrap_err(),
        y.to(&Device::Cpu).unwrap_err(),
        ops::scale(&x, 2.0).unwrap_err(),
        Tensor::zeros(&[3]).to(&device).unwrap_err(),
    ] {
        assert!(one_line(&error).contains("lost"), "{error}");
    }
}

#[test]
fn memory_comes_back_when_tensors_are_dropped() {
    let Some(gpu) = open() else { return };
    let device = Device::Gpu(gpu.clone());
    let step = || {
        let x = Tensor::full(&[64, 100], 1.0).to(&device).unwrap().tracked();
        let w = Tensor::full(&[50, 100], 0.1).to(&device).unwrap().tracked();
        let y = ops::relu(&ops::linear(&x, &w, None).unwrap()).unwrap();
        ops::mean(&y).unwrap().backward().unwrap();
    };
    step();
    let [in_use, most, waiting] = gpu.memory();
    assert_eq!(in_use, 0.0);
    assert!(most > 0.0 && waiting > 0.0 && waiting <= most);
    (0..20).for_each(|_| step());
    let [in_use, later, waiting] = gpu.memory();
    assert_eq!(
        (in_use, later),
        (0.0, most),
        "the same work needs the same memory"
    );
    assert!(waiting <= most);
}

#[test]
fn threads_share_a_device() {
    let Some(gpu) = open() else { return };
    let device = Device::Gpu(gpu);
    let done = Mutex::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (device, done) = (&device, &done);
            scope.spawn(move || {
                for i in 0..30 {
                    let value = (thread * 100 + i) as f32;
                    let x = Tensor::full(&[257], value).to(device).unwrap();
                    let y = ops::add(&x, &ops::scale(&x, 2.0).unwrap()).unwrap();
                    assert!(y.data().iter().all(|&y| y == 3.0 * value));
                }
                *done.lock().unwrap() += 1;
            });
        }
    });
    assert_eq!(done.into_inner().unwrap(), 4);
}

#[test]
fn images_that_are_too_many_for_one_buffer_are_taken_in_groups() {
    let Some(gpu) = open() else { return };
    let config = DenseNetConfig {
        growth: 8,
        blocks: vec![2, 2],
        stem: 8,
        bottleneck: 4,
        eps: 1e-5,
    };
    let mut encoder =
        glimpse::model::DenseNet::new(&config, &mut glimpse::nn::Init::new(1)).unwrap();
    let images = glimpse::nn::Init::new(2).normal(&[5, 32, 32, 3], 1.0);
    let run = |encoder: &glimpse::model::DenseNet| {
        let features = encoder
            .features(&images, glimpse::nn::Mode::Inference)
            .unwrap();
        features.to(&Device::Cpu).unwrap().into_vec()
    };
    let want = run(&encoder);
    encoder.to(&Device::Gpu(gpu.clone())).unwrap();
    // Room for all images at once, for two at a time, and for one at a time.
    for most in [gpu.max_elements(), 2 * 32 * 32 * 3, 32 * 32 * 3] {
        gpu.limit(most);
        let worst = run(&encoder)
            .iter()
            .zip(&want)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 1e-4, "{worst}");
    }
}

#[test]
fn a_model_that_was_on_a_device_is_written_as_it_was() {
    let Some(gpu) = open() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut captioner = Captioner::bundled().unwrap();
    let precision = glimpse::data::weights::NumberFormat::F32;
    let [before, after] = ["a.safetensors", "b.safetensors"].map(|name| dir.path().join(name));
    captioner.save(&before, precision).unwrap();
    captioner.to(&Device::Gpu(gpu)).unwrap();
    captioner.save(&after, precision).unwrap();
    assert!(fs::read(before).unwrap() == fs::read(after).unwrap());
}

#[test]
fn parameters_that_fit_no_buffer_together_move_all_the_same() {
    let Some(gpu) = open() else { return };
    let options = ops::adam::Adam {
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.1,
        decoupled: true,
    };
    let run = |device: &Device| {
        let random = |n: usize, seed| {
            let tensor = glimpse::nn::Init::new(seed).normal(&[n], 1.0);
            tensor.to(device).unwrap()
        };
        let lengths = [300, 500, 700, 200, 100];
        let mut grads: Vec<Tensor> = (1..).zip(lengths).map(|(i, n)| random(n, i)).collect();
        let norm = ops::clip_grad_norm(&mut grads, 2.0).unwrap();
        let steps = grads
            .into_iter()
            .zip(10..)
            .map(|(grad, seed)| ops::adam::Step {
                param: random(grad.len(), seed),
                m: Tensor::zeros(grad.dims()),
                v: Tensor::zeros(grad.dims()),
                decays: seed % 2 == 0,
                grad,
            });
        let mut all: Vec<ops::adam::Step> = steps.collect();
        for i in 1..4 {
            ops::adam::step(&mut all, &norm, i, &options).unwrap();
        }
        let parts = all.iter().flat_map(|s| [&s.param, &s.m, &s.v]);
        let mut values: Vec<f32> = parts.flat_map(|t| t.data().to_vec()).collect();
        values.push(norm.item().unwrap());
        values
    };
    let want = run(&Device::Cpu);
    for limit in [usize::MAX, 1600, 1000, 700] {
        gpu.limit(limit);
        let got = run(&Device::Gpu(gpu.clone()));
        let worst = got
            .iter()
            .zip(&want)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 1e-5, "{limit}: {worst}");
    }
}

#[test]
fn tuning_has_the_same_gradients_on_a_device() {
    let Some(gpu) = open() else { return };
    let config = DenseNetConfig {
        growth: 8,
        blocks: vec![2, 2],
        stem: 8,
        bottleneck: 4,
        eps: 1e-5,
    };
    let images = glimpse::nn::Init::new(2).normal(&[3, 32, 32, 3], 1.0);
    let cotangent = glimpse::nn::Init::new(3).normal(&[3, config.features()], 1.0);
    let run = |tuning: Tuning, device: &Device| {
        let mut init = glimpse::nn::Init::new(1);
        let mut encoder = glimpse::model::DenseNet::new(&config, &mut init).unwrap();
        encoder.to(device).unwrap();
        encoder.set_tuning(tuning);
        encoder.track_tuned();
        let mode = glimpse::nn::Mode::Training { seed: 0 };
        let features = encoder.features(&images, mode).unwrap();
        let grads = features.backward_from(&cotangent).unwrap();
        let mut all = vec![features.data().to_vec()];
        encoder.visit("", &mut |_, _, t| {
            let values = grads.get(t).unwrap_or(t);
            all.push(values.data().to_vec());
        });
        all
    };
    for (trained, frozen_statistics) in [
        (Trained::All, true),
        (Trained::AfterFirstBlock, false),
        (Trained::LastBlock, true),
        (Trained::LastBlock, false),
    ] {
        let tuning = Tuning {
            trained,
            frozen_statistics,
        };
        let want = run(tuning, &Device::Cpu);
        let got = run(tuning, &Device::Gpu(gpu.clone()));
        for (got, want) in got.iter().zip(&want) {
            let largest = want.iter().map(|x| x.abs()).fold(1.0, f32::max);
            let off = got.iter().zip(want).map(|(a, b)| (a - b).abs());
            let worst = off.fold(0.0, f32::max) / largest;
            assert!(worst < 1e-4, "{tuning:?}: {worst}");
        }
    }
}

/// Two groups of one parameter each.
struct Groups([Tensor; 2]);

impl Module for Groups {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        for (tensor, name) in self.0.iter_mut().zip(["first", "second"]) {
            f(&format!("{prefix}{name}.weight"), Role::Weight, tensor);
        }
    }
}

#[test]
fn a_step_without_memory_leaves_no_group_moved_before_another() {
    let Some(gpu) = open() else { return };
    let device = Device::Gpu(gpu.clone());
    for kind in [OptimizerKind::AdamW, OptimizerKind::Sgd] {
        let config = OptimizerConfig {
            kind,
            ..OptimizerConfig::default()
        };
        let mut failed = 0;
        // The limit on memory grows from 0 until it is large enough.
        for room in (0..).step_by(100_000) {
            let params = [10_000, 60_000].map(|n| Tensor::full(&[n], 1.0));
            let mut groups = Groups(params.map(|t| t.to(&device).unwrap().tracked()));
            let mut optimizer = Optimizer::new(&config, &mut groups);
            let settings = GroupSettings {
                lr: 0.1,
                weight_decay: 0.0,
            };
            optimizer.set_group("second.", settings);
            let [first, second] = [0, 1].map(|i| ops::sum(&groups.0[i]).unwrap());
            let grads = ops::add(&first, &second).unwrap().backward().unwrap();
            gpu.wait().unwrap();
            let [in_use, ..] = gpu.memory();
            gpu.limit_memory((in_use * 1e6) as u64 + room);
            let stepped = optimizer.step(&mut groups, grads, 1.0);
            gpu.limit_memory(u64::MAX);
            let moved = [0, 1].map(|i| groups.0[i].data().iter().any(|&x| x != 1.0));
            let state = optimizer.tensors().unwrap();
            let remembers = state
                .iter()
                .any(|(_, t)| t.data().iter().any(|&x| x != 0.0));
            assert!(groups.0.iter().all(Tensor::is_tracked));
            if stepped.is_ok() {
                assert_eq!((moved, remembers), ([true, true], true));
                break;
            }
            one_line(&stepped.unwrap_err());
            assert_eq!((moved, remembers), ([false, false], false), "{room}");
            failed += 1;
        }
        assert!(failed > 3, "{failed}");
    }
}
