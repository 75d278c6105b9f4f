//! Tests of the program as people and scripts call it: every command, with good and bad input.
//!
//! The models are tiny and are trained by the tests, on pictures that the tests draw; only one test uses the bundled
//! model.

mod attention;
#[path = "../common/attentive.rs"]
mod attentive;
mod bad_input;
mod bench;
#[path = "../common/bombs.rs"]
mod bomb;
mod bombs;
mod calibrate;
mod caption;
#[path = "../common/compare.rs"]
#[expect(dead_code, reason = "others compare images too")]
mod compare;
mod compare_runs;
mod config;
mod convert;
mod distill;
mod doctor;
mod features;
mod fetch;
#[cfg(unix)]
mod folders;
mod gpu;
mod init;
mod inspect;
mod odd_images;
#[cfg(unix)]
mod outputs;
#[cfg(unix)]
mod packaging;
mod proxies;
mod report;
mod scores;
mod serve;
mod server;
mod shell;
mod stages;
mod talk;
mod training;
mod version;
mod words;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// Exit status and output of a run of the program.
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Run {
    fn new(output: Output) -> Run {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Returns the lines of standard output; the run must have succeeded.
    fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out.lines().collect()
    }

    /// Returns the JSON objects on standard output, with any exit status.
    fn objects(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Returns the only JSON object; the run must have succeeded.
    fn object(&self) -> Value {
        let [line] = self.lines()[..] else {
            panic!("not one line: {}", self.out)
        };
        serde_json::from_str(line).unwrap()
    }

    /// Returns the single line of the error; nothing else may have been printed.
    fn complaint(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert_eq!(self.out, "");
        let [line] = self.err.lines().collect::<Vec<_>>()[..] else {
            panic!("not one line: {}", self.err)
        };
        line.strip_prefix("glimpse: ").unwrap()
    }

    /// Returns the line of the error after warnings; nothing else may have been printed.
    fn complaint_after_warnings(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert_eq!(self.out, "");
        let is_warning = |line: &&str| line.starts_with("glimpse: warning: ");
        let lines: Vec<&str> = self.err.lines().filter(|line| !is_warning(line)).collect();
        let [line] = lines[..] else {
            panic!("not one line: {}", self.err)
        };
        line.strip_prefix("glimpse: ").unwrap()
    }
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glimpse"));
    // Results must not depend on the machine: the device is the CPU unless a test asks for a GPU, and the cache is
    // not that of the user, who may have fetched encoders.
    command
        .current_dir(dir)
        .args(args)
        .env("GLIMPSE_DEVICE", "cpu")
        .env(
            "XDG_CACHE_HOME",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
        )
        .env_remove("GLIMPSE_GPU");
    command
}

fn glimpse(dir: &Path, args: &[&str]) -> Run {
    Run::new(command(dir, args).stdin(Stdio::null()).output().unwrap())
}

fn glimpse_reading(dir: &Path, args: &[&str], stdin: &[u8]) -> Run {
    let mut command = command(dir, args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    Run::new(child.wait_with_output().unwrap())
}

/// Returns a picture that depends on the seed.
fn picture(seed: u32) -> image::RgbImage {
    image::RgbImage::from_fn(40 + seed, 36, |x, y| {
        image::Rgb([
            (x * 5 + seed * 40) as u8,
            (y * 6) as u8,
            ((x ^ y) * seed) as u8,
        ])
    })
}

fn png(seed: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture(seed)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// Creates a folder with these pictures.
fn pictures(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (seed, name) in (0..).zip(names) {
        picture(seed).save(dir.path().join(name)).unwrap();
    }
    dir
}

/// Creates a dataset like Flickr8k with eight training and two dev pictures, and configurations: `new.toml` trains a
/// whole new captioner, `endless.toml` does so for a million epochs, `frozen.toml` trains a decoder alone, `last.toml` a
/// decoder and the encoder's last block, and `tuned.toml` decoder and encoder with frozen batch norm statistics.
fn dataset() -> TempDir {
    let dir = pictures(&[
        "0.png", "1.png", "2.png", "3.png", "4.png", "5.png", "6.png", "7.png", "8.png", "9.png",
    ]);
    let (mut tokens, mut train, mut dev) = (String::new(), String::new(), String::new());
    for i in 0..10 {
        tokens += &format!(
            "{i}.png#0\tA red dog number {i} runs .\n{i}.png#1\tThe dog runs on grass {i} .\n"
        );
        *if i < 8 { &mut train } else { &mut dev } += &format!("{i}.png\n");
    }
    let decoder = "[decoder]\nembedding = 8\nhidden = 8\n";
    let run = "epochs = 3\nbatch = 2\nmin_count = 1\n";
    let encoder = "[encoder]\ntrain = \"all\"\nnew = { growth = 8, blocks = [1, 1], stem = 8 }\n[image]\nsize = 32\n";
    let last = "[encoder]\ntrain = \"last-block\"\nlr = 1e-4\n";
    let tuned =
        "[encoder]\ntrain = \"all\"\nlr = 1e-4\nweight_decay = 0.0\nstatistics = \"frozen\"\n";
    for (name, text) in [
        ("Flickr8k.token.txt", tokens),
        ("Flickr_8k.trainImages.txt", train),
        ("Flickr_8k.devImages.txt", dev),
        ("new.toml", format!("{run}{decoder}{encoder}")),
        (
            "endless.toml",
            format!("{run}{decoder}{encoder}")
                .replace("epochs = 3", "epochs = 1000000\nvalidate_every = 0"),
        ),
        ("frozen.toml", format!("{run}{decoder}")),
        ("last.toml", format!("{run}{decoder}{last}")),
        ("tuned.toml", format!("{run}{decoder}{tuned}")),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// Returns the path of a small model, which is trained once for all tests.
fn model() -> &'static str {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    let path = MODEL.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-model.safetensors");
        let data = dataset();
        let args = [
            "train",
            "--data",
            ".",
            "--config",
            "new.toml",
            "--max-steps",
            "2",
            // An earlier run of these tests may have left a model there.
            "--force",
            "--out",
        ];
        glimpse(
            data.path(),
            &[&args[..], &[path.to_str().unwrap()]].concat(),
        )
        .lines();
        path
    });
    path.to_str().unwrap()
}

fn string(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no string"))
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn every_command_explains_itself() {
    let here = Path::new(".");
    assert!(glimpse(here, &["--version"]).lines()[0].starts_with("glimpse "));
    for (command, options) in [
        (
            "caption",
            &[
                "--model",
                "--beam",
                "[default: 5]",
                "--n-best",
                "--repetition-penalty",
                "--no-repeat-ngram",
                "--beam-groups",
                "--diversity",
                "[default: 0.5]",
                "--choose",
                "[default: likeliest]",
                "--sample",
                "--recursive",
                "--json",
            ][..],
        ),
        (
            "features",
            &["--encoder", "--spatial", "--preprocess", "--input", "--out"],
        ),
        (
            "train",
            &[
                "--data",
                "--resume",
                "--set",
                "--no-report",
                "--tensorboard",
                "--data-changed",
                "--init",
                "--force",
                "--lr",
                "--epochs",
                "--checkpoint-every",
                "--max-steps",
                "--seed",
            ],
        ),
        (
            "evaluate",
            &[
                "--split",
                "--captions",
                "--no-repeat-ngram",
                "--choose",
                "agreement",
            ],
        ),
        ("score", &["HYPOTHESES", "--split", "--meteor-data"]),
        (
            "doctor",
            &[
                "--data",
                "--model",
                "--columns",
                "--karpathy",
                "--skip-bad",
                "--json",
            ],
        ),
        ("inspect", &["FILE", "--tensors"]),
        ("config", &["MODEL"]),
        ("compare", &["RUN", "--json"]),
        ("fetch", &["densenet201", "--url", "--to", "--sha256"]),
        (
            "serve",
            &[
                "--addr",
                "[default: 127.0.0.1:8080]",
                "--model",
                "--max-upload-mb",
                "[default: 16]",
                "--token",
            ],
        ),
        ("devices", &["--json", "--gpu"]),
        ("convert", &["INPUT", "--verify", "--dtype"]),
        ("completions", &["SHELL", "zsh"]),
        ("man", &["--out"]),
        (
            "bench",
            &["train-decoder", "--runs", "[default: 12]", "--precision"],
        ),
    ] {
        let help = glimpse(here, &[command, "-h"]);
        help.lines();
        for option in options.iter().chain(&["--threads", "--device"]) {
            assert!(help.out.contains(option), "{command}: {option}");
        }
    }
}

#[test]
fn a_wrong_command_line_is_one_line_and_exit_2() {
    let here = Path::new(".");
    for args in [
        &["caption"][..],
        &["caption", "a.jpg", "--beam", "0"],
        &["caption", "a.jpg", "--beam", "3", "--n-best", "4"],
        &["caption", "a.jpg", "--temperature", "2"],
        &["caption", "a.jpg", "--sample", "--top-p", "1.5"],
        &["caption", "a.jpg", "--length-penalty", "nan"],
        &["caption", "a.jpg", "--repetition-penalty", "0.9"],
        &["caption", "a.jpg", "--repetition-penalty", "inf"],
        &["caption", "a.jpg", "--no-repeat-ngram", "-1"],
        &["caption", "a.jpg", "--no-repeat-ngram", "1001"],
        &["caption", "a.jpg", "--beam-groups", "0"],
        &["caption", "a.jpg", "--beam-groups", "2"],
        &["caption", "a.jpg", "--beam", "2", "--beam-groups", "4"],
        &["caption", "a.jpg", "--diversity", "1"],
        &["caption", "a.jpg", "--beam-groups", "5", "--diversity", "0"],
        &["caption", "a.jpg", "--choose", "longest"],
        &["caption", "a.jpg", "--sample", "--choose", "agreement"],
        &["caption", "a.jpg", "--sample", "--no-repeat-ngram", "3"],
        &["features", "a.jpg"],
        &["features", "--encoder", "e.safetensors"],
        &[
            "features",
            "a.jpg",
            "--encoder",
            "e.safetensors",
            "--input",
            "x.safetensors",
        ],
        &[
            "features",
            "a.jpg",
            "--encoder",
            "e.safetensors",
            "--preprocess",
            "stretch",
        ],
        &["train", "--data", "."],
        &["doctor"],
        &["doctor", "--data", ".", "--columns", "image=a"],
        &["doctor", "--data", ".", "--karpathy", "a", "--table", "b"],
        &["train", "--data", ".", "--out", "a", "--set", "epochs"],
        &[
            "train",
            "--data",
            ".",
            "--out",
            "a",
            "--set",
            "decoder.knd=merge",
        ],
        &["compare", "a.safetensors"],
        &["config", "a", "b"],
        &["evaluate", "--data", ".", "--split", "dve"],
        &[
            "evaluate",
            "--data",
            ".",
            "--split",
            "dev",
            "--beam-groups",
            "3",
        ],
        &["score", "--data", ".", "--split", "dev"],
        &["inspect"],
        &["fetch"],
        &["fetch", "densenet122"],
        &["fetch", "densenet121", "--url", "ftp://localhost/a"],
        &["fetch", "densenet121", "--sha256", "abc"],
        &["bench", "sleep"],
        &["convert", "a.pth"],
        &["completions"],
        &["man", "extra"],
        &["bench", "gemm", "--precision", "bf16"],
        &["bench", "--precision", "f8"],
        &["bench", "--threads", "0"],
        &["describe", "a.jpg"],
    ] {
        glimpse(here, args).complaint(2);
    }
    assert_eq!(glimpse(here, &[]).code, Some(2));
    assert!(
        glimpse(here, &["bench", "decode", "--precision", "bf16"])
            .err
            .contains("f32")
    );
}

#[test]
fn a_reader_that_leaves_ends_the_program_quietly() {
    let data = dataset();
    for args in [
        &["caption", ".", "--model", model()][..],
        &["inspect", model(), "--tensors"],
        &["bench", "gemm"],
    ] {
        let mut child = command(data.path(), args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let run = Run::new(child.wait_with_output().unwrap());
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{args:?}");
    }
    // A training does not end, because its progress would be lost.
    let args = [
        "train",
        "--data",
        ".",
        "--config",
        "new.toml",
        "--max-steps",
        "3",
        "--json",
        "--out",
        "a.safetensors",
    ];
    let mut child = command(data.path(), &args)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    child.wait().unwrap();
    assert!(data.path().join("a.safetensors").is_file());
}

#[test]
fn a_device_or_instruction_set_that_is_not_there_is_refused() {
    let here = Path::new(".");
    let both = ["caption", "a.png", "--device", "cpu", "--gpu", "0"];
    assert!(glimpse(here, &both).complaint(2).contains("--gpu"));
    let output = command(here, &["inspect", model()])
        .env("GLIMPSE_ISA", "abacus")
        .output()
        .unwrap();
    assert!(Run::new(output).complaint(1).contains("GLIMPSE_ISA=abacus"));
}
