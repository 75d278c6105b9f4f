//! Tests of folders with unusable entries, and of names of every kind.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use glimpse::data::weights::WeightFile;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Run, command, glimpse, model, picture, pictures, png, string};

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// Creates a tree of folders with four pictures, and with entries that look like pictures but are not.
fn odd_tree() -> TempDir {
    let dir = pictures(&["a.png", "z.jpg"]);
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("sub/deep")).unwrap();
    fs::rename(at("z.jpg"), at("z.jfif")).unwrap();
    fs::write(at("sub/b.png"), png(2)).unwrap();
    fs::write(at("sub/deep/c.JPE"), png(3)).unwrap();
    symlink("gone.jpg", at("m.jpg")).unwrap();
    symlink("self", at("self")).unwrap();
    symlink("..", at("sub/up")).unwrap();
    pipe(&at("sub/p.png"));
    fs::write(at("x.heic"), b"").unwrap();
    fs::write(at("sub/y.HEIC"), b"").unwrap();
    fs::write(at(".hidden.jpg"), b"").unwrap();
    fs::write(at("download"), png(4)).unwrap();
    dir
}

/// The unusable entries of that tree, in order, each with a part of its message.
const WRONG: [(&str, &str); 4] = [
    ("t/m.jpg", "does not exist"),
    ("t/self", "leads back to itself"),
    ("t/sub/p.png", "named pipe"),
    ("t/sub/up", "a folder that it lies in"),
];

const FINE: [&str; 4] = ["t/a.png", "t/sub/b.png", "t/sub/deep/c.JPE", "t/z.jfif"];

#[test]
fn one_bad_entry_hides_nothing_of_a_tree() {
    let tree = odd_tree();
    let dir = tempfile::tempdir().unwrap();
    symlink(tree.path(), dir.path().join("t")).unwrap();
    let passed = "passed over 4 (2 HEIC, 1 hidden, 1 without a picture's name)";
    for (command, verb, key) in [
        (
            &["caption", "--model", model()][..],
            "captioned",
            "captions",
        ),
        (&["features", "--encoder", model()], "encoded", "features"),
    ] {
        let args = [command, &["t", "--recursive"]].concat();
        let last = format!("{verb} 4, failed 4, {passed}");
        let json = glimpse(dir.path(), &[&args[..], &["--json"]].concat());
        assert_eq!(json.code, Some(1));
        assert_eq!(json.err, format!("{last}\n"));
        let answers = json.objects();
        let names = |key: &str| -> Vec<&str> {
            let with = answers.iter().filter(|a| a.get(key).is_some());
            with.map(|a| string(&a["image"])).collect()
        };
        assert_eq!(names(key), FINE);
        assert_eq!(names("error"), WRONG.map(|(name, _)| name));

        let text = glimpse(dir.path(), &args);
        assert_eq!(text.code, Some(1));
        let names: Vec<&str> = text
            .out
            .lines()
            .map(|l| l.split('\t').next().unwrap())
            .collect();
        assert_eq!(names, FINE);
        let said: Vec<&str> = text.err.lines().collect();
        assert_eq!(said.len(), WRONG.len() + 1, "{}", text.err);
        for (line, (name, what)) in said.iter().zip(WRONG) {
            let start = format!("glimpse: {name}: ");
            assert!(line.starts_with(&start) && line.contains(what), "{line}");
        }
        assert_eq!(said[WRONG.len()], last);
    }
}

#[test]
fn only_many_images_end_with_a_line_of_counts() {
    let dir = pictures(&["a.png", "b.png"]);
    let said = |paths: &[&str]| {
        let run = glimpse(
            dir.path(),
            &[&["caption", "--model", model()], paths].concat(),
        );
        (run.code, run.err)
    };
    assert_eq!(said(&["a.png"]), (Some(0), String::new()));
    let line = "captioned 2, failed 0, passed over 0\n".to_string();
    assert_eq!(said(&["a.png", "b.png"]), (Some(0), line.clone()));
    assert_eq!(said(&["."]), (Some(0), line.clone()));
    assert_eq!(said(&[".", "--json"]), (Some(0), line));
}

/// Runs the program as a user without access to everything; `None` if this system does not allow that.
fn as_somebody(dir: &Path, args: &[&str]) -> Option<Run> {
    let mut run = command(dir, args);
    if fs::metadata(dir).unwrap().uid() == 0 {
        // Other users have no access to the folder of the program.
        let program = dir.join("glimpse-program");
        fs::hard_link(env!("CARGO_BIN_EXE_glimpse"), &program)
            .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_glimpse"), &program).map(|_| ()))
            .unwrap();
        let mut other = Command::new(&program);
        other
            .current_dir(dir)
            .args(args)
            .env("GLIMPSE_DEVICE", "cpu");
        other.uid(65534).gid(65534);
        run = other;
    }
    match run.stdin(Stdio::null()).output() {
        Ok(output) => Some(Run::new(output)),
        Err(e) => {
            println!("skipped: {e}");
            None
        }
    }
}

#[test]
fn what_may_not_be_read_is_reported_and_the_rest_captioned() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("t/closed")).unwrap();
    fs::create_dir_all(at("t/listed")).unwrap();
    for name in [
        "t/a.png",
        "t/closed/b.png",
        "t/listed/c.png",
        "t/secret.png",
        "t/z.png",
    ] {
        fs::write(at(name), png(1)).unwrap();
    }
    fs::copy(model(), at("model.safetensors")).unwrap();
    let chmod = |name: &str, mode| {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    chmod("", 0o755);
    chmod("model.safetensors", 0o644);
    // `closed` cannot be listed; `listed` can be listed, but its files cannot be opened.
    chmod("t/closed", 0);
    chmod("t/listed", 0o444);
    chmod("t/secret.png", 0);
    let args = [
        "caption",
        "t",
        "--recursive",
        "--json",
        "--model",
        "model.safetensors",
    ];
    let run = as_somebody(dir.path(), &args);
    chmod("t/closed", 0o755);
    chmod("t/listed", 0o755);
    let Some(run) = run else { return };
    assert_eq!(run.code, Some(1), "{}", run.err);
    let answers = run.objects();
    let errors: Vec<(&str, Option<&Value>)> = answers
        .iter()
        .map(|a| (string(&a["image"]), a.get("error")))
        .collect();
    let names = errors.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let expected = [
        "t/a.png",
        "t/closed",
        "t/listed/c.png",
        "t/secret.png",
        "t/z.png",
    ];
    assert_eq!(names, expected);
    for (name, error) in errors {
        let is_fine = ["t/a.png", "t/z.png"].contains(&name);
        assert_eq!(error.is_none(), is_fine, "{name}");
        if let Some(error) = error {
            let error = string(error).to_lowercase();
            assert!(error.contains("permission denied"), "{error}");
            assert!(!error.contains("os error"), "{error}");
        }
    }
    assert_eq!(run.err, "captioned 2, failed 3, passed over 0\n");
}

#[test]
fn a_pipe_that_is_named_is_read() {
    let dir = pictures(&["a.png"]);
    let expected = glimpse(dir.path(), &["caption", "a.png", "--model", model()]);
    // A named pipe of a shell: `<(cat a.png)`.
    let script = r#"exec "$0" caption <(cat a.png) --model "$1""#;
    let run = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_glimpse"), model()])
        .current_dir(dir.path())
        .env("GLIMPSE_DEVICE", "cpu")
        .output()
        .unwrap();
    assert_eq!(Run::new(run).lines(), expected.lines());

    // A named pipe among other paths.
    pipe(&dir.path().join("p"));
    let writer = Command::new("sh")
        .args(["-c", "cat a.png > p"])
        .current_dir(dir.path())
        .spawn();
    let run = glimpse(dir.path(), &["caption", "p", "a.png", "--model", model()]);
    writer.unwrap().wait().unwrap();
    let text = expected.lines()[0];
    assert_eq!(
        run.lines(),
        [format!("p\t{text}"), format!("a.png\t{text}")]
    );
}

/// Names that contain line ends, terminal controls or bytes that are not UTF-8, and their printed forms.
const ODD: [(&[u8], &str); 6] = [
    (b"a b.png", "./a b.png"),
    (b"a\\b.png", r"./a\\b.png"),
    (b"caf\xe9.png", r"./caf\351.png"),
    (b"new\nline.png", r"./new\nline.png"),
    (b"tab\there.png", r"./tab\there.png"),
    (b"up\x1b[2A\x7f.png", r"./up\033[2A\177.png"),
];

#[test]
fn odd_names_keep_to_their_line_and_lead_back_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    for (name, _) in ODD {
        fs::write(dir.path().join(OsStr::from_bytes(name)), png(1)).unwrap();
    }
    fs::write(
        dir.path().join(OsStr::from_bytes(b"bad\n\xff.png")),
        b"no image",
    )
    .unwrap();
    for command in [
        &["caption", ".", "--model", model()][..],
        &["features", ".", "--encoder", model()],
    ] {
        let text = glimpse(dir.path(), command);
        let names: Vec<&str> = text
            .out
            .lines()
            .map(|l| l.split_once('\t').unwrap().0)
            .collect();
        assert_eq!(names, ODD.map(|(_, shown)| shown));
        let said: Vec<&str> = text.err.lines().collect();
        assert_eq!(said.len(), 2, "{}", text.err);
        assert!(
            said[0].starts_with(r"glimpse: ./bad\n\377.png: "),
            "{}",
            text.err
        );

        let json = glimpse(dir.path(), &[command, &["--json"]].concat());
        let answers = json.objects();
        assert_eq!(answers.len(), ODD.len() + 1);
        for answer in &answers {
            let bytes = match answer.get("image_bytes") {
                Some(bytes) => STANDARD.decode(string(bytes)).unwrap(),
                None => string(&answer["image"]).as_bytes().to_vec(),
            };
            let path = dir.path().join(OsStr::from_bytes(&bytes));
            assert!(path.is_file(), "{answer}");
            let is_text = std::str::from_utf8(&bytes).is_ok();
            assert_eq!(answer.get("image_bytes").is_none(), is_text, "{answer}");
        }
    }
    let out = [
        "features",
        ".",
        "--encoder",
        model(),
        "--out",
        "f.safetensors",
    ];
    assert_eq!(glimpse(dir.path(), &out).code, Some(1));
    let file = WeightFile::open(dir.path().join("f.safetensors")).unwrap();
    let names: Vec<String> =
        serde_json::from_str(&file.metadata("names").unwrap().unwrap()).unwrap();
    assert_eq!(names, ODD.map(|(_, shown)| shown));
}

#[test]
fn a_name_that_is_no_text_can_be_given_and_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"\xff.png");
    picture(1).save(dir.path().join("a.png")).unwrap();
    fs::rename(dir.path().join("a.png"), dir.path().join(name)).unwrap();
    let run = |args: &[&str]| {
        Run::new(
            command(dir.path(), args)
                .arg(name)
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        )
    };
    let answer = run(&["caption", "--json", "--model", model()]).object();
    assert_eq!(answer["image_bytes"], STANDARD.encode(b"\xff.png"));
    let missing = OsStr::from_bytes(b"gone\xff\n.png");
    let gone = command(dir.path(), &["caption", "--model", model()])
        .arg(missing)
        .output()
        .unwrap();
    let gone = Run::new(gone);
    assert_eq!(
        gone.complaint(1),
        r"gone\377\n.png: does not exist; check the path"
    );
}
