//! Tests of odd image files on the command line: read with a warning, refused with --strict, and refused beyond
//! --max-megapixels.

use std::fs;

use super::{glimpse, glimpse_reading, model, pictures, png};

/// A PNG without its end chunk.
fn endless(seed: u32) -> Vec<u8> {
    let mut png = png(seed);
    png.truncate(png.len() - 12);
    png
}

const WARNING: &str = "ends without its end chunk, but has all of its pixels";

#[test]
fn an_odd_file_is_captioned_as_the_whole_one_with_a_warning() {
    let dir = pictures(&["whole.png"]);
    fs::write(dir.path().join("odd.png"), endless(0)).unwrap();
    let model = model();
    for args in [vec![], vec!["--json"]] {
        let run = glimpse(
            dir.path(),
            &[&["caption", "odd.png", "--model", model], &*args].concat(),
        );
        assert_eq!(run.lines().len(), 1);
        assert_eq!(run.err, format!("glimpse: warning: odd.png: {WARNING}\n"));
        if !args.is_empty() {
            assert_eq!(run.object()["warnings"], serde_json::json!([WARNING]));
        }
    }
    let run = glimpse_reading(dir.path(), &["caption", "-", "--model", model], &endless(0));
    assert_eq!(run.lines().len(), 1);
    assert_eq!(run.err, format!("glimpse: warning: -: {WARNING}\n"));
}

#[test]
fn strict_refuses_what_is_odd() {
    let dir = pictures(&["whole.png"]);
    fs::write(dir.path().join("odd.png"), endless(0)).unwrap();
    let encoder = model();
    for command in ["caption", "features"] {
        let option = match command {
            "caption" => "--model",
            _ => "--encoder",
        };
        let run = glimpse(
            dir.path(),
            &[command, "odd.png", option, encoder, "--strict"],
        );
        assert_eq!(run.complaint(1), format!("odd.png: {WARNING}"));
        let run = glimpse(
            dir.path(),
            &[command, "whole.png", option, encoder, "--strict"],
        );
        assert_eq!(run.code, Some(0), "{}", run.err);
    }
}

#[test]
fn more_megapixels_than_are_accepted_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let large = image::RgbImage::new(1100, 1000);
    large.save(dir.path().join("large.png")).unwrap();
    let caption = |most: &str| {
        let args = [
            "caption",
            "large.png",
            "--model",
            model(),
            "--max-megapixels",
            most,
        ];
        glimpse(dir.path(), &args)
    };
    assert_eq!(
        caption("1").complaint(1),
        "large.png: claims 1100 x 1000 pixels, more than the 1 megapixels that are accepted; scale it down first"
    );
    assert_eq!(caption("2").code, Some(0));
}

#[test]
fn more_memory_than_is_granted_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let large = image::RgbImage::new(2000, 1500);
    large.save(dir.path().join("large.png")).unwrap();
    let caption = |most: &str| {
        let args = ["caption", "large.png", "--model", model()];
        glimpse(dir.path(), &[&args[..], &["--memory-mb", most]].concat())
    };
    assert_eq!(
        caption("8").complaint(1),
        "large.png: has 3 megapixels in a form that takes 10 MB to decode, more than the 8 MB that are granted; scale it \
         down first"
    );
    assert_eq!(caption("10").code, Some(0));
}
