//! Tests of `--version`, and of the build script that finds out the commit.

#[path = "../../tools/build.rs"]
#[expect(dead_code, reason = "cargo calls `main`")]
mod build;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Run, command, glimpse};

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn the_version_is_one_line_with_commit_model_and_instruction_set() {
    let here = Path::new(".");
    let version = env!("CARGO_PKG_VERSION");
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/glimpse.safetensors");
    let (_, digest) = glimpse::fetch::sha256(fs::File::open(weights).unwrap()).unwrap();
    let output = command(here, &["--version"])
        .env("GLIMPSE_ISA", "portable")
        .output()
        .unwrap();
    let run = Run::new(output);
    let [line] = run.lines()[..] else {
        panic!("not one line: {}", run.out)
    };
    let start = format!("glimpse {version} (commit ");
    assert!(line.starts_with(&start), "{line}");
    let end = format!(", bundled model {}, portable)", &digest[..12]);
    assert!(line.ends_with(&end), "{line}: {end}");
    assert_eq!(run.err, "");
    let unknown = command(here, &["--version"])
        .env("GLIMPSE_ISA", "abacus")
        .output()
        .unwrap();
    let unknown = Run::new(unknown);
    let complaint = unknown.complaint(1);
    assert!(complaint.contains("GLIMPSE_ISA=abacus"), "{complaint}");
    assert_eq!(
        glimpse(here, &["-V"]).lines(),
        [format!("glimpse {version}")]
    );
    for args in [&["caption", "--version"][..], &["serve", "--version"]] {
        let run = glimpse(here, args);
        assert!(run.lines()[0].contains(&digest[..12]), "{}", run.out);
    }
    let convert = Command::new(env!("CARGO_BIN_EXE_glimpse-convert"))
        .arg("--version")
        .output()
        .unwrap();
    let line = Run::new(convert).lines().join("\n");
    assert!(
        line.starts_with(&format!("glimpse-convert {version} (commit ")),
        "{line}"
    );
}

/// Returns the commit that the build script finds at `root`, and the files below `root` whose changes rerun it.
fn found(root: &Path) -> (Option<String>, Vec<String>) {
    let found = build::commit(root);
    let below = |path: &Path| {
        let path = path.canonicalize().unwrap();
        let path = path.strip_prefix(root.canonicalize().unwrap()).unwrap();
        path.to_str().unwrap().to_string()
    };
    let text = build::instructions(&found);
    for file in &found.files {
        let line = format!("cargo::rerun-if-changed={}\n", file.display());
        assert!(text.contains(&line), "{text}");
    }
    let line = found
        .commit
        .as_ref()
        .map(|c| format!("cargo::rustc-env=GLIMPSE_COMMIT={c}\n"));
    assert!(
        line.is_none_or(|line| text.ends_with(line.as_str())),
        "{text}"
    );
    let files = found.files.iter().map(|path| below(path)).collect();
    (found.commit, files)
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[test]
fn the_build_script_reads_the_commit_of_a_checkout() {
    let commit = Some(SHA[..12].to_string());
    let branch = ("HEAD", "ref: refs/heads/main\n");
    let with_git = |name: &str| format!(".git/{name}");
    let packed =
        format!("# pack-refs with: peeled\n{SHA} refs/heads/main\n{SHA} refs/heads/xmain\n");
    for (files, expected) in [
        (
            vec![branch, ("refs/heads/main", SHA)],
            vec!["HEAD", "refs/heads/main"],
        ),
        (vec![("HEAD", SHA)], vec!["HEAD"]),
        (
            vec![branch, ("packed-refs", &*packed), ("refs/heads/other", "x")],
            vec!["HEAD", "refs/heads", "packed-refs"],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in &files {
            write(dir.path(), &[(&with_git(name), text)]);
        }
        let (got, waits) = found(dir.path());
        assert_eq!(got, commit, "{files:?}");
        let expected: Vec<String> = expected.into_iter().map(with_git).collect();
        assert_eq!(waits, expected);
    }

    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            ("tree/.git", "gitdir: ../main/.git/worktrees/tree\n"),
            (
                "main/.git/worktrees/tree/HEAD",
                "ref: refs/heads/topic/one\n",
            ),
            ("main/.git/worktrees/tree/commondir", "../..\n"),
            ("main/.git/refs/heads/topic/one", SHA),
        ],
    );
    assert_eq!(build::commit(&dir.path().join("tree")).commit, commit);
}

#[test]
fn the_build_script_reads_the_commit_of_a_package() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(found(dir.path()), (None, Vec::new()));
    let info = ".cargo_vcs_info.json";
    let clean =
        format!("{{\n  \"git\": {{\n    \"sha1\": \"{SHA}\"\n  }},\n  \"path_in_vcs\": \"\"\n}}");
    write(dir.path(), &[(info, &clean)]);
    assert_eq!(
        found(dir.path()),
        (Some(SHA[..12].into()), vec![info.to_string()])
    );
    let dirty = format!("{{\"git\": {{\"sha1\": \"{SHA}\", \"dirty\": true}}}}");
    write(dir.path(), &[(info, &dirty)]);
    assert_eq!(found(dir.path()).0, Some(format!("{}-dirty", &SHA[..12])));
    for broken in ["", "{}", "{\"git\": {\"sha1\": \"xyz\"}}"] {
        write(dir.path(), &[(info, broken)]);
        assert_eq!(found(dir.path()).0, None, "{broken}");
    }
    write(dir.path(), &[(".git/HEAD", "ref: refs/heads/none\n")]);
    assert_eq!(
        found(dir.path()),
        (None, vec![".git/HEAD".to_string(), ".git".to_string()])
    );
}
