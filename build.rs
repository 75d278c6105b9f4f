//! Finds out which commit a release is built from, so that reports can say it.
//!
//! `GLIMPSE_COMMIT` says it where it is set. Otherwise the files of the repository do, as far as there is one; builds for
//! development do without, because they would be built anew after every commit.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=GLIMPSE_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("GLIMPSE_COMMIT").is_some() || env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    if let Some(commit) = commit(&root) {
        println!("cargo::rustc-env=GLIMPSE_COMMIT={commit}");
    }
}

/// The commit that the repository at `root` is at.
fn commit(root: &Path) -> Option<String> {
    let mut folder = root.join(".git");
    // In a worktree it is a file that names the folder.
    if folder.is_file() {
        let text = fs::read_to_string(&folder).ok()?;
        folder = root.join(text.trim().strip_prefix("gitdir: ")?);
    }
    let read = |path: PathBuf| {
        println!("cargo::rerun-if-changed={}", path.display());
        fs::read_to_string(path).ok()
    };
    let head = read(folder.join("HEAD"))?;
    let Some(branch) = head.trim().strip_prefix("ref: ") else {
        return is_commit(head.trim());
    };
    // Branches are kept where the worktrees share them.
    let common = fs::read_to_string(folder.join("commondir")).ok();
    let common = common.map_or(folder.clone(), |path| folder.join(path.trim()));
    if let Some(text) = read(common.join(branch)) {
        return is_commit(text.trim());
    }
    let packed = read(common.join("packed-refs"))?;
    let line = packed
        .lines()
        .find(|line| line.ends_with(&format!(" {branch}")))?;
    is_commit(line.split(' ').next()?)
}

fn is_commit(text: &str) -> Option<String> {
    let is_hex = text.len() >= 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| text[..12].to_string())
}
