//! The library that makes system calls fail, and its options.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Error numbers of Linux.
pub const EINTR: i32 = 4;
pub const EIO: i32 = 5;
pub const EAGAIN: i32 = 11;
pub const ENOMEM: i32 = 12;
pub const ENOSPC: i32 = 28;
pub const EROFS: i32 = 30;
pub const EDQUOT: i32 = 122;

/// A kind of system call; each kind is counted separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Write,
    Sync,
    Rename,
    Truncate,
    Create,
    Map,
    Thread,
}

/// The effect of a fault on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The call fails with this error.
    Error(i32),
    /// The call writes half of its bytes, and returns their number.
    Short,
    /// The program is killed before the call, after half of its bytes, or after the call.
    Before,
    Within,
    After,
}

impl Action {
    pub fn kills(self) -> bool {
        matches!(self, Action::Before | Action::Within | Action::After)
    }
}

/// A fault: the call at which it happens, and its effect.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// The number of the call, counted from 1.
    pub number: u32,
    pub action: Action,
    /// Whether the fault also happens at all later calls.
    pub lasts: bool,
}

impl Fault {
    pub fn new(kind: Kind, number: u32, action: Action) -> Fault {
        let lasts = false;
        Fault {
            kind,
            number,
            action,
            lasts,
        }
    }

    /// Injects the fault into `command`, for files below `folder`. If the fault happens, the file `mark` is created.
    pub fn inject(self, command: &mut Command, folder: &Path, mark: &Path) {
        let kind = match self.kind {
            Kind::Write => "write",
            Kind::Sync => "sync",
            Kind::Rename => "rename",
            Kind::Truncate => "truncate",
            Kind::Create => "create",
            Kind::Map => "map",
            Kind::Thread => "thread",
        };
        let action = match self.action {
            Action::Error(number) => format!("error {number}"),
            Action::Short => "short".into(),
            Action::Before => "before".into(),
            Action::Within => "within".into(),
            Action::After => "after".into(),
        };
        command
            .env("LD_PRELOAD", library())
            .env("FAULT_FOLDER", folder.canonicalize().unwrap())
            .env("FAULT_KIND", kind)
            .env("FAULT_NUMBER", self.number.to_string())
            .env("FAULT_ACTION", action)
            .env("FAULT_MARK", mark);
        if self.lasts {
            command.env("FAULT_LASTS", "1");
        }
    }
}

/// The path of the injected library, which is compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/inject.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let library = folder.join(format!("inject-{}.so", std::process::id()));
        let compiler = std::env::var_os("CC").unwrap_or("cc".into());
        let built = Command::new(&compiler)
            .args([
                "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o",
            ])
            .arg(&library)
            .arg(&source)
            .arg("-ldl")
            .status();
        assert!(
            built.as_ref().is_ok_and(|status| status.success()),
            "the C compiler that the build needs compiles {}: {built:?}",
            source.display()
        );
        // Remove the libraries of earlier runs.
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let process = name
                .strip_prefix("inject-")
                .and_then(|n| n.strip_suffix(".so"));
            if process.is_some_and(|p| !Path::new("/proc").join(p).exists()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        library
    })
}
