//! Tests of `glimpse caption`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use glimpse::data::weights::NumberFormat;
use glimpse::model::{Captioner, Tags};
use glimpse::nn::Linear;
use glimpse::tensor::Tensor;
use serde_json::{Value, json};

use crate::{command, glimpse, glimpse_reading, model, number, pictures, png, string};

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
    assert_eq!(keys, ["image", "captions", "tags", "ms"]);
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
        &[
            "--beam",
            "6",
            "--n-best",
            "3",
            "--beam-groups",
            "3",
            "--repetition-penalty",
            "1.3",
            "--no-repeat-ngram",
            "2",
            "--choose",
            "agreement",
        ],
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
fn options_that_change_nothing_change_nothing() {
    let dir = pictures(&["a.png", "b.png", "c.png"]);
    let caption = |args: &[&str]| {
        let common = [
            "caption",
            ".",
            "--json",
            "--n-best",
            "3",
            "--model",
            model(),
        ];
        let run = glimpse(dir.path(), &[&common, args].concat());
        assert_eq!(run.code, Some(0), "{}", run.err);
        let captions = run.objects().into_iter().map(|o| o["captions"].clone());
        captions.collect::<Vec<_>>()
    };
    let plain = caption(&[]);
    assert_eq!(plain.len(), 3);
    for neutral in [
        &["--repetition-penalty", "1", "--no-repeat-ngram", "0"][..],
        &["--beam-groups", "1", "--diversity", "3"],
        &["--choose", "likeliest"],
        // No sentence is long enough to repeat an n-gram of 20 words.
        &["--no-repeat-ngram", "20"],
    ] {
        assert_eq!(caption(neutral), plain, "{neutral:?}");
    }
    // No word occurs twice in a caption.
    for captions in caption(&["--no-repeat-ngram", "1"]) {
        for caption in captions.as_array().unwrap() {
            let tokens = caption["tokens"].as_array().unwrap();
            let mut words: Vec<&str> = tokens.iter().map(|t| string(&t["text"])).collect();
            words.sort_unstable();
            assert!(words.windows(2).all(|w| w[0] != w[1]), "{caption}");
        }
    }
}

#[test]
fn a_bad_file_keeps_its_place_among_the_others() {
    let names: Vec<String> = (10..40).map(|i| format!("{i}.png")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let dir = pictures(&names);
    // Damaged files: single ones, and all eight of one chunk.
    for i in [10, 30, 39].into_iter().chain(18..26) {
        std::fs::write(dir.path().join(format!("{i}.png")), b"no image").unwrap();
    }
    let run = |threads| {
        let args = ["caption", ".", "--model", model(), "--threads", threads];
        glimpse(dir.path(), &[&args[..], &["--json"]].concat())
    };
    let answers = |threads| {
        let run = run(threads);
        assert_eq!(run.code, Some(1));
        let mut answers = run.objects();
        for answer in &mut answers {
            answer.as_object_mut().unwrap().remove("ms");
        }
        answers
    };
    let answers_of_one = answers("1");
    for (i, answer) in (10..).zip(&answers_of_one) {
        assert_eq!(answer["image"], format!("./{i}.png"));
        let is_bad = [10, 30, 39].contains(&i) || (18..26).contains(&i);
        assert_eq!(answer.get("error").is_some(), is_bad, "{i}");
        assert_eq!(answer.get("captions").is_none(), is_bad, "{i}");
    }
    assert_eq!(answers_of_one.len(), 30);
    assert_eq!(answers_of_one, answers("2"));
    assert_eq!(answers_of_one, answers("5"));
}

#[test]
fn first_results_do_not_wait_for_standard_input() {
    let names: Vec<String> = (10..18).map(|i| format!("{i}.png")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let dir = pictures(&names);
    for threads in ["1", "2"] {
        let common = ["caption", "--model", model(), "--threads", threads];
        let args = [&common[..], &names, &["-"]].concat();
        let mut child = command(dir.path(), &args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        // The first images are captioned while the pipe is still open and empty.
        let early: Vec<String> = out.by_ref().take(8).map(Result::unwrap).collect();
        assert!(early[7].starts_with("17.png\t"));
        child.stdin.take().unwrap().write_all(&png(3)).unwrap();
        let last = out.next().unwrap().unwrap();
        assert!(last.starts_with("-\t"), "{last}");
        assert!(child.wait().unwrap().success());
    }
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

#[test]
fn the_bundled_model_captions_a_photo() {
    let photos = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/samples");
    let run = glimpse(&photos, &["caption", ".", "--json"]);
    let texts: Vec<String> = run
        .objects()
        .iter()
        .map(|o| string(&o["captions"][0]["text"]).to_string())
        .collect();
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(texts.len() > 1);
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

#[test]
fn tags_are_classes_that_the_encoder_recognises() {
    let dir = pictures(&["a.png", "b.png"]);
    let caption = |model: &str, args: &[&str]| {
        glimpse(dir.path(), &[&["caption", "--model", model], args].concat())
    };
    // A model without classes recognises none.
    assert_eq!(
        caption(model(), &["a.png", "--json"]).object()["tags"],
        json!([])
    );
    let plain = caption(model(), &["a.png"]).lines()[0].to_string();
    assert_eq!(
        caption(model(), &["a.png", "--tags"]).lines(),
        [format!("{plain}\t")]
    );

    let mut captioner = Captioner::load(model()).unwrap();
    let features = captioner.encoder.config().features();
    let layer = Linear {
        weight: Tensor::zeros(&[3, features]),
        // Probabilities of 0.09, 0.24 and 0.67.
        bias: Tensor::from_vec(vec![0.0, 1.0, 2.0], &[3]).unwrap(),
    };
    let names = ["cat", "tree", "red fox"].map(String::from).to_vec();
    captioner.tags = Some(Tags::new(names, &layer).unwrap());
    let path = dir.path().join("tagged.safetensors");
    captioner.save(&path, NumberFormat::F16).unwrap();
    let answer = caption("tagged.safetensors", &["a.png", "--json"]).object();
    let tags = answer["tags"].as_array().unwrap();
    assert_eq!(tags.len(), 1);
    assert_eq!(tags[0]["name"], "red fox");
    assert!((number(&tags[0]["p"]) - 0.665).abs() < 1e-3);
    let lines = caption("tagged.safetensors", &[".", "--tags"]);
    assert_eq!(lines.lines()[0], format!("./a.png\t{plain}\tred fox 0.67"));
    assert_eq!(caption("tagged.safetensors", &["a.png"]).lines(), [plain]);
}
