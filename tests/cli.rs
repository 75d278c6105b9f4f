//! The program as people and scripts call it: every command, good input and bad.
//!
//! The models here are tiny and trained on the spot, on pictures made on the spot; only the last test asks the
//! bundled model.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use glimpse::data::weights::{Precision, WeightFile, write_weights};
use glimpse::data::{Image, Recipe};
use glimpse::tensor::Tensor;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a run of the program left behind.
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

    /// The lines of standard output, after success.
    fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out.lines().collect()
    }

    /// The objects on standard output, whatever the exit status.
    fn objects(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The only object, after success.
    fn object(&self) -> Value {
        let [line] = self.lines()[..] else {
            panic!("not one line: {}", self.out)
        };
        serde_json::from_str(line).unwrap()
    }

    /// The one line that says what went wrong; nothing else was printed.
    fn complaint(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert_eq!(self.out, "");
        let [line] = self.err.lines().collect::<Vec<_>>()[..] else {
            panic!("not one line: {}", self.err)
        };
        line.strip_prefix("glimpse: ").unwrap()
    }
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glimpse"));
    command.current_dir(dir).args(args);
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

/// A picture that differs from those with other seeds.
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

/// A folder with these pictures.
fn pictures(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (seed, name) in (0..).zip(names) {
        picture(seed).save(dir.path().join(name)).unwrap();
    }
    dir
}

/// A dataset like Flickr8k with eight pictures to train on and two to test with, beside two configurations:
/// `new.toml` trains all of a new captioner, `frozen.toml` a decoder alone.
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
    for (name, text) in [
        ("Flickr8k.token.txt", tokens),
        ("Flickr_8k.trainImages.txt", train),
        ("Flickr_8k.devImages.txt", dev),
        ("new.toml", format!("{run}{decoder}{encoder}")),
        (
            "endless.toml",
            format!("{run}{decoder}{encoder}").replace("epochs = 3", "epochs = 1000000"),
        ),
        ("frozen.toml", format!("{run}{decoder}")),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// A small model, made once; its path.
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
                "--checkpoint-every",
                "--max-steps",
                "--seed",
            ],
        ),
        ("evaluate", &["--split", "--captions"]),
        ("score", &["HYPOTHESES.jsonl", "--split"]),
        ("inspect", &["FILE", "--tensors"]),
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
        &["caption", "a.jpg", "--attention", "a.png"],
        &["caption", "a.jpg", "--temperature", "2"],
        &["caption", "a.jpg", "--sample", "--top-p", "1.5"],
        &["caption", "a.jpg", "--length-penalty", "nan"],
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
        &["evaluate", "--data", ".", "--split", "dve"],
        &["score", "--data", ".", "--split", "dev"],
        &["inspect"],
        &["bench", "sleep"],
        &["bench", "--precision", "bf16"],
        &["bench", "--threads", "0"],
        &["describe", "a.jpg"],
    ] {
        glimpse(here, args).complaint(2);
    }
    assert_eq!(glimpse(here, &[]).code, Some(2));
    assert!(
        glimpse(here, &["bench", "--precision", "bf16"])
            .err
            .contains("f32")
    );
}

#[test]
fn captions_as_text_and_as_json() {
    let dir = pictures(&["a.png", "b.jpg", "c.bmp", "d.gif"]);
    let caption = |args: &[&str]| {
        glimpse(
            dir.path(),
            &[&["caption", "--model", model()], args].concat(),
        )
    };

    let single = caption(&["a.png"]);
    let [text] = single.lines()[..] else {
        panic!("{}", single.out)
    };
    assert!(!text.contains('\t') && !text.is_empty());
    let all = caption(&["b.jpg", ".", "a.png"]);
    let names: Vec<&str> = all
        .lines()
        .iter()
        .map(|line| line.split_once('\t').unwrap().0)
        .collect();
    assert_eq!(
        names,
        ["b.jpg", "./a.png", "./b.jpg", "./c.bmp", "./d.gif", "a.png"]
    );
    assert_eq!(all.lines()[5], format!("a.png\t{text}"));
    assert_eq!(caption(&["a.png", "--n-best", "3"]).lines().len(), 3);
    assert_eq!(
        caption(&["a.png", "b.jpg", "--n-best", "2", "--beam", "2"])
            .lines()
            .len(),
        4
    );

    let answer = caption(&["a.png", "--json", "--n-best", "2"]).object();
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["image", "captions", "ms"]);
    assert_eq!(answer["image"], "a.png");
    assert_eq!(answer["captions"][0]["text"], *text);
    for caption in answer["captions"].as_array().unwrap() {
        let tokens = caption["tokens"].as_array().unwrap();
        let sum: f64 = tokens.iter().map(|token| number(&token["log_prob"])).sum();
        assert!((sum - number(&caption["log_prob"])).abs() < 1e-9 && sum < 0.0);
        assert!(string(&caption["text"]).starts_with(string(&tokens[0]["text"])));
    }
    for part in ["decode", "encode", "generate"] {
        assert!(number(&answer["ms"][part]) >= 0.0);
    }
}

#[test]
fn a_caption_does_not_depend_on_its_neighbours() {
    let names: Vec<String> = (10..23).map(|i| format!("{i}.png")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let dir = pictures(&names);
    let sampling = [
        "--sample",
        "--seed",
        "7",
        "--temperature",
        "1.5",
        "--top-p",
        "0.95",
        "--n-best",
        "2",
    ];
    for options in [
        &["--beam", "4", "--n-best", "3"][..],
        &["--beam", "1"],
        &sampling,
    ] {
        let caption = |args: &[&str], threads: &str| {
            let common = [
                "caption",
                "--json",
                "--model",
                model(),
                "--threads",
                threads,
            ];
            let run = glimpse(dir.path(), &[&common, options, args].concat());
            run.objects()
                .into_iter()
                .map(|o| o["captions"].clone())
                .collect::<Vec<_>>()
        };
        let together = caption(&names, "2");
        let alone: Vec<Value> = names
            .iter()
            .flat_map(|name| caption(&[name], "1"))
            .collect();
        assert_eq!(together, alone, "{options:?}");
        assert_eq!(together, caption(&names, "3"));
    }
    let draw = |seed| {
        let args = [
            "caption",
            ".",
            "--model",
            model(),
            "--sample",
            "--seed",
            seed,
        ];
        glimpse(dir.path(), &args).out
    };
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
}

#[test]
fn standard_input_holds_one_image() {
    let dir = pictures(&["a.png"]);
    let args = ["caption", "-", "--model", model()];
    let from_file = glimpse(dir.path(), &["caption", "a.png", "--model", model()]);
    assert_eq!(
        glimpse_reading(dir.path(), &args, &png(0)).lines(),
        from_file.lines()
    );
    assert_eq!(
        glimpse_reading(dir.path(), &args, b"").complaint(1),
        "-: is empty (0 bytes); copy or download it again"
    );
    let answers = glimpse_reading(
        dir.path(),
        &[&args[..], &["a.png", "--json"]].concat(),
        b"no image",
    )
    .objects();
    assert_eq!(answers[0]["image"], "-");
    assert!(string(&answers[0]["error"]).contains("is not an image"));
    assert_eq!(answers[1]["image"], "a.png");
}

/// The first bytes of a PNG of 60,000 x 60,000 pixels.
fn huge_png() -> Vec<u8> {
    let mut bytes = png(0);
    bytes[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    // The checksum of the chunk's name and its 13 bytes.
    let mut crc = u32::MAX;
    for byte in &bytes[12..29] {
        crc = (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            (c >> 1) ^ if c & 1 == 1 { 0xEDB8_8320 } else { 0 }
        });
    }
    bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
    bytes
}

/// A good picture at both ends, and everything that is wrong with files between them, with a part of what is said.
fn good_and_bad() -> (TempDir, Vec<(&'static str, Option<&'static str>)>) {
    let dir = pictures(&["good.png", "fine.jpg"]);
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write("empty.jpg", b"");
    write("text.jpg", b"This is a text, not a picture.\n");
    let jpeg = fs::read(dir.path().join("fine.jpg")).unwrap();
    write("cut.jpg", &jpeg[..jpeg.len() / 2]);
    write("huge.png", &huge_png());
    fs::create_dir(dir.path().join("folder")).unwrap();
    write("folder/notes.txt", b"no image");
    let cases = vec![
        ("good.png", None),
        ("empty.jpg", Some("is empty")),
        ("text.jpg", Some("is not an image")),
        ("cut.jpg", Some("cut off")),
        ("huge.png", Some("60000 x 60000")),
        ("folder", Some("is a folder without images")),
        ("missing.jpg", Some("does not exist")),
        ("fine.jpg", None),
    ];
    (dir, cases)
}

#[test]
fn bad_images_are_reported_and_the_others_answered() {
    let (dir, cases) = good_and_bad();
    let paths: Vec<&str> = cases.iter().map(|(path, _)| *path).collect();
    for (command, key) in [
        (&["caption", "--model", model()][..], "captions"),
        (&["features", "--encoder", model()], "features"),
    ] {
        let json = glimpse(dir.path(), &[command, &paths, &["--json"]].concat());
        assert_eq!((json.code, json.err.as_str()), (Some(1), ""));
        let answers = json.objects();
        assert_eq!(answers.len(), cases.len());
        for (answer, (path, wrong)) in answers.iter().zip(&cases) {
            assert_eq!(answer["image"], *path);
            match wrong {
                Some(what) => assert!(string(&answer["error"]).contains(what), "{answer}"),
                None => assert!(answer[key].is_array(), "{answer}"),
            }
        }

        let text = glimpse(dir.path(), &[command, &paths].concat());
        assert_eq!(text.code, Some(1));
        let names: Vec<&str> = text
            .out
            .lines()
            .map(|line| line.split_once('\t').unwrap().0)
            .collect();
        assert_eq!(names, ["good.png", "fine.jpg"]);
        let complaints: Vec<&str> = text.err.lines().collect();
        assert_eq!(complaints.len(), cases.len() - 2);
        let wrong = cases
            .iter()
            .filter_map(|(path, wrong)| Some((path, (*wrong)?)));
        for (line, (path, what)) in complaints.iter().zip(wrong) {
            assert!(
                line.starts_with(&format!("glimpse: {path}: ")) && line.contains(what),
                "{line}"
            );
        }
    }
    let message = glimpse(dir.path(), &["caption", "folder", "--model", model()])
        .complaint(1)
        .to_string();
    assert!(message.contains("without images"), "{message}");
}

#[test]
fn features_agree_however_they_are_asked_for() {
    let dir = pictures(&["a.png", "b.jpg", "c.png"]);
    let path = |name: &str| dir.path().join(name);
    let features = |args: &[&str]| {
        glimpse(
            dir.path(),
            &[&["features", "--encoder", model()], args].concat(),
        )
    };
    let numbers = |answer: &Value| -> Vec<f32> {
        answer["features"]
            .as_array()
            .unwrap()
            .iter()
            .map(|x| number(x) as f32)
            .collect()
    };

    let answers = features(&["a.png", "b.jpg", "c.png", "--json"]).objects();
    let expected: Vec<Vec<f32>> = answers.iter().map(numbers).collect();
    let channels = expected[0].len();
    assert_ne!(expected[0], expected[1]);
    for (line, (name, row)) in features(&["."])
        .lines()
        .iter()
        .zip(["./a.png", "./b.jpg", "./c.png"].iter().zip(&expected))
    {
        let (path, text) = line.split_once('\t').unwrap();
        assert_eq!(path, *name);
        assert_eq!(
            text.split(' ')
                .map(|x| x.parse().unwrap())
                .collect::<Vec<f32>>(),
            *row
        );
    }

    // The same through files: first one that holds the recipe's own numbers, in the order of the surface.
    let recipe: Recipe = "squash:32".parse().unwrap();
    let mut x = Vec::new();
    for name in ["a.png", "b.jpg", "c.png"] {
        let values = recipe.apply(&Image::open(path(name)).unwrap()).unwrap();
        x.extend((0..3).flat_map(|c| {
            values
                .iter()
                .skip(c)
                .step_by(3)
                .copied()
                .collect::<Vec<_>>()
        }));
    }
    let x = Tensor::from_vec(x, &[3, 3, 32, 32]).unwrap();
    write_weights(
        &path("x.safetensors"),
        &[("x".into(), x)],
        Precision::F32,
        Default::default(),
    )
    .unwrap();
    assert_eq!(
        features(&["--input", "x.safetensors", "--out", "f.safetensors"])
            .lines()
            .len(),
        0
    );
    let file = WeightFile::open(path("f.safetensors")).unwrap();
    assert_eq!(file.metadata("names").unwrap().unwrap(), r#"["0","1","2"]"#);
    assert_eq!(file.tensor("features").unwrap().dims(), [3, channels]);
    assert_eq!(file.tensor("features").unwrap().data(), expected.concat());

    // The maps' means are the features.
    features(&[
        "a.png",
        "missing.png",
        "b.jpg",
        "--spatial",
        "--out",
        "m.safetensors",
        "--preprocess",
        "squash:64",
    ]);
    let file = WeightFile::open(path("m.safetensors")).unwrap();
    assert_eq!(
        file.metadata("names").unwrap().unwrap(),
        r#"["a.png","b.jpg"]"#
    );
    let maps = file.tensor("features").unwrap();
    let [2, c, height, width] = *maps.dims() else {
        panic!("{}", maps.shape())
    };
    assert!(c == channels && height > 1 && width > 1);
    let pooled = numbers(&features(&["a.png", "--json", "--preprocess", "squash:64"]).object());
    for (map, mean) in maps.data().chunks(height * width).zip(pooled) {
        assert!((map.iter().sum::<f32>() / (height * width) as f32 - mean).abs() < 1e-5);
    }
    let nested = features(&["a.png", "--json", "--spatial", "--preprocess", "squash:64"]).object();
    assert_eq!(
        number(&nested["features"][c - 1][height - 1][0]) as f32,
        maps.data()[c * height * width - width]
    );
}

#[test]
fn unusable_tensors_and_encoders_are_one_line() {
    let dir = pictures(&["a.png"]);
    let file = |name: &str, tensor: &str, shape: &[usize]| {
        let tensors = [(tensor.to_string(), Tensor::zeros(shape))];
        write_weights(
            &dir.path().join(name),
            &tensors,
            Precision::F32,
            Default::default(),
        )
        .unwrap();
    };
    file("y.safetensors", "y", &[1, 3, 32, 32]);
    file("flat.safetensors", "x", &[3, 32]);
    file("tiny.safetensors", "x", &[1, 3, 1, 1]);
    file("net.safetensors", "features.conv0.weight", &[8, 3, 7, 7]);
    fs::write(dir.path().join("text.safetensors"), "weights").unwrap();
    fs::write(dir.path().join("empty.safetensors"), "").unwrap();
    let whole = fs::read(model()).unwrap();
    fs::write(
        dir.path().join("cut.safetensors"),
        &whole[..whole.len() - 100],
    )
    .unwrap();

    for (input, what) in [
        ("y", "has no tensor `x`"),
        ("flat", "[3, 32]"),
        ("none", "cannot be read"),
        ("tiny", ""),
    ] {
        let input = format!("{input}.safetensors");
        let run = glimpse(
            dir.path(),
            &["features", "--encoder", model(), "--input", &input],
        );
        assert!(run.complaint(1).contains(what), "{}", run.err);
    }
    for name in ["net", "text", "empty", "cut", "y"] {
        let name = format!("{name}.safetensors");
        let run = glimpse(dir.path(), &["features", "a.png", "--encoder", &name]);
        assert!(run.complaint(1).starts_with(&name), "{}", run.err);
        let run = glimpse(dir.path(), &["caption", "a.png", "--model", &name]);
        assert!(run.complaint(1).starts_with(&name), "{}", run.err);
    }
    let out = ["features", "a.png", "--encoder", model(), "--out"];
    assert!(
        glimpse(dir.path(), &[&out[..], &["no/f.safetensors"]].concat())
            .complaint(1)
            .contains("folder")
    );
}

#[test]
fn evaluate_and_score_agree() {
    let data = dataset();
    let evaluate = |args: &[&str]| {
        let common = [
            "evaluate",
            "--data",
            ".",
            "--split",
            "dev",
            "--model",
            model(),
            "--beam",
            "2",
        ];
        glimpse(data.path(), &[&common, args].concat())
    };
    let scores = evaluate(&["--json", "--captions", "out.jsonl"]).object();
    assert_eq!(scores["images"], 2);
    for key in ["bleu1", "bleu2", "bleu3", "bleu4"] {
        assert!((0.0..=100.0).contains(&number(&scores[key])));
    }
    let captions = fs::read_to_string(data.path().join("out.jsonl")).unwrap();
    let lines: Vec<Value> = captions
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines
            .iter()
            .map(|l| string(&l["image"]))
            .collect::<Vec<_>>(),
        ["8.png", "9.png"]
    );
    let score = |file: &str| {
        glimpse(
            data.path(),
            &["score", file, "--data", ".", "--split", "dev", "--json"],
        )
    };
    assert_eq!(score("out.jsonl").object(), scores);
    assert!(evaluate(&[]).lines()[0].starts_with("bleu1 "));

    let write = |name: &str, text: &str| fs::write(data.path().join(name), text).unwrap();
    let line = |image: &str, text: &str| format!("{}\n", json!({ "image": image, "text": text }));
    write(
        "perfect.jsonl",
        &(line("9.png", "a red dog number 9 runs") + &line("8.png", "A red dog number 8 runs.")),
    );
    let perfect = score("perfect.jsonl").object();
    assert!(
        (number(&perfect["bleu4"]) - 100.0).abs() < 1e-3,
        "{perfect}"
    );
    for (name, text, what) in [
        ("missing.jsonl", line("8.png", "a dog"), "9.png"),
        (
            "twice.jsonl",
            line("8.png", "a") + &line("8.png", "b"),
            "two captions",
        ),
        ("other.jsonl", line("0.png", "a"), "0.png"),
        ("broken.jsonl", "{\"image\": 3}\n".into(), "line 1"),
        ("empty.jsonl", String::new(), "no caption"),
    ] {
        write(name, &text);
        let run = score(name);
        let message = run.complaint(1);
        assert!(
            message.starts_with(name) && message.contains(what),
            "{message}"
        );
    }
    assert!(score("none.jsonl").complaint(1).starts_with("none.jsonl"));

    assert!(
        evaluate(&["--captions", "no/out.jsonl"])
            .complaint(1)
            .contains("folder")
    );
    write("9.png", "no image any more");
    assert!(
        evaluate(&["--captions", "late.jsonl"])
            .complaint(1)
            .contains("9.png: is not an image")
    );
    assert!(!data.path().join("late.jsonl").exists());
    fs::remove_file(data.path().join("9.png")).unwrap();
    assert!(
        evaluate(&[])
            .complaint(1)
            .contains("1 of 2 dev images are missing")
    );
    let run = glimpse(
        data.path(),
        &[
            "evaluate",
            "--data",
            "nowhere",
            "--split",
            "dev",
            "--model",
            model(),
        ],
    );
    assert!(run.complaint(1).starts_with("nowhere"));
}

/// Trains in the dataset's folder and returns the run; `out` is where the model goes.
fn train(data: &TempDir, out: &str, args: &[&str]) -> Run {
    glimpse(
        data.path(),
        &[&["train", "--data", ".", "--out", out], args].concat(),
    )
}

fn bytes(data: &TempDir, name: &str) -> Vec<u8> {
    fs::read(data.path().join(name)).unwrap()
}

#[test]
fn training_gives_the_same_bytes_again() {
    let data = dataset();
    for (name, options) in [
        ("new", &["--config", "new.toml"][..]),
        ("frozen", &["--config", "frozen.toml", "--encoder", model()]),
    ] {
        let once = |out: &str, more: &[&str]| {
            let run = train(&data, out, &[options, &["--max-steps", "3"], more].concat());
            assert_eq!(run.lines(), [out]);
            bytes(&data, out)
        };
        let first = once(&format!("{name}-1.safetensors"), &[]);
        assert_eq!(
            first,
            once(&format!("{name}-2.safetensors"), &["--threads", "1"]),
            "{name}"
        );
        assert_ne!(
            first,
            once(&format!("{name}-3.safetensors"), &["--seed", "2"]),
            "{name}"
        );
    }
    // The features of the frozen encoder were kept, and are used again.
    assert!(data.path().join("frozen-1.features.safetensors").is_file());
    let caption = glimpse(
        data.path(),
        &["caption", "0.png", "--model", "frozen-1.safetensors"],
    );
    assert_eq!(caption.lines().len(), 1);
}

#[test]
fn training_tells_its_steps_as_json() {
    let data = dataset();
    let run = train(
        &data,
        "a.safetensors",
        &["--config", "new.toml", "--max-steps", "4", "--json"],
    );
    assert_eq!(run.code, Some(0), "{}", run.err);
    let objects = run.objects();
    let steps: Vec<&Value> = objects.iter().filter(|o| o.get("loss").is_some()).collect();
    assert_eq!(steps.len(), 4);
    for (step, number_of) in steps.iter().zip(1..) {
        assert_eq!(step["step"], number_of);
        assert!(
            number(&step["loss"]) > 0.0
                && number(&step["lr"]) > 0.0
                && number(&step["images_per_s"]) > 0.0
        );
    }
    let validation = objects.iter().find(|o| o["event"] == "validation").unwrap();
    assert!(number(&validation["dev_loss"]) > 0.0);
    assert_eq!(objects.last().unwrap()["event"], "done");
}

#[test]
fn a_resumed_run_ends_like_one_that_never_stopped() {
    let data = dataset();
    for (name, options) in [
        ("new", &["--config", "new.toml"][..]),
        ("frozen", &["--config", "frozen.toml", "--encoder", model()]),
    ] {
        let [whole, part] = ["whole", "part"].map(|kind| format!("{name}-{kind}.safetensors"));
        train(&data, &whole, &[options, &["--max-steps", "7"]].concat()).lines();
        train(
            &data,
            &part,
            &[options, &["--max-steps", "5", "--checkpoint-every", "2"]].concat(),
        )
        .lines();
        assert_ne!(bytes(&data, &whole), bytes(&data, &part));
        let checkpoint = format!("{name}-part.checkpoint.safetensors");
        let inspected = glimpse(data.path(), &["inspect", &checkpoint, "--json"]).object();
        assert_eq!(inspected["kind"], "checkpoint");
        assert_eq!(inspected["training"]["steps"], 4);
        train(&data, &part, &["--resume", &checkpoint, "--max-steps", "7"]).lines();
        assert!(bytes(&data, &whole) == bytes(&data, &part), "{name}");
    }

    let checkpoint = bytes(&data, "new-part.checkpoint.safetensors");
    for (name, bytes, what) in [
        (
            "cut.safetensors",
            &checkpoint[..checkpoint.len() - 1],
            "not a whole safetensors file",
        ),
        (
            "stump.safetensors",
            &checkpoint[..5],
            "not a whole safetensors file",
        ),
        ("empty.safetensors", b"", "is empty"),
        (
            "model.safetensors",
            &fs::read(model()).unwrap(),
            "is no checkpoint",
        ),
    ] {
        fs::write(data.path().join(name), bytes).unwrap();
        let run = train(&data, "b.safetensors", &["--resume", name]);
        let message = run.complaint(1);
        assert!(
            message.starts_with(name) && message.contains(what),
            "{message}"
        );
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    use std::io::{BufRead, BufReader, Read};
    let data = dataset();
    let args = [
        "train",
        "--data",
        ".",
        "--out",
        "a.safetensors",
        "--config",
        "endless.toml",
        "--json",
    ];
    let mut child = command(data.path(), &args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines
            .by_ref()
            .any(|line| line.unwrap().contains("\"step\":2"))
    );
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    lines.for_each(|line| drop(line.unwrap()));
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("--resume a.checkpoint.safetensors"), "{err}");
    assert!(!data.path().join("a.safetensors").exists());
    let inspected = glimpse(
        data.path(),
        &["inspect", "a.checkpoint.safetensors", "--json"],
    )
    .object();
    let done = inspected["training"]["steps"].as_u64().unwrap();
    let more = (done + 2).to_string();
    train(
        &data,
        "a.safetensors",
        &["--resume", "a.checkpoint.safetensors", "--max-steps", &more],
    )
    .lines();
    let inspected = glimpse(data.path(), &["inspect", "a.safetensors", "--json"]).object();
    assert_eq!(inspected["training"]["steps"], done + 2);
}

#[test]
fn training_refuses_what_cannot_work_before_it_starts() {
    let data = dataset();
    let new = ["--config", "new.toml"];
    for (out, options, what) in [
        (
            "no/such/a.safetensors",
            &new[..],
            "its folder does not exist",
        ),
        (".", &new, "is a folder"),
        ("a.safetensors", &["--config", "none.toml"], "none.toml"),
        (
            "a.safetensors",
            &["--config", "new.toml", "--encoder", model()],
            "take one of them",
        ),
        (
            "a.safetensors",
            &["--encoder", "densenet121"],
            "no such file",
        ),
        (
            "a.safetensors",
            &["--encoder", "none.safetensors"],
            "none.safetensors",
        ),
        (
            "a.safetensors",
            &["--resume", "none.safetensors"],
            "none.safetensors",
        ),
    ] {
        let run = train(&data, out, options);
        assert!(run.complaint(1).contains(what), "{}", run.err);
    }
    fs::remove_file(data.path().join("3.png")).unwrap();
    assert!(
        train(&data, "a.safetensors", &new)
            .complaint(1)
            .contains("1 of 8 train images are missing")
    );
    let empty = tempfile::tempdir().unwrap();
    let run = glimpse(
        empty.path(),
        &["train", "--data", ".", "--out", "a.safetensors"],
    );
    assert!(run.complaint(1).contains("is no dataset"));
}

#[cfg(unix)]
#[test]
fn a_full_disk_loses_nothing() {
    let data = dataset();
    train(
        &data,
        "a.safetensors",
        &[
            "--config",
            "new.toml",
            "--max-steps",
            "3",
            "--checkpoint-every",
            "2",
        ],
    )
    .lines();
    let names = ["a.safetensors", "a.checkpoint.safetensors"];
    let before = names.map(|name| bytes(&data, name));
    for every in ["1", "0"] {
        // No file may grow beyond a few blocks; the signal that says so is ignored, as it is on a full disk.
        let script = format!(
            "trap '' XFSZ; ulimit -f 2; exec '{}' train --data . --out a.safetensors --config new.toml \
             --max-steps 5 --checkpoint-every {every} --json > /dev/null",
            env!("CARGO_BIN_EXE_glimpse")
        );
        let run = Run::new(
            Command::new("sh")
                .args(["-c", &script])
                .current_dir(data.path())
                .output()
                .unwrap(),
        );
        let name = if every == "1" { names[1] } else { names[0] };
        let message = run.complaint(1);
        assert!(
            message.starts_with(name) && message.contains("what was there before is untouched"),
            "{message}"
        );
        assert_eq!(before, names.map(|name| bytes(&data, name)));
    }
    let partial = |entry: fs::DirEntry| entry.file_name().to_string_lossy().contains("partial");
    assert!(
        !fs::read_dir(data.path())
            .unwrap()
            .any(|entry| partial(entry.unwrap()))
    );

    if Path::new("/dev/full").exists() {
        let full = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = command(data.path(), &["inspect", "a.safetensors"])
            .stdout(full)
            .output()
            .unwrap();
        assert!(
            Run::new(output)
                .complaint(1)
                .starts_with("standard output: cannot be written")
        );
    }
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
    // A model in training is worth more than that.
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
fn inspect_says_what_a_file_holds() {
    let dir = tempfile::tempdir().unwrap();
    let inspect = |args: &[&str]| glimpse(dir.path(), &[&["inspect"], args].concat());
    let report = inspect(&[model(), "--json"]).object();
    assert_eq!(report["kind"], "captioner");
    assert_eq!(report["architecture"], Value::Null);
    assert_eq!(report["encoder"]["blocks"], json!([1, 1]));
    assert_eq!(report["decoder"]["hidden"], 8);
    assert_eq!(report["recipe"], json!({ "method": "squash", "size": 32 }));
    assert_eq!(report["training"]["steps"], 2);
    assert_eq!(report["training"]["dataset"], "Flickr8k");
    assert_eq!(report["bytes"], fs::metadata(model()).unwrap().len());
    assert!(report["vocabulary"].as_u64().unwrap() > 10 && report["metrics"].is_object());
    assert!(report.get("tensors").is_none());

    let tensors = inspect(&[model(), "--json", "--tensors"]).object()["tensors"].clone();
    let tensors = tensors.as_array().unwrap();
    assert_eq!(report["tensor_count"], tensors.len());
    let stem = tensors
        .iter()
        .find(|t| t["name"] == "encoder.features.conv0.weight")
        .unwrap();
    assert_eq!(
        (&stem["dtype"], &stem["shape"]),
        (&json!("F32"), &json!([8, 3, 7, 7]))
    );
    let elements = |t: &&Value| -> u64 {
        t["shape"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap())
            .product()
    };
    let trained = tensors
        .iter()
        .filter(|t| !string(&t["name"]).contains("running"));
    assert_eq!(
        report["parameters"],
        trained.map(|t| elements(&t)).sum::<u64>()
    );

    let text = inspect(&[model()]).out;
    for part in [
        "captioner",
        "densenet: growth 8, blocks [1, 1]",
        "squash:32",
        "training     steps = 2",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let other = dir.path().join("other.safetensors");
    let x = [("x".to_string(), Tensor::zeros(&[2, 5]))];
    write_weights(&other, &x, Precision::F16, Default::default()).unwrap();
    let report = inspect(&["other.safetensors", "--json"]).object();
    assert_eq!(
        (&report["kind"], &report["parameters"]),
        (&json!("tensors"), &json!(10))
    );

    fs::write(dir.path().join("text.safetensors"), "text").unwrap();
    assert!(
        inspect(&["text.safetensors"])
            .complaint(1)
            .starts_with("text.safetensors: is not a whole")
    );
    assert!(
        inspect(&["none.safetensors"])
            .complaint(1)
            .starts_with("none.safetensors: cannot be read")
    );
    assert!(inspect(&["."]).complaint(1).contains("is a folder"));
}

#[test]
fn bench_reports_what_it_measured() {
    let dir = tempfile::tempdir().unwrap();
    let bench = |args: &[&str]| {
        glimpse(
            dir.path(),
            &[
                &["bench"],
                args,
                &["--runs", "2", "--json", "--threads", "2"],
            ]
            .concat(),
        )
    };
    let common = |report: &Value, what: &str| {
        let ms = &report["ms"];
        let [min, median, max] = ["min", "median", "max"].map(|key| number(&ms[key]));
        assert!(0.0 < min && min <= median && median <= max, "{report}");
        assert!(number(&report["gflops"]) > 0.0);
        for (key, value) in [("what", what), ("device", "cpu"), ("precision", "f32")] {
            assert_eq!(report[key], value);
        }
        assert_eq!(report["threads"], 2);
    };
    for what in ["encode", "train-encoder"] {
        let report = bench(&[what, "--encoder", model(), "--batch", "2"]).object();
        common(&report, what);
        assert_eq!(report["encoder"], model());
        assert_eq!(report["batch"], 2);
    }
    for what in ["decode", "train-decoder"] {
        common(&bench(&[what]).object(), what);
    }
    let products = bench(&["gemm"]).objects();
    assert_eq!(products[2]["shape"], json!([1024, 1024, 1024]));
    for product in &products {
        common(product, "gemm");
        assert!(number(&product["matrixmultiply"]["gflops"]) > 0.0);
    }
    let text = glimpse(dir.path(), &["bench", "--runs", "1"]);
    assert!(text.lines()[0].contains("threads"));
    assert!(text.lines()[1].starts_with("encode densenet121, batch 1: "));
    assert!(
        bench(&["--encoder", "resnet50"])
            .complaint(1)
            .contains("densenet121")
    );
}

#[test]
fn a_device_or_instruction_set_that_is_not_there_is_refused() {
    let here = Path::new(".");
    assert!(
        glimpse(here, &["inspect", model(), "--device", "gpu"])
            .complaint(1)
            .contains("--device gpu")
    );
    let output = command(here, &["inspect", model()])
        .env("GLIMPSE_ISA", "abacus")
        .output()
        .unwrap();
    assert!(Run::new(output).complaint(1).contains("GLIMPSE_ISA=abacus"));
}

#[test]
fn the_bundled_model_captions_a_photo() {
    let photos = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/samples");
    let run = glimpse(
        &photos,
        &[
            "caption",
            "cat.jpg",
            "astronaut.jpg",
            "camera.jpg",
            "--json",
        ],
    );
    let texts: Vec<String> = run
        .objects()
        .iter()
        .map(|o| string(&o["captions"][0]["text"]).to_string())
        .collect();
    assert_eq!((run.code, texts.len()), (Some(0), 3), "{}", run.err);
    for text in &texts {
        assert!((3..=20).contains(&text.split(' ').count()), "{text}");
        assert!(
            text.chars()
                .all(|c| c.is_ascii_lowercase() || " '-".contains(c)),
            "{text}"
        );
    }
    assert_ne!(texts[0], texts[1]);
}
