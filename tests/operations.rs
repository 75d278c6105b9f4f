//! Test that every operation has all of its pieces. It reads the sources, and so notices a forgotten piece even if
//! everything compiles. The book's chapter on adding an operation lists the pieces.

use std::fs;
use std::path::{Path, PathBuf};

/// Operations whose shader has another name: each is a special case of another operation, or consists of others.
const SHADERS: &[(&str, &str)] = &[
    ("linear", "matmul"),
    ("narrow", "concat"),
    ("conv_norm_relu", "conv2d"),
    ("norm_relu_conv", "conv2d"),
    ("dense_block", "conv2d"),
];

/// Operations whose recorded values of PyTorch have another name.
const FIXTURES: &[(&str, &str)] = &[("elementwise", "add"), ("reduce", "sum")];

/// Operations that the table of operations lists under the name of one of their functions.
const ROWS: &[(&str, &str)] = &[
    ("elementwise", "add"),
    ("lstm", "lstm_sequence"),
    ("reduce", "sum"),
];

/// Operations that are compared only with their definition, each with the reason why PyTorch has no value to compare.
const NO_FIXTURE: &[(&str, &str)] = &[
    ("categorical", "draws with this project's random numbers"),
    ("dropout", "draws with this project's random numbers"),
    (
        "conv_norm_relu",
        "compared with the three operations it is made of",
    ),
    (
        "norm_relu_pool",
        "compared with the three operations it is made of",
    ),
    ("narrow", "a copy, compared with the elements it takes"),
    ("top_k", "a choice, compared with a sort"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The other name of `op` in `table`, or `op` itself if it is not there.
fn other<'a>(table: &[(&str, &'a str)], op: &'a str) -> &'a str {
    let entry = table.iter().find(|(name, _)| *name == op);
    entry.map_or(op, |(_, other)| other)
}

/// The text of a piece of an operation: of the file with that name, or of all files in the folder with that name.
fn piece(folder: &Path, name: &str) -> String {
    let file = read(&folder.join(format!("{name}.rs")));
    let Ok(parts) = fs::read_dir(folder.join(name)) else {
        return file;
    };
    parts.fold(file, |text, part| text + &read(&part.unwrap().path()))
}

/// The missing pieces of the operation in `folder`, each as a sentence that says what to write.
fn missing(folder: &Path, fixtures: &str, all: &str, table: &str) -> Vec<String> {
    let op = folder.file_name().unwrap().to_str().unwrap();
    let text = |name| piece(folder, name);
    let [front, tests] = ["mod", "tests"].map(text);
    let places = ["naive", "cpu", "gpu"].map(|place| (place, text(place)));
    let has_gradient = front.contains(".record(");
    let mut lacking = Vec::new();
    let mut need = |there: bool, what: String| {
        if !there {
            lacking.push(format!("{op}: {what}"));
        }
    };
    need(
        all.contains(&format!("pub mod {op};")),
        "declare it in src/ops/mod.rs".into(),
    );
    need(
        front.starts_with("//!") && front.contains("```text"),
        "open mod.rs with its equation".into(),
    );
    for (place, text) in &places {
        need(!text.is_empty(), format!("write {place}.rs"));
        let defines = |name: &str| text.contains(&format!("fn {name}("));
        if text.is_empty() {
            continue;
        }
        if op == "elementwise" {
            // The folder contains six operations: functions of one number or of two. Their gradients are such functions too.
            for name in ["single", "pair"] {
                need(defines(name), format!("define `{name}` in {place}.rs"));
            }
            continue;
        }
        // An operation that updates its input is called `step`.
        need(
            defines("forward") || defines("step"),
            format!("define `forward` in {place}.rs"),
        );
        need(
            !has_gradient || defines("backward"),
            format!("define `backward` in {place}.rs"),
        );
    }
    let shader = other(SHADERS, op);
    need(
        root().join(format!("shaders/{shader}.wgsl")).exists(),
        format!("write shaders/{shader}.wgsl"),
    );
    let everywhere = ["on_every_device(", "agrees_with_the_definition("];
    need(
        everywhere.iter().any(|name| tests.contains(name)),
        "test it with `on_every_device` in tests.rs".into(),
    );
    need(
        !has_gradient || table.contains(&format!("\n    {}(x) = ", other(ROWS, op))),
        "add a row to the table in src/ops/table.rs".into(),
    );
    let case = other(FIXTURES, op);
    let recorded = ["/", "_"].map(|end| fixtures.contains(&format!("\"{case}{end}")));
    need(
        recorded.contains(&true) || NO_FIXTURE.iter().any(|(name, _)| *name == op),
        "record PyTorch's values with tools/make_op_fixtures.py".into(),
    );
    lacking
}

#[test]
fn every_operation_has_all_its_pieces() {
    let file = fs::read(root().join("tests/fixtures/ops.safetensors")).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let fixtures = String::from_utf8(file[8..8 + length].to_vec()).unwrap();
    let ops = root().join("src/ops");
    let [all, table] = ["mod.rs", "table.rs"].map(|name| read(&ops.join(name)));
    let mut folders: Vec<PathBuf> = fs::read_dir(&ops)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(folders.len() >= 30, "only {} operations", folders.len());
    let lacking: Vec<String> = folders
        .iter()
        .flat_map(|folder| missing(folder, &fixtures, &all, &table))
        .collect();
    assert!(lacking.is_empty(), "{}", lacking.join("\n"));
}

#[test]
fn a_forgotten_piece_is_named() {
    let op = Path::new(env!("CARGO_TARGET_TMPDIR")).join("operations/square");
    let _ = fs::remove_dir_all(&op);
    fs::create_dir_all(&op).unwrap();
    let front = "//! Squares.\n//!\n//! ```text\n//! y = x^2\n//! ```\n y.record(";
    fs::write(op.join("mod.rs"), front).unwrap();
    fs::write(op.join("naive.rs"), "fn forward() {} fn backward() {}").unwrap();
    fs::write(op.join("cpu.rs"), "fn forward() {}").unwrap();
    fs::write(op.join("tests.rs"), "on_every_device(").unwrap();
    let lacking = missing(
        &op,
        "\"square/x\"",
        "pub mod square;",
        "\n    squares(x) = ",
    );
    let want = [
        "square: define `backward` in cpu.rs",
        "square: write gpu.rs",
        "square: write shaders/square.wgsl",
        "square: add a row to the table in src/ops/table.rs",
    ];
    assert_eq!(lacking, want);
}
