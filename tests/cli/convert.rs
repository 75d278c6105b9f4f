//! Tests of `glimpse-convert`, and of its encoders in the other commands.

use std::fs;
use std::path::Path;
use std::process::Command;

use glimpse::data::weights::WeightFile;
use serde_json::Value;

use crate::compare::relative;
use crate::{Run, dataset, glimpse, number, pictures, string};

pub fn fixture(name: &str) -> String {
    format!(
        "{}/tests/fixtures/convert/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

fn convert(dir: &Path, args: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glimpse-convert"));
    Run::new(command.current_dir(dir).args(args).output().unwrap())
}

/// Returns the relative error of an encoder's features for the images `x` of the file `expected`.
fn error(dir: &Path, encoder: &str, expected: &str) -> f64 {
    let input = fixture("expected.safetensors");
    let args = [
        "features",
        "--encoder",
        encoder,
        "--input",
        &input,
        "--out",
        "f.safetensors",
    ];
    assert_eq!(glimpse(dir, &args).code, Some(0));
    let open = |path: &Path| WeightFile::open(path).unwrap().tensor("features").unwrap();
    relative(
        &open(&dir.join("f.safetensors")),
        &open(Path::new(&fixture(expected))),
    )
}

#[test]
fn an_encoder_is_made_of_either_frameworks_weights() {
    let dir = tempfile::tempdir().unwrap();
    for (input, expected, dtype, most) in [
        ("legacy-dotted.pth", "expected.safetensors", "f32", 1e-5),
        ("zip.pth", "expected.safetensors", "bf16", 2e-2),
        ("keras2-whole.h5", "expected_keras.safetensors", "f32", 1e-5),
        ("keras3.keras", "expected_keras.safetensors", "f16", 2e-3),
        ("zip.pth", "expected.safetensors", "i8", 5e-2),
    ] {
        let run = convert(
            dir.path(),
            &[&fixture(input), "e.safetensors", "--dtype", dtype],
        );
        let [line] = run.lines()[..] else {
            panic!("{}", run.out)
        };
        assert!(
            line.starts_with("e.safetensors: ") && line.contains("12 features"),
            "{line}"
        );
        assert!(
            line.contains("a classifier of 5 classes") && line.contains(dtype),
            "{line}"
        );
        assert_eq!(run.err, "");
        let error = error(dir.path(), "e.safetensors", expected);
        assert!(error < most, "{input}: {error:.1e}");
    }
    let run = convert(
        dir.path(),
        &[&fixture("module.pth"), "e.safetensors", "--json"],
    );
    let object = run.object();
    assert_eq!(string(&object["origin"]["framework"]), "PyTorch");
    assert_eq!(string(&object["origin"]["file"]), "module.pth");
    assert_eq!(object["classes"], 5);
    assert!(object["architecture"].is_null());
    assert!(
        run.err.contains("optimizer.state.0.momentum_buffer"),
        "{}",
        run.err
    );
    // The image recipe is the framework's, or the one asked for.
    assert_eq!(object["recipe"]["method"], "torchvision");
    let args = [
        &*fixture("keras3.keras"),
        "e.safetensors",
        "--json",
        "--preprocess",
        "squash:64",
    ];
    assert_eq!(convert(dir.path(), &args).object()["recipe"]["size"], 64);
    let inspected = glimpse(dir.path(), &["inspect", "e.safetensors", "--json"]).object();
    assert_eq!(string(&inspected["kind"]), "encoder");
    assert_eq!(string(&inspected["origin"]["framework"]), "Keras");
    assert_eq!(string(&inspected["origin"]["sha256"]).len(), 64);
}

#[test]
fn the_command_does_what_the_program_does() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    for input in ["zip.pth", "keras3.keras", "around.pth"] {
        let input = fixture(input);
        let args = [&*input, "e.safetensors", "--dtype", "f16", "--verify"];
        let program = convert(dir.path(), &args);
        let by_program = read("e.safetensors");
        fs::remove_file(dir.path().join("e.safetensors")).unwrap();
        let command = glimpse(dir.path(), &[&["convert"], &args[..]].concat());
        assert_eq!(command.lines(), program.lines());
        assert_eq!(command.err, program.err);
        assert!(read("e.safetensors") == by_program, "{input}");
    }
    let args = [&*fixture("resnet.pth"), "none.safetensors"];
    let command = glimpse(dir.path(), &[&["convert"], &args[..]].concat());
    let program = convert(dir.path(), &args);
    assert_eq!(command.complaint(1), program.complaint(1));
    assert!(!dir.path().join("none.safetensors").exists());
    // The program's help is the command's, and says what it does.
    let help = convert(dir.path(), &["-h"]);
    let first = "Convert a pretrained DenseNet's weights to an encoder of Glimpse";
    assert_eq!(help.lines()[0], first);
    assert_eq!(glimpse(dir.path(), &["convert", "-h"]).lines()[0], first);
}

#[test]
fn verification_shows_layers_features_and_classes() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("classes.txt"), "ape\nbear\ncat\ndog\neel\n").unwrap();
    let input = fixture("zip.pth");
    let args = [
        &*input,
        "e.safetensors",
        "--verify",
        "--classes",
        "classes.txt",
    ];
    let run = convert(dir.path(), &args);
    let lines = run.lines();
    let has = |part: &str| lines.iter().any(|line| line.contains(part));
    assert!(
        has("features.denseblock1.denselayer1.norm1.running_var") && has("[8, 3, 7, 7]"),
        "{}",
        run.out
    );
    assert!(
        has("variances: all above zero") && has("raccoon.jpg: features from "),
        "{}",
        run.out
    );
    for class in ["ape", "bear", "cat", "dog", "eel"] {
        assert_eq!(
            lines.iter().filter(|l| l.ends_with(class)).count(),
            3,
            "{}",
            run.out
        );
    }
    let objects = convert(dir.path(), &[&args[..], &["--json"]].concat()).objects();
    let layers: Vec<&Value> = objects.iter().filter(|o| o["hash"].is_string()).collect();
    let stored = WeightFile::open(dir.path().join("e.safetensors")).unwrap();
    assert_eq!(layers.len(), stored.entries().unwrap().len());
    let photos: Vec<&Value> = objects.iter().filter(|o| o["image"].is_string()).collect();
    let [raccoon, ..] = photos[..] else {
        panic!("{}", run.out)
    };
    assert_eq!(raccoon["classes"].as_array().unwrap().len(), 5);
    let best = &raccoon["classes"][0];
    let name = ["ape", "bear", "cat", "dog", "eel"][number(&best["class"]) as usize];
    assert_eq!(string(&best["name"]), name);
}

#[test]
fn what_is_refused_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    for (input, args, part) in [
        ("nan.pth", &[][..], "holds NaN"),
        ("cifar.pth", &[], "another network"),
        ("resnet.pth", &[], "20 tensors such as `conv1.weight`"),
        ("around-keras3-two.keras", &[], "choose one by --prefix"),
        (
            "zip.pth",
            &["--prefix", "model."],
            "no DenseNet under `model.`, but under `features.`",
        ),
        ("zip.pth", &["--arch", "densenet169"], "not the densenet169"),
        (
            "zip.pth",
            &["--verify", "--classes", "none.txt"],
            "none.txt: does not exist",
        ),
    ] {
        let input = fixture(input);
        let run = convert(dir.path(), &[&[&input, "e.safetensors"], args].concat());
        assert!(run.complaint(1).contains(part), "{}", run.err);
    }
    let run = convert(dir.path(), &["none.pth", "e.safetensors"]);
    assert!(run.complaint(1).contains("none.pth: does not exist"));
    let run = convert(
        dir.path(),
        &[&fixture("zip.pth"), "no/such/folder/e.safetensors"],
    );
    assert!(run.complaint(1).contains("folder does not exist"));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "nothing is left");
    // An existing file is unchanged.
    fs::write(dir.path().join("e.safetensors"), "old").unwrap();
    convert(dir.path(), &[&fixture("nan.pth"), "e.safetensors"]).complaint(1);
    assert_eq!(fs::read(dir.path().join("e.safetensors")).unwrap(), b"old");
    fs::copy(
        fixture("torchvision.safetensors"),
        dir.path().join("e.safetensors"),
    )
    .unwrap();
    let run = convert(dir.path(), &["e.safetensors", "./e.safetensors"]);
    assert!(run.complaint(1).contains("is the input"));
    for args in [
        &["a.pth"][..],
        &["a.pth", "b.safetensors", "--arch", "resnet50"],
        &["a.pth", "b.safetensors", "--dtype", "f8"],
        &["a.pth", "b.safetensors", "--classes", "c.txt"],
        &["a.pth", "b.safetensors", "--preprocess", "stretch"],
    ] {
        convert(dir.path(), args).complaint(2);
    }
    let help = convert(dir.path(), &["--help"]);
    assert!(
        help.lines()
            .iter()
            .any(|line| line.contains("Nothing in a file is ever executed"))
    );
}

#[test]
fn a_decoder_is_trained_on_a_converted_encoder() {
    let data = dataset();
    let dir = data.path();
    let input = fixture("keras2-weights.h5");
    convert(dir, &[&input, "e.safetensors", "--preprocess", "squash:32"]).lines();
    let args = [
        "train",
        "--data",
        ".",
        "--config",
        "frozen.toml",
        "--encoder",
        "e.safetensors",
        "--out",
        "m.safetensors",
    ];
    glimpse(dir, &args).lines();
    let report = glimpse(dir, &["inspect", "m.safetensors", "--json"]).object();
    assert_eq!(string(&report["origin"]["file"]), "keras2-weights.h5");
    assert_eq!(report["recipe"]["size"], 32);
    assert!((number(&report["encoder"]["eps"]) - 1.001e-5).abs() < 1e-12);
    assert_eq!(
        glimpse(dir, &["caption", "0.png", "--model", "m.safetensors"]).code,
        Some(0)
    );
    let run = glimpse(dir, &["caption", "0.png", "--model", "e.safetensors"]);
    assert!(
        run.complaint(1).contains("holds an encoder but no decoder"),
        "{}",
        run.err
    );
}

#[test]
fn inspect_knows_foreign_weights() {
    let dir = tempfile::tempdir().unwrap();
    for (name, format) in [
        ("legacy.pth", "PyTorch pickle"),
        ("zip.pth", "PyTorch zip"),
        ("keras2-weights.h5", "Keras HDF5"),
        ("keras3.keras", "Keras zip"),
    ] {
        let report = glimpse(
            dir.path(),
            &["inspect", &fixture(name), "--json", "--tensors"],
        )
        .object();
        assert_eq!(
            (string(&report["kind"]), string(&report["format"])),
            ("weights", format)
        );
        assert_eq!(report["encoder"]["growth"], 4, "{report}");
        let tensors = report["tensors"].as_array().unwrap();
        assert_eq!(tensors.len() as f64, number(&report["tensor_count"]));
    }
    // The report lists the class of a Python object in the file, and the object was not constructed.
    let report = glimpse(
        dir.path(),
        &["inspect", &fixture("whole-model.pth"), "--json"],
    )
    .object();
    assert_eq!(report["kind"], "weights");
    assert_eq!(
        report["passed_over"][0],
        "torchvision.models.densenet.DenseNet"
    );
    let has = |run: &Run, name: &str, part: &str| {
        let line = run.lines().into_iter().find(|l| l.starts_with(name));
        assert!(
            line.is_some_and(|l| l.contains(part)),
            "{name}: {part}: {}",
            run.out
        );
    };
    let run = glimpse(dir.path(), &["inspect", &fixture("around.pth")]);
    has(&run, "under", "2 networks: model.encoder.densenet.0.");
    has(&run, "beside it", "model.encoder.embed.weight");
    has(&run, "passed over", "__main__.Vocabulary");
    let run = glimpse(dir.path(), &["inspect", &fixture("resnet.pth")]);
    has(&run, "kind", "tensors");
    has(
        &run,
        "encoder",
        "none: holds no DenseNet: 20 tensors such as `conv1.weight`",
    );
}

#[test]
fn what_lies_beside_the_encoder_is_named_on_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let input = fixture("around.pth");
    let run = convert(dir.path(), &[&input, "e.safetensors"]);
    assert_eq!(run.lines().len(), 1);
    let line = |begins: &str| run.err.lines().find(|l| l.starts_with(begins)).unwrap();
    assert!(line("left out, no part of the network").contains("model.decoder.weight_ih_l0"));
    assert!(line("passed over, not executed").contains("__main__.Vocabulary"));
    let report = convert(dir.path(), &[&input, "e.safetensors", "--json"]).object();
    let passed = report["passed_over"].as_array().unwrap();
    assert!(passed.contains(&"torch.nn.functional.relu".into()));
    let input = fixture("around-keras3-two.keras");
    let args = [
        &input,
        "e.safetensors",
        "--prefix",
        "layers/functional/layers",
    ];
    assert_eq!(convert(dir.path(), &args).lines().len(), 1);
}

#[test]
fn foreign_weights_are_told_how_to_become_an_encoder() {
    let dir = pictures(&["a.png"]);
    let run = glimpse(
        dir.path(),
        &["features", "a.png", "--encoder", &fixture("zip.pth")],
    );
    let line = run.complaint(1);
    assert!(
        line.contains("PyTorch's or Keras'") && line.contains("`glimpse-convert "),
        "{line}"
    );
}
