//! Tests of `--device gpu`: equal results as on the CPU, and one line of error without a GPU.
//!
//! Without a GPU, not even a software one, these tests print a message and do nothing, unless `GLIMPSE_TEST_GPU` is
//! set.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::{Run, command, dataset, glimpse, model, number, string};

/// Whether there is a GPU to test with.
pub fn is_there() -> bool {
    let there = devices().iter().any(|d| d["device"] == "gpu");
    if !there {
        assert!(
            std::env::var_os("GLIMPSE_TEST_GPU").is_none(),
            "GLIMPSE_TEST_GPU is set, and there is no GPU"
        );
        println!("skipped: there is no GPU");
    }
    there
}

fn devices() -> Vec<Value> {
    let run = glimpse(Path::new("."), &["devices", "--json"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    run.objects()
}

/// Returns the objects that a command prints on the CPU and on the GPU, and checks that it names the GPU.
pub fn on_both(dir: &Path, args: &[&str]) -> [Vec<Value>; 2] {
    ["cpu", "gpu"].map(|device| {
        let run = glimpse(dir, &[args, &["--json", "--device", device]].concat());
        assert_eq!(run.code, Some(0), "{}{}", run.out, run.err);
        assert_eq!(
            run.err.contains("computed on"),
            device == "gpu",
            "{}",
            run.err
        );
        run.objects()
    })
}

#[test]
fn devices_are_listed_with_what_they_offer() {
    let all = devices();
    assert_eq!(all[0]["device"], "cpu");
    assert!(number(&all[0]["threads"]) >= 1.0);
    if is_there() {
        let gpu = &all[1];
        assert!(number(&gpu["largest_buffer_mb"]) >= 128.0 && !string(&gpu["name"]).is_empty());
        assert!(number(&gpu["workgroup_memory"]) >= 16_384.0);
        assert_eq!(gpu["real"].as_bool(), Some(gpu["kind"] != "software"));
        let text = glimpse(Path::new("."), &["devices"]);
        assert!(text.out.contains(string(&gpu["name"])), "{}", text.out);
    }
}

#[test]
fn the_sample_photos_get_the_same_captions() {
    if !is_there() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let args = ["caption", "weights/samples", "--n-best", "3"];
    let [cpu, gpu] = on_both(root, &args);
    assert_eq!(cpu.len(), 3);
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        let captions = |answer: &Value| answer["captions"].as_array().unwrap().clone();
        let (cpu, gpu) = (captions(cpu), captions(gpu));
        assert_eq!(cpu.len(), 3);
        for (cpu, gpu) in cpu.iter().zip(&gpu) {
            assert_eq!(cpu["text"], gpu["text"]);
            let off = number(&cpu["log_prob"]) - number(&gpu["log_prob"]);
            assert!(off.abs() < 1e-3, "{off}");
        }
    }
    // Random captions are equal too, because probabilities and random numbers are.
    let args = [
        "caption",
        "weights/samples/cat.jpg",
        "--sample",
        "--seed",
        "5",
    ];
    let [cpu, gpu] = on_both(root, &args);
    assert_eq!(cpu[0]["captions"][0]["text"], gpu[0]["captions"][0]["text"]);
}

#[test]
fn features_are_the_same() {
    if !is_there() {
        return;
    }
    let data = dataset();
    for spatial in [&[][..], &["--spatial"]] {
        let args = ["features", "0.png", "--encoder", model()];
        let [cpu, gpu] = on_both(data.path(), &[&args, spatial].concat());
        let mut pairs = Vec::new();
        flatten(&cpu[0]["features"], &gpu[0]["features"], &mut pairs);
        assert!(!pairs.is_empty());
        let worst = pairs.iter().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-4, "{worst}");
    }
}

fn flatten(a: &Value, b: &Value, pairs: &mut Vec<(f64, f64)>) {
    match (a.as_array(), b.as_array()) {
        (Some(a), Some(b)) => a.iter().zip(b).for_each(|(a, b)| flatten(a, b, pairs)),
        _ => pairs.push((number(a), number(b))),
    }
}

#[test]
fn training_goes_the_same_way_and_repeats_itself() {
    if !is_there() {
        return;
    }
    let data = dataset();
    for options in [
        &["--config", "new.toml"][..],
        &["--config", "frozen.toml", "--encoder", model()],
        &["--config", "last.toml", "--encoder", model()],
        &["--config", "tuned.toml", "--encoder", model()],
    ] {
        let args = [
            "train",
            "--data",
            ".",
            "--max-steps",
            "10",
            "--force",
            "--out",
            "a.safetensors",
        ];
        let [cpu, gpu] = on_both(data.path(), &[&args, options].concat());
        let losses = |objects: &[Value]| -> Vec<f64> {
            objects.iter().filter_map(|o| o["loss"].as_f64()).collect()
        };
        let (cpu, gpu) = (losses(&cpu), losses(&gpu));
        assert_eq!(cpu.len(), 10);
        for (cpu, gpu) in cpu.iter().zip(&gpu) {
            assert!((cpu - gpu).abs() < 1e-4, "{cpu} and {gpu}");
        }
        let first = std::fs::read(data.path().join("a.safetensors")).unwrap();
        let again = [&args, options, &["--device", "gpu"]].concat();
        assert_eq!(glimpse(data.path(), &again).code, Some(0));
        assert_eq!(
            std::fs::read(data.path().join("a.safetensors")).unwrap(),
            first
        );
    }
}

#[test]
fn a_run_resumes_to_the_same_bytes() {
    if !is_there() {
        return;
    }
    let data = dataset();
    let train = |args: &[&str]| {
        let base = [
            "train",
            "--data",
            ".",
            "--device",
            "gpu",
            "--out",
            "a.safetensors",
        ];
        let run = glimpse(data.path(), &[&base, args].concat());
        assert_eq!(run.code, Some(0), "{}", run.err);
        std::fs::read(data.path().join("a.safetensors")).unwrap()
    };
    let whole = train(&["--config", "new.toml", "--max-steps", "5"]);
    train(&[
        "--config",
        "new.toml",
        "--max-steps",
        "3",
        "--checkpoint-every",
        "3",
    ]);
    let resumed = train(&["--resume", "a.checkpoint.safetensors", "--max-steps", "5"]);
    assert_eq!(whole, resumed);
}

#[test]
fn benches_read_the_clock_of_the_device() {
    if !is_there() {
        return;
    }
    let run = glimpse(
        Path::new("."),
        &[
            "bench",
            "train-decoder",
            "--runs",
            "1",
            "--json",
            "--device",
            "gpu",
        ],
    );
    assert_eq!(run.code, Some(0), "{}", run.err);
    let object = &run.objects()[0];
    assert!(number(&object["ms"]["median"]) > 0.0);
    assert_ne!(object["device"], "cpu");
    let name = string(&object["device"]);
    let all = devices();
    let listed = all.iter().find(|d| d["name"] == name).unwrap();
    let has_clock = listed["features"]
        .as_array()
        .unwrap()
        .contains(&"timestamps".into());
    assert_eq!(object.get("device_ms").is_some(), has_clock);
}

#[test]
fn what_is_not_there_is_one_line() {
    let here = Path::new(".");
    let named = ["caption", "a.png", "--gpu", "no such device"];
    let wrong = glimpse(here, &named);
    assert!(wrong.complaint(1).starts_with("GPU: no GPU"));
    let half = glimpse(here, &["bench", "encode", "--precision", "f16"]);
    assert!(half.complaint(1).contains("--device gpu"));
    // A device is opened before images are read; a missing image still gives one line.
    if is_there() {
        let missing = glimpse(here, &["caption", "none.png", "--device", "gpu"]);
        assert!(missing.complaint(1).starts_with("none.png"));
        let bf16 = [
            "caption",
            "none.png",
            "--device",
            "gpu",
            "--precision",
            "bf16",
        ];
        assert!(glimpse(here, &bf16).complaint(1).contains("--device cpu"));
    }
    // Without a driver, and without the loader of drivers.
    if cfg!(target_os = "linux") {
        let mut alone = command(here, &["caption", "a.png", "--device", "gpu"]);
        for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            alone.env(variable, "/nonexistent");
        }
        let run = Run::new(alone.stdin(Stdio::null()).output().unwrap());
        assert!(run.complaint(1).contains("--device cpu"), "{}", run.err);
    }
}

#[test]
fn auto_leaves_software_alone() {
    if devices().iter().any(|d| d["real"] == true) {
        return;
    }
    let data = dataset();
    let args = ["caption", "0.png", "--model", model(), "--device", "auto"];
    let run = glimpse(data.path(), &args);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
}
