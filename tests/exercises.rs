//! Tests of the book's exercises: each breaks a line of the sources, and names the tests that notice it.
//!
//! By default this checks that the lines are where `src/book/exercises.md` says. With `GLIMPSE_TEST_EXERCISES=1` it breaks a
//! copy of the sources, one exercise after the other, and runs the tests. That takes minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable of the environment that asks for the tests of the broken sources.
const VARIABLE: &str = "GLIMPSE_TEST_EXERCISES";

/// What the copy of the sources consists of.
const SOURCES: [&str; 8] = [
    "Cargo.toml",
    "Cargo.lock",
    "benches",
    "shaders",
    "src",
    "tests",
    "tools",
    "weights",
];

#[derive(Debug)]
struct Exercise {
    title: String,
    file: String,
    line: String,
    broken: String,
    /// The name by which the command selects tests.
    filter: String,
    /// The test that fails, and a part of what it says.
    fails: String,
    says: Option<String>,
    /// A test that passes all the same.
    passes: Option<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text between the first `start` and the `end` that follows it.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(part, _)| part)
}

/// Reads the exercises of the page. Every one has the same sentences around its lines and names.
fn exercises(page: &str) -> Vec<Exercise> {
    let sections = page.split("\n## ").skip(1);
    let one = |section: &str| {
        let title = section.lines().next().unwrap().to_string();
        // Sentences may break anywhere.
        let flat = section.split_whitespace().collect::<Vec<_>>().join(" ");
        let need = |what: &str, found: Option<&str>| {
            let missing = || panic!("{title}: the page does not say {what}");
            found.unwrap_or_else(missing).trim().to_string()
        };
        let (_, after) = section.split_once("becomes\n").unwrap_or_default();
        let (_, failing) = flat.split_once("It fails in ").unwrap_or_default();
        Exercise {
            file: need("which file", between(&flat, "In `", "` ```")),
            line: need("which line", between(section, "```text\n", "\n```")),
            broken: need("what it becomes", between(after, "```text\n", "\n```")),
            filter: need("which command", between(&flat, "--lib ", "`")),
            fails: need("which test fails", between(failing, "`", "`")),
            says: between(failing, " with `", "`").map(str::to_string),
            passes: between(failing, "but not in `", "`").map(str::to_string),
            title,
        }
    };
    sections.map(one).collect()
}

fn page() -> Vec<Exercise> {
    exercises(&fs::read_to_string(root().join("src/book/exercises.md")).unwrap())
}

#[test]
fn the_names_of_an_exercise_are_read() {
    let section = "# Page\n\n## One\n\nWhy?\n\nIn `a.rs`\n\n```text\nx + y\n```\n\nbecomes\n\n```text\nx - y\n```\n\n\
                   Run `cargo test --no-default-features --lib a`. It fails in `b::c` with\n`d e`, but not in `f`.\n";
    let [one] = &exercises(section)[..] else {
        panic!("one exercise")
    };
    let read = [&one.title, &one.file, &one.line, &one.broken, &one.filter];
    assert_eq!(read, ["One", "a.rs", "x + y", "x - y", "a"]);
    assert_eq!((&*one.fails, one.says.as_deref()), ("b::c", Some("d e")));
    assert_eq!(one.passes.as_deref(), Some("f"));
}

#[test]
fn every_line_is_where_the_page_says() {
    let all = page();
    assert!(all.len() >= 9, "{}", all.len());
    for exercise in all {
        let Exercise {
            title,
            file,
            line,
            fails,
            ..
        } = &exercise;
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        let found = text.matches(line.as_str()).count();
        assert_eq!(
            found, 1,
            "{title}: {file} has this line {found} times: {line}"
        );
        // The last two names of a path are those of a module and of a function in the sources.
        let function = fails.rsplit("::").next().unwrap();
        let sources = ["src/ops/table.rs", &file.replace("naive.rs", "tests.rs")];
        let declared = sources.iter().any(|source| {
            let text = fs::read_to_string(root().join(source)).unwrap_or_default();
            text.contains(&format!("fn {function}("))
        });
        assert!(
            declared || file.contains("simd"),
            "{title}: no test {fails}"
        );
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// Runs the tests that an exercise selects in the sources at `folder`; returns what they print.
fn run(folder: &Path, target: &Path, filter: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["test", "--no-default-features", "--lib", filter])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&printed).into_owned()
}

#[test]
fn every_break_is_noticed_as_the_page_says() {
    if std::env::var_os(VARIABLE).is_none() {
        println!("skipped: {VARIABLE}=1 runs the tests of the broken sources");
        return;
    }
    // In the same target folder, so that the crates below are compiled once.
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (folder, target) = (scratch.join("exercises"), scratch.parent().unwrap());
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    for name in SOURCES {
        copy(&root().join(name), &folder.join(name));
    }
    for exercise in page() {
        let title = &exercise.title;
        let path = folder.join(&exercise.file);
        let text = fs::read_to_string(&path).unwrap();
        let broken = text.replace(&exercise.line, &exercise.broken);
        fs::write(&path, broken).unwrap();
        let printed = run(&folder, target, &exercise.filter);
        fs::write(&path, text).unwrap();
        let ended = |test: &str, how: &str| printed.contains(&format!("test {test} ... {how}"));
        assert!(ended(&exercise.fails, "FAILED"), "{title}:\n{printed}");
        if let Some(says) = &exercise.says {
            assert!(printed.contains(says.as_str()), "{title}:\n{printed}");
        }
        if let Some(passes) = &exercise.passes {
            assert!(ended(passes, "ok"), "{title}:\n{printed}");
        }
        println!("{title}: noticed");
    }
}
