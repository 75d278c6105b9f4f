//! Tests of `glimpse completions` and `glimpse man`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Run, glimpse};

const COMMANDS: [&str; 17] = [
    "caption",
    "features",
    "train",
    "config",
    "compare",
    "calibrate",
    "evaluate",
    "score",
    "doctor",
    "inspect",
    "convert",
    "fetch",
    "serve",
    "bench",
    "devices",
    "completions",
    "man",
];

/// Runs a bash script in `dir`; `None` if there is no bash.
fn bash(dir: &Path, script: &str) -> Option<Run> {
    let output = Command::new("bash")
        .args(["--norc", "-c", script])
        .current_dir(dir)
        .stdin(Stdio::null())
        .output();
    output.ok().map(Run::new)
}

#[test]
fn the_list_of_commands_is_whole() {
    let help = glimpse(Path::new("."), &["-h"]);
    let commands = help.lines().into_iter();
    let commands = commands
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert_eq!(names, COMMANDS);
}

#[test]
fn every_shell_has_completions_with_every_command() {
    let here = Path::new(".");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = glimpse(here, &["completions", shell]);
        run.lines();
        for command in COMMANDS {
            let mut words = run.out.split(|c: char| !(c.is_alphanumeric() || c == '-'));
            assert!(words.any(|w| w == command), "{shell}: {command}");
        }
    }
    let other = glimpse(here, &["completions", "tcsh"]);
    assert!(other.complaint(2).contains("zsh, not `tcsh`"));
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("photo.jpg"), "").unwrap();
    let script = glimpse(Path::new("."), &["completions", "bash"]);
    script.lines();
    fs::write(dir.path().join("glimpse.bash"), &script.out).unwrap();
    let Some(checked) = bash(dir.path(), "bash -n glimpse.bash") else {
        println!("skipped: no bash");
        return;
    };
    assert_eq!((checked.code, &*checked.err), (Some(0), ""));
    for (words, expected) in [
        (&["glimpse", "cap"][..], "caption"),
        (&["glimpse", "caption", "--n-b"], "--n-best"),
        (&["glimpse", "serve", "--max-up"], "--max-upload-mb"),
        (&["glimpse", "caption", "--device", "g"], "gpu"),
        (&["glimpse", "bench", "gem"], "gemm"),
        (&["glimpse", "caption", "--model", "pho"], "photo.jpg"),
        (&["glimpse", "completions", "pow"], "powershell"),
    ] {
        // When Tab is pressed, bash calls the function that the script has registered; so does this test.
        let text = format!(
            "source ./glimpse.bash; COMP_WORDS=({}); COMP_CWORD={}; \
             registered=$(complete -p glimpse) && [[ $registered == *'-F _glimpse '* ]] && \
             _glimpse glimpse {:?} {:?} && printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let run = bash(dir.path(), &text).unwrap();
        assert_eq!(run.lines(), [expected], "{words:?}: {}", run.err);
    }
}

/// Returns the words of a page as `man` shows it; without groff, those of its source.
fn shown(page: &Path) -> String {
    let groff = Command::new("groff")
        .args(["-man", "-Tutf8", "-P-cbou", "-ww"])
        .arg(page)
        .output();
    let text = match groff {
        Ok(output) => {
            let run = Run::new(output);
            assert_eq!((run.code, &*run.err), (Some(0), ""), "{}", page.display());
            run.out
        }
        Err(_) => fs::read_to_string(page).unwrap().replace('\\', ""),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let run = glimpse(dir.path(), &["man", "--out", "share/man1"]);
    let written = run.lines();
    assert_eq!(written.len(), COMMANDS.len() + 1);
    let main = dir.path().join("share/man1/glimpse.1");
    let printed = glimpse(dir.path(), &["man"]);
    printed.lines();
    assert_eq!(fs::read_to_string(&main).unwrap(), printed.out);
    let overview = shown(&main);
    for command in COMMANDS {
        assert!(
            overview.contains(&format!("glimpse-{command}(1)")),
            "{command}"
        );
        let path = format!("share/man1/glimpse-{command}.1");
        assert!(written.contains(&&*path), "{path}");
        let page = shown(&dir.path().join(&path));
        for part in [
            "NAME",
            "SYNOPSIS",
            "OPTIONS",
            "--device",
            "EXIT STATUS",
            "SEE ALSO",
        ] {
            assert!(page.contains(part), "{command}: {part}: {page}");
        }
        assert!(page.contains(&format!("glimpse {command}")), "{page}");
    }
    let doctor = shown(&dir.path().join("share/man1/glimpse-doctor.1"));
    assert!(
        doctor.contains("Mädchen") || doctor.contains("M[u00E4]dchen"),
        "{doctor}"
    );
    assert!(
        fs::read_to_string(dir.path().join("share/man1/glimpse-doctor.1"))
            .unwrap()
            .is_ascii()
    );
    let caption = shown(&dir.path().join("share/man1/glimpse-caption.1"));
    assert!(caption.contains("--no-repeat-ngram"), "{caption}");
    let title = format!(
        "\n.TH \"glimpse\" 1 \"\" \"glimpse {}\" \"Glimpse\"\n",
        env!("CARGO_PKG_VERSION")
    );
    assert!(printed.out.contains(&title), "{}", printed.out);
    // No temporary files are left, and an existing page is replaced.
    assert_eq!(
        fs::read_dir(main.parent().unwrap()).unwrap().count(),
        COMMANDS.len() + 1
    );
    fs::write(&main, "old").unwrap();
    glimpse(dir.path(), &["man", "--out", "share/man1"]).lines();
    assert_eq!(fs::read_to_string(&main).unwrap(), printed.out);
    fs::write(dir.path().join("file"), "").unwrap();
    let refused = glimpse(dir.path(), &["man", "--out", "file"]);
    assert!(refused.complaint(1).contains("file: cannot be made"));
}
