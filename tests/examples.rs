//! Runs the examples in `tools/examples`.
//!
//! `cargo test` builds them with the tests. Run `cargo build --examples` before `cargo test --test examples`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program of an example: `target/PROFILE/examples/NAME`, if this test is `target/PROFILE/deps/examples-HASH`.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    profile.join("examples").join(file)
}

fn run(name: &str, args: &[&Path]) -> Output {
    let program = program(name);
    Command::new(&program)
        .args(args)
        .output()
        .unwrap_or_else(|e| {
            panic!(
                "{}: {e}; `cargo build --examples` builds it",
                program.display()
            )
        })
}

/// Runs an example, which must succeed, and returns its standard output.
fn printed(name: &str, args: &[&Path]) -> String {
    let output = run(name, args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn caption_describes_the_samples_and_files() {
    let text = printed("caption", &[]);
    for sample in ["raccoon.jpg: ", "astronaut.jpg: ", "cat.jpg: "] {
        assert!(text.contains(sample), "{text}");
    }
    assert!(text.contains("confidence 0."), "{text}");
    let photo = root().join("weights/samples/raccoon.jpg");
    let alone = printed("caption", &[&photo]);
    let (_, caption) = alone.lines().next().unwrap().split_once(": ").unwrap();
    assert!(text.contains(caption), "{alone}, not in {text}");
    assert!(!run("caption", &[Path::new("none.jpg")]).status.success());
}

#[test]
fn train_lowers_the_loss() {
    let text = printed("train", &[]);
    let loss = |line: &str| line.split_once("loss ").unwrap().1.parse::<f64>().unwrap();
    let losses: Vec<f64> = text
        .lines()
        .filter(|l| l.contains("loss "))
        .map(loss)
        .collect();
    assert_eq!(losses.len(), 7, "{text}");
    assert!(losses[0] > 0.1 && losses[6] < 0.01, "{text}");
}

#[test]
fn operation_has_a_checked_gradient() {
    let text = printed("operation", &[]);
    assert!(text.contains("0.6931"), "ln 2 is its value at 0: {text}");
    assert!(text.contains("is the difference quotient"), "{text}");
}

#[test]
fn search_finds_the_image_itself_first() {
    let folder = root().join("weights/samples");
    let text = printed("search", &[&folder.join("cat.jpg"), &folder]);
    let images = fs::read_dir(&folder).unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|e| e == "jpg")
    });
    assert_eq!(text.lines().count(), images.count().min(5), "{text}");
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("1.000 ") && first.ends_with("cat.jpg"),
        "{text}"
    );
    assert_eq!(run("search", &[]).status.code(), Some(2));
}
