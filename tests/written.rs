//! Test that the programs print only through the functions for that purpose.
//!
//! `eprintln!` and similar macros panic if the message cannot be written: on a full disk, or to a pipe without a reader.
//! Such a panic in the middle of a training loses all results.

use std::fs;
use std::path::{Path, PathBuf};

/// Macros that no source but an example may call, and macros that programs may not call but tests in the library may.
const NOWHERE: [&str; 3] = ["eprintln!", "eprint!", "dbg!"];
const NOT_IN_PROGRAMS: [&str; 2] = ["println!", "print!"];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The lines of `text` (without comments) that call one of these macros, with their numbers.
fn calls(text: &str, macros: &[&str]) -> Vec<(usize, String)> {
    let is_called = |code: &str, name: &str| {
        code.match_indices(name).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    };
    let lines = (1..).zip(text.lines());
    lines
        .map(|(number, line)| (number, line.split("//").next().unwrap_or("")))
        .filter(|(_, code)| macros.iter().any(|name| is_called(code, name)))
        .map(|(number, code)| (number, code.trim().to_string()))
        .collect()
}

#[test]
fn nothing_is_printed_past_the_functions_for_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    files(&root.join("src"), &mut all);
    files(&root.join("tools"), &mut all);
    assert!(
        all.len() > 50,
        "the files are where this test looks for them"
    );
    let mut wrong = Vec::new();
    for path in &all {
        let text = fs::read_to_string(path).unwrap();
        let relative = path.strip_prefix(root).unwrap();
        let is_in = |parts: &[&str]| parts.iter().any(|part| relative.starts_with(part));
        let forbidden = if is_in(&["tools/examples"]) {
            // Examples are mostly read, so they print with the usual macros.
            vec!["dbg!"]
        } else if is_in(&["src/cli", "src/web", "src/main.rs", "tools"]) {
            [&NOWHERE[..], &NOT_IN_PROGRAMS].concat()
        } else {
            NOWHERE.to_vec()
        };
        for (number, code) in calls(&text, &forbidden) {
            wrong.push(format!("{}:{number}: {code}", relative.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "print by `cli::output` instead, which ends no program:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn a_call_is_found_and_a_comment_is_none() {
    let found = |text: &str| calls(text, &NOWHERE).len();
    assert_eq!(
        found("    eprintln!(\"{x}\");\n    Some(x) => eprint!(\"a\"),"),
        2
    );
    assert_eq!(found("std::eprintln!()"), 1);
    assert_eq!(
        found("// eprintln! panics\n/// As `eprintln!`.\nmy_eprintln!()"),
        0
    );
    assert_eq!(calls("println!(); eprintln!()", &NOT_IN_PROGRAMS).len(), 1);
    assert_eq!(calls("eprintln!()", &NOT_IN_PROGRAMS).len(), 0);
}
