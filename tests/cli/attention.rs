//! Tests of `glimpse caption --attention`, which draws the attention of each word.

use std::fs;
use std::path::Path;

use glimpse::data::weights::NumberFormat;
use tempfile::TempDir;

use crate::attentive::attentive;
use crate::{glimpse, glimpse_reading, model, pictures, string};

/// Creates a folder with two pictures and `attentive.safetensors`, a model with an attention decoder.
fn folder() -> TempDir {
    let dir = pictures(&["a.png", "b.jpg"]);
    let mut captioner = attentive("torchvision:64");
    let path = dir.path().join("attentive.safetensors");
    captioner.save(&path, NumberFormat::F32).unwrap();
    dir
}

const ATTENTIVE: [&str; 3] = ["caption", "--model", "attentive.safetensors"];

/// Reads the drawing at `path`; returns its pixels and the bytes of the file.
fn drawing(path: &Path) -> (image::RgbImage, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let image = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png).unwrap();
    (image.to_rgb8(), bytes)
}

#[test]
fn the_picture_has_a_panel_for_each_word() {
    let dir = folder();
    let caption = |args: &[&str]| glimpse(dir.path(), &[&ATTENTIVE, args].concat());
    let text = caption(&["a.png"]).lines()[0].to_string();
    let drawn = caption(&["a.png", "--attention", "out.png"]);
    assert_eq!(drawn.lines(), [text.as_str()]);
    let (picture, bytes) = drawing(&dir.path().join("out.png"));
    // The photo is 256 pixels long in each panel, and there are a few panels in a row.
    assert!(picture.width() > 2 * 256 && picture.height() > 256);
    // The same command again replaces the file by equal bytes.
    let again = caption(&["a.png", "--attention", "out.png", "--json"]).object();
    assert_eq!(drawing(&dir.path().join("out.png")).1, bytes);
    assert_eq!(string(&again["captions"][0]["text"]), text);
    assert_eq!(again["attention_grid"], serde_json::json!([8, 8]));
    assert_eq!(again["attention_region"].as_array().unwrap().len(), 4);
    for token in again["captions"][0]["tokens"].as_array().unwrap() {
        let weights = token["attention"].as_array().unwrap().iter();
        let sum: f64 = weights.map(|w| w.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-3);
    }
    // A photo from standard input, whose caption is drawn at random.
    let photo = fs::read(dir.path().join("a.png")).unwrap();
    let args = ["-", "--attention", "in.PNG", "--sample", "--seed", "4"];
    let sampled = glimpse_reading(dir.path(), &[&ATTENTIVE[..], &args].concat(), &photo);
    assert_eq!(sampled.lines().len(), 1);
    let (_, other) = drawing(&dir.path().join("in.PNG"));
    assert_ne!(other, bytes);
}

#[test]
fn what_cannot_be_drawn_is_refused_and_nothing_is_written() {
    let dir = folder();
    fs::create_dir(dir.path().join("folder.png")).unwrap();
    let refused = |args: &[&str], code: i32, why: &str| {
        let run = glimpse(dir.path(), args);
        let complaint = run.complaint(code);
        assert!(complaint.contains(why), "{complaint}");
    };
    let attentive = |args: &[&str], code: i32, why: &str| {
        refused(&[&ATTENTIVE, args].concat(), code, why);
    };
    attentive(
        &["a.png", "b.jpg", "--attention", "o.png"],
        2,
        "single image",
    );
    attentive(&[".", "--attention", "o.png"], 2, "single image");
    attentive(&["a.png", "--attention", "o.jpg"], 2, ".png");
    attentive(&["a.png", "--attention", "o"], 2, ".png");
    attentive(&["a.png", "--attention", "no/o.png"], 1, "does not exist");
    attentive(&["a.png", "--attention", "folder.png"], 1, "is a folder");
    attentive(
        &["missing.png", "--attention", "o.png"],
        1,
        "does not exist",
    );
    let other = [
        "caption",
        "--model",
        model(),
        "a.png",
        "--attention",
        "o.png",
    ];
    refused(&other, 1, "of the kind inject");
    for file in fs::read_dir(dir.path()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(
            !name.starts_with("o.") && !name.contains("partial"),
            "{name}"
        );
    }
}
