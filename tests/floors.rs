//! Test of the floors: a file imports only from lower floors, and modules on one floor do not import each other.
//!
//! The test reads every `crate::` path of every file under `src`, in `use` lines and elsewhere, except in comments.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first. Each inner list is one floor, and each word in it is a module (a room) on that floor.
const FLOORS: [&[&str]; 12] = [
    &["error", "sizes", "book"],
    &["cpu", "gpu"],
    &["tensor"],
    &["ops"],
    // These operations are defined by other operations, each by those on the floors below.
    &[
        "ops/norm_relu_conv",
        "ops/norm_relu_pool",
        "ops/conv_norm_relu",
    ],
    &["ops/dense_block"],
    &["nn", "data"],
    &["model"],
    &["caption", "metrics", "convert", "fetch"],
    &["train"],
    &["web"],
    &["cli", "main"],
];

/// The floor and the room of a path such as `ops/relu/cpu.rs` or `crate::ops::relu`. Each operation is a separate room.
fn room(parts: &[&str]) -> Option<(usize, String)> {
    let first = *parts.first()?;
    if first == "ops" {
        let op = *parts.get(1)?;
        let name = format!("ops/{op}");
        let own = FLOORS
            .iter()
            .position(|floor| floor.contains(&name.as_str()));
        return Some((own.unwrap_or(3), name));
    }
    let floor = FLOORS.iter().position(|floor| floor.contains(&first))?;
    Some((floor, first.to_string()))
}

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

/// The text without line comments, whose paths are not imports.
fn code(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every path after `crate::` in `text`, as its parts. Groups in braces are followed one level and deeper.
fn imports(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        // `$crate::` in a macro is the same crate.
        expand(&text[at + "crate::".len()..], &mut Vec::new(), &mut found);
    }
    found
}

/// Reads one path or group at the start of `rest`, and returns the number of bytes read.
fn expand(rest: &str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let start = rest.len() - rest.trim_start().len();
    let word: String = rest[start..]
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let mut at = start + word.len();
    if !word.is_empty() {
        before.push(word.clone());
        if rest[at..].starts_with("::") {
            at += 2 + expand(&rest[at + 2..], before, found);
        } else {
            found.push(before.clone());
        }
        before.pop();
    } else if rest[at..].starts_with('{') {
        at += 1;
        loop {
            at += expand(&rest[at..], before, found);
            let next = rest[at..].trim_start();
            at = rest.len() - next.len();
            // `x as y` renames the path that was just read.
            if let Some(after) = next.strip_prefix("as ") {
                let name = after.trim_start();
                let len = name
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .count();
                at = rest.len() - name.len() + len;
                continue;
            }
            match next.chars().next() {
                Some(',') => at += 1,
                Some('}') => return at + 1,
                _ => return at,
            }
            if rest[at..].trim_start().starts_with('}') {
                return rest.len() - rest[at..].trim_start().len() + 1;
            }
        }
    } else {
        found.push(before.clone());
    }
    at
}

/// The imports of one file that break the rule, each as a sentence.
fn violations(file: &[&str], text: &str) -> Vec<String> {
    let own = match file {
        // The crate's root and the lists of operations may import everything.
        ["lib.rs"] | ["ops", "mod.rs" | "table.rs"] => return Vec::new(),
        ["main.rs"] => vec!["main"],
        [single] => vec![single.trim_end_matches(".rs")],
        parts => parts.to_vec(),
    };
    let Some((floor, name)) = room(&own) else {
        return vec![format!("{}: is on no floor", file.join("/"))];
    };
    let mut wrong = Vec::new();
    for path in imports(&code(text)) {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        // A name that `ops` re-exports belongs to the room of that name, or to the whole floor.
        let Some((target, other)) = room(&parts)
            .or_else(|| (parts.first() == Some(&"ops")).then(|| (3, "ops".to_string())))
        else {
            continue;
        };
        let test_help = other == "ops/testing" && name.starts_with("ops/");
        if other != name && target >= floor && !test_help {
            wrong.push(format!(
                "{} (floor {floor}) imports crate::{} (floor {target})",
                file.join("/"),
                path.join("::")
            ));
        }
    }
    wrong
}

#[test]
fn imports_run_only_downward() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    assert!(
        all.len() > 50,
        "the source files are where this test looks for them"
    );
    let mut wrong = Vec::new();
    // Tests of an operation may use other operations.
    let is_test = |path: &Path| {
        path.iter()
            .any(|part| part == "tests" || part == "tests.rs")
    };
    for path in all.iter().filter(|path| !is_test(path)) {
        let relative = path.strip_prefix(&src).unwrap();
        let parts: Vec<&str> = relative.iter().map(|p| p.to_str().unwrap()).collect();
        wrong.extend(violations(&parts, &fs::read_to_string(path).unwrap()));
    }
    assert!(
        wrong.is_empty(),
        "imports that run up or across:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn an_import_that_runs_up_is_found() {
    let up = |file: &[&str], text: &str| violations(file, text).len();
    assert_eq!(up(&["tensor", "mod.rs"], "use crate::cpu::Isa;"), 0);
    assert_eq!(up(&["tensor", "mod.rs"], "use crate::ops::relu;"), 1);
    assert_eq!(
        up(
            &["cpu", "gemm.rs"],
            "fn f() { crate::tensor::Tensor::zeros(&[]); }"
        ),
        1
    );
    assert_eq!(up(&["cpu", "gemm.rs"], "// see crate::tensor::Tensor"), 0);
    assert_eq!(
        up(
            &["nn", "conv.rs"],
            "use crate::{error::Result, data::{image::Image, Recipe}};"
        ),
        2
    );
    assert_eq!(
        up(
            &["nn", "conv.rs"],
            "use crate::{ops::{self, relu as r}, model::DenseNet};"
        ),
        1
    );
    assert_eq!(
        up(
            &["ops", "relu", "mod.rs"],
            "use crate::ops::conv2d::Window;"
        ),
        1
    );
    assert_eq!(
        up(
            &["ops", "dense_block", "mod.rs"],
            "use crate::ops::conv2d::Window;"
        ),
        0
    );
    assert_eq!(up(&["metrics", "mod.rs"], "use crate::caption::search;"), 1);
    assert_eq!(up(&["train", "mod.rs"], "use crate::caption::search;"), 0);
    assert_eq!(up(&["caption", "mod.rs"], "use crate::train::Trainer;"), 1);
    assert_eq!(up(&["cli", "train.rs"], "use crate::train::Trainer;"), 0);
    assert_eq!(up(&["attic.rs"], ""), 1);
}
