//! Tests of the messages of `glimpse train` during training, and of the files that it does not overwrite.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Run, glimpse, number, pictures, string};

/// Creates a dataset with a table and this many pictures, each with its own caption, and configurations of short runs
/// that learn almost nothing.
fn spreadsheet(images: usize) -> TempDir {
    let names: Vec<String> = (0..images).map(|i| format!("{i}.png")).collect();
    let data = pictures(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut text = "image,caption\n".to_string();
    for (i, name) in names.iter().enumerate() {
        text += &format!("{name},A dog number {i} runs\n");
    }
    let config = "epochs = 2\nbatch = 4\nmin_count = 2\n[decoder]\nembedding = 8\nhidden = 8\n[optimizer]\nlr = 1e-30\n\
                  [encoder]\ntrain = \"all\"\nnew = { growth = 8, blocks = [1, 1], stem = 8 }\nstatistics = \"batch\"\n\
                  [image]\nsize = 32\n";
    for (name, text) in [
        ("captions.txt", text),
        ("c.toml", config.to_string()),
        ("long.toml", config.replace("epochs = 2", "epochs = 8")),
        // This run learns the words that all captions share, and nothing about the pictures.
        (
            "alike.toml",
            config
                .replace("epochs = 2", "epochs = 8")
                .replace("1e-30", "0.03"),
        ),
    ] {
        fs::write(data.path().join(name), text).unwrap();
    }
    data
}

fn train(data: &TempDir, out: &str, args: &[&str]) -> Run {
    glimpse(
        data.path(),
        &[&["train", "--data", ".", "--out", out], args].concat(),
    )
}

fn events<'a>(objects: &'a [Value], name: &str) -> Vec<&'a Value> {
    objects.iter().filter(|o| o["event"] == name).collect()
}

#[test]
fn a_run_says_what_it_learns_from_and_what_its_captions_are() {
    let data = spreadsheet(48);
    let run = train(&data, "a.safetensors", &["--config", "c.toml", "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let objects = run.objects();
    let [told] = events(&objects, "data")[..] else {
        panic!("{}", run.out)
    };
    assert_eq!(
        told["splits"],
        json!([
            { "split": "train", "images": 36, "captions": 36 },
            { "split": "dev", "images": 6, "captions": 6 },
            { "split": "test", "images": 6, "captions": 6 },
        ])
    );
    assert!(string(&told["rule"]).contains("hash of the pictures' names"));
    assert_eq!(
        (&told["words"], &told["words_kept"], &told["words_dropped"]),
        (&40.into(), &4.into(), &36.into())
    );
    let captions = events(&objects, "captions");
    assert_eq!(captions.len(), events(&objects, "validation").len());
    for event in captions {
        let shown = event["captions"].as_array().unwrap();
        assert_eq!(shown.len(), 6);
        assert!(string(&shown[0]["people"][0]).starts_with("A dog number"));
        assert!(string(&shown[0]["text"]).len() < 1000 && event.get("loss").is_none());
    }
    let steps: Vec<&Value> = objects.iter().filter(|o| o.get("loss").is_some()).collect();
    assert_eq!((steps.len(), number(&steps[17]["epoch"])), (18, 2.0));

    let run = train(&data, "b.safetensors", &["--config", "c.toml"]);
    assert_eq!(run.lines(), ["b.safetensors"]);
    for part in [
        "train 36 pictures with 36 captions, dev 6 pictures",
        "36 that occur less than 2 times (min_count) are left out",
        "dev loss: that of the dev split",
        "(people: A dog number",
        "of 6 captions distinct",
    ] {
        assert!(run.err.contains(part), "{part}: {}", run.err);
    }
    let run = train(&data, "l.safetensors", &["--config", "long.toml"]);
    assert!(
        run.err
            .contains("warning: the dev score stands still: none of the last 5 evaluations"),
        "{}",
        run.err
    );
    let line = run
        .err
        .lines()
        .find(|l| l.contains("step 50 of 72: loss "))
        .unwrap();
    assert!(
        line.starts_with("epoch 6 of 8, ")
            && line.contains(" images/s, ")
            && line.ends_with(" s left"),
        "{line}"
    );
}

#[test]
fn a_run_whose_captions_are_all_alike_says_so_and_what_to_do() {
    let data = spreadsheet(48);
    let run = train(
        &data,
        "a.safetensors",
        &["--config", "alike.toml", "--json"],
    );
    assert_eq!(run.code, Some(0), "{}", run.err);
    let objects = run.objects();
    let warnings: Vec<&str> = events(&objects, "warning")
        .iter()
        .map(|o| string(&o["text"]))
        .collect();
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("dev pictures have the same caption")),
        "{warnings:?}"
    );
    let done = objects.last().unwrap();
    assert_eq!(done["event"], "done");
    let warning = string(&done["warning"]);
    assert!(
        warning.contains("nearly the same of every dev picture")
            && warning.contains("--init bundled")
            && warning.contains("--epochs 16")
    );
    let run = train(&data, "b.safetensors", &["--config", "alike.toml"]);
    assert_eq!(run.lines(), ["b.safetensors"]);
    let last = run.err.lines().last().unwrap();
    assert!(
        last.starts_with("glimpse: warning: the model says nearly the same"),
        "{last}"
    );
}

#[test]
fn a_finished_run_goes_on_for_more_epochs() {
    let data = spreadsheet(12);
    train(&data, "a.safetensors", &["--config", "c.toml"]).lines();
    let more = [
        "--resume",
        "a.checkpoint.safetensors",
        "--epochs",
        "3",
        "--json",
    ];
    let run = train(&data, "a.safetensors", &more);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let objects = run.objects();
    let steps: Vec<i64> = objects
        .iter()
        .filter(|o| o.get("loss").is_some())
        .map(|o| number(&o["step"]) as i64)
        .collect();
    let per_epoch = steps.len() as i64;
    let third: Vec<i64> = (2 * per_epoch + 1..=3 * per_epoch).collect();
    assert!(per_epoch > 0 && steps == third, "{steps:?}");
}

#[test]
fn another_runs_output_needs_force() {
    let data = spreadsheet(12);
    let short = [
        "--config",
        "c.toml",
        "--max-steps",
        "2",
        "--checkpoint-every",
        "1",
    ];
    train(&data, "a.safetensors", &short).lines();
    // The same command again replaces the model by equal bytes.
    train(&data, "a.safetensors", &short).lines();
    let before = fs::read(data.path().join("a.safetensors")).unwrap();
    for args in [
        &["--config", "long.toml"][..],
        &[&short[..], &["--seed", "2"]].concat(),
    ] {
        let run = train(&data, "a.safetensors", args);
        let message = run.complaint(1);
        assert!(
            message.starts_with("a.safetensors: is the model of another run, with other settings")
                && message.contains("--resume a.checkpoint.safetensors")
                && message.contains("--force"),
            "{message}"
        );
    }
    assert!(before == fs::read(data.path().join("a.safetensors")).unwrap());
    // A checkpoint without its model is not overwritten either, and neither is a file that no run has written.
    fs::rename(data.path().join("a.safetensors"), data.path().join("kept")).unwrap();
    for name in ["a.last.safetensors", "a.best.safetensors"] {
        let _ = fs::remove_file(data.path().join(name));
    }
    let run = train(&data, "a.safetensors", &["--config", "long.toml"]);
    assert!(
        run.complaint(1)
            .starts_with("a.checkpoint.safetensors: is the checkpoint of another run"),
        "{}",
        run.err
    );
    let dense = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/densenet_tiny.safetensors"
    );
    fs::copy(dense, data.path().join("w.safetensors")).unwrap();
    let run = train(&data, "w.safetensors", &short);
    assert!(
        run.complaint(1)
            .contains("holds something that `glimpse train` has not written"),
        "{}",
        run.err
    );
    let forced = [
        &["--config", "long.toml", "--max-steps", "1"][..],
        &["--force"],
    ]
    .concat();
    train(&data, "a.safetensors", &forced).lines();
}

#[test]
fn what_no_run_has_written_is_not_overwritten() {
    let data = spreadsheet(12);
    let short = ["--config", "c.toml", "--max-steps", "2"];
    let write = |name: &str, text: &str| fs::write(data.path().join(name), text).unwrap();
    for (name, out) in [
        ("notes.md", "notes.md"),
        ("a.last.safetensors", "a.safetensors"),
        ("b.log.jsonl", "b.safetensors"),
        ("c.report.html", "c.safetensors"),
        ("d.contents.txt", "d.safetensors"),
    ] {
        write(name, "a diary\n");
        let run = train(&data, out, &short);
        let message = run.complaint(1);
        assert!(
            message.starts_with(&format!(
                "{name}: holds something that `glimpse train` has not"
            )) && message.contains("--force"),
            "{message}"
        );
        assert_eq!(
            fs::read_to_string(data.path().join(name)).unwrap(),
            "a diary\n"
        );
    }
    for name in ["c.toml", "captions.txt", "1.png"] {
        let before = fs::read(data.path().join(name)).unwrap();
        train(&data, name, &short).complaint(1);
        assert!(
            before == fs::read(data.path().join(name)).unwrap(),
            "{name}"
        );
    }
    // Even with --force a run does not overwrite its own inputs.
    let own = train(&data, "c.toml", &[&short[..], &["--force"]].concat());
    assert!(
        own.complaint(1).contains("is what --config reads"),
        "{}",
        own.err
    );
    let checkpoint = "k.checkpoint.safetensors";
    train(
        &data,
        "k.safetensors",
        &[&short[..], &["--checkpoint-every", "1"]].concat(),
    )
    .lines();
    let same = train(&data, checkpoint, &["--resume", checkpoint]);
    assert!(
        same.complaint(1).contains("is what --resume reads"),
        "{}",
        same.err
    );
    let no_checkpoint = train(&data, "n.safetensors", &["--resume", "k.safetensors"]);
    assert!(
        no_checkpoint.complaint(1).contains("--init"),
        "{}",
        no_checkpoint.err
    );
}

#[test]
fn a_run_knows_its_files_after_its_settings_were_changed() {
    let data = spreadsheet(12);
    let start = [
        "--config",
        "c.toml",
        "--max-steps",
        "3",
        "--checkpoint-every",
        "1",
    ];
    train(&data, "a.safetensors", &start).lines();
    let resume = |args: &[&str]| {
        let first = [
            "--resume",
            "a.checkpoint.safetensors",
            "--checkpoint-every",
            "1",
        ];
        train(&data, "a.safetensors", &[&first, args].concat())
    };
    // Two runs with changed settings, one with unchanged settings, and one from an earlier checkpoint.
    let early = fs::read(data.path().join("a.checkpoint.safetensors")).unwrap();
    resume(&["--lr", "0.005", "--epochs", "3"]).lines();
    resume(&["--epochs", "4", "--set", "dev.beam=2"]).lines();
    resume(&["--epochs", "5"]).lines();
    fs::write(data.path().join("a.checkpoint.safetensors"), early).unwrap();
    resume(&[]).lines();
    // A different run does not overwrite these files.
    let other = train(
        &data,
        "a.safetensors",
        &[&start[..], &["--seed", "5"]].concat(),
    );
    assert!(other.complaint(1).contains("another run"), "{}", other.err);
    // A missing or damaged log leads to a message.
    let log = data.path().join("a.log.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let damaged = text.replacen("{\"event\":\"start\"", "\"event\":\"start\"", 1);
    assert_ne!(damaged, text);
    fs::write(&log, damaged).unwrap();
    let run = resume(&["--epochs", "3"]);
    run.lines();
    assert!(
        run.err
            .contains("1 of its lines cannot be read, the first is line"),
        "{}",
        run.err
    );
    fs::remove_file(&log).unwrap();
    let run = resume(&["--epochs", "4"]);
    run.lines();
    assert!(
        run.err
            .contains("a.log.jsonl: the log of the steps before is not there"),
        "{}",
        run.err
    );
}

#[test]
fn rate_and_epochs_change_on_the_way_and_that_is_written_down() {
    let data = spreadsheet(12);
    let start = [
        "--config",
        "c.toml",
        "--max-steps",
        "3",
        "--checkpoint-every",
        "2",
    ];
    train(&data, "a.safetensors", &start).lines();
    let resume = [
        "--resume",
        "a.checkpoint.safetensors",
        "--lr",
        "0.02",
        "--epochs",
        "5",
        "--checkpoint-every",
        "2",
    ];
    let run = train(&data, "a.safetensors", &[&resume[..], &["--json"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.err);
    let objects = run.objects();
    let steps: Vec<&Value> = objects.iter().filter(|o| o.get("loss").is_some()).collect();
    let per_epoch = number(&events(&objects, "start")[0]["steps"]) / 5.0;
    assert_eq!(steps.len() as f64, 5.0 * per_epoch - 3.0);
    assert!(number(&steps[0]["lr"]) > 1e-3);
    for name in ["a.last.safetensors", "a.checkpoint.safetensors"] {
        let training = &glimpse(data.path(), &["inspect", name, "--json"]).object()["training"];
        assert_eq!(training["config"]["epochs"], 5);
        let changes = training["changes"].as_array().unwrap();
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert_eq!(
            (
                &changes[0]["setting"],
                &changes[0]["from"],
                &changes[0]["to"],
                &changes[0]["step"]
            ),
            (&"epochs".into(), &2.into(), &5.into(), &3.into())
        );
        assert_eq!(changes[1]["setting"], "optimizer.lr");
    }
    let run = train(
        &data,
        "a.safetensors",
        &["--resume", "a.checkpoint.safetensors", "--epochs", "1"],
    );
    assert!(run.complaint(1).contains("epochs = 1"), "{}", run.err);
    for (option, value) in [("--lr", "0"), ("--lr", "nan"), ("--epochs", "0")] {
        train(&data, "a.safetensors", &[option, value]).complaint(2);
    }
    // A new run accepts these settings too.
    train(
        &data,
        "n.safetensors",
        &[
            "--config",
            "c.toml",
            "--epochs",
            "1",
            "--lr",
            "0.5",
            "--max-steps",
            "1",
        ],
    )
    .lines();
    let training =
        glimpse(data.path(), &["inspect", "n.safetensors", "--json"]).object()["training"].clone();
    assert_eq!(
        (
            &training["config"]["epochs"],
            number(&training["config"]["optimizer"]["lr"])
        ),
        (&1.into(), 0.5)
    );
}
