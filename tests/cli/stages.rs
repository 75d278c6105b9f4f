//! Tests of `glimpse train`: its stages, the choice of the best model by the dev split, and resuming after a kill at
//! any moment.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Run, command, dataset, glimpse, number};

/// Settings for a small captioner that is trained end to end and evaluated on the dev split every second step.
const SMALL: &str = r#"
    epochs = 3
    batch = 2
    min_count = 1
    max_words = 6
    [decoder]
    embedding = 8
    hidden = 8
    [encoder]
    train = "all"
    new = { growth = 8, blocks = [1, 1], stem = 8 }
    [image]
    size = 64
    [dev]
    every = 2
"#;

fn write(data: &TempDir, name: &str, text: &str) {
    fs::write(data.path().join(name), text).unwrap();
}

fn train(data: &TempDir, out: &str, args: &[&str]) -> Run {
    glimpse(
        data.path(),
        &[&["train", "--data", ".", "--out", out], args].concat(),
    )
}

fn bytes(data: &TempDir, name: &str) -> Vec<u8> {
    fs::read(data.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn steps(run: &Run) -> Vec<Value> {
    assert_eq!(run.code, Some(0), "{}", run.err);
    let objects = run.objects();
    objects
        .into_iter()
        .filter(|o| o.get("loss").is_some())
        .collect()
}

/// Creates a dataset with `start.safetensors`, a captioner with this decoder that was trained for a few steps.
fn started(decoder: &str) -> TempDir {
    let data = dataset();
    write(
        &data,
        "start.toml",
        &SMALL.replace("[decoder]", &format!("[decoder]\n{decoder}")),
    );
    train(
        &data,
        "start.safetensors",
        &["--config", "start.toml", "--max-steps", "4"],
    )
    .lines();
    data
}

const SELF_CRITICAL: &str = r#"
    stage = "self-critical"
    epochs = 3
    batch = 2
    max_words = 6
    [encoder]
    train = "all"
    statistics = "frozen"
    [self_critical]
    samples = 3
    cross_entropy = 0.2
    [optimizer]
    average = 0.9
    schedule = "plateau"
    plateau_patience = 1
    [dev]
    every = 3
"#;

#[test]
fn self_critical_training_starts_from_a_captioner_and_reports_its_reward() {
    for decoder in ["", "kind = \"attention\"\nattention = 8"] {
        let data = started(decoder);
        write(&data, "s.toml", SELF_CRITICAL);
        let args = ["--config", "s.toml", "--json"];
        let run = train(
            &data,
            "s.safetensors",
            &[&args[..], &["--init", "start.safetensors"]].concat(),
        );
        for step in steps(&run) {
            assert!(step["reward"].is_f64() && step["policy_loss"].is_f64());
            assert!(number(&step["caption_loss"]) > 0.0);
        }
        let model = glimpse(data.path(), &["inspect", "s.safetensors", "--json"]).object();
        let training = &model["training"];
        assert_eq!(training["config"]["stage"], "self-critical");
        assert_eq!(training["before"]["config"]["stage"], "cross-entropy");
        let run = train(&data, "t.safetensors", &args);
        assert!(run.complaint(1).contains("--init"), "{}", run.err);
    }
}

#[test]
fn a_run_that_is_killed_ends_like_one_that_was_not() {
    let data = started("kind = \"attention\"\nattention = 8");
    let scheduled = format!(
        "{SMALL}\n[loss]\nscheduled_sampling = 0.5\ndoubly_stochastic = 1.0\n[optimizer]\naverage = 0.9\nlr = 0.01\n"
    );
    write(
        &data,
        "scheduled.toml",
        &scheduled.replace(
            "[decoder]",
            "[decoder]\nkind = \"attention\"\nattention = 8",
        ),
    );
    write(&data, "self-critical.toml", SELF_CRITICAL);
    for (name, more) in [
        ("scheduled", &[][..]),
        ("self-critical", &["--init", "start.safetensors"]),
    ] {
        let config = format!("{name}.toml");
        let [whole, killed] = ["whole", "killed"].map(|kind| format!("{name}-{kind}.safetensors"));
        let args = [&["--config", &config, "--checkpoint-every", "2"], more].concat();
        train(&data, &whole, &args).lines();
        // The process is killed without warning during the sixth step or later.
        let arguments = [
            &["train", "--data", ".", "--out", &killed, "--json"],
            &args[..],
        ]
        .concat();
        let mut child = command(data.path(), &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("\"step\":5,")));
        child.kill().unwrap();
        child.wait().unwrap();
        let checkpoint = format!("{name}-killed.checkpoint.safetensors");
        train(&data, &killed, &["--resume", &checkpoint]).lines();
        for suffix in ["safetensors", "last.safetensors"] {
            let [a, b] =
                ["whole", "killed"].map(|kind| bytes(&data, &format!("{name}-{kind}.{suffix}")));
            assert!(a == b, "{name}: the {suffix} differ");
        }
    }
}

#[test]
fn the_best_and_the_last_weights_are_kept() {
    let data = dataset();
    for (keep, other) in [("best", "last"), ("last", "best")] {
        write(
            &data,
            "c.toml",
            &format!("{SMALL}\nkeep = \"{keep}\"\nscore = \"loss\"\n"),
        );
        let run = train(
            &data,
            "a.safetensors",
            &["--config", "c.toml", "--json", "--force"],
        );
        assert_eq!(steps(&run).len(), 12);
        let objects = run.objects();
        let evaluations: Vec<&Value> = objects
            .iter()
            .filter(|o| o["event"] == "validation")
            .collect();
        assert_eq!(evaluations.len(), 6);
        let best = evaluations.iter().rfind(|e| e["best"] == true).unwrap();
        for evaluation in &evaluations {
            assert!(number(&evaluation["dev_loss"]) >= number(&best["dev_loss"]));
            assert!(evaluation["cider"].is_f64() && evaluation["bleu4"].is_f64());
            assert_eq!(evaluation["images"], 2);
        }
        let steps_of = |name: &str| {
            let model = glimpse(data.path(), &["inspect", name, "--json"]).object();
            model["training"]["steps"].as_u64().unwrap()
        };
        let beside = format!("a.{other}.safetensors");
        let (best_file, last_file) = match keep {
            "best" => ("a.safetensors", &beside[..]),
            _ => (&beside[..], "a.safetensors"),
        };
        assert_eq!(Some(steps_of(best_file)), best["step"].as_u64());
        assert_eq!(steps_of(last_file), 12);
    }
}

#[test]
fn the_last_step_is_evaluated_and_leaves_a_checkpoint() {
    let data = dataset();
    write(&data, "c.toml", &SMALL.replace("every = 2", "every = 5"));
    let evaluated = |run: &Run| -> Vec<u64> {
        let objects = run.objects().into_iter();
        let found = objects.filter(|o| o["event"] == "validation");
        found.map(|o| o["step"].as_u64().unwrap()).collect()
    };
    let begun = ["--config", "c.toml", "--json", "--max-steps", "7"];
    let begun = train(&data, "a.safetensors", &begun);
    assert_eq!((steps(&begun).len(), evaluated(&begun)), (7, vec![5]));
    // The run of 12 steps goes on after its seventh, although checkpoints are 500 steps apart.
    let rest = ["--resume", "a.checkpoint.safetensors", "--json"];
    let rest = train(&data, "a.safetensors", &rest);
    assert_eq!((steps(&rest).len(), evaluated(&rest)), (5, vec![10, 12]));
}

#[test]
fn a_run_ends_early_where_the_score_stands_still() {
    let data = dataset();
    // The learning rate is too small to change the weights, so the first evaluation stays the best.
    let text = format!(
        "{SMALL}\npatience = 2\n[optimizer]\nlr = 1e-30\nwarmup = 0.0\nweight_decay = 0.0\n"
    )
    .replace("epochs = 3", "epochs = 30");
    write(
        &data,
        "c.toml",
        &text.replace(
            "train = \"all\"",
            "train = \"all\"\n    statistics = \"batch\"",
        ),
    );
    let run = train(&data, "a.safetensors", &["--config", "c.toml", "--json"]);
    let taken = steps(&run).len();
    assert!(taken < 120, "{taken} steps");
    let objects = run.objects();
    let early = objects.iter().find(|o| o["event"] == "early_stop").unwrap();
    assert_eq!(early["step"].as_u64(), Some(taken as u64));
    assert!(number(&early["best_step"]) < taken as f64);
}

#[test]
fn a_missing_dev_split_is_said_and_a_broken_one_is_refused() {
    let data = dataset();
    write(&data, "c.toml", SMALL);
    fs::remove_file(data.path().join("9.png")).unwrap();
    let run = train(&data, "a.safetensors", &["--config", "c.toml"]);
    assert!(
        run.complaint(1).contains("1 of 2 dev images are missing"),
        "{}",
        run.err
    );
    fs::remove_file(data.path().join("Flickr_8k.devImages.txt")).unwrap();
    let run = train(
        &data,
        "a.safetensors",
        &["--config", "c.toml", "--max-steps", "2", "--json"],
    );
    assert_eq!(steps(&run).len(), 2);
    let objects = run.objects();
    let notices = objects.iter().filter(|o| o["event"] == "notice");
    let mut texts = notices.map(|o| o["text"].as_str().unwrap());
    assert!(texts.any(|text| text.contains("no dev split")));
}

#[test]
fn a_loss_that_is_no_number_names_the_tensor_and_keeps_the_checkpoint() {
    let data = dataset();
    let text =
        format!("{SMALL}\n[optimizer]\nkind = \"sgd\"\nlr = 1e30\nwarmup = 0.0\nclip = 0.0\n");
    write(&data, "c.toml", &text.replace("every = 2", "every = 100"));
    let run = train(
        &data,
        "a.safetensors",
        &["--config", "c.toml", "--checkpoint-every", "1", "--json"],
    );
    let message = run.err.trim();
    assert_eq!(run.code, Some(1), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains("is not finite at step"), "{message}");
    assert!(!data.path().join("a.safetensors").exists());
    let checkpoint = glimpse(
        data.path(),
        &["inspect", "a.checkpoint.safetensors", "--json"],
    );
    assert_eq!(checkpoint.object()["kind"], "checkpoint");
}

#[test]
fn contradictory_starts_are_refused() {
    let data = started("");
    write(&data, "other.toml", "[decoder]\nhidden = 16\n");
    write(&data, "covers.toml", "[loss]\ndoubly_stochastic = 1.0\n");
    let init = ["--init", "start.safetensors"];
    for (args, what) in [
        (&["--config", "start.toml"][..], "brings an encoder"),
        (&["--config", "other.toml"], "another decoder"),
        (&["--config", "covers.toml"], "attention"),
        (&["--encoder", "start.safetensors"], "exclude each other"),
    ] {
        let run = train(&data, "a.safetensors", &[args, &init].concat());
        assert!(run.err.contains(what), "{}", run.err);
        assert_ne!(run.code, Some(0));
    }
}
