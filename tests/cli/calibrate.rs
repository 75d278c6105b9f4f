//! Tests of `glimpse calibrate`, and of the answers of a calibrated model.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::gpu::{is_there, on_both};
use crate::{Run, dataset, glimpse, model, number};

/// Creates a dataset of pictures full of detail, photos, labels, and flat pictures that stand for non-photographs.
fn material() -> tempfile::TempDir {
    let dir = dataset();
    for (folder, detail) in [("flat", 0u32), ("photos", 1)] {
        fs::create_dir(dir.path().join(folder)).unwrap();
        for i in 0..20u32 {
            let picture = image::RgbImage::from_fn(40, 36, |x, y| {
                let level = 12 * i + detail * (x * 9 + y * (5 + i)) % 256;
                image::Rgb([level as u8, (level / 2) as u8, (detail * (x ^ y) * 7) as u8])
            });
            picture
                .save(dir.path().join(folder).join(format!("{i}.png")))
                .unwrap();
        }
    }
    fs::write(
        dir.path().join("labels.tsv"),
        "0.png\tcat\n1.png\t-\tchurch\n2.png\t?\n",
    )
    .unwrap();
    dir
}

/// The arguments of every calibration here.
fn arguments() -> [&'static str; 10] {
    [
        "calibrate",
        model(),
        "--out",
        "c.safetensors",
        "--data",
        ".",
        "--not-photos",
        "flat",
        "--rank",
        "6",
    ]
}

fn calibrate(dir: &Path, more: &[&str]) -> Run {
    let photos = ["--photos", "photos", "--labels", "labels.tsv"];
    let sizes = ["--words", "5", "--store", "f32"];
    glimpse(dir, &[&arguments()[..], &photos, &sizes, more].concat())
}

fn caption(dir: &Path, image: &str, more: &[&str]) -> Run {
    glimpse(
        dir,
        &[&["caption", image, "--model", "c.safetensors"], more].concat(),
    )
}

#[test]
fn a_calibrated_model_says_how_sure_it_is() {
    let dir = material();
    let found = calibrate(dir.path(), &["--json"]).object();
    assert_eq!(found["words"], 5);
    assert_eq!(found["captions"], 2);
    assert!((0.0..=1.0).contains(&number(&found["mostly_right"])));
    assert!(number(&found["mean_of_photographs"]) > number(&found["mean_of_others"]));
    // Too few cats are known, and the model has no tags.
    assert_eq!(
        (&found["kinds"], &found["tags"]),
        (&json!([]), &Value::Null)
    );
    let inspected = glimpse(dir.path(), &["inspect", "c.safetensors", "--json"]).object();
    assert_eq!(inspected["metrics"]["calibration"], found);

    let answer = caption(dir.path(), "0.png", &["--json"]).object();
    let sure = number(&answer["captions"][0]["confidence"]);
    assert!((0.0..=1.0).contains(&sure));
    // A flat picture is no photograph, so no caption of it can be right.
    let flat = caption(dir.path(), "flat/3.png", &["--json"]).object();
    assert!(number(&flat["captions"][0]["confidence"]) < sure);
    // Drawn captions have a confidence, too.
    let drawn = caption(
        dir.path(),
        "0.png",
        &["--json", "--sample", "--n-best", "2"],
    )
    .object();
    assert!(number(&drawn["captions"][1]["confidence"]) >= 0.0);
    // Calibration does not change the text output.
    let text = answer["captions"][0]["text"].as_str().unwrap();
    assert_eq!(caption(dir.path(), "0.png", &[]).lines(), [text]);
}

#[test]
fn captions_that_are_not_sure_enough_are_not_given() {
    let dir = material();
    calibrate(dir.path(), &[]).lines();
    let text = caption(dir.path(), "0.png", &["--min-confidence", "1"]);
    assert_eq!(text.lines(), ["not sure"]);
    let several = caption(dir.path(), "photos", &["--min-confidence", "1"]);
    assert!(
        several
            .lines()
            .iter()
            .all(|line| line.ends_with("\tnot sure"))
    );
    let given = caption(dir.path(), "0.png", &["--min-confidence", "0"]);
    assert_eq!(given.lines(), caption(dir.path(), "0.png", &[]).lines());
    let object = caption(dir.path(), "0.png", &["--min-confidence", "1", "--json"]).object();
    let left_out = &object["captions"][0];
    assert_eq!(
        (&left_out["text"], &left_out["tokens"]),
        (&Value::Null, &json!([]))
    );
    assert!(number(&left_out["confidence"]) < 1.0);

    let args = [
        "caption",
        "0.png",
        "--model",
        model(),
        "--min-confidence",
        "0.5",
    ];
    let complaint = glimpse(dir.path(), &args);
    assert!(complaint.complaint(1).contains("glimpse calibrate"));
    let args = ["caption", "0.png", "--min-confidence", "1.5"];
    assert!(glimpse(dir.path(), &args).complaint(2).contains("0 to 1"));
}

#[test]
fn the_same_pictures_calibrate_to_the_same_bytes() {
    let dir = material();
    let bytes = |more: &[&str]| {
        calibrate(dir.path(), more).lines();
        fs::read(dir.path().join("c.safetensors")).unwrap()
    };
    let first = bytes(&[]);
    assert_eq!(first, bytes(&["--threads", "1"]));
}

#[test]
fn what_cannot_be_calibrated_is_said_in_a_line() {
    let dir = material();
    let refused = |more: &[&str]| {
        let run = glimpse(
            dir.path(),
            &[
                &[
                    "calibrate",
                    model(),
                    "--out",
                    "d.safetensors",
                    "--data",
                    ".",
                ],
                more,
            ]
            .concat(),
        );
        run.complaint(1).to_string()
    };
    assert!(refused(&["--not-photos", "nowhere"]).contains("nowhere"));
    fs::write(dir.path().join("bad.tsv"), "0.png cat\n").unwrap();
    let labels = [
        "--not-photos",
        "flat",
        "--photos",
        "photos",
        "--labels",
        "bad.tsv",
    ];
    assert!(refused(&labels).contains("bad.tsv: line 1"));
    fs::write(dir.path().join("bad.tsv"), "elsewhere.png\tcat\n").unwrap();
    assert!(refused(&labels).contains("names none of the photos in photos"));
    assert!(!dir.path().join("d.safetensors").exists());
}

#[test]
fn a_graphics_device_calibrates_as_the_processor_does() {
    if !is_there() {
        return;
    }
    let dir = material();
    let [cpu, gpu] = on_both(dir.path(), &arguments());
    for key in ["mean_of_photographs", "mean_of_others", "calibration_error"] {
        let [cpu, gpu] = [&cpu, &gpu].map(|found| number(&found[0][key]));
        assert!((cpu - gpu).abs() < 1e-2, "{key}: {cpu} and {gpu}");
    }
    let [cpu, gpu] = on_both(
        dir.path(),
        &["caption", "0.png", "--model", "c.safetensors"],
    );
    let [cpu, gpu] = [cpu, gpu].map(|found| number(&found[0]["captions"][0]["confidence"]));
    assert!((cpu - gpu).abs() < 1e-3, "{cpu} and {gpu}");
}
