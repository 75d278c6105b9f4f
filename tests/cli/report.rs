//! Tests of the files that a training writes for people: the log, the report, files for TensorBoard.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Run, dataset, glimpse, string};

fn train(data: &TempDir, out: &str, args: &[&str]) -> Run {
    let first = ["train", "--data", ".", "--out", out];
    glimpse(data.path(), &[&first[..], args].concat())
}

fn text(data: &TempDir, name: &str) -> String {
    fs::read_to_string(data.path().join(name)).unwrap()
}

fn log(data: &TempDir, name: &str) -> Vec<Value> {
    let text = text(data, name);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Returns the numbers of the steps in a log.
fn steps(log: &[Value]) -> Vec<u64> {
    let steps = log.iter().filter(|line| line.get("loss").is_some());
    steps.map(|line| line["step"].as_u64().unwrap()).collect()
}

#[test]
fn a_run_leaves_a_log_and_a_report_and_the_same_model() {
    let data = dataset();
    // A caption and a name that contain markup.
    let tokens = text(&data, "Flickr8k.token.txt")
        .replace("dog number 8", "dog <script>alert(8)</script> & \"8\"");
    fs::write(data.path().join("Flickr8k.token.txt"), tokens).unwrap();
    let run = train(&data, "a.safetensors", &["--config", "new.toml", "--json"]);
    run.lines();
    let log = log(&data, "a.log.jsonl");
    assert_eq!(log[0]["event"], "run");
    assert_eq!(log[0]["config"]["epochs"], 3);
    assert!(string(&log[0]["program"]).starts_with("glimpse "));
    assert_eq!(steps(&log), (1..=12).collect::<Vec<_>>());
    assert_eq!(log.last().unwrap()["event"], "done");
    // The log contains every object that --json prints.
    let printed = run.objects();
    for line in &printed[..printed.len() - 1] {
        assert!(log.contains(line), "{line}");
    }
    let captions = log.iter().filter(|line| line["event"] == "captions");
    assert_eq!(captions.count(), 3);

    let page = text(&data, "a.report.html");
    for part in [
        "a.safetensors",
        "finished",
        "Loss",
        "CIDEr",
        "BLEU-4",
        "Learning rate",
        "Throughput",
        "images a second",
        "data:image/jpeg;base64,",
        "8.png",
        "8 pictures, 16 captions",
        "2 pictures, 4 captions",
        "epochs = 3",
        "threads; computes on",
        "&lt;script&gt;alert(8)&lt;/script&gt;",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for part in [
        "<script",
        "http://",
        "https://",
        "http-equiv=\"refresh\"",
        "src=\"/",
        "Where the model looked",
    ] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(page.len() < 300_000, "{}", page.len());

    // Neither the log nor the report changes the bytes of the model.
    train(
        &data,
        "b.safetensors",
        &[
            "--config",
            "new.toml",
            "--no-report",
            "--tensorboard",
            "runs/b",
        ],
    )
    .lines();
    let bytes = |name: &str| fs::read(data.path().join(name)).unwrap();
    assert_eq!(bytes("a.safetensors"), bytes("b.safetensors"));
    assert_eq!(bytes("a.last.safetensors"), bytes("b.last.safetensors"));
    assert!(
        !data.path().join("b.report.html").exists() && data.path().join("b.log.jsonl").exists()
    );
    let events: Vec<PathBuf> = fs::read_dir(data.path().join("runs/b"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(events.len(), 1);
    let events = fs::read(&events[0]).unwrap();
    let has = |tag: &str| events.windows(tag.len()).any(|w| w == tag.as_bytes());
    for tag in [
        "brain.Event:2",
        "train/loss",
        "dev/loss",
        "dev/CIDEr",
        "dev/BLEU-4",
        "learning_rate",
        "images_per_s",
    ] {
        assert!(has(tag), "{tag}");
    }
}

#[test]
fn a_run_that_goes_on_keeps_its_history_once() {
    let data = dataset();
    let first = ["--config", "new.toml", "--max-steps", "4"];
    train(&data, "a.safetensors", &first).lines();
    // The checkpoint after step 4, from which the run goes on twice: to step 7, and then as if it had been killed there.
    let early = data.path().join("early.safetensors");
    fs::copy(data.path().join("a.checkpoint.safetensors"), &early).unwrap();
    let further = ["--resume", "a.checkpoint.safetensors", "--max-steps", "7"];
    train(&data, "a.safetensors", &further).lines();
    fs::copy(&early, data.path().join("a.checkpoint.safetensors")).unwrap();
    assert_eq!(
        steps(&log(&data, "a.log.jsonl")),
        (1..=7).collect::<Vec<_>>()
    );
    // A killed run may leave half a line.
    let half = text(&data, "a.log.jsonl") + "{\"step\": 8, \"lo";
    fs::write(data.path().join("a.log.jsonl"), half).unwrap();
    train(
        &data,
        "a.safetensors",
        &["--resume", "a.checkpoint.safetensors"],
    )
    .lines();
    let whole = log(&data, "a.log.jsonl");
    assert_eq!(steps(&whole), (1..=12).collect::<Vec<_>>());
    let scored = whole.iter().filter(|line| line["event"] == "validation");
    let scored: Vec<&Value> = scored.map(|line| &line["step"]).collect();
    assert_eq!(scored, [4, 8, 12]);
    let page = text(&data, "a.report.html");
    assert!(
        page.contains("step 12 of 12") && page.contains("CIDEr at step 4:"),
        "{page}"
    );

    // A run that continues under another name copies the log. Without a log, or with that of another run, it begins a
    // new one.
    train(
        &data,
        "b.safetensors",
        &["--resume", "a.checkpoint.safetensors"],
    )
    .lines();
    assert_eq!(
        steps(&log(&data, "b.log.jsonl")),
        (1..=12).collect::<Vec<_>>()
    );
    fs::remove_file(data.path().join("a.log.jsonl")).unwrap();
    fs::copy(&early, data.path().join("a.checkpoint.safetensors")).unwrap();
    train(
        &data,
        "a.safetensors",
        &["--resume", "a.checkpoint.safetensors"],
    )
    .lines();
    assert_eq!(steps(&log(&data, "a.log.jsonl"))[0], 5);
    // A new run replaces the log of the old one.
    train(
        &data,
        "b.safetensors",
        &["--config", "new.toml", "--max-steps", "2"],
    )
    .lines();
    assert_eq!(steps(&log(&data, "b.log.jsonl")), [1, 2]);
}

#[test]
fn a_report_that_cannot_be_written_ends_no_run() {
    let data = dataset();
    fs::create_dir(data.path().join("a.report.html")).unwrap();
    fs::create_dir(data.path().join("a.log.jsonl")).unwrap();
    let run = train(
        &data,
        "a.safetensors",
        &["--config", "new.toml", "--max-steps", "8"],
    );
    run.lines();
    for what in ["the report", "the log"] {
        let warnings = run
            .err
            .lines()
            .filter(|line| line.ends_with(&format!("training goes on without {what}")));
        assert_eq!(warnings.count(), 1, "{}", run.err);
    }
    fs::write(data.path().join("file"), "").unwrap();
    let refused = train(
        &data,
        "b.safetensors",
        &["--config", "new.toml", "--tensorboard", "file/runs"],
    );
    assert!(
        refused.complaint(1).contains("file/runs: cannot be"),
        "{}",
        refused.err
    );
    let refused = train(
        &data,
        "b.safetensors",
        &["--config", "new.toml", "--tensorboard", "file"],
    );
    assert!(
        refused
            .complaint(1)
            .starts_with("file: is a file; --tensorboard takes a folder"),
        "{}",
        refused.err
    );
    assert!(!data.path().join("b.log.jsonl").exists());
}

#[test]
fn where_an_attention_decoder_looked_is_shown() {
    let data = dataset();
    let args = [
        "--config",
        "new.toml",
        "--set",
        "decoder.kind=attention",
        "--max-steps",
        "4",
        "--set",
        "decoder.attention=4",
    ];
    train(&data, "a.safetensors", &args).lines();
    let page = text(&data, "a.report.html");
    assert!(page.contains("Where the model looked for each word"));
    assert!(page.contains("data:image/png;base64,"));
}
