//! Tests of files that contain more than the network: another network around it, objects beside it, or no DenseNet at
//! all.

use glimpse::convert::{self, Converted, Options, convert_archive, survey};
use glimpse::data::import::Archive;
use glimpse::data::weights::WeightFile;
use glimpse::tensor::Tensor;

use crate::{bytes, changed, converted, errors, fixture, refusal};

/// Keras files of the network between a stem and a head. `around-keras2-flat.weights.h5` is not
/// in this list, because nothing in it tells which layers belong to the network.
const SURROUNDED: [&str; 11] = [
    "around-keras2-flat.h5",
    "around-keras2-flat.keras",
    "around-keras2-nested.h5",
    "around-keras2-nested.keras",
    "around-keras2-nested.weights.h5",
    "around-keras3-flat.h5",
    "around-keras3-flat.keras",
    "around-keras3-flat.weights.h5",
    "around-keras3-nested.h5",
    "around-keras3-nested.keras",
    "around-keras3-nested.weights.h5",
];

/// The names of the tensors whose numbers differ from those of `torchvision.safetensors`, the network in all files.
fn different(converted: &Converted) -> Vec<String> {
    let reference = crate::converted("torchvision.safetensors");
    let pairs = converted.tensors.iter().zip(&reference.tensors);
    let differ = pairs.filter(|((name, tensor), (other, reference))| {
        assert_eq!((name, tensor.dims()), (other, reference.dims()));
        tensor.data() != reference.data()
    });
    differ.map(|((name, _), _)| name.clone()).collect()
}

#[test]
fn layers_around_a_keras_densenet_are_never_taken_for_its_own() {
    let expected = WeightFile::open(fixture("expected_keras.safetensors")).unwrap();
    for name in SURROUNDED {
        let converted = converted(name);
        assert_eq!(different(&converted), [""; 0], "{name}");
        assert!(converted.classifier.is_none(), "{name}");
        // The batch norms of the head have another epsilon.
        assert_eq!(converted.description.encoder.eps, 1.001e-5, "{name}");
        let [features, spatial, _] = errors(&converted, &expected);
        assert!(features < 1e-5 && spatial < 1e-5, "{name}: {features:.1e}");
        // Three convolutions, one of them transposed, three batch norms and a matrix.
        let mut layers: Vec<&str> = converted
            .left_out
            .iter()
            .map(|name| name.rsplit_once('/').unwrap().0)
            .collect();
        layers.dedup();
        assert_eq!(layers.len(), 7, "{name}: {layers:?}");
    }
}

#[test]
fn without_names_it_is_decided_by_the_statistics_or_not_at_all() {
    let message = refusal(bytes("around-keras2-flat.weights.h5"));
    assert!(message.contains("may be any of 2"), "{message}");
    assert!(
        message.contains("save the whole model as `.keras`"),
        "{message}"
    );
    // In this file, the means of the last batch norm are those of the last layer, as in every trained network.
    let trained = converted("around-keras2-trained.weights.h5");
    let reference = converted("torchvision.safetensors");
    assert_eq!(different(&trained), ["features.norm5.running_mean"]);
    let mean = |converted: &Converted, name: &str| {
        let mut tensors = converted.tensors.iter();
        let (_, tensor) = tensors.find(|(n, _)| n == name).unwrap();
        tensor.data().to_vec()
    };
    let last = mean(&trained, "features.norm5.running_mean");
    let layer = mean(
        &reference,
        "features.denseblock2.denselayer1.norm1.running_mean",
    );
    assert_eq!(last[..8], layer);
}

#[test]
fn of_two_that_differ_somebody_has_to_choose() {
    let path = fixture("around-keras3-two.keras");
    let message = refusal(bytes("around-keras3-two.keras"));
    for part in [
        "2 DenseNets",
        "`layers/functional/layers/`",
        "`layers/functional_1/layers/`",
        "--prefix",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let chosen = |prefix: &str| {
        let options = Options {
            prefix: Some(prefix.to_string()),
            ..Options::default()
        };
        convert::convert(&path, &options)
    };
    let left = chosen("layers/functional/layers/").unwrap();
    assert_eq!(different(&left), [""; 0]);
    let right = chosen("layers/functional_1/layers").unwrap();
    assert_eq!(different(&right).len(), right.tensors.len());
    let message = chosen("layers").err().unwrap().to_string();
    assert!(
        message.contains("no DenseNet under `layers`, but under"),
        "{message}"
    );
}

/// A file of the network's tensors under other names, beside those of a decoder. `rename` maps each name of torchvision to
/// the new one.
fn renamed(rename: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    changed(|tensors| {
        tensors.retain_mut(|(name, _)| match rename(name) {
            Some(new) => {
                *name = new;
                true
            }
            None => false,
        });
        tensors.extend(beside());
    })
}

fn beside() -> Vec<(String, Tensor)> {
    let norm = ["weight", "bias", "running_mean", "running_var"];
    let norm = norm.map(|part| (format!("decoder.bn.{part}"), Tensor::zeros(&[12])));
    let lstm = (
        "decoder.lstm.weight_ih_l0".to_string(),
        Tensor::zeros(&[8, 12]),
    );
    norm.into_iter().chain([lstm]).collect()
}

fn converted_from(bytes: Vec<u8>) -> Converted {
    let mut archive = Archive::from_bytes("w", bytes).unwrap();
    let survey = survey(&mut archive);
    assert_eq!(survey.problem, None);
    convert_archive(&mut archive, &Options::default()).unwrap()
}

#[test]
fn the_network_is_found_under_any_prefix() {
    for prefix in [
        "module.",
        "model.",
        "encoder.densenet.",
        "features.",
        "backbone.0.",
        "x.",
    ] {
        let found = converted_from(renamed(|name| Some(format!("{prefix}{name}"))));
        assert_eq!(different(&found), [""; 0], "{prefix}");
        assert!(found.classifier.is_some(), "{prefix}");
        assert_eq!(found.left_out.len(), 5, "{prefix}");
    }
    // Names of the parts of `densenet.features`, without `features.`.
    for prefix in [
        "",
        "0.",
        "features.module.",
        "encoder.densenet.0.",
        "net.backbone.",
    ] {
        let found = converted_from(renamed(|name| match name.strip_prefix("features.") {
            Some(part) => Some(format!("{prefix}{part}")),
            None => Some(format!("head.{name}")),
        }));
        assert_eq!(different(&found), [""; 0], "{prefix}");
        assert!(found.classifier.is_none(), "{prefix}");
        assert_eq!(found.left_out.len(), 7, "{prefix}: {:?}", found.left_out);
    }
}

/// The name of a tensor in `nn.Sequential(*densenet.features.children())`, where the network's first part has the number
/// `first`.
fn in_sequence(name: &str, first: usize) -> Option<String> {
    let (part, rest) = name.strip_prefix("features.")?.split_once('.')?;
    let parts = [
        "conv0",
        "norm0",
        "relu0",
        "pool0",
        "denseblock1",
        "transition1",
        "denseblock2",
        "norm5",
    ];
    let number = first + parts.iter().position(|p| *p == part)?;
    Some(format!("{number}.{rest}"))
}

#[test]
fn an_unnamed_sequence_is_known_by_its_blocks() {
    for (prefix, first) in [("", 0), ("0.", 0), ("encoder.", 0), ("encoder.body.", 2)] {
        let name = |name: &str| Some(format!("{prefix}{}", in_sequence(name, first)?));
        let mut file = renamed(name);
        let found = converted_from(file.clone());
        assert_eq!(different(&found), [""; 0], "{prefix}");
        // Parts before and after the network in the sequence do not belong to it.
        file = changed(|tensors| {
            tensors.retain(|(name, _)| name.starts_with("features."));
            for (old, _) in tensors.iter_mut() {
                *old = name(old).unwrap();
            }
            for part in ["weight", "bias", "running_mean", "running_var"] {
                tensors.push((
                    format!("{prefix}{}.{part}", first + 8),
                    Tensor::zeros(&[12]),
                ));
            }
            tensors.push((
                format!("{prefix}{}.weight", first + 9),
                Tensor::zeros(&[4, 12, 1, 1]),
            ));
            if first > 0 {
                tensors.push((format!("{prefix}0.weight"), Tensor::zeros(&[3, 1, 1, 1])));
            }
        });
        let found = converted_from(file);
        assert_eq!(different(&found), [""; 0], "{prefix}");
        assert_eq!(
            found.left_out.len(),
            if first > 0 { 6 } else { 5 },
            "{prefix}"
        );
    }
    // The last batch norm is missing from the sequence.
    let message = refusal(renamed(|name| {
        in_sequence(name, 0).filter(|name| !name.starts_with("7."))
    }));
    assert!(
        message.contains("`features.norm5.weight` [12]"),
        "{message}"
    );
}

#[test]
fn the_same_network_twice_is_no_doubt_and_two_are() {
    let both = |change: bool| {
        changed(|tensors| {
            let mut copy = tensors.clone();
            if change {
                copy[40].1.data_mut()[0] += 1.0;
            }
            tensors
                .iter_mut()
                .for_each(|(name, _)| *name = format!("model.{name}"));
            tensors.extend(
                copy.into_iter()
                    .map(|(name, t)| (format!("ema.0.{name}"), t)),
            );
        })
    };
    let found = converted_from(both(false));
    assert_eq!(different(&found), [""; 0]);
    let message = refusal(both(true));
    assert!(
        message.contains("holds 2 DenseNets, under `model.features.`, `ema.0.features.`"),
        "{message}"
    );
    let mut archive = Archive::from_bytes("w", both(true)).unwrap();
    let prefixes = survey(&mut archive).networks;
    assert_eq!(prefixes.len(), 2);
    for (prefix, differing) in [("model.features", 0), ("ema.0.features.", 1)] {
        let options = Options {
            prefix: Some(prefix.into()),
            ..Options::default()
        };
        let found = convert_archive(&mut archive, &options).unwrap();
        assert_eq!(different(&found).len(), differing, "{prefix}");
    }
    // Half a network beside the whole one is ignored.
    let half = changed(|tensors| {
        let copy: Vec<_> = tensors[..30].to_vec();
        tensors.extend(copy.into_iter().map(|(name, t)| (format!("old.{name}"), t)));
    });
    assert_eq!(different(&converted_from(half)), [""; 0]);
}

#[test]
fn objects_beside_the_weights_are_passed_over_and_named() {
    for name in ["around.pth", "around4.pth"] {
        let found = converted(name);
        assert_eq!(different(&found), [""; 0], "{name}");
        for foreign in [
            "__main__.Vocabulary",
            "__main__.Config",
            "datetime.datetime",
            "argparse.Namespace",
            "pathlib.PosixPath",
            "torch.nn.modules.loss.CrossEntropyLoss",
            "torch.nn.functional.relu",
            "numpy._core.multiarray._reconstruct",
            "numpy.random._pickle.__generator_ctor",
        ] {
            let passed = &found.passed_over;
            assert!(passed.iter().any(|p| p == foreign), "{foreign}: {passed:?}");
        }
        assert!(!found.passed_over.iter().any(|p| p.contains("OrderedDict")));
        let left = &found.left_out;
        assert!(
            !left.iter().any(|n| n.contains("denselayer")),
            "the same network under another name: {left:?}"
        );
        assert!(
            left.iter().any(|n| n == "model.decoder.weight_ih_l0"),
            "{left:?}"
        );
    }
    let whole = converted("whole-model.pth").passed_over;
    assert_eq!(whole[0], "torchvision.models.densenet.DenseNet");
    // A pickle that starts a program is refused, even if the weights beside it are good.
    let mut bytes = bytes("around.pth");
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes.clone())).unwrap();
    let mut entries = Vec::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).unwrap();
        let (name, mut inner) = (entry.name().unwrap().to_string(), Vec::new());
        std::io::Read::read_to_end(&mut entry, &mut inner).unwrap();
        let harmless = b"c__main__\nVocabulary\n";
        if let Some(at) = inner.windows(harmless.len()).position(|w| w == harmless) {
            inner.splice(at..at + harmless.len(), *b"cposix\nsystem\n");
        }
        entries.push((name, inner));
    }
    let entries: Vec<(&str, &[u8])> = entries.iter().map(|(n, b)| (&n[..], &b[..])).collect();
    bytes = crate::hostile::zipped(&entries, zip::CompressionMethod::Stored);
    let message = refusal(bytes);
    assert!(message.contains("`posix.system`"), "{message}");
}

#[test]
fn what_a_file_holds_is_told_as_it_is() {
    let look = |name: &str| {
        let mut archive = Archive::open(fixture(name)).unwrap();
        survey(&mut archive)
    };
    let found = look("around.pth");
    let prefixes: Vec<&str> = found.networks.iter().map(|n| &*n.prefix).collect();
    assert_eq!(
        prefixes,
        ["model.encoder.densenet.0.", "model.encoder.parts."]
    );
    assert!(
        found
            .beside
            .iter()
            .any(|n| n == "model.encoder.embed.weight")
    );
    assert!(!found.beside.iter().any(|n| n.contains("denselayer1.conv1")));
    let found = look("resnet.pth");
    assert!(found.networks.is_empty() && found.beside.is_empty());
    assert!(
        found
            .problem
            .unwrap()
            .contains("20 tensors such as `conv1.weight`")
    );
    // A network that lacks a part is not reported as a DenseNet.
    let found = look("cifar.pth");
    assert!(found.networks.is_empty());
    assert!(found.problem.unwrap().contains("[8, 3, 3, 3]"));
}
