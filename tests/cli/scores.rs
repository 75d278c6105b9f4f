//! `glimpse evaluate` and `glimpse score`.

use std::fs;

use serde_json::{Value, json};

use crate::{dataset, glimpse, model, number, string};

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
