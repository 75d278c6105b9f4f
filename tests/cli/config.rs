//! Tests of settings: documentation, overriding single ones on the command line, changing them on resuming, and storing
//! them in the model.

use std::fs;

use crate::{Run, dataset, glimpse, string};
use tempfile::TempDir;

fn train(data: &TempDir, out: &str, args: &[&str]) -> Run {
    let first = ["train", "--data", ".", "--out", out];
    glimpse(data.path(), &[&first[..], args].concat())
}

#[test]
fn the_documentation_is_a_configuration() {
    let data = dataset();
    let all = glimpse(data.path(), &["config"]);
    all.lines();
    for part in [
        "[optimizer]",
        "lr = 0.001",
        "unit: MiB",
        "Default: 30",
        "# [encoder.new]",
        "# [distill]",
    ] {
        assert!(all.out.contains(part), "{part}");
    }
    fs::write(data.path().join("all.toml"), &all.out).unwrap();
    let sets = [
        "--set",
        "encoder.new.growth=8",
        "--set",
        "encoder.new.blocks=[1,1]",
        "--set",
        "encoder.new.stem=8",
    ];
    let more = [
        "--set",
        "encoder.train=all",
        "--set",
        "image.size=32",
        "--set",
        "decoder.hidden=8",
        "--set",
    ];
    let last = [
        "decoder.embedding=8",
        "--set",
        "min_count=1",
        "--set",
        "batch=2",
        "--max-steps",
        "1",
    ];
    let args = [&["--config", "all.toml"][..], &sets, &more, &last].concat();
    train(&data, "a.safetensors", &args).lines();
    // With a model, its own values; another run with them is the same.
    let own = glimpse(data.path(), &["config", "a.safetensors"]);
    own.lines();
    assert!(
        own.out.contains("\n[encoder.new]\n") && own.out.contains("\ngrowth = 8\n"),
        "{}",
        own.out
    );
    fs::write(data.path().join("own.toml"), &own.out).unwrap();
    train(
        &data,
        "b.safetensors",
        &["--config", "own.toml", "--max-steps", "1"],
    )
    .lines();
    let bytes = |name: &str| fs::read(data.path().join(name)).unwrap();
    assert_eq!(bytes("a.safetensors"), bytes("b.safetensors"));
    let no_model = glimpse(data.path(), &["config", "0.png"]);
    no_model.complaint(1);
}

#[test]
fn the_effective_settings_are_told_and_stored() {
    let data = dataset();
    let args = [
        "--config",
        "new.toml",
        "--set",
        "optimizer.lr=5e-4",
        "--max-steps",
        "2",
    ];
    let run = train(&data, "a.safetensors", &args);
    run.lines();
    let said = run
        .err
        .lines()
        .find(|line| line.starts_with("settings: "))
        .unwrap();
    assert!(
        said.contains("epochs = 3; batch = 2") && said.contains("optimizer.lr = 0.0005"),
        "{said}"
    );
    let inspect = glimpse(data.path(), &["inspect", "a.safetensors"]);
    let line = inspect
        .lines()
        .into_iter()
        .find(|line| line.starts_with("settings "))
        .unwrap();
    assert!(
        line.contains("optimizer.lr = 0.0005") && line.contains("decoder.hidden = 8"),
        "{line}"
    );
    let object = glimpse(data.path(), &["inspect", "a.safetensors", "--json"]).object();
    assert_eq!(object["training"]["config"]["epochs"], 3);
}

#[test]
fn wrong_settings_are_one_line_that_names_the_right_ones() {
    let data = dataset();
    for (setting, part) in [
        (
            "decoder.knd=merge",
            "there is no setting decoder.knd; the nearest one is decoder.kind",
        ),
        ("lr=1e-3", "the nearest one is optimizer.lr"),
        (
            "decoder.hidden=big",
            "decoder.hidden takes a whole number of 0 or more, not the text `big`",
        ),
        (
            "decoder.kind=atention",
            "takes inject, par-inject, merge or attention",
        ),
        ("optimizer.lr=-1", "optimizer.lr: must be above 0"),
        ("epochs", "joined by ="),
        ("=3", "has a name before the ="),
        (
            "optimizer.learning_rate=1",
            "the nearest one is optimizer.lr",
        ),
        ("seed=18446744073709551615", "up to 9223372036854775807"),
        ("distill.features=0.5", "stage = \"distill\""),
    ] {
        let run = train(&data, "a.safetensors", &["--set", setting]);
        let line = run.complaint(2);
        assert!(line.contains(part), "{line}");
    }
    let twice = train(
        &data,
        "a.safetensors",
        &["--set", "seed=1", "--set", "seed=2"],
    );
    assert!(twice.complaint(2).contains("is there twice"));
    let both = train(&data, "a.safetensors", &["--set", "seed=1", "--seed", "1"]);
    assert!(both.complaint(2).contains("leave one out"));
    let resumed = train(
        &data,
        "a.safetensors",
        &["--resume", "c", "--config", "new.toml"],
    );
    let line = resumed.complaint(2);
    assert!(
        line.contains("--set KEY=VALUE") && line.contains("--init CHECKPOINT"),
        "{line}"
    );
    fs::write(data.path().join("w.toml"), "[decoder]\nkidn = \"merge\"\n").unwrap();
    let unknown = train(&data, "a.safetensors", &["--config", "w.toml"]);
    assert!(unknown.complaint(1).contains("did you mean `kind`?"));
    assert!(!data.path().join("a.safetensors").exists());
}

#[test]
fn a_run_that_goes_on_takes_what_can_be_changed() {
    let data = dataset();
    let first = [
        "--config",
        "new.toml",
        "--max-steps",
        "4",
        "--checkpoint-every",
        "2",
    ];
    train(&data, "a.safetensors", &first).lines();
    let checkpoint = "a.checkpoint.safetensors";
    for (setting, part) in [
        (
            "decoder.hidden=16",
            "the checkpoint's weights have these sizes",
        ),
        ("optimizer.kind=sgd", "what another optimizer remembers"),
        ("batch=4", "counted by it"),
        ("stage=distill", "a run has one stage"),
    ] {
        let run = train(
            &data,
            "a.safetensors",
            &["--resume", checkpoint, "--set", setting],
        );
        let line = run.complaint(2);
        assert!(
            line.contains(part) && line.contains("leave it out"),
            "{line}"
        );
    }
    let early = train(
        &data,
        "a.safetensors",
        &["--resume", checkpoint, "--set", "epochs=1"],
    );
    assert!(
        early.complaint(1).contains("the checkpoint has taken 4"),
        "{}",
        early.err
    );
    let sets = [
        "--set",
        "optimizer.lr=2e-4",
        "--set",
        "epochs=2",
        "--set",
        "decoder.dropout=0.1",
    ];
    let run = train(
        &data,
        "a.safetensors",
        &[&["--resume", checkpoint][..], &sets].concat(),
    );
    run.lines();
    assert!(
        run.err
            .contains("optimizer.lr was 0.001 and is 0.0002 from step 5 on"),
        "{}",
        run.err
    );
    let last = glimpse(data.path(), &["inspect", "a.last.safetensors", "--json"]).object();
    assert_eq!(last["training"]["steps"], 8);
    assert_eq!(last["training"]["config"]["epochs"], 2);
    assert_eq!(last["decoder"]["dropout"].as_f64().unwrap() as f32, 0.1);
    let changes = last["training"]["changes"].as_array().unwrap();
    let keys: Vec<&str> = changes.iter().map(|c| string(&c["setting"])).collect();
    assert_eq!(keys, ["epochs", "decoder.dropout", "optimizer.lr"]);
    assert!(changes.iter().all(|c| c["step"] == 4));
}
