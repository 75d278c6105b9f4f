//! Tests of outputs: streams that cannot be written, special files, full disks, and two writers at once.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Run, command, dataset, glimpse, model, png};

/// Runs a script of `sh` in which `$GLIMPSE` is the program.
fn script(dir: &Path, text: &str) -> Run {
    let output = Command::new("sh")
        .args(["-c", text])
        .current_dir(dir)
        .env("GLIMPSE", env!("CARGO_BIN_EXE_glimpse"))
        .env("CONVERT", env!("CARGO_BIN_EXE_glimpse-convert"))
        .env("GLIMPSE_DEVICE", "cpu")
        .env("MODEL", model())
        .env("TMPDIR", dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Run::new(output)
}

const TRAIN: &str = "train --data . --config new.toml --max-steps 3 --checkpoint-every 1";

/// Returns the names of the files in a folder that contain `part`.
fn named(folder: &Path, part: &str) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(part)).collect()
}

#[test]
fn standard_error_ends_no_run() {
    let data = dataset();
    // The name of the output leads to a warning, so there is a message before the first step too.
    for (number, stderr) in ["2>/dev/full", "2>&-", "2>&1 >/dev/null | head -n 1 >&2"]
        .iter()
        .enumerate()
    {
        if stderr.contains("full") && !Path::new("/dev/full").exists() {
            continue;
        }
        let out = format!("{number}.bin");
        // The exit status of the program itself, not of the pipeline.
        let text = format!("( $GLIMPSE {TRAIN} --out {out}; echo $? > status ) {stderr}");
        script(data.path(), &text);
        let status = fs::read_to_string(data.path().join("status")).unwrap();
        assert_eq!(status.trim(), "0", "{stderr}");
        assert!(data.path().join(&out).is_file(), "{stderr}");
    }
    assert!(named(data.path(), ".lock").is_empty());
    if !Path::new("/dev/full").exists() {
        return;
    }
    // The profile and error messages go to the full device too.
    let text = "GLIMPSE_PROFILE=1 $GLIMPSE caption 0.png --model $MODEL 2>/dev/full";
    assert_eq!(script(data.path(), text).lines().len(), 1);
    for (args, code) in [("caption none.png", 1), ("caption", 2), ("", 2)] {
        let run = script(data.path(), &format!("$GLIMPSE {args} 2>/dev/full"));
        assert_eq!((run.code, run.out.as_str()), (Some(code), ""), "{args}");
    }
}

#[test]
fn a_service_lives_without_standard_error() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let args = [
        "serve",
        "--addr",
        "127.0.0.1:0",
        "--json",
        "--model",
        model(),
    ];
    let mut child = command(Path::new("."), &args)
        .stdout(Stdio::piped())
        .stderr(full.unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert!(line.contains("listening"), "{line}");
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    // The first request is logged, the second also leads to a warning.
    for path in ["/healthz", "/no/such/thing"] {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(crate::string(&event["addr"])).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    }
    let stop = ["-TERM", &child.id().to_string()];
    Command::new("kill").args(stop).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_full_standard_output_is_status_1() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let data = dataset();
    for args in [
        "$GLIMPSE --help",
        "$GLIMPSE -h",
        "$GLIMPSE --version",
        "$GLIMPSE caption --help",
        "$CONVERT --help",
        "$CONVERT --version",
        "$GLIMPSE devices",
        "$GLIMPSE devices --json",
        "$GLIMPSE inspect $MODEL",
        "$GLIMPSE caption 0.png --model $MODEL",
    ] {
        let run = script(data.path(), &format!("{args} >/dev/full"));
        let message = run.complaint(1);
        let start = "standard output: cannot be written: the disk is full";
        assert!(message.starts_with(start), "{args}: {message}");
        // A reader that closes the pipe is not an error.
        let text = format!("( {args}; echo $? > status ) | true");
        script(data.path(), &text);
        let status = fs::read_to_string(data.path().join("status")).unwrap();
        assert_eq!(status.trim(), "0", "{args}");
    }
    // The training is completed nevertheless.
    let run = script(
        data.path(),
        &format!("$GLIMPSE {TRAIN} --out a --json >/dev/full"),
    );
    run.complaint(1);
    assert!(data.path().join("a").is_file());
}

#[test]
fn only_plain_files_are_outputs() {
    let data = dataset();
    let at = |name: &str| data.path().join(name);
    let made = Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(made.success());
    let evaluate = "$GLIMPSE evaluate --data . --split dev --model $MODEL";
    for (args, out, what) in [
        (
            &format!("$GLIMPSE {TRAIN} --out")[..],
            "/dev/null",
            "is a device",
        ),
        (&format!("$GLIMPSE {TRAIN} --out"), "pipe", "is a pipe"),
        (
            "$GLIMPSE features 0.png --encoder $MODEL --out",
            "/dev/null",
            "is a device",
        ),
        (
            "$GLIMPSE features 0.png --encoder $MODEL --out",
            "/dev/stdout",
            "is open already",
        ),
        (
            &format!("{evaluate} --captions"),
            "/dev/null",
            "is a device",
        ),
        (&format!("{evaluate} --per-image"), "pipe", "is a pipe"),
        ("$CONVERT $MODEL", "/dev/null", "is a device"),
        ("$CONVERT $MODEL", "pipe", "is a pipe"),
        (
            "$GLIMPSE calibrate $MODEL --data . --not-photos . --out",
            "/dev/null",
            "is a device",
        ),
    ] {
        let run = script(data.path(), &format!("{args} {out}"));
        let message = run.complaint(1);
        assert!(
            message.starts_with(out) && message.contains(what),
            "{args}: {message}"
        );
    }
    let null = fs::metadata("/dev/null").unwrap();
    assert!(null.file_type().is_char_device());
    assert!(fs::metadata(at("pipe")).unwrap().file_type().is_fifo());
    // Files beside the model are checked too.
    fs::create_dir(at("a.checkpoint.safetensors")).unwrap();
    let run = script(data.path(), &format!("$GLIMPSE {TRAIN} --out a"));
    assert!(
        run.complaint(1)
            .starts_with("a.checkpoint.safetensors: is a folder")
    );
}

#[test]
fn links_and_modes_stay() {
    let data = dataset();
    let at = |name: &str| data.path().join(name);
    fs::create_dir(at("far")).unwrap();
    fs::write(at("far/m.safetensors"), "old").unwrap();
    fs::set_permissions(at("far/m.safetensors"), PermissionsExt::from_mode(0o640)).unwrap();
    symlink("far/m.safetensors", at("a.safetensors")).unwrap();
    symlink("far/f.safetensors", at("f.safetensors")).unwrap();
    let run = script(
        data.path(),
        &format!("$GLIMPSE {TRAIN} --out a.safetensors --force"),
    );
    assert_eq!(run.lines(), ["a.safetensors"]);
    let args = [
        "features",
        "0.png",
        "--encoder",
        model(),
        "--out",
        "f.safetensors",
    ];
    glimpse(data.path(), &args).lines();
    for link in ["a.safetensors", "f.safetensors"] {
        assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink());
        glimpse(data.path(), &["inspect", link]).lines();
    }
    let mode = fs::metadata(at("far/m.safetensors"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn two_runs_do_not_share_an_output() {
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
    let mut first = command(data.path(), &args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    assert!(
        lines
            .by_ref()
            .any(|line| line.unwrap().contains("\"step\":2"))
    );
    for out in ["a.safetensors", "a"] {
        let run = script(data.path(), &format!("$GLIMPSE {TRAIN} --out {out}"));
        let expected = format!("{out}: another run, process {}, is writing it", first.id());
        let message = run.complaint(1);
        assert!(message.starts_with(&expected), "{message}");
    }
    // After a kill the lock is free, and the next run removes the temporary files.
    first.kill().unwrap();
    first.wait().unwrap();
    let left = format!(".glimpse-{}-abcdef.partial", first.id());
    fs::write(data.path().join(&left), "half a model").unwrap();
    let run = script(
        data.path(),
        &format!("$GLIMPSE {TRAIN} --out a.safetensors"),
    );
    assert_eq!(run.lines(), ["a.safetensors"]);
    assert!(named(data.path(), ".lock").is_empty());
    assert!(named(data.path(), ".partial").is_empty());
}

#[test]
fn a_limit_of_file_size_is_an_error_and_not_the_end() {
    let data = dataset();
    // The limit allows the test file but not a model. The signal of the limit is not ignored by the shell.
    let text = format!("ulimit -f 2; exec $GLIMPSE {TRAIN} --out a.safetensors --json >/dev/null");
    let run = script(data.path(), &text);
    let message = run.complaint_after_warnings(1);
    assert!(
        message.starts_with("a.checkpoint.safetensors: cannot be written: it would be larger"),
        "{message}"
    );
    assert!(named(data.path(), ".partial").is_empty());
    assert!(named(data.path(), "rescued").is_empty());
    // If nothing can be written at all, the error comes before any computation.
    let text = format!("ulimit -f 0; exec $GLIMPSE {TRAIN} --out a.safetensors --json");
    let run = script(data.path(), &text);
    assert!(
        run.complaint(1)
            .starts_with("a.safetensors: cannot be written")
    );
}

#[test]
fn a_finished_model_goes_elsewhere_where_its_folder_is_gone() {
    let data = dataset();
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("out");
    fs::create_dir(&folder).unwrap();
    let at = data.path().to_str().unwrap();
    let out = folder.join("a.safetensors");
    let config = data.path().join("endless.toml");
    let args = [
        "train",
        "--data",
        at,
        "--out",
        out.to_str().unwrap(),
        "--config",
        config.to_str().unwrap(),
        "--max-steps",
        "40",
        "--json",
        "--checkpoint-every",
        "0",
    ];
    let mut child = command(work.path(), &args)
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
    fs::rename(&folder, work.path().join("gone")).unwrap();
    lines.for_each(|line| drop(line.unwrap()));
    let run = Run::new(child.wait_with_output().unwrap());
    let message = run.complaint(1);
    assert!(
        message.contains("a.safetensors: cannot be written"),
        "{message}"
    );
    let (_, place) = message.split_once("what was to be written is in ").unwrap();
    assert!(
        Path::new(place).starts_with(work.path().canonicalize().unwrap()),
        "{place}"
    );
    glimpse(data.path(), &["inspect", place]).lines();
}

#[test]
fn a_bad_picture_in_the_middle_saves_first() {
    let data = dataset();
    // Without a cache, pictures are read again for each batch, so a picture can become unreadable during the run.
    let config = fs::read_to_string(data.path().join("endless.toml")).unwrap();
    let config = config.replace("[image]\n", "[image]\ncache_mib = 0\n");
    fs::write(data.path().join("reading.toml"), config).unwrap();
    let args = [
        "train",
        "--data",
        ".",
        "--out",
        "a.safetensors",
        "--config",
        "reading.toml",
        "--max-steps",
        "5000",
        "--json",
        "--checkpoint-every",
        "0",
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
    fs::write(data.path().join("3.png"), "no picture").unwrap();
    lines.for_each(|line| drop(line.unwrap()));
    let run = Run::new(child.wait_with_output().unwrap());
    let message = run.complaint(1);
    assert!(
        message.contains("3.png") && message.contains("saved after step"),
        "{message}"
    );
    fs::write(data.path().join("3.png"), png(3)).unwrap();
    let (_, checkpoint) = message.split_once("--resume ").unwrap();
    let resume = [
        "train",
        "--data",
        ".",
        "--out",
        "a.safetensors",
        "--max-steps",
        "1",
        "--resume",
    ];
    let run = glimpse(data.path(), &[&resume[..], &[checkpoint]].concat());
    assert_eq!(run.lines(), ["a.safetensors"]);
}

#[test]
fn threads_come_from_the_environment_too() {
    let here = Path::new(".");
    for (variable, option, threads) in [
        ("3", "", Some("3 threads")),
        ("3", "--threads 2", Some("2 threads")),
        ("", "--threads 2", Some("2 threads")),
        ("0", "", None),
        ("1025", "", None),
        ("-1", "", None),
        ("many", "", None),
    ] {
        let text = format!("GLIMPSE_THREADS='{variable}' $GLIMPSE devices {option}");
        let run = script(here, &text);
        match threads {
            Some(threads) => assert!(run.lines()[0].contains(threads), "{}", run.out),
            None => {
                let expected = format!("GLIMPSE_THREADS={variable}: must be a whole number");
                assert!(run.complaint(1).starts_with(&expected), "{}", run.err);
            }
        }
    }
    // The address space is too small for the stacks of so many threads.
    let text = "ulimit -v 900000; exec $GLIMPSE inspect $MODEL --threads 1024";
    let run = script(here, text);
    let message = run.complaint(1);
    assert!(message.contains("does not start 1024 threads"), "{message}");
}
