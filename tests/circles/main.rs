//! Test of the circles: no two files use each other.
//!
//! Whoever reads a file should be able to read the files that it uses first, and never come back. So the modules of a
//! crate form a tree of *rooms*: a module, together with all modules below it, is a room in its parent. The rule has two
//! parts:
//!
//! * Among the rooms of one parent, uses form no circle. Where `cpu/conv` uses `cpu/rows`, no file of `cpu/rows` uses
//!   any file of `cpu/conv`, and neither does a room that `cpu/rows` uses.
//! * A module and a module below it may use each other only if they are parent and child. `ops/relu/mod.rs` calls
//!   `naive::forward`, and `naive.rs` takes types from `super`. Grandchildren are too far away for that.
//!
//! A file uses another where it names an item that the other defines: in a `use` line or in a path, and whether or not
//! modules in between pass the name on. To declare a child (`mod x;`) and to pass on names of modules below
//! (`pub use x::Y;`) does not count as a use. Code for tests (`#[cfg(test)]`) does not count.

mod modules;
mod source;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use modules::{Modules, Use};

/// Describes each circle of a crate, with the lines that close it.
fn circles(modules: &Modules) -> Vec<String> {
    let mut wrong = Vec::new();
    // For each parent, the uses of one of its rooms in another.
    let mut rooms: BTreeMap<usize, BTreeMap<usize, BTreeMap<usize, Use>>> = BTreeMap::new();
    let mut down = HashMap::new();
    let mut up = Vec::new();
    for used in modules.uses() {
        let mut from: Vec<usize> = modules.upward(used.from).collect();
        let mut to: Vec<usize> = modules.upward(used.to).collect();
        let mut common = None;
        while from.last().is_some() && from.last() == to.last() {
            (common, _) = (from.pop(), to.pop());
        }
        match (from.last(), to.last()) {
            (Some(&a), Some(&b)) => {
                let of_parent = rooms.entry(common.unwrap()).or_default();
                of_parent.entry(a).or_default().entry(b).or_insert(used);
            }
            // Parent and child may use each other.
            (None, Some(_)) if to.len() > 1 => drop(down.insert((used.from, used.to), used)),
            (Some(_), None) if from.len() > 1 => up.push(used),
            _ => {}
        }
    }
    for used in up {
        if let Some(back) = down.get(&(used.to, used.from)) {
            wrong.push(describe(modules, &[back, &used]));
        }
    }
    for of_parent in rooms.values() {
        let mut seen = BTreeSet::new();
        for (&start, targets) in of_parent {
            for &next in targets.keys() {
                let Some(mut way) = way(of_parent, next, start) else {
                    continue;
                };
                way.rotate_right(1);
                if seen.insert(way.iter().copied().collect::<BTreeSet<_>>()) {
                    let steps = way.iter().zip(way.iter().cycle().skip(1));
                    let uses: Vec<&Use> = steps.map(|(a, b)| &of_parent[a][b]).collect();
                    wrong.push(describe(modules, &uses));
                }
            }
        }
    }
    wrong
}

/// Returns the shortest way from one room to another along uses, if there is one.
fn way(uses: &BTreeMap<usize, BTreeMap<usize, Use>>, from: usize, to: usize) -> Option<Vec<usize>> {
    let mut ways = vec![vec![from]];
    let mut seen = BTreeSet::from([from]);
    while !ways.is_empty() {
        if let Some(way) = ways.iter().find(|way| way.last() == Some(&to)) {
            return Some(way.clone());
        }
        let mut longer = Vec::new();
        for way in ways {
            for &next in uses.get(way.last()?).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(next) {
                    longer.push(way.iter().copied().chain([next]).collect());
                }
            }
        }
        ways = longer;
    }
    None
}

fn describe(modules: &Modules, uses: &[&Use]) -> String {
    let steps = uses.iter().map(|used| {
        let file = |module: usize| modules.0[module].file.display();
        let Use {
            from,
            to,
            line,
            path,
        } = used;
        format!("{}:{line} uses {} of {}", file(*from), path, file(*to))
    });
    steps.collect::<Vec<_>>().join(", ")
}

/// Returns the roots of all crates of the package, relative to its folder.
fn roots(package: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["src/lib.rs", "src/main.rs"].map(PathBuf::from).into();
    for folder in ["benches", "tests", "tools"] {
        for entry in fs::read_dir(package.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let path = path.strip_prefix(package).unwrap();
            if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.to_path_buf());
            } else if package.join(path).join("main.rs").exists() {
                found.push(path.join("main.rs"));
            }
        }
    }
    found
}

#[test]
fn no_files_use_each_other() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |path: &Path| fs::read_to_string(package.join(path)).ok();
    let mut wrong = BTreeSet::new();
    let mut uses = 0;
    for root in roots(package) {
        let modules = Modules::load(&root, &text);
        uses += modules.uses().len();
        wrong.extend(circles(&modules));
    }
    assert!(uses > 1000, "the test finds only {uses} uses");
    assert!(
        wrong.is_empty(),
        "{} circles of files that use each other:\n{}",
        wrong.len(),
        wrong.into_iter().collect::<Vec<_>>().join("\n")
    );
}

/// Returns the circles of a crate that consists of these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let files: HashMap<&Path, &str> = files.iter().map(|&(p, t)| (Path::new(p), t)).collect();
    let text = |path: &Path| files.get(path).map(|text| text.to_string());
    circles(&Modules::load(Path::new("lib.rs"), &text))
}

/// Returns the uses of a crate that consists of these files, as `FILE:LINE FILE`.
fn uses_of(files: &[(&str, &str)]) -> Vec<String> {
    let map: HashMap<&Path, &str> = files.iter().map(|&(p, t)| (Path::new(p), t)).collect();
    let text = |path: &Path| map.get(path).map(|text| text.to_string());
    let modules = Modules::load(Path::new("lib.rs"), &text);
    let file = |module: usize| modules.0[module].file.display();
    let uses = modules.uses();
    let shown = uses
        .iter()
        .map(|u| format!("{}:{} {}", file(u.from), u.line, file(u.to)));
    shown.collect()
}

#[test]
fn a_path_leads_to_the_file_that_defines_the_item() {
    let lib = "pub mod a;\npub mod b;\n#[path = \"elsewhere/d.rs\"]\nmod d;";
    let b = "mod deep;\nmod other;\npub use deep::{Inner as Renamed, *};\npub struct Own;";
    let deep = "pub struct Inner;\npub fn from_glob() {}";
    let uses = |a: &str| {
        uses_of(&[
            ("lib.rs", lib),
            ("a.rs", a),
            ("b/mod.rs", b),
            ("b/deep.rs", deep),
            ("b/other.rs", ""),
            ("elsewhere/d.rs", "pub struct D;"),
        ])
    };
    for (text, found) in [
        ("use crate::b::Own;", "a.rs:1 b/mod.rs"),
        ("use super::b::Own;", "a.rs:1 b/mod.rs"),
        ("use crate::b::deep::Inner;", "a.rs:1 b/deep.rs"),
        ("use crate::b::Renamed;", "a.rs:1 b/deep.rs"),
        ("use crate::b::from_glob;", "a.rs:1 b/deep.rs"),
        ("use crate::b::other;", "a.rs:1 b/other.rs"),
        ("use crate::d::D;", "a.rs:1 elsewhere/d.rs"),
        (
            "use std::{io, fs};\nfn f() { crate::b::Own; }",
            "a.rs:2 b/mod.rs",
        ),
        (
            "mod inline { use super::super::b::Own; }",
            "a.rs:1 b/mod.rs",
        ),
        (
            "fn f<'a>(c: char) { c == '\"'; let x = \"//\"; crate::d::D }",
            "a.rs:1 elsewhere/d.rs",
        ),
    ] {
        assert_eq!(uses(text), [found], "{text}");
    }
    assert_eq!(
        uses("use crate::{\n    b::{self, deep::Inner, Renamed as R},\n    d,\n};"),
        [
            "a.rs:2 b/mod.rs",
            "a.rs:2 b/deep.rs",
            "a.rs:2 b/deep.rs",
            "a.rs:3 elsewhere/d.rs"
        ]
    );
    for text in [
        "// use crate::b::Own;",
        "/* use crate::b::Own; /* */ use crate::b::Own; */",
        "const TEXT: &str = \"use crate::b::Own;\";",
        "const TEXT: &str = r#\"a \" use crate::b::Own;\"#;",
        "#[cfg(test)]\nmod tests {\n    use crate::b::Own;\n}",
        "#[cfg(test)]\n#[allow(unused)]\nuse crate::{b::Own};",
        "#[cfg(all(test, unix))]\nfn f() -> [u8; 2] { crate::b::Own }",
        "use std::b::Own;",
        "struct Own;\nfn f() { Own::new(); self::Own; }",
    ] {
        assert_eq!(uses(text), [""; 0], "{text}");
    }
    // The item after one that is left out counts.
    let text = "#[cfg(test)]\nmod tests;\n#[cfg(not(test))]\nuse crate::b::Own;";
    assert_eq!(uses(text), ["a.rs:4 b/mod.rs"]);
}

#[test]
fn two_rooms_that_use_each_other_are_found() {
    let lib = ("lib.rs", "mod a;\nmod b;");
    let uses_b = "use crate::b::low::B;";
    let found = circles_of(&[
        lib,
        ("a.rs", uses_b),
        ("b/mod.rs", "mod low;\nmod high;"),
        ("b/low.rs", "pub struct B;"),
        ("b/high.rs", "\nuse crate::a;"),
    ]);
    let circle = "a.rs:1 uses crate::b::low::B of b/low.rs, b/high.rs:2 uses crate::a of a.rs";
    assert_eq!(found, [circle]);

    // Through a third room, and by names that a parent passes on.
    let found = circles_of(&[
        (
            "lib.rs",
            "mod a;\nmod b;\nmod c;\npub use a::A;\nuse b::B;\nuse c::C;",
        ),
        ("a.rs", "use super::B;\npub struct A;"),
        ("b.rs", "use super::C;\npub struct B;"),
        ("c.rs", "use crate::A;\npub struct C;"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("a.rs:1 uses super::B of b.rs"),
        "{found:?}"
    );

    let one_way = [
        lib,
        ("a.rs", uses_b),
        ("b/mod.rs", "mod low;"),
        ("b/low.rs", "pub struct B;"),
    ];
    assert_eq!(circles_of(&one_way), [""; 0]);
}

#[test]
fn parent_and_child_may_use_each_other_but_no_grandchild() {
    let lib = ("lib.rs", "mod a;");
    let child = "use super::Sizes;\npub fn forward() {}";
    let family = |parent, child| {
        let deep = ("a/child/deep.rs", "use crate::a::Sizes;\npub fn far() {}");
        circles_of(&[lib, ("a/mod.rs", parent), ("a/child/mod.rs", child), deep])
    };
    let calls = "mod child;\nstruct Sizes;\nfn f() { child::forward() }";
    assert_eq!(family(calls, child), [""; 0]);
    let deep = "mod deep;\npub use deep::far;";
    let reaches = "mod child;\npub struct Sizes;\nfn f() { child::far() }";
    let circle = "a/mod.rs:3 uses child::far of a/child/deep.rs, a/child/deep.rs:1 uses crate::a::Sizes of a/mod.rs";
    assert_eq!(family(reaches, deep), [circle]);
    // To pass a name on does not count as a use, unless the file uses the name itself.
    let passes = "mod child;\npub use child::far;\npub struct Sizes;";
    assert_eq!(family(passes, deep), [""; 0]);
    let both = "mod child;\npub use child::far;\npub struct Sizes;\nfn f() { far() }";
    assert_eq!(family(both, deep).len(), 1);
}
