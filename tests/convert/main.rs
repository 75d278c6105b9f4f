//! Tests of foreign weights: every supported format against PyTorch and Keras, and every refusal.
//!
//! `tools/make_convert_fixtures.py` wrote one tiny network in all formats, and `tools/make_around_fixtures.py` wrote the
//! files that contain other networks or objects too.

mod around;
#[path = "../common/compare.rs"]
mod compare;
mod hostile;
mod published;

use std::fs;
use std::path::{Path, PathBuf};

use compare::{nhwc, relative};
use glimpse::convert::{self, Converted, Options, convert_archive};
use glimpse::data::import::{Archive, Format};
use glimpse::data::weights::{NumberFormat, WeightFile};
use glimpse::model::{Description, Kind, file};
use glimpse::nn::Mode;
use glimpse::ops;
use glimpse::tensor::Tensor;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/convert")
        .join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(fixture(name)).unwrap()
}

fn converted(name: &str) -> Converted {
    convert::convert(&fixture(name), &Options::default()).unwrap()
}

/// The error that a file is refused with, checked to be one line.
#[track_caller]
fn refusal(bytes: Vec<u8>) -> String {
    let result = Archive::from_bytes("foreign.pth", bytes)
        .and_then(|mut archive| convert_archive(&mut archive, &Options::default()));
    let message = result.err().expect("it is refused").to_string();
    assert!(
        !message.contains('\n') && message.starts_with("foreign.pth: "),
        "{message}"
    );
    message
}

/// The relative errors of the features, the maps and (with a classifier) the logits.
fn errors(converted: &Converted, expected: &WeightFile) -> [f64; 3] {
    let expect = |name: &str| expected.tensor(name).unwrap();
    let x = WeightFile::open(fixture("expected.safetensors")).unwrap();
    let x = expected.tensor("x").or_else(|_| x.tensor("x")).unwrap();
    let x = nhwc(&x);
    let net = converted.network().unwrap();
    let features = net.features(&x, Mode::Inference).unwrap();
    let spatial = net.spatial(&x, Mode::Inference).unwrap();
    let logits = converted.classifier.as_ref().map(|[weight, bias]| {
        relative(
            &ops::linear(&features, weight, Some(bias)).unwrap(),
            &expect("logits"),
        )
    });
    [
        relative(&features, &expect("features")),
        relative(&spatial, &nhwc(&expect("spatial"))),
        logits.unwrap_or(0.0),
    ]
}

const TORCH: [(&str, Format); 12] = [
    ("torchvision.safetensors", Format::Safetensors),
    ("timm.safetensors", Format::Safetensors),
    ("zip.pth", Format::TorchZip),
    ("protocol4.pth", Format::TorchZip),
    ("parameters.pth", Format::TorchZip),
    ("module.pth", Format::TorchZip),
    ("numpy-checkpoint.pth", Format::TorchZip),
    ("legacy.pth", Format::TorchLegacy),
    ("legacy-dotted.pth", Format::TorchLegacy),
    ("whole-model.pth", Format::TorchZip),
    ("whole-legacy.pth", Format::TorchLegacy),
    ("script.pt", Format::TorchZip),
];

const KERAS: [(&str, Format); 7] = [
    ("keras2-weights.h5", Format::KerasH5),
    ("keras2-whole.h5", Format::KerasH5),
    ("keras2-repacked.h5", Format::KerasH5),
    ("keras3.h5", Format::KerasH5),
    ("keras3.weights.h5", Format::KerasH5),
    ("keras2.keras", Format::KerasZip),
    ("keras3.keras", Format::KerasZip),
];

/// Files without the classifier. In the last one, the head belongs to another model.
const HEADLESS: [&str; 3] = [
    "keras2-slash.h5",
    "keras3-notop.keras",
    "keras3-nested.keras",
];

#[test]
fn every_format_of_pytorch_holds_the_same_network() {
    let expected = WeightFile::open(fixture("expected.safetensors")).unwrap();
    let reference = converted("torchvision.safetensors");
    for (name, format) in TORCH {
        let converted = converted(name);
        assert_eq!(
            Archive::open(fixture(name)).unwrap().format(),
            format,
            "{name}"
        );
        let [features, spatial, logits] = errors(&converted, &expected);
        assert!(
            features < 1e-5 && spatial < 1e-5 && logits < 1e-5,
            "{name}: {features:.1e} {spatial:.1e} {logits:.1e}"
        );
        for ((name, tensor), (other, reference)) in converted.tensors.iter().zip(&reference.tensors)
        {
            assert_eq!((name, tensor.dims()), (other, reference.dims()));
            assert_eq!(tensor.data(), reference.data(), "{name}");
        }
        assert_eq!(converted.description.encoder.eps, 1e-5);
        assert_eq!(converted.description.recipe.to_string(), "torchvision");
    }
}

#[test]
fn every_format_of_keras_holds_the_same_network() {
    let [torch, keras] = ["expected.safetensors", "expected_keras.safetensors"]
        .map(|name| WeightFile::open(fixture(name)).unwrap());
    let reference = converted("torchvision.safetensors");
    for (name, format) in KERAS {
        assert_eq!(
            Archive::open(fixture(name)).unwrap().format(),
            format,
            "{name}"
        );
    }
    for name in KERAS.map(|(name, _)| name).into_iter().chain(HEADLESS) {
        let converted = converted(name);
        assert_eq!(
            converted.classifier.is_some(),
            !HEADLESS.contains(&name),
            "{name}"
        );
        if converted.classifier.is_some() {
            // The two epsilons differ by a thousandth, which hardly changes the logits.
            let [.., logits] = errors(&converted, &torch);
            assert!(logits < 1e-5, "{name}: {logits:.1e}");
        }
        let headless = Converted {
            classifier: None,
            ..converted
        };
        let [features, spatial, _] = errors(&headless, &keras);
        assert!(
            features < 1e-5 && spatial < 1e-5,
            "{name}: {features:.1e} {spatial:.1e}"
        );
        let encoder = reference.tensors.len() - 2;
        for ((name, tensor), (other, reference)) in
            headless.tensors.iter().zip(&reference.tensors[..encoder])
        {
            assert_eq!((name, tensor.dims()), (other, reference.dims()));
            assert_eq!(tensor.data(), reference.data(), "{name}");
        }
        assert_eq!(headless.description.encoder.eps, 1.001e-5, "{name}");
        assert_eq!(headless.description.recipe.to_string(), "keras-nearest");
    }
}

#[test]
fn sixteen_bits_are_read_and_written() {
    let exact = converted("torchvision.safetensors");
    for (name, precision) in [
        ("f16.pth", NumberFormat::F16),
        ("f16.safetensors", NumberFormat::F16),
        ("bf16.safetensors", NumberFormat::Bf16),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.safetensors");
        // Rounding before the conversion and rounding during it give equal files.
        for (input, precision) in [
            (name, NumberFormat::F32),
            ("torchvision.safetensors", precision),
        ] {
            let options = Options {
                precision,
                ..Options::default()
            };
            let converted = convert::convert(&fixture(input), &options).unwrap();
            converted.write(&path, precision).unwrap();
            let stored = WeightFile::open(&path).unwrap();
            let rounded = convert::convert(&fixture(name), &Options::default()).unwrap();
            for ((tensor_name, exact), (_, rounded)) in exact.tensors.iter().zip(&rounded.tensors) {
                assert_eq!(
                    stored.tensor(tensor_name).unwrap().data(),
                    rounded.data(),
                    "{name}"
                );
                assert!(relative(rounded, exact) < 4e-3, "{name}: {tensor_name}");
            }
            assert!(
                stored
                    .entries()
                    .unwrap()
                    .iter()
                    .all(|e| e.dtype.to_lowercase() == precision.name())
            );
        }
    }
}

#[test]
fn eight_bits_are_what_the_report_was_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.safetensors");
    let options = Options {
        precision: NumberFormat::I8,
        ..Options::default()
    };
    let exact = converted("torchvision.safetensors");
    let rounded = convert::convert(&fixture("torchvision.safetensors"), &options).unwrap();
    rounded.write(&path, NumberFormat::I8).unwrap();
    let stored = WeightFile::open(&path).unwrap();
    for ((name, rounded), (_, exact)) in rounded.tensors.iter().zip(&exact.tensors) {
        assert_eq!(
            stored.tensor(name).unwrap().data(),
            rounded.data(),
            "{name}"
        );
        assert!(relative(rounded, exact) < 1e-2, "{name}");
    }
    let entries = stored.entries().unwrap();
    assert_eq!(entries.len(), exact.tensors.len());
    for entry in entries {
        let want = if entry.shape.len() > 1 { "I8" } else { "F16" };
        assert_eq!(entry.dtype, want, "{}", entry.name);
    }
    file::load_encoder(&path).unwrap();
}

#[test]
fn a_converted_file_says_where_it_comes_from_and_is_an_encoder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.safetensors");
    let url = Some("https://example.org/legacy.pth".to_string());
    let options = Options {
        url: url.clone(),
        ..Options::default()
    };
    let converted = convert::convert(&fixture("legacy.pth"), &options).unwrap();
    converted.write(&path, NumberFormat::F32).unwrap();
    let (net, description) = file::load_encoder(&path).unwrap();
    assert_eq!(net.config(), &converted.description.encoder);
    let description: Description = description.unwrap();
    assert_eq!(description.kind, Kind::Encoder);
    let origin = description.origin.unwrap();
    assert_eq!(
        (&*origin.file, &*origin.framework),
        ("legacy.pth", "PyTorch")
    );
    assert_eq!((&*origin.format, origin.url), ("PyTorch pickle", url));
    assert_eq!(
        origin.sha256,
        Archive::open(fixture("legacy.pth")).unwrap().sha256()
    );
    assert_eq!(origin.sha256.len(), 64);
    // A second conversion changes nothing except the recorded source.
    let again = convert::convert(&path, &Options::default()).unwrap();
    assert_eq!(again.description.encoder, converted.description.encoder);
    assert!(again.classifier.is_some() && again.left_out.is_empty());
    // The names are those of torchvision, so that other programs can read the file.
    let names: Vec<String> = WeightFile::open(&path)
        .unwrap()
        .entries()
        .unwrap()
        .into_iter()
        .map(|e| e.name)
        .collect();
    assert!(names.contains(&"features.denseblock1.denselayer2.norm1.running_var".to_string()));
}

#[test]
fn what_is_no_part_of_the_network_is_named() {
    let left = converted("module.pth").left_out;
    assert!(left.contains(&"best_acc1".to_string()), "{left:?}");
    assert!(
        left.iter()
            .any(|name| name.starts_with("optimizer.state.0")),
        "{left:?}"
    );
    assert!(converted("zip.pth").left_out.is_empty());
}

#[test]
fn another_network_is_refused_with_what_does_not_fit() {
    for (name, part) in [
        (
            "resnet.pth",
            "holds no DenseNet: 20 tensors such as `conv1.weight` [4, 3, 7, 7], `layer1.0.conv1.weight` [4, 4, 3, 3]",
        ),
        ("cifar.pth", "`features.conv0.weight` is [8, 3, 3, 3]"),
        (
            "keras-other.h5",
            "6 tensors such as `model_weights/conv2d/conv2d/kernel` [3, 3, 3, 4]",
        ),
        (
            "keras-other.keras",
            "holds no DenseNet: 6 tensors such as `layers/conv2d/vars/0` [3, 3, 3, 4]",
        ),
        ("nan.pth", "holds NaN at 0"),
        ("negative-variance.pth", "running_var` is -0.5"),
    ] {
        let message = refusal(bytes(name));
        assert!(message.contains(part), "{name}: {message}");
    }
    let options = Options {
        arch: Some("densenet121".into()),
        ..Options::default()
    };
    let message = convert::convert(&fixture("zip.pth"), &options)
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("growth 4") && message.contains("not the densenet121"),
        "{message}"
    );
}

/// A safetensors file of the tiny network's tensors, after `change`.
fn changed(change: impl FnOnce(&mut Vec<(String, Tensor)>)) -> Vec<u8> {
    let mut tensors = converted("torchvision.safetensors").tensors;
    change(&mut tensors);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    glimpse::data::weights::write_weights(&path, &tensors, NumberFormat::F32, Default::default())
        .unwrap();
    fs::read(path).unwrap()
}

#[test]
fn missing_and_superfluous_tensors_are_listed_by_name() {
    let message = refusal(changed(|t| {
        t.retain(|(name, _)| name != "features.norm5.weight")
    }));
    assert!(
        message.contains("tensor `features.norm5.weight` [12] is missing"),
        "{message}"
    );
    let message = refusal(changed(|t| {
        t.retain(|(name, _)| !name.contains("denselayer1.norm2"))
    }));
    assert!(message.contains("8 tensors are missing"), "{message}");
    assert!(
        message.contains("`features.denseblock2.denselayer1.norm2.running_var` [8]"),
        "{message}"
    );
    let extra = (
        "features.denseblock1.denselayer2.se.weight".to_string(),
        Tensor::zeros(&[2]),
    );
    let message = refusal(changed(|t| t.push(extra)));
    assert!(
        message.contains("another network") && message.contains("denselayer2.se.weight"),
        "{message}"
    );
    let message = refusal(changed(|t| {
        let norm = t
            .iter_mut()
            .find(|(name, _)| name == "features.norm0.bias")
            .unwrap();
        norm.1 = Tensor::zeros(&[9]);
    }));
    assert!(
        message.contains("`features.norm0.bias` is [9], a DenseNet of these sizes needs [8]"),
        "{message}"
    );
    // A head of another kind is not part of the encoder, and a variance of zero is allowed.
    let bytes = changed(|t| {
        t.push(("head.weight".to_string(), Tensor::zeros(&[2])));
        t.retain(|(name, _)| name != "classifier.bias");
        let var = t
            .iter_mut()
            .find(|(name, _)| name == "features.norm0.running_var")
            .unwrap();
        var.1 = Tensor::zeros(&[8]);
    });
    let mut archive = Archive::from_bytes("w", bytes).unwrap();
    let converted = convert_archive(&mut archive, &Options::default()).unwrap();
    assert_eq!(converted.left_out, ["head.weight", "classifier.weight"]);
    assert_eq!(
        convert::verify(&converted, Path::new("w"))
            .unwrap()
            .zero_variances,
        8
    );
}

#[test]
fn numbers_beyond_sixteen_bits_are_refused() {
    let bytes = changed(|t| t[0].1.data_mut()[0] = 1e6);
    for (precision, fits) in [
        (NumberFormat::F16, false),
        (NumberFormat::Bf16, true),
        (NumberFormat::I8, true),
    ] {
        let mut archive = Archive::from_bytes("w", bytes.clone()).unwrap();
        let options = Options {
            precision,
            ..Options::default()
        };
        let result = convert_archive(&mut archive, &options);
        assert_eq!(result.is_ok(), fits);
        if let Err(e) = result {
            assert!(
                e.to_string().contains("beyond the range of f16; take bf16"),
                "{e}"
            );
        }
    }
}

#[test]
fn what_is_no_weight_file_is_told_so() {
    for (bytes, part) in [
        (b"<!DOCTYPE html><html>".to_vec(), "is no weight file"),
        (
            hostile::zipped(&[("readme.txt", b"hello")], zip::CompressionMethod::Stored),
            "without weights",
        ),
        (
            [&[b'x'; 257][..], b"ustar\0", &[0; 300]].concat(),
            "before 0.1.10",
        ),
        (bytes("zip.pth")[..5000].to_vec(), "not a whole zip archive"),
        (
            bytes("keras2-weights.h5")[..3000].to_vec(),
            "not a whole HDF5 file",
        ),
        (
            bytes("keras3.keras")[..9000].to_vec(),
            "not a whole zip archive",
        ),
        (
            bytes("torchvision.safetensors")[..3000].to_vec(),
            "safetensors",
        ),
    ] {
        let message = refusal(bytes);
        assert!(message.contains(part), "{part}: {message}");
    }
    // All other readers refuse such a file, and their message says how to convert it.
    for name in ["zip.pth", "legacy.pth", "keras2-weights.h5", "keras3.keras"] {
        let message = file::load_encoder(fixture(name)).err().unwrap().to_string();
        assert!(message.contains("glimpse-convert"), "{message}");
    }
}

#[test]
fn an_encoder_of_an_old_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.safetensors");
    let mut converted = converted("zip.pth");
    converted.description.format = 1;
    converted.write(&path, NumberFormat::F32).unwrap();
    let message = file::load_encoder(&path).err().unwrap().to_string();
    assert!(
        message.contains("format 1") && message.contains("fetch or convert it again"),
        "{message}"
    );
}

#[test]
fn verification_reports_what_is_there() {
    let converted = converted("zip.pth");
    let report = convert::verify(&converted, Path::new("zip.pth")).unwrap();
    assert_eq!(report.layers.len(), converted.tensors.len());
    assert_eq!(report.zero_variances, 0);
    let first = &report.layers[0];
    assert_eq!(
        (&*first.name, &first.shape[..]),
        ("features.conv0.weight", &[8, 3, 7, 7][..])
    );
    let data = converted.tensors[0].1.data();
    let mean = data.iter().map(|&x| f64::from(x)).sum::<f64>() / data.len() as f64;
    assert!((first.mean - mean).abs() < 1e-12 && first.std > 0.0);
    // Equal numbers have equal hashes in every file format.
    let other = convert::convert(&fixture("keras2-weights.h5"), &Options::default()).unwrap();
    let other = convert::verify(&other, Path::new("w")).unwrap();
    assert_eq!(report.layers, other.layers);
    assert_eq!(report.photos.len(), 3);
    for photo in &report.photos {
        assert_eq!(photo.classes.len(), 5);
        assert!(photo.classes.is_sorted_by(|a, b| a.1 >= b.1));
        assert!(
            (photo.classes.iter().map(|c| c.1).sum::<f32>() - 1.0).abs() < 1e-4,
            "all five classes"
        );
        assert!(photo.features.min >= 0.0 && photo.features.std > 0.0);
    }
    // The two files prepare images differently, so the results for the photos differ.
    assert_ne!(report.photos, other.photos);
    let mut dead = converted;
    for (_, tensor) in &mut dead.tensors {
        tensor.data_mut().fill(0.0);
    }
    assert!(
        convert::verify(&dead, Path::new("w"))
            .unwrap_err()
            .to_string()
            .contains("all zero")
    );
}
