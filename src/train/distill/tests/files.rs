//! Tests of target files: reading, refusal, damage, and files written by the tool.

use super::made::{Targets, noise};
use super::*;
use crate::data::weights::WeightFile;
use crate::ops::testing::assert_close;

/// Returns the error from opening a target file with one fault.
#[track_caller]
fn complaint(targets: &Targets) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.safetensors");
    targets.write(&path);
    let message = TargetFile::open(&path)
        .err()
        .expect("it is refused")
        .to_string();
    assert!(
        !message.contains('\n') && message.contains("t.safetensors"),
        "{message}"
    );
    message
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let (dir, paths) = folder(3);
    let mut targets = make_targets(&paths, 2, 5, 4);
    let path = dir.path().join("t.safetensors");
    targets.write(&path);
    let file = TargetFile::open(&path).unwrap();
    assert_eq!(
        (file.len(), file.features(), file.classes()),
        (6, Some(5), Some(4))
    );
    assert_eq!(file.header().names, ["p0.png", "p1.png", "p2.png"]);
    assert!(!file.has_class_rows());
    for row in 0..6 {
        assert_eq!(file.picture(row), row / 2);
        assert_eq!(file.view(row).unwrap().numbers(), targets.view[row]);
    }
    // Undoing the standardisation gives the features.
    let standard = file.standard().unwrap().clone();
    let mut row = vec![0.0; 5];
    file.read_features(4, &mut row).unwrap();
    let raw: Vec<f32> = (0..5)
        .map(|c| row[c] * standard.deviation[c] + standard.mean[c])
        .collect();
    assert_close(
        "features",
        &raw,
        &targets.tensor("features").2[20..25],
        1e-3,
    );
    assert!(file.read_features(6, &mut row).is_err());
    assert!(file.read_logits(0, &mut row).is_err());
}

#[test]
fn probabilities_are_read_as_logits() {
    let (dir, paths) = folder(1);
    let targets = make_targets(&paths, 1, 5, 4)
        .without("classifier.weight")
        .without("classifier.bias");
    let targets = targets.with("probabilities", &[1, 4], vec![0.5, 0.25, 0.25, 0.0]);
    let path = dir.path().join("t.safetensors");
    targets.write(&path);
    let file = TargetFile::open(&path).unwrap();
    let mut logits = vec![0.0; 4];
    file.read_logits(0, &mut logits).unwrap();
    assert_close(
        "logits",
        &logits[..3],
        &[0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln()],
        1e-6,
    );
    assert!(logits[3] < -16.0 && logits[3].is_finite());
}

#[test]
fn other_targets_have_another_digest() {
    let (dir, paths) = folder(1);
    let targets = make_targets(&paths, 1, 5, 4);
    let path = dir.path().join("t.safetensors");
    let digest = |targets: Targets| {
        targets.write(&path);
        TargetFile::open(&path).unwrap().digest().to_string()
    };
    let of_features = |all: f32| {
        let others = targets.clone().without("features");
        digest(others.with("features", &[1, 5], vec![all; 5]))
    };
    let of_classes = |last: f32| {
        let others = targets.clone().without("classifier.weight");
        let row = vec![0.5, 0.25, 0.25 - last, last];
        digest(
            others
                .without("classifier.bias")
                .with("probabilities", &[1, 4], row),
        )
    };
    assert_eq!(of_classes(0.125), of_classes(0.125));
    assert_ne!(of_classes(0.0), of_classes(0.125));
    assert_ne!(of_features(0.25), of_features(0.5));
}

#[test]
fn every_mistake_in_a_file_is_one_line() {
    let (_dir, paths) = folder(3);
    let fine = make_targets(&paths, 2, 5, 4);
    let edit = |change: &dyn Fn(&mut Targets)| {
        let mut targets = fine.clone();
        change(&mut targets);
        complaint(&targets)
    };
    type Change<'a> = &'a dyn Fn(&mut Targets);
    let cases: &[(&str, Change)] = &[
        ("format 2", &|t| t.header["format"] = 2.into()),
        ("makes no sense", &|t| t.header["names"] = 3.into()),
        ("drawn by the recipe `nearest-7`", &|t| {
            t.header["rendering"] = "nearest-7".into()
        }),
        ("names 2 pictures but holds 3 digests", &|t| {
            t.header["names"] = serde_json::json!(["a", "b"])
        }),
        ("the picture a twice", &|t| {
            t.header["names"] = serde_json::json!(["a", "b", "a"])
        }),
        ("digest 'x'", &|t| t.header["digests"][1] = "x".into()),
        ("names 1 classes, but holds 4", &|t| {
            t.header["class_names"] = serde_json::json!(["a"])
        }),
        ("row 1 is picture 3", &|t| t.picture[1] = 3),
        ("names 5 views", &|t| t.picture.truncate(5)),
        ("row 3, a view of p1.png, shows a box beyond", &|t| {
            t.view[3][2] = 1.5
        }),
        ("a flip of 0.5", &|t| t.view[0][4] = 0.5),
        (
            "view`: row 2, a view of p1.png, holds a number that is not finite",
            &|t| t.view[2][0] = f32::NAN,
        ),
        (
            "row 5, a view of p2.png, holds a number that is not finite",
            &|t| {
                t.tensor("features").2[27] = f32::NAN;
            },
        ),
        ("not finite", &|t| {
            t.tensor("classifier.bias").2[0] = f32::INFINITY
        }),
        ("for features of 5 they must be [K, 5]", &|t| {
            t.tensor("classifier.weight").1 = vec![5, 4]
        }),
        ("without the other", &|t| {
            *t = t.clone().without("classifier.bias")
        }),
        ("no `features` that it could be applied to", &|t| {
            *t = t.clone().without("features")
        }),
        ("neither `features` nor", &|t| {
            t.tensors.clear();
            t.header["class_names"] = serde_json::Value::Null;
        }),
        ("holds 3 classes a view, but its classifier has 4", &|t| {
            *t = t.clone().with("logits", &[6, 3], vec![0.0; 18]);
        }),
        ("keep one", &|t| {
            *t = t.clone().with("logits", &[6, 4], vec![0.0; 24]).with(
                "probabilities",
                &[6, 4],
                vec![0.25; 24],
            );
        }),
        ("holds no probabilities", &|t| {
            *t = t.clone().with("probabilities", &[6, 4], vec![0.5; 24])
        }),
        (
            "tensor `logits`: row 1, a view of p0.png, holds a number that is not finite",
            &|t| {
                let mut logits = vec![0.0; 24];
                logits[5] = f32::INFINITY;
                *t = t.clone().with("logits", &[6, 4], logits);
            },
        ),
        ("`maps` is [6, 8], not [V, H, W, M]", &|t| {
            *t = t.clone().with("maps", &[6, 8], vec![0.0; 48]);
        }),
        (
            "tensor `maps` has 5 rows of 8, but `picture` names 6 views",
            &|t| {
                *t = t.clone().with("maps", &[5, 2, 2, 2], vec![0.0; 40]);
            },
        ),
        (
            "has a mean square of 42.096, but it must be about 1",
            &|t| {
                let maps = noise(48, 4).iter().map(|x| x * 10.0).collect();
                *t = t.clone().with("maps", &[6, 2, 2, 2], maps);
            },
        ),
        (
            "tensor `maps`: row 4, a view of p2.png, holds a number that is not finite",
            &|t| {
                let mut maps = vec![0.0; 48];
                maps[39] = f32::NAN;
                *t = t.clone().with("maps", &[6, 2, 2, 2], maps);
            },
        ),
    ];
    for (part, change) in cases {
        let message = edit(change);
        assert!(message.contains(part), "{part}: {message}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let weights = [("x".to_string(), Tensor::zeros(&[2]))];
    crate::data::weights::write_weights(&path, &weights, Default::default(), Default::default())
        .unwrap();
    let message = TargetFile::open(&path).err().unwrap().to_string();
    assert!(message.contains("is no target file"), "{message}");
}

/// Compares with the output of `tools/teacher_targets.py` for views drawn by Pillow: the mean levels of 4 x 4 fields.
#[test]
fn the_student_sees_what_the_teacher_saw() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/distill");
    let file = TargetFile::open(&folder.join("targets.safetensors")).unwrap();
    assert_eq!((file.len(), file.features()), (24, Some(48)));
    let standard = file.standard().unwrap();
    let mut said = vec![0.0; 48];
    assert_eq!(file.maps(), Some([4, 4, 2]));
    let weights = WeightFile::open(file.path()).unwrap();
    let direction = weights.tensor("directions.weight").unwrap();
    let middle = weights.tensor("directions.mean").unwrap();
    let (mut map, mut squares) = (vec![0.0; 32], 0.0);
    let (mut flips, mut smallest) = (0, 1.0f32);
    for row in 0..file.len() {
        let view = file.view(row).unwrap();
        flips += usize::from(view.flip);
        smallest = smallest.min(view.width * view.height);
        let name = &file.header().names[file.picture(row)];
        let image = crate::data::Image::open(folder.join(name)).unwrap();
        let shown = view.render(&image, 32).unwrap();
        file.read_features(row, &mut said).unwrap();
        let mean = |i: usize| {
            let (field_y, field_x, channel) = (i / 12, i / 3 % 4, i % 3);
            let levels = (0..64).map(|p| {
                let (y, x) = (field_y * 8 + p / 8, field_x * 8 + p % 8);
                f32::from(shown.pixels()[(y * 32 + x) * 3 + channel])
            });
            levels.sum::<f32>() / 64.0
        };
        file.read_map(row, &mut map).unwrap();
        for (i, &teacher) in map.iter().enumerate() {
            let weights = &direction.data()[i % 2 * 3..][..3];
            let terms =
                (0..3).map(|c| weights[c] * (mean(i / 2 * 3 + c) / 255.0 - middle.data()[c]));
            let student: f32 = terms.sum();
            squares += teacher * teacher / (24.0 * 32.0);
            // The same tolerance as below, of 0.6 of 255 levels, in the units of a direction.
            let tolerance = 0.6 / 255.0 * weights.iter().map(|w| w.abs()).sum::<f32>();
            assert!(
                (student - teacher).abs() < tolerance,
                "row {row}, number {i} of the map: {student}, but the teacher saw {teacher}"
            );
        }
        for (i, said) in said.iter().enumerate() {
            let mean = mean(i);
            let teacher = (said * standard.deviation[i] + standard.mean[i]) * 255.0;
            // The tolerance allows for one level of the resizer in some pixels, and the rounding to 16 bits.
            assert!(
                (mean - teacher).abs() < 0.6,
                "row {row}, number {i}: {mean}, but the teacher saw {teacher}"
            );
        }
    }
    // The scale was found on one view of each picture, and holds for all of them roughly.
    assert!((0.5..2.0).contains(&squares), "mean square {squares}");
    assert!(
        flips > 4 && smallest < 0.2,
        "{flips} mirrored, {smallest} the smallest share"
    );
    let config = DistillConfig {
        targets: vec![TargetConfig::new(folder.join("targets.safetensors"))],
        pictures: vec![folder.clone()],
        held_out: 0.0,
        ..DistillConfig::default()
    };
    assert_eq!(open(&config).unwrap().len(), 24);
}

#[test]
fn damaged_files_are_refused_in_one_line_or_read() {
    let (dir, paths) = folder(3);
    let targets = make_targets(&paths, 2, 5, 4).with("maps", &[6, 2, 2, 2], noise(48, 4));
    let whole = targets.bytes();
    let path = dir.path().join("t.safetensors");
    let mut state = 11u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below.max(1)
    };
    // The header is JSON within JSON; it is more sensitive to damage than the numbers.
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let (mut read, mut refused) = (0, 0);
    for round in 0..1500 {
        let mut bytes = whole.clone();
        for _ in 0..1 + next(3) {
            let at = if round % 3 == 0 {
                next(bytes.len())
            } else {
                next(header.min(bytes.len()))
            };
            match next(4) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes[at] = b"\"{}[],:0123456789\\-."[next(20)],
                2 => bytes[at] = b'0' + next(10) as u8,
                _ if round % 5 == 0 => bytes.truncate(at.max(1)),
                _ => bytes[at] ^= 1 << next(8),
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        match TargetFile::open(&path) {
            Ok(file) => {
                read += 1;
                let mut row = vec![0.0; file.features().unwrap_or(0)];
                let numbers = file.maps().map_or(0, |dims| dims.iter().product());
                let mut map = vec![0.0; numbers];
                for i in 0..file.len() {
                    file.view(i).unwrap();
                    assert!(file.picture(i) < file.header().names.len());
                    if file.features().is_some() {
                        file.read_features(i, &mut row).unwrap();
                        assert!(row.iter().all(|x| x.is_finite()));
                    }
                    if file.maps().is_some() {
                        file.read_map(i, &mut map).unwrap();
                        assert!(map.iter().all(|x| x.is_finite()));
                    }
                }
            }
            Err(e) => {
                refused += 1;
                let message = e.to_string();
                assert!(!message.contains('\n') && !message.is_empty(), "{message}");
            }
        }
    }
    assert!(read > 50 && refused > 500, "{read} read, {refused} refused");
}
