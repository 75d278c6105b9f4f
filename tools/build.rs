//! Cargo's build script: finds out which commit a release is built from, so that `glimpse --version` can say it.
//!
//! `GLIMPSE_COMMIT` names it where it is set. Otherwise it is read from the files of the checkout's repository, or from
//! `.cargo_vcs_info.json`, which `cargo package` writes. Development builds leave it out, because every commit would
//! rebuild them.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let mut found = Found::default();
    let is_release = env::var("PROFILE").as_deref() == Ok("release");
    if is_release && env::var_os("GLIMPSE_COMMIT").is_none() {
        let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
        found = commit(&root);
    }
    io::stdout().write_all(instructions(&found).as_bytes())
}

/// The commit, and the files that change when it does.
#[derive(Default)]
pub struct Found {
    pub commit: Option<String>,
    pub files: Vec<PathBuf>,
}

/// Formats what cargo is told.
pub fn instructions(found: &Found) -> String {
    let mut text = String::from(
        "cargo::rerun-if-changed=tools/build.rs\ncargo::rerun-if-env-changed=GLIMPSE_COMMIT\n",
    );
    for file in &found.files {
        text += &format!("cargo::rerun-if-changed={}\n", file.display());
    }
    if let Some(commit) = &found.commit {
        text += &format!("cargo::rustc-env=GLIMPSE_COMMIT={commit}\n");
    }
    text
}

/// The commit of the checkout or package at `root`.
pub fn commit(root: &Path) -> Found {
    let git = root.join(".git");
    if git.exists() {
        return of_checkout(&git);
    }
    let info = root.join(".cargo_vcs_info.json");
    match fs::read_to_string(&info) {
        Ok(text) => Found {
            commit: of_package(&text),
            files: vec![info],
        },
        Err(_) => Found::default(),
    }
}

/// The commit that is checked out in the repository `git`.
fn of_checkout(git: &Path) -> Found {
    let mut found = Found::default();
    found.commit = checked_out(git, &mut found.files);
    // Cargo runs a build script in every build if a file that it waits for does not exist.
    found.files.retain(|file| file.exists());
    found
}

fn checked_out(git: &Path, files: &mut Vec<PathBuf>) -> Option<String> {
    let mut read = |path: PathBuf| {
        let text = fs::read_to_string(&path).ok();
        files.push(path);
        text
    };
    let mut folder = git.to_path_buf();
    // In a worktree `.git` is a file that names the folder.
    if git.is_file() {
        let text = fs::read_to_string(git).ok()?;
        folder = git.parent()?.join(text.trim().strip_prefix("gitdir: ")?);
    }
    let head = read(folder.join("HEAD"))?;
    let Some(branch) = head.trim().strip_prefix("ref: ") else {
        return shortened(head.trim());
    };
    // Branches are kept where the worktrees share them.
    let common = fs::read_to_string(folder.join("commondir")).ok();
    let common = common.map_or(folder.clone(), |path| folder.join(path.trim()));
    if let Some(text) = read(common.join(branch)) {
        return shortened(text.trim());
    }
    // The branch is in the list of packed ones. The next commit makes it a file in this folder.
    files.extend(
        common
            .join(branch)
            .ancestors()
            .find(|path| path.is_dir())
            .map(Path::to_path_buf),
    );
    let packed = common.join("packed-refs");
    let text = fs::read_to_string(&packed).ok()?;
    files.push(packed);
    let line = text
        .lines()
        .find(|line| line.ends_with(&format!(" {branch}")))?;
    shortened(line.split(' ').next()?)
}

/// The commit that `.cargo_vcs_info.json` names. `-dirty` follows where the package had changes beside it.
fn of_package(text: &str) -> Option<String> {
    let text: String = text.split_whitespace().collect();
    let (_, rest) = text.split_once("\"sha1\":\"")?;
    let commit = shortened(rest.split('"').next()?)?;
    match text.contains("\"dirty\":true") {
        true => Some(commit + "-dirty"),
        false => Some(commit),
    }
}

/// The first 12 digits of a commit.
fn shortened(text: &str) -> Option<String> {
    let is_hex = text.len() >= 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| text[..12].to_string())
}
