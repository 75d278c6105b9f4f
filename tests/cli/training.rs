//! Tests of `glimpse train`: reproducible bytes, resuming, and all ways of stopping.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Run, command, dataset, glimpse, model, number};

/// Trains in the dataset's folder; `out` is the path of the model.
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
    // The features of the frozen encoder are cached in a file and used again.
    let args = ["inspect", "frozen-1.features.safetensors", "--json"];
    let features = glimpse(data.path(), &args).object();
    assert_eq!(features["kind"], "features");
    assert_eq!(features["recipe"]["size"], 32);
    let caption = glimpse(
        data.path(),
        &["caption", "0.png", "--model", "frozen-1.safetensors"],
    );
    assert_eq!(caption.lines().len(), 1);
}

#[test]
fn a_name_of_another_format_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    for (out, is_warned) in [
        ("m.pth", true),
        ("m.PT", true),
        ("m.h5", true),
        ("m.keras", true),
        ("m.onnx", true),
        ("m.bin", true),
        ("m.safetensors", false),
        ("m", false),
    ] {
        // The warning comes before any other check.
        let run = train(&dir, out, &["--config", "missing.toml"]);
        assert_eq!(run.code, Some(1), "{}", run.err);
        assert!(run.err.contains("missing.toml"), "{}", run.err);
        let warning = format!("{out}: the model is written in the safetensors format");
        assert_eq!(run.err.contains(&warning), is_warned, "{}", run.err);
    }
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
    assert!(steps.iter().all(|s| s["encoder_lr"] == s["lr"]));
    let validation = objects.iter().find(|o| o["event"] == "validation").unwrap();
    assert!(number(&validation["dev_loss"]) > 0.0);
    assert_eq!(objects.last().unwrap()["event"], "done");
}

#[test]
fn the_encoders_learning_rate_is_told_where_it_learns() {
    let data = dataset();
    for (config, ratio) in [
        ("frozen.toml", None),
        ("last.toml", Some(0.1)),
        ("tuned.toml", Some(0.1)),
    ] {
        let args = [
            "--config",
            config,
            "--encoder",
            model(),
            "--max-steps",
            "2",
            "--json",
            "--force",
        ];
        let run = train(&data, "a.safetensors", &args);
        assert_eq!(run.code, Some(0), "{}", run.err);
        let objects = run.objects();
        let steps: Vec<&Value> = objects.iter().filter(|o| o.get("loss").is_some()).collect();
        assert_eq!(steps.len(), 2);
        for step in steps {
            match ratio {
                None => assert!(step.get("encoder_lr").is_none()),
                Some(ratio) => {
                    let got = number(&step["encoder_lr"]) / number(&step["lr"]);
                    assert!((got - ratio).abs() < 1e-6, "{got}");
                }
            }
        }
    }
    let inspected = glimpse(data.path(), &["inspect", "a.safetensors", "--json"]).object();
    let encoder = &inspected["training"]["config"]["encoder"];
    assert_eq!(encoder["train"], "all");
    assert_eq!(encoder["statistics"], "frozen");
}

#[test]
fn a_resumed_run_ends_like_one_that_never_stopped() {
    let data = dataset();
    for (name, options) in [
        ("new", &["--config", "new.toml"][..]),
        ("frozen", &["--config", "frozen.toml", "--encoder", model()]),
        ("last", &["--config", "last.toml", "--encoder", model()]),
        ("tuned", &["--config", "tuned.toml", "--encoder", model()]),
    ] {
        let [whole, part] = ["whole", "part"].map(|kind| format!("{name}-{kind}.safetensors"));
        train(&data, &whole, &[options, &["--max-steps", "7"]].concat()).lines();
        train(
            &data,
            &part,
            &[options, &["--max-steps", "5", "--checkpoint-every", "2"]].concat(),
        )
        .lines();
        // The model is the best one by the dev split; the file of the last step is beside it.
        let last = |name: &str| bytes(&data, &name.replace(".safetensors", ".last.safetensors"));
        assert_ne!(last(&whole), last(&part));
        let checkpoint = format!("{name}-part.checkpoint.safetensors");
        let inspected = glimpse(data.path(), &["inspect", &checkpoint, "--json"]).object();
        assert_eq!(inspected["kind"], "checkpoint");
        assert_eq!(inspected["training"]["steps"], 5);
        train(&data, &part, &["--resume", &checkpoint, "--max-steps", "7"]).lines();
        assert!(bytes(&data, &whole) == bytes(&data, &part), "{name}");
        assert!(last(&whole) == last(&part), "{name}");
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

/// Creates a dataset, and the checkpoint after the second step of a run on it.
fn interrupted(config: &[&str]) -> TempDir {
    let data = dataset();
    let args = ["--max-steps", "3", "--checkpoint-every", "2"];
    train(&data, "a.safetensors", &[config, &args].concat()).lines();
    data
}

const RESUME: [&str; 4] = ["--resume", "a.checkpoint.safetensors", "--max-steps", "5"];

#[test]
fn a_resumed_run_refuses_data_that_changed() {
    type Change<'a> = &'a dyn Fn(&Path);
    let changes: [(Change, &str); 4] = [
        (
            &|data| crate::picture(77).save(data.join("3.png")).unwrap(),
            "1 of 8 train pictures changed, the first is 3.png",
        ),
        (
            &|data| {
                let path = data.join("Flickr8k.token.txt");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(path, text.replace("number 5 runs", "number 5 walks")).unwrap();
            },
            "the captions of 1 of 8 train pictures changed, first those of 5.png",
        ),
        (
            &|data| {
                let [train, dev] =
                    ["train", "dev"].map(|split| data.join(format!("Flickr_8k.{split}Images.txt")));
                let without = fs::read_to_string(&train).unwrap().replace("2.png\n", "");
                let with = fs::read_to_string(&dev).unwrap() + "2.png\n";
                fs::write(train, without).unwrap();
                fs::write(dev, with).unwrap();
            },
            "1 train picture is no longer in that split, and 2.png is in dev now",
        ),
        (
            &|data| crate::picture(78).save(data.join("9.png")).unwrap(),
            "1 of 2 dev pictures changed, the first is 9.png",
        ),
    ];
    for (config, (change, part)) in [
        &["--config", "new.toml"][..],
        &["--config", "frozen.toml", "--encoder", model()],
        &["--config", "new.toml"],
        &["--config", "frozen.toml", "--encoder", model()],
    ]
    .into_iter()
    .zip(changes)
    {
        let data = interrupted(config);
        change(data.path());
        let before = bytes(&data, "a.safetensors");
        let run = train(&data, "a.safetensors", &RESUME);
        let message = run.complaint(1);
        assert!(
            message.starts_with("a.checkpoint.safetensors: the data changed since"),
            "{message}"
        );
        assert!(
            message.contains(part) && message.contains("--data-changed"),
            "{message}"
        );
        assert!(bytes(&data, "a.safetensors") == before);
        // With --data-changed it continues with a message, and the next checkpoint is bound to the current data.
        let go_on = [&RESUME[..], &["--data-changed", "--checkpoint-every", "4"]].concat();
        let run = train(&data, "a.safetensors", &go_on);
        run.lines();
        assert!(
            run.err.contains(part) && run.err.contains("going on"),
            "{}",
            run.err
        );
        let run = train(&data, "a.safetensors", &RESUME);
        run.lines();
        assert!(!run.err.contains("changed"), "{}", run.err);
    }
    let data = tempfile::tempdir().unwrap();
    let message = train(&data, "a.safetensors", &["--data-changed"]);
    assert!(message.complaint(2).contains("--resume"));
}

#[test]
fn a_resumed_run_takes_data_that_was_moved_or_touched() {
    let data = interrupted(&["--config", "frozen.toml", "--encoder", model()]);
    let inspected = glimpse(
        data.path(),
        &["inspect", "a.checkpoint.safetensors", "--json"],
    );
    let inspected = inspected.object();
    assert_eq!(
        inspected["data"]["pictures"],
        serde_json::json!({"train": 8, "dev": 2})
    );
    assert_eq!(inspected["data"]["digest"].as_str().unwrap().len(), 64);
    for i in 0..10 {
        let path = data.path().join(format!("{i}.png"));
        let file = fs::File::options().write(true).open(path).unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(5000);
        file.set_modified(then).unwrap();
    }
    let folder = data.path().join("images");
    fs::create_dir(&folder).unwrap();
    for i in 0..10 {
        let name = format!("{i}.png");
        fs::rename(data.path().join(&name), folder.join(&name)).unwrap();
    }
    let run = train(&data, "a.safetensors", &RESUME);
    run.lines();
    assert!(
        !run.err.contains("changed") && !run.err.contains("computed"),
        "{}",
        run.err
    );
}

#[test]
fn a_checkpoint_that_does_not_name_its_data_is_taken_with_a_warning() {
    let data = interrupted(&["--config", "new.toml"]);
    let path = data.path().join("a.checkpoint.safetensors");
    // A checkpoint of older versions: without checksums and without the description of the data.
    let whole = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&whole[8..8 + length]).unwrap();
    let notes = header["__metadata__"].as_object_mut().unwrap();
    for key in [
        "glimpse-data",
        "glimpse-checksums",
        "glimpse-checksum-count",
    ] {
        notes.remove(key).unwrap();
    }
    let header = header.to_string();
    let old = [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        &whole[8 + length..],
    ]
    .concat();
    fs::write(&path, old).unwrap();
    let inspected = glimpse(data.path(), &["inspect", "a.checkpoint.safetensors"]);
    assert!(
        inspected.out.contains("checksums    none\n"),
        "{}",
        inspected.out
    );
    let run = train(&data, "a.safetensors", &RESUME);
    run.lines();
    assert!(
        run.err.contains("does not say what data it was trained on"),
        "{}",
        run.err
    );
}

#[test]
fn a_replaced_picture_is_encoded_again() {
    let data = dataset();
    let args = [
        "--config",
        "frozen.toml",
        "--encoder",
        model(),
        "--max-steps",
        "1",
    ];
    train(&data, "a.safetensors", &args).lines();
    let before = bytes(&data, "a.features.safetensors");
    let path = data.path().join("3.png");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let bitmap = data.path().join("t.bmp");
    crate::picture(3).save(&bitmap).unwrap();
    // The second picture has the name, size and time of the first, so only its contents differ.
    for (change, is_new) in [(0, true), (255, true), (255, false)] {
        let mut bytes = fs::read(&bitmap).unwrap();
        *bytes.last_mut().unwrap() ^= change;
        fs::write(&path, bytes).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
        let run = train(&data, "a.safetensors", &args);
        run.lines();
        let told = run
            .err
            .contains("was made before the picture 3.png changed; it is computed again");
        assert_eq!(told, is_new, "{}", run.err);
    }
    assert!(bytes(&data, "a.features.safetensors") != before);
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
            "not fetched yet",
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
        // No file may grow beyond a few blocks. The signal of this limit is ignored, so writes fail as on a full disk.
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
        // The log and the report cannot grow either, which leads to a warning for each.
        let is_warning = |line: &&str| line.starts_with("glimpse: warning: ");
        assert_eq!(run.err.lines().filter(is_warning).count(), 2, "{}", run.err);
        let err = run.err.lines().filter(|line| !is_warning(line));
        let run = Run {
            err: err.map(|line| format!("{line}\n")).collect(),
            ..run
        };
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
