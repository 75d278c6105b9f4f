//! Tests of `glimpse evaluate` and `glimpse score`.

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
    for key in ["bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "meteor_stem"] {
        assert!((0.0..=100.0).contains(&number(&scores[key])));
    }
    for key in ["cider", "cider_d", "cider_plain"] {
        assert!((0.0..=1000.0).contains(&number(&scores[key])));
    }
    for key in ["bleu4", "cider", "meteor_stem"] {
        let [low, high] = [0, 1].map(|bound| number(&scores["intervals"][key][bound]));
        assert!(low <= number(&scores[key]) && number(&scores[key]) <= high);
    }
    for key in [
        "distinct_captions",
        "distinct_1grams",
        "distinct_2grams",
        "copied",
        "unfinished",
    ] {
        assert!((0.0..=100.0).contains(&number(&scores["diversity"][key])));
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
        (
            "failed.jsonl",
            "{\"image\": \"8.png\", \"error\": \"8.png: is not an image\"}\n".into(),
            "line 1 says that 8.png has no caption: 8.png: is not an image",
        ),
        (
            "ambiguous.jsonl",
            line("x/8.png", "a") + &line("y/8.png", "b"),
            "x/8.png and y/8.png are both 8.png",
        ),
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

/// Files of every supported format give equal scores for equal captions.
#[test]
fn every_kind_of_file_scores_alike() {
    let data = dataset();
    let write = |name: &str, text: &str| fs::write(data.path().join(name), text).unwrap();
    let score = |file: &str, args: &[&str]| {
        let common = ["score", file, "--data", ".", "--split", "dev"];
        glimpse(data.path(), &[&common, args].concat())
    };
    write(
        "ours.jsonl",
        "{\"image\": \"8.png\", \"text\": \"a dog runs\"}\n{\"image\": \"9.png\", \"text\": \"a red dog\"}\n",
    );
    write(
        "captions.jsonl",
        "\u{feff}{\"image\": \"./x/8.png\", \"captions\": [{\"text\": \"a dog runs\"}, {\"text\": \"b\"}]}\n\
         {\"image\": \"9.png\", \"captions\": [{\"text\": \"a red dog\"}]}\n",
    );
    write(
        "coco.json",
        "[{\"image_id\": \"8.png\", \"caption\": \"a dog runs\"}, {\"image_id\": \"9.png\", \"caption\": \"a red dog\"}]",
    );
    let ours = score("ours.jsonl", &["--json"]).object();
    for file in ["captions.jsonl", "coco.json"] {
        assert_eq!(score(file, &["--json"]).object(), ours, "{file}");
    }

    score("ours.jsonl", &["--per-image", "each.jsonl"]).lines();
    let each = fs::read_to_string(data.path().join("each.jsonl")).unwrap();
    let each: Vec<Value> = each
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(each.len(), 2);
    assert_eq!(each[0]["image"], "8.png");
    assert_eq!(each[1]["text"], "a red dog");
    let mean = (number(&each[0]["cider"]) + number(&each[1]["cider"])) / 2.0;
    assert!((mean - number(&ours["cider"])).abs() < 1e-9);

    let run = score("ours.jsonl", &[]);
    let table = run.lines();
    let starts: Vec<&str> = table
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        starts[..9],
        [
            "bleu1",
            "bleu2",
            "bleu3",
            "bleu4",
            "rouge_l",
            "cider",
            "cider_plain",
            "meteor_stem",
            "images"
        ]
    );
    assert!(
        score("ours.jsonl", &["--per-image", "no/each.jsonl"])
            .complaint(1)
            .contains("folder")
    );
    assert!(
        score("ours.jsonl", &["--meteor-data", "."])
            .complaint(1)
            .contains("paraphrase-en.gz")
    );
    // Captions can be scored without the pictures.
    for image in ["8.png", "9.png"] {
        fs::remove_file(data.path().join(image)).unwrap();
    }
    assert_eq!(score("ours.jsonl", &["--json"]).object(), ours);
}

#[test]
fn coco_results_are_found_by_number() {
    let data = dataset();
    let file = data.path().join("k/dataset_coco.json");
    fs::create_dir(data.path().join("k")).unwrap();
    let image = |name: &str, id: u64, text: &str| {
        json!({
            "filename": name, "filepath": "val2014", "split": "test", "cocoid": id, "imgid": 0,
            "sentences": [{ "raw": text }],
        })
    };
    let images = [
        image(
            "COCO_val2014_000000391895.jpg",
            391_895,
            "A man rides a bike.",
        ),
        image("COCO_val2014_000000000042.jpg", 42, "A red dog runs."),
    ];
    fs::write(file, json!({ "images": images }).to_string()).unwrap();
    let results = json!([
        { "image_id": 42, "caption": "a red dog runs" },
        { "image_id": 391_895, "caption": "a man rides a bike" },
    ]);
    fs::write(data.path().join("results.json"), results.to_string()).unwrap();
    let run = glimpse(
        data.path(),
        &[
            "score",
            "results.json",
            "--data",
            "k",
            "--split",
            "test",
            "--json",
        ],
    );
    assert!((number(&run.object()["bleu4"]) - 100.0).abs() < 1e-3);
    fs::write(
        data.path().join("results.json"),
        json!([{ "image_id": 43, "caption": "a" }]).to_string(),
    )
    .unwrap();
    let run = glimpse(
        data.path(),
        &["score", "results.json", "--data", "k", "--split", "test"],
    );
    assert!(run.complaint(1).contains("image 43 has no reference"));
}
