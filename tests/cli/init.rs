//! Tests of `glimpse train --init`: training starts from a whole model, whose vocabulary is extended by the new
//! captions' words.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Run, dataset, glimpse, model, number, string};

fn train(data: &TempDir, out: &str, args: &[&str]) -> Run {
    glimpse(
        data.path(),
        &[&["train", "--data", ".", "--out", out], args].concat(),
    )
}

fn inspect(data: &TempDir, name: &str) -> Value {
    glimpse(data.path(), &["inspect", name, "--json"]).object()
}

/// Creates the dataset of the other tests with captions in other words.
fn other_words() -> TempDir {
    let data = dataset();
    let path = data.path().join("Flickr8k.token.txt");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("dog", "hündin").replace("runs", "rennt");
    fs::write(path, text).unwrap();
    data
}

#[test]
fn a_whole_model_goes_on_with_more_words() {
    let data = other_words();
    let args = ["--init", model(), "--max-steps", "2", "--json"];
    let run = train(&data, "a.safetensors", &args);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let objects = run.objects();
    let notices: Vec<&str> = objects
        .iter()
        .filter(|o| o["event"] == "notice")
        .map(|o| string(&o["text"]))
        .collect();
    assert!(
        notices
            .iter()
            .any(|n| n.starts_with("2 new words are added to the ")),
        "{notices:?}"
    );
    // The initial model is scored before the first step.
    let first = objects.iter().find(|o| o["event"] == "validation").unwrap();
    assert_eq!((&first["step"], &first["best"]), (&0.into(), &true.into()));
    let [before, after] = [model(), "a.safetensors"].map(|name| inspect(&data, name));
    let [old, new] = [&before, &after].map(|m| m["decoder"]["vocabulary"].as_u64().unwrap());
    assert_eq!(new, old + 2);
    assert_eq!(after["training"]["config"]["batch"], 32);
    assert_eq!(after["training"]["source"]["trained"], true);
    assert_eq!(
        after["training"]["before"]["config"],
        before["training"]["config"]
    );
    // The result can caption, and the same command gives the same bytes.
    assert_eq!(
        glimpse(
            data.path(),
            &["caption", "0.png", "--model", "a.safetensors"]
        )
        .lines()
        .len(),
        1
    );
    train(&data, "b.safetensors", &args[..4]).lines();
    let bytes = |name: &str| fs::read(data.path().join(name)).unwrap();
    assert!(bytes("a.safetensors") == bytes("b.safetensors"));
    assert!(bytes("a.last.safetensors") == bytes("b.last.safetensors"));
}

#[test]
fn a_resumed_run_from_a_whole_model_ends_like_one_that_never_stopped() {
    let data = other_words();
    let steps = |n: &'static str| {
        [
            "--init",
            model(),
            "--max-steps",
            n,
            "--checkpoint-every",
            "2",
        ]
    };
    train(&data, "whole.safetensors", &steps("5")).lines();
    train(&data, "part.safetensors", &steps("3")).lines();
    let resume = [
        "--resume",
        "part.checkpoint.safetensors",
        "--max-steps",
        "5",
    ];
    train(&data, "part.safetensors", &resume).lines();
    for suffix in ["safetensors", "last.safetensors"] {
        let [a, b] = ["whole", "part"]
            .map(|kind| fs::read(data.path().join(format!("{kind}.{suffix}"))).unwrap());
        assert!(a == b, "the {suffix} differ");
    }
}

#[test]
fn the_bundled_model_is_a_start_and_keeps_its_tags_but_not_its_confidence() {
    let data = other_words();
    let run = train(
        &data,
        "a.safetensors",
        &["--init", "bundled", "--max-steps", "1"],
    );
    run.lines();
    assert!(
        run.err.contains("the confidence of bundled judges"),
        "{}",
        run.err
    );
    assert!(run.err.contains("glimpse calibrate"), "{}", run.err);
    assert!(
        run.err.contains("before the first step: dev loss"),
        "{}",
        run.err
    );
    let args = ["caption", "0.png", "--model", "a.safetensors", "--json"];
    let answer = glimpse(data.path(), &args).object();
    assert!(answer["captions"][0]["confidence"].is_null(), "{answer}");
    assert!(answer["tags"].is_array());
    let model = inspect(&data, "a.safetensors");
    assert_eq!(model["training"]["source"]["file"], "bundled");
    assert!(number(&model["decoder"]["vocabulary"]) > 2538.0);
}

#[test]
fn what_cannot_be_a_start_is_refused() {
    let data = other_words();
    fs::write(
        data.path().join("encoder.toml"),
        "[encoder]\ntrain = \"all\"\nnew = { growth = 8, blocks = [1], stem = 8 }\n",
    )
    .unwrap();
    fs::write(
        data.path().join("inject.toml"),
        "[decoder]\nkind = \"inject\"\n",
    )
    .unwrap();
    for (args, what) in [
        (&["--init", "none.safetensors"][..], "none.safetensors"),
        (&["--init", "./bundled"], "bundled"),
        // A setting that differs from the model's is refused even if it is the default.
        (
            &["--init", "bundled", "--set", "decoder.kind=inject"],
            "decoder.kind: the model of --init has \"attention\"",
        ),
        (
            &["--init", "bundled", "--config", "inject.toml"],
            "decoder.kind: the model of --init has \"attention\"",
        ),
        (
            &["--init", "bundled", "--config", "encoder.toml"],
            "--init bundled brings an encoder",
        ),
    ] {
        let run = train(&data, "a.safetensors", args);
        assert!(run.complaint(1).contains(what), "{}", run.err);
    }
}
