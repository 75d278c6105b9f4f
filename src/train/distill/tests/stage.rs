//! Tests of the whole stage.

use std::sync::Arc;

use super::made::noise;
use super::*;
use crate::cpu::threads;
use crate::data::{View, preprocess};
use crate::model::{DenseNet, DenseNetConfig};
use crate::nn::Mode;
use crate::ops::testing::{assert_close, here, on_every_device, random};

#[test]
fn pictures_that_are_not_the_teachers_are_refused() {
    let (dir, paths) = folder(4);
    let targets = make_targets(&paths, 2, 5, 4);
    let fails = |config: &DistillConfig| {
        let message = open(config).err().expect("it is refused").to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    };
    let fine = config(dir.path(), &[("t.safetensors", &targets)]);
    assert!(open(&fine).is_ok());

    // Another picture under the same name.
    let whole = std::fs::read(&paths[2]).unwrap();
    std::fs::copy(&paths[0], &paths[2]).unwrap();
    let message = fails(&fine);
    assert!(
        message.contains("p2.png") && message.contains("not the picture that the teacher saw"),
        "{message}"
    );
    // Of two candidates, one has the right digest.
    std::fs::create_dir(dir.path().join("more")).unwrap();
    std::fs::write(dir.path().join("more/p2.png"), &whole).unwrap();
    let mut two = fine.clone();
    two.pictures.push(dir.path().join("more"));
    assert!(open(&two).is_ok());

    std::fs::remove_file(&paths[2]).unwrap();
    let message = fails(&fine);
    assert!(
        message.contains("1 of 4 pictures are not there, the first is p2.png"),
        "{message}"
    );

    let mut other = fine.clone();
    other.pictures = vec![dir.path().join("nowhere")];
    assert!(fails(&other).contains("is not a folder"));

    // Two teachers that saw different pictures of one name.
    std::fs::write(&paths[2], &whole).unwrap();
    let mut changed = targets.clone();
    changed.header["digests"][1] = "0123456789abcdef".into();
    let both = config(
        dir.path(),
        &[("a.safetensors", &targets), ("b.safetensors", &changed)],
    );
    let message = fails(&both);
    assert!(
        message.contains("b.safetensors") && message.contains("p1.png"),
        "{message}"
    );

    let nearest = Recipe::new(Method::KerasNearest, 8).unwrap();
    let message = Distillation::open(&fine, Vec::new(), nearest)
        .err()
        .unwrap()
        .to_string();
    assert!(message.contains("keras-nearest"), "{message}");

    let mut asks = fine.clone();
    asks.targets[0].tags = true;
    let mut nameless = targets.clone();
    nameless.header["class_names"] = serde_json::Value::Null;
    nameless.write(&asks.targets[0].file);
    assert!(fails(&asks).contains("class_names"));
    let mut asks = fine.clone();
    asks.targets[0].classes = Some(1.0);
    nameless
        .without("classifier.weight")
        .without("classifier.bias")
        .write(&asks.targets[0].file);
    assert!(fails(&asks).contains("holds no classes"));
}

#[test]
fn an_epoch_shows_every_view_once_in_an_order_of_its_own() {
    let (dir, paths) = folder(10);
    let config = config(
        dir.path(),
        &[("t.safetensors", &make_targets(&paths, 3, 5, 4))],
    );
    let distillation = open(&config).unwrap();
    // Two of ten pictures are held out, with their views.
    assert_eq!((distillation.len(), distillation.validation_len()), (24, 6));
    assert_eq!(distillation.steps_per_epoch(5), 4);
    let epoch = |first: u64| -> Vec<usize> {
        (first..first + 4)
            .flat_map(|step| distillation.batch(7, step, 5).unwrap().views)
            .collect()
    };
    let (one, two) = (epoch(0), epoch(4));
    for views in [&one, &two] {
        let mut seen = (*views).clone();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 20);
    }
    assert_ne!(one, two);
    assert_eq!(one, epoch(0));
    assert_ne!(
        one,
        (0..4)
            .flat_map(|step| distillation.batch(8, step, 5).unwrap().views)
            .collect::<Vec<_>>()
    );
    // A batch larger than the number of views contains all of them.
    assert_eq!(distillation.batch(7, 0, 100).unwrap().views.len(), 24);
    assert_eq!(distillation.steps_per_epoch(100), 1);
}

#[test]
fn a_batch_shows_the_views_and_says_what_the_teacher_said() {
    let (dir, paths) = folder(4);
    let targets = make_targets(&paths, 3, 5, 4);
    let mut config = config(dir.path(), &[("t.safetensors", &targets)]);
    config.held_out = 0.0;
    // The results do not depend on the cache: none, too small, or large enough for all decoded pictures.
    let batches: Vec<Batch> = [0, 1, 64]
        .iter()
        .map(|&cache_mib| {
            config.cache_mib = cache_mib;
            open(&config).unwrap().batch(1, 0, 12).unwrap()
        })
        .collect();
    let batch = &batches[0];
    assert_eq!(batch.images.dims(), &[12, 8, 8, 3]);
    for other in &batches[1..] {
        assert_eq!(batch.images.data(), other.images.data());
        assert_eq!(batch.views, other.views);
    }
    let file = TargetFile::open(&config.targets[0].file).unwrap();
    let mut row = vec![0.0; 5];
    for (place, &view) in batch.views.iter().enumerate() {
        let image = crate::data::Image::open(&paths[view / 3]).unwrap();
        let shown = View::from_numbers(targets.view[view])
            .unwrap()
            .render(&image, 8)
            .unwrap();
        let want = preprocess::batch(&[shown]).unwrap();
        assert_eq!(&batch.images.data()[place * 192..][..192], want.data());
        file.read_features(view, &mut row).unwrap();
        let said = batch.teachers[0].features.as_ref().unwrap();
        assert_eq!(&said.data()[place * 5..][..5], row);
    }
    assert!(batch.teachers[0].logits.is_none());
}

#[test]
fn views_may_be_smaller_than_the_encoders_input() {
    let (dir, paths) = folder(4);
    let targets = make_targets(&paths, 3, 5, 4);
    let mut config = config(dir.path(), &[("t.safetensors", &targets)]);
    let large = open(&config).unwrap().batch(1, 0, 6).unwrap();
    config.size = Some(5);
    let small = open(&config).unwrap().batch(1, 0, 6).unwrap();
    assert_eq!(large.images.dims(), &[6, 8, 8, 3]);
    assert_eq!(small.images.dims(), &[6, 5, 5, 3]);
    // The same views, with the same targets.
    assert_eq!(large.views, small.views);
    let said = |batch: &Batch| batch.teachers[0].features.as_ref().unwrap().data().to_vec();
    assert_eq!(said(&large), said(&small));
}

#[test]
fn teachers_of_the_same_views_share_them() {
    let (dir, paths) = folder(6);
    let (mut a, mut b) = (make_targets(&paths, 2, 5, 4), make_targets(&paths, 2, 3, 7));
    a.header["teacher"] = "a".into();
    b.header["teacher"] = "b".into();
    let views = |a: &Targets, b: &Targets| {
        let mut config = config(dir.path(), &[("a.safetensors", a), ("b.safetensors", b)]);
        config.held_out = 0.0;
        open(&config).unwrap()
    };
    assert_eq!(views(&a, &b).len(), 12);
    // The same views in another order.
    let mut turned = b.clone();
    turned.picture.rotate_left(4);
    turned.view.rotate_left(4);
    assert_eq!(views(&a, &turned).len(), 12);
    // Half of the views differ: both kinds are trained on.
    let mut half = b.clone();
    for view in half.view.iter_mut().take(6) {
        view[5] = 1.5;
    }
    let distillation = views(&a, &half);
    assert_eq!(distillation.len(), 18);
    let batch = distillation.batch(1, 0, 18).unwrap();
    assert_eq!(
        batch
            .teachers
            .iter()
            .map(|t| t.places.len())
            .collect::<Vec<_>>(),
        [12, 12]
    );
    // A duplicate row is a view of its own.
    let mut twice = a.clone();
    twice.view[1] = twice.view[0];
    assert_eq!(views(&twice, &b).len(), 13);
}

#[test]
fn the_loss_is_what_the_documentation_says() {
    on_every_device(|| {
        let (dir, paths) = folder(5);
        let mut a = make_targets(&paths, 2, 5, 4);
        let mut b = make_targets(&paths, 2, 3, 6)
            .without("classifier.weight")
            .without("classifier.bias");
        b = b.with("logits", &[10, 6], noise(60, 9));
        // The second teacher saw other views of the first three pictures.
        for view in b.view.iter_mut().take(6) {
            view[5] = 1.25;
        }
        a.header["teacher"] = "a".into();
        b.header["teacher"] = "b".into();
        let mut config = config(dir.path(), &[("a.safetensors", &a), ("b.safetensors", &b)]);
        config.held_out = 0.0;
        config.targets[1].weight = 0.5;
        config.targets[1].temperature = Some(3.0);
        let mut distillation = open(&config).unwrap();
        let device = crate::ops::testing::device();
        distillation.to(&device).unwrap();
        let mut heads = distillation.heads(4, &mut Init::new(1));
        heads.to(&device).unwrap();
        heads.track(true);
        let mut names = Vec::new();
        heads.visit("distill.", &mut |name, _, _| names.push(name.to_string()));
        assert_eq!(names[0], "distill.0.features.weight");
        assert_eq!(
            names[4..],
            ["distill.1.classes.weight", "distill.1.classes.bias"]
        );

        let batch = distillation.batch(1, 0, 16).unwrap();
        let features = random(&[16, 1, 1, 4], 3).tracked();
        let losses = distillation.loss(&heads, &features, &batch).unwrap();
        assert_eq!(
            losses.parts.iter().map(|p| p.views).collect::<Vec<_>>(),
            [10, 10]
        );

        // Reference: plain loops in f64.
        let said = |layer: &crate::nn::Linear, place: usize| -> Vec<f64> {
            let f = &features.data()[place * 4..][..4];
            let rows = layer.weight.data().chunks(4).zip(layer.bias.data());
            rows.map(|(w, &b)| {
                w.iter()
                    .zip(f)
                    .map(|(&w, &f)| f64::from(w) * f64::from(f))
                    .sum::<f64>()
                    + f64::from(b)
            })
            .collect()
        };
        let softmax = |x: &[f64], t: f64| -> Vec<f64> {
            let sum: f64 = x.iter().map(|x| (x / t).exp()).sum();
            x.iter().map(|x| (x / t).exp() / sum).collect()
        };
        let kl = |teacher: &[f64], student: &[f64], t: f64| -> f64 {
            let (p, q) = (softmax(teacher, t), softmax(student, t));
            t * t * p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>()
        };
        let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(x)).collect() };
        let mut total = 0.0;
        for (teacher, size) in [(0, 5), (1, 3)] {
            let rows = &batch.teachers[teacher];
            let wanted = rows.features.as_ref().unwrap();
            for (i, &place) in rows.places.iter().enumerate() {
                let y = said(heads.0[teacher].features.as_ref().unwrap(), place);
                let z = wide(&wanted.data()[i * size..][..size]);
                let mse: f64 =
                    y.iter().zip(&z).map(|(y, z)| (y - z).powi(2)).sum::<f64>() / size as f64;
                let classes = if teacher == 0 {
                    let standard = distillation.files()[0].standard().unwrap();
                    let classifier = distillation.files()[0].classifier().unwrap();
                    let logits = |z: &[f64]| -> Vec<f64> {
                        let raw: Vec<f64> = (0..5)
                            .map(|c| {
                                z[c] * f64::from(standard.deviation[c])
                                    + f64::from(standard.mean[c])
                            })
                            .collect();
                        let rows = classifier
                            .weight
                            .data()
                            .chunks(5)
                            .zip(classifier.bias.data());
                        rows.map(|(w, &b)| {
                            w.iter()
                                .zip(&raw)
                                .map(|(&w, x)| f64::from(w) * x)
                                .sum::<f64>()
                                + f64::from(b)
                        })
                        .collect()
                    };
                    kl(&logits(&z), &logits(&y), 2.0)
                } else {
                    let teacher = wide(&rows.logits.as_ref().unwrap().data()[i * 6..][..6]);
                    kl(
                        &teacher,
                        &said(heads.0[1].classes.as_ref().unwrap(), place),
                        3.0,
                    )
                };
                total += [1.0, 0.5][teacher] * (mse + 0.5 * classes) / 16.0;
            }
        }
        let got = losses.total.item().unwrap();
        assert_close("loss", &[got], &[total as f32], 1e-5);
        let grads = losses.total.backward().unwrap();
        assert!(grads.get(&features).is_some());
        heads.visit("", &mut |name, _, tensor| {
            assert!(grads.get(tensor).is_some(), "{name}")
        });

        let wrong = random(&[15, 1, 1, 4], 3);
        assert!(distillation.loss(&heads, &wrong, &batch).is_err());
    });
}

#[test]
fn batches_made_ahead_are_the_same() {
    let (dir, paths) = folder(6);
    let config = config(
        dir.path(),
        &[("t.safetensors", &make_targets(&paths, 2, 5, 4))],
    );
    let distillation = Arc::new(open(&config).unwrap());
    let batches = |ahead: bool, steps: &[u64]| -> Vec<Vec<f32>> {
        let mut batches = Ahead::new(distillation.clone(), ahead).unwrap();
        let steps = steps.iter();
        steps
            .map(|&step| batches.batch(3, step, 4).unwrap().images.into_vec())
            .collect()
    };
    // Consecutive steps, and steps after a jump.
    let steps = [0, 1, 2, 7, 8, 3];
    assert_eq!(batches(true, &steps), batches(false, &steps));
}

#[test]
fn pictures_of_the_dev_split_are_held_out() {
    let (dir, paths) = folder(5);
    let mut config = config(
        dir.path(),
        &[("t.safetensors", &make_targets(&paths, 2, 5, 4))],
    );
    config.held_out = 0.0;
    config.pictures.clear();
    let given = |held_out: &dyn Fn(usize) -> bool| -> Vec<Picture> {
        let one = |(i, path): (usize, &PathBuf)| Picture {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            path: path.clone(),
            held_out: held_out(i),
        };
        paths.iter().enumerate().map(one).collect()
    };
    let distillation = Distillation::open(&config, given(&|i| i == 2), recipe()).unwrap();
    assert_eq!((distillation.len(), distillation.validation_len()), (8, 2));
    let all = Distillation::open(&config, given(&|_| true), recipe());
    assert!(all.err().unwrap().to_string().contains("held out"));
    config.validation_views = 1;
    let distillation = Distillation::open(&config, given(&|i| i == 2), recipe()).unwrap();
    assert_eq!(distillation.validation_len(), 1);
}

/// Trains a student and its heads on a synthetic teacher: the mean colour of the view and products of it.
#[test]
fn a_student_learns_what_its_teacher_says() {
    let (dir, paths) = folder(16);
    let mut targets = make_targets(&paths, 4, 4, 3);
    let mut features = Vec::new();
    for (row, view) in targets.view.iter().enumerate() {
        let image = crate::data::Image::open(&paths[row / 4]).unwrap();
        let shown = View::from_numbers(*view)
            .unwrap()
            .render(&image, 8)
            .unwrap();
        let mean = |c: usize| {
            shown
                .pixels()
                .iter()
                .skip(c)
                .step_by(3)
                .map(|&x| f32::from(x))
                .sum::<f32>()
                / 64.0
                / 255.0
        };
        let [r, g, b] = [mean(0), mean(1), mean(2)];
        features.extend([r, g, b, r * g]);
    }
    targets.tensor("features").2 = features;
    let mut config = config(dir.path(), &[("t.safetensors", &targets)]);
    config.held_out = 0.1;
    let distillation = open(&config).unwrap();

    let sizes = serde_json::json!({"growth": 4, "blocks": [1, 1], "stem": 8});
    let sizes: DenseNetConfig = serde_json::from_value(sizes).unwrap();
    let run = |steps: u64| {
        let mut init = Init::new(5);
        let mut student = Student {
            encoder: DenseNet::new(&sizes, &mut init).unwrap(),
            heads: distillation.heads(sizes.features(), &mut init),
        };
        let validate = |student: &Student| {
            let mut encode = |x: &Tensor| student.encoder.spatial(x, Mode::Inference);
            distillation
                .validate(&student.heads, 5, &mut encode)
                .unwrap()
                .unwrap()
        };
        student.track(true);
        let mut losses = Vec::new();
        for step in 0..steps {
            let batch = distillation.batch(2, step, 16).unwrap();
            let mode = Mode::Training { seed: step };
            let map = student
                .encoder
                .spatial(&here(batch.images.clone()), mode)
                .unwrap();
            let loss = distillation.loss(&student.heads, &map, &batch).unwrap();
            losses.push(loss.total.item().unwrap());
            descend(&mut student, &loss.total.backward().unwrap(), 0.1);
        }
        let tags = distillation.tags(&student.heads).unwrap().unwrap();
        (losses, validate(&student), tags)
    };
    let (losses, validation, tags) = run(60);
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&losses[..3]), mean(&losses[57..]));
    assert!(last < first * 0.5, "{first} to {last}");
    assert_eq!(validation.views, distillation.validation_len());
    assert!(validation.total.is_finite() && validation.parts[0].1[..2].iter().all(Option::is_some));
    assert_eq!(tags.names(), ["class 0", "class 1", "class 2"]);
    // The losses are reproducible, also on one thread.
    assert_eq!(run(5).0, losses[..5]);
    assert_eq!(threads::with_count(1, || run(5).0).unwrap(), losses[..5]);
}

/// Takes a step of plain gradient descent.
fn descend(module: &mut impl Module, grads: &crate::tensor::Gradients, lr: f32) {
    module.visit("", &mut |_, _, tensor| {
        if let Some(grad) = grads.get(tensor) {
            let pairs = tensor.data().iter().zip(grad.data());
            let moved = pairs.map(|(x, g)| x - lr * g).collect();
            *tensor = Tensor::from_vec(moved, tensor.dims()).unwrap().tracked();
        }
    });
}

struct Student {
    encoder: DenseNet,
    heads: Heads,
}

impl Module for Student {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, crate::nn::Role, &mut Tensor)) {
        self.encoder.visit(&format!("{prefix}encoder."), f);
        self.heads.visit(&format!("{prefix}distill."), f);
    }
}

/// Measures the cost of a view: `GLIMPSE_TARGETS=t.safetensors GLIMPSE_PICTURES=folder cargo test --release --lib --
/// --ignored --nocapture views_cost`
#[test]
#[ignore = "a measurement of files of one's own"]
fn views_cost() {
    let path = |name| PathBuf::from(std::env::var_os(name).expect("a path in the environment"));
    let mut config = DistillConfig {
        targets: vec![TargetConfig::new(path("GLIMPSE_TARGETS"))],
        pictures: vec![path("GLIMPSE_PICTURES")],
        held_out: 0.0,
        ..DistillConfig::default()
    };
    for cache_mib in [0, 4096] {
        config.cache_mib = cache_mib;
        let started = std::time::Instant::now();
        let recipe = Recipe::new(Method::Squash, 128).unwrap();
        let distillation = Distillation::open(&config, Vec::new(), recipe).unwrap();
        println!(
            "opened in {:.0} ms: {:?}",
            started.elapsed().as_secs_f64() * 1e3,
            distillation.summary()
        );
        let batch = 32.min(distillation.len());
        for round in 0..4 {
            let started = std::time::Instant::now();
            let steps = distillation.steps_per_epoch(batch);
            for step in 0..steps {
                distillation.batch(1, round * steps + step, batch).unwrap();
            }
            let ms = started.elapsed().as_secs_f64() * 1e3 / (steps * batch as u64) as f64;
            println!(
                "cache {cache_mib} MiB, epoch {round}: {ms:.3} ms a view on {} threads",
                threads::count()
            );
        }
    }
}
