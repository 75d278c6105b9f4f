//! The claim of a run on its output: it can be written, and no other run writes it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::checkpoint;
use crate::data::store::{self, Lock};
use crate::error::Result;

/// Exclusive right to write the model, the checkpoint and the features of an output, held until it is dropped.
///
/// Without it, two runs on one output would continue from each other's checkpoints.
pub struct Claim {
    _locks: Vec<Lock>,
}

impl Claim {
    /// Claims the model at `out` and the files beside it. Checks here that they can be written, rather than after hours
    /// of training.
    ///
    /// # Errors
    /// Fails if one of them cannot be written, or another run holds them.
    pub fn of(out: &Path) -> Result<Self> {
        for path in checkpoint::all_of(out) {
            store::check(&path)?;
        }
        // If `out` is a symbolic link, the model lies in another folder than its other files. Other runs may write to
        // it there.
        let paths = [out.to_path_buf(), store::resolve(out)?];
        let locks: BTreeSet<PathBuf> = paths.iter().map(|path| lock_of(path)).collect();
        // Locks are taken in a fixed order. Of two runs that compete for them, one gets all that it needs.
        let taken = locks.iter().map(|lock| Lock::take(lock, out));
        Ok(Claim {
            _locks: taken.collect::<Result<_>>()?,
        })
    }
}

/// Returns the lock file for the model at `out`, in the canonical path of its folder.
fn lock_of(out: &Path) -> PathBuf {
    let lock = checkpoint::lock_beside(out);
    let folder = match lock.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match (folder.canonicalize(), lock.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => lock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_claimed_by_whatever_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let is_free = |name: &str| Claim::of(&at(name)).is_ok();
        let claim = Claim::of(&at("a.safetensors")).unwrap();
        assert!(!is_free("a.safetensors") && !is_free("a") && is_free("b"));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(dir.path(), at("folder")).unwrap();
            std::os::unix::fs::symlink("a.safetensors", at("link")).unwrap();
            std::os::unix::fs::symlink("c.safetensors", at("c")).unwrap();
            assert!(!is_free("folder/a") && !is_free("link") && is_free("c"));
        }
        drop(claim);
        assert!(is_free("a"));
        let left = std::fs::read_dir(&dir).unwrap().flatten();
        let left: Vec<_> = left.filter(|e| e.file_type().unwrap().is_file()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
