//! Tests of `glimpse compare`.

use crate::{dataset, glimpse, number, string};

#[test]
fn runs_stand_side_by_side() {
    let data = dataset();
    for (out, setting) in [
        ("a.safetensors", "optimizer.lr=1e-3"),
        ("b.safetensors", "optimizer.lr=5e-4"),
    ] {
        let args = [
            "train", "--data", ".", "--config", "new.toml", "--out", out, "--set", setting,
        ];
        glimpse(data.path(), &args).lines();
    }
    let run = glimpse(
        data.path(),
        &[
            "compare",
            "a.safetensors",
            "b.log.jsonl",
            "a.last.safetensors",
        ],
    );
    let lines = run.lines();
    let row = |name: &str| {
        let line = lines
            .iter()
            .find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name}: {}", run.out));
        line[name.len()..]
            .split_whitespace()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert!(
        lines[0].trim_start().starts_with("a.safetensors"),
        "{}",
        run.out
    );
    assert_eq!(row("optimizer.lr"), ["0.001", "0.0005", "0.001"]);
    assert!(!run.out.contains("decoder.hidden"), "{}", run.out);
    assert_eq!(row("CIDEr").len(), 3);
    assert_eq!(row("dev loss").len(), 3);
    assert_eq!(row("steps").last().unwrap(), "12");

    let object = glimpse(
        data.path(),
        &[
            "compare",
            "a.safetensors",
            "a.log.jsonl",
            "b.safetensors",
            "--json",
        ],
    )
    .object();
    let lr = object["differs"]["optimizer.lr"].as_array().unwrap();
    assert_eq!(
        lr.iter().map(|x| number(x) as f32).collect::<Vec<_>>(),
        [1e-3, 1e-3, 5e-4]
    );
    let runs = object["runs"].as_array().unwrap();
    // The model and its log have equal scores of the best weights.
    assert_eq!(runs[0]["scores"]["cider"], runs[1]["scores"]["cider"]);
    assert_eq!(runs[0]["scores"]["step"], runs[1]["scores"]["step"]);
    assert_eq!(string(&runs[2]["run"]), "b.safetensors");

    let same = glimpse(
        data.path(),
        &["compare", "a.safetensors", "a.last.safetensors"],
    );
    assert_eq!(same.lines()[0], "the settings of all runs are the same");
    std::fs::write(data.path().join("c.jsonl"), "{\"step\": 1}\n").unwrap();
    for (path, part) in [
        ("none", "does not exist"),
        ("0.png", "0.png: "),
        ("c.jsonl", "tells of no run"),
        (".", "is a folder"),
    ] {
        let refused = glimpse(data.path(), &["compare", "a.safetensors", path]);
        assert!(refused.complaint(1).contains(part), "{}", refused.err);
    }
}
