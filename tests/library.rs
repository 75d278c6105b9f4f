//! Test that the library's descriptions are equal to the program's output.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use glimpse::data::Unreadable;
use glimpse::{Captioner, Image};
use serde_json::Value;

fn samples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/samples");
    let names = ["astronaut.jpg", "cat.jpg", "raccoon.jpg"];
    names.map(|name| folder.join(name)).to_vec()
}

/// The objects that `glimpse caption --json` prints for the samples.
fn printed(options: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_glimpse"))
        .args(["caption", "--device", "cpu", "--json"])
        .args(options)
        .args(samples())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// The value as JSON, parsed from the text that the program would print.
fn json(value: &impl serde::Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

#[test]
fn the_library_describes_as_the_program_does() {
    let captioner = Captioner::bundled().unwrap();
    let images: Vec<Image> = samples().iter().map(|p| Image::open(p).unwrap()).collect();
    let all = printed(&["--n-best", "3"]);
    assert_eq!(all.len(), images.len());
    // The images are encoded in one batch, as by the program: with another batch, sums differ in their last bits.
    let options = captioner.options().alternatives(2);
    let described = options.describe_all(&images).unwrap();
    for ((image, program), library) in images.iter().zip(&all).zip(described) {
        assert_eq!(program["captions"][0], json(&library.caption));
        assert_eq!(program["captions"][1], json(&library.alternatives[0]));
        assert_eq!(program["captions"][2], json(&library.alternatives[1]));
        assert_eq!(program["tags"], json(&library.tags));
        let alone = captioner.describe(image).unwrap();
        assert_eq!(program["captions"][0]["text"], alone.text);
        assert!(alone.alternatives.is_empty());
    }
}

#[test]
fn the_library_is_unsure_where_the_program_is() {
    let captioner = Captioner::bundled().unwrap();
    let images: Vec<Image> = samples().iter().map(|p| Image::open(p).unwrap()).collect();
    let mut unsure = 0;
    for least in ["0.1", "0.3", "0.6", "1"] {
        let options = captioner.options().min_confidence(least.parse().unwrap());
        let described = options.describe_all(&images).unwrap();
        for (program, library) in printed(&["--min-confidence", least]).iter().zip(described) {
            let caption = &program["captions"][0];
            assert_eq!(caption["text"].is_null(), !library.is_sure(), "{least}");
            assert_eq!(caption["confidence"], json(&library.confidence), "{least}");
            unsure += usize::from(library.text == "not sure");
        }
    }
    assert!(unsure > 0);
}

#[test]
fn errors_have_the_error_behind_them() {
    let error = Image::open("no such file.jpg").unwrap_err();
    let source = error.source().unwrap().downcast_ref::<std::io::Error>();
    assert_eq!(source.unwrap().kind(), std::io::ErrorKind::NotFound);
    let error = Image::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap_err();
    assert!(error.source().unwrap().is::<Unreadable>(), "{error:?}");
}
