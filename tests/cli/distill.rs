//! Tests of the stage `distill` of `glimpse train`: pictures without captions, tags, resuming, refusals.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

#[path = "../common/targets.rs"]
#[expect(dead_code, reason = "others change more of a file")]
mod made;

use crate::{Run, dataset, glimpse, string};

const CONFIG: &str = r#"
    stage = "distill"
    epochs = 2
    batch = 8
    [encoder]
    train = "all"
    new = { growth = 4, blocks = [1, 1], stem = 8 }
    [image]
    size = 32
    [distill]
    targets = ["t.safetensors"]
    held_out = 0.2
"#;

/// Creates a folder with `photos` (10 pictures without captions), targets for four views of each, and a configuration.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("photos")).unwrap();
    let paths = made::pictures(&dir.path().join("photos"), 10);
    let maps = made::noise(40 * 3 * 3 * 2, 4);
    let mut targets = made::targets(&paths, 4, 6, 5).with("maps", &[40, 3, 3, 2], maps);
    targets.header["teacher"] = "a teacher".into();
    targets.write(&dir.path().join("t.safetensors"));
    fs::write(dir.path().join("t.toml"), CONFIG).unwrap();
    dir
}

fn train(dir: &Path, args: &[&str]) -> Run {
    glimpse(dir, &[&["train", "--data", "photos"], args].concat())
}

#[test]
fn an_encoder_learns_from_pictures_without_captions() {
    let dir = folder();
    let run = train(
        dir.path(),
        &["--config", "t.toml", "--out", "e.safetensors", "--json"],
    );
    assert_eq!(run.code, Some(0), "{}", run.err);
    let objects = run.objects();
    // Eight of the ten pictures are trained on: four views each, two epochs, batches of eight make 8 steps.
    assert_eq!(
        objects.iter().filter(|o| o.get("loss").is_some()).count(),
        8
    );
    assert!(objects.iter().any(|o| o["event"] == "validation"));
    let report = glimpse(dir.path(), &["inspect", "e.safetensors", "--json"]).object();
    assert_eq!(
        (&report["kind"], &report["tags"]),
        (&"encoder".into(), &5.into())
    );
    assert!(!string(&report["training"]["config"]["distill"]["targets"][0]["file"]).contains('/'));

    // A captioner with this encoder keeps the encoder's tags.
    let data = dataset();
    fs::copy(
        dir.path().join("e.safetensors"),
        data.path().join("e.safetensors"),
    )
    .unwrap();
    let args = [
        "train",
        "--data",
        ".",
        "--config",
        "frozen.toml",
        "--encoder",
        "e.safetensors",
    ];
    let run = glimpse(
        data.path(),
        &[&args[..], &["--out", "m.safetensors", "--max-steps", "2"]].concat(),
    );
    run.lines();
    let report = glimpse(data.path(), &["inspect", "m.safetensors", "--json"]).object();
    assert_eq!(
        (&report["kind"], &report["tags"]),
        (&"captioner".into(), &5.into())
    );
    let caption = ["caption", "0.png", "--model", "m.safetensors", "--json"];
    assert!(glimpse(data.path(), &caption).object()["tags"].is_array());
}

#[test]
fn a_resumed_distillation_writes_the_same_bytes() {
    let dir = folder();
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    train(
        dir.path(),
        &["--config", "t.toml", "--out", "whole.safetensors"],
    )
    .lines();
    let stopped = [
        "--config",
        "t.toml",
        "--out",
        "parts.safetensors",
        "--checkpoint-every",
        "3",
    ];
    train(dir.path(), &[&stopped[..], &["--max-steps", "4"]].concat()).lines();
    let checkpoint = [
        "--resume",
        "parts.checkpoint.safetensors",
        "--out",
        "parts.safetensors",
    ];
    train(dir.path(), &checkpoint).lines();
    assert_eq!(read("whole.safetensors"), read("parts.safetensors"));

    // Other targets under the same file name.
    let paths: Vec<_> = (0..10)
        .map(|i| dir.path().join(format!("photos/p{i}.png")))
        .collect();
    let mut other = made::targets(&paths, 4, 6, 5);
    other.tensor("features").2[7] += 0.5;
    other.write(&dir.path().join("t.safetensors"));
    let run = train(dir.path(), &checkpoint);
    assert!(
        run.complaint(1).contains("other target files"),
        "{}",
        run.err
    );
    let run = train(dir.path(), &[&checkpoint[..], &["--data-changed"]].concat());
    run.lines();
    assert!(run.err.contains("other target files"), "{}", run.err);
}

#[test]
fn a_run_may_begin_with_small_views_and_end_with_larger_ones() {
    let dir = folder();
    let small = [
        "--config",
        "t.toml",
        "--set",
        "distill.size=16",
        "--set",
        "distill.maps=0.5",
        "--out",
        "e.safetensors",
        "--max-steps",
        "4",
        "--checkpoint-every",
        "2",
        "--json",
    ];
    let small = train(dir.path(), &small).objects();
    let input = || glimpse(dir.path(), &["inspect", "e.safetensors", "--json"]).object();
    assert_eq!(input()["recipe"]["size"], 32);
    let large = [
        "--resume",
        "e.checkpoint.safetensors",
        "--set",
        "distill.size=32",
        "--out",
        "e.safetensors",
        "--json",
    ];
    let large = train(dir.path(), &large).objects();
    let steps = |objects: &[Value]| -> Vec<u64> {
        let steps = objects.iter().filter(|o| o.get("loss").is_some());
        steps.map(|o| o["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(steps(&small), [1, 2, 3, 4]);
    assert_eq!(steps(&large), [5, 6, 7, 8]);
    // The teacher's maps are learnt at both sizes: from 2 x 2 places, then from 4 x 4.
    for run in [&small, &large] {
        let validation = run.iter().find(|o| o["event"] == "validation").unwrap();
        let parts = validation["parts"].as_object().unwrap();
        let loss = parts["a teacher maps"].as_f64().unwrap();
        assert!(loss.is_finite() && parts.len() == 3, "{validation}");
    }
    // The encoder's input keeps its size, also while the views are smaller.
    assert_eq!(input()["recipe"]["size"], 32);

    // A view must leave at least one position in the last map.
    for (size, code, part) in [
        ("4", 1, "4 pixels are too few for an encoder of 2 blocks"),
        ("0", 2, "distill.size: must be 1 to 4096"),
    ] {
        let size = format!("distill.size={size}");
        let args = [
            "--config",
            "t.toml",
            "--set",
            &size,
            "--out",
            "f.safetensors",
        ];
        let run = train(dir.path(), &args);
        let message = run.complaint(code);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn what_does_not_fit_is_refused_in_one_line() {
    let dir = folder();
    let refused = |config: &str, part: &str| {
        fs::write(dir.path().join("t.toml"), config).unwrap();
        let run = train(
            dir.path(),
            &["--config", "t.toml", "--out", "e.safetensors"],
        );
        let message = run.complaint(1);
        assert!(message.contains(part), "{part}: {message}");
        assert!(!dir.path().join("e.safetensors").exists());
    };
    refused(
        &CONFIG.replace("t.safetensors", "u.safetensors"),
        "u.safetensors",
    );
    refused(
        &CONFIG.replace("[\"t.safetensors\"]", "[]"),
        "names no file",
    );
    refused(
        &CONFIG.replace("held_out = 0.2", "hold_out = 0.2"),
        "hold_out",
    );
    refused("batch = 8", "holds pictures but no captions");
    fs::remove_file(dir.path().join("photos/p3.png")).unwrap();
    refused(CONFIG, "p3.png");
}
