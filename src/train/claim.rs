//! An output that can be written, and by this run alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::checkpoint;
use crate::data::store::{self, Lock};
use crate::error::Result;

/// As long as this lives, no other run writes the model, the checkpoint and the features of an output.
///
/// Two runs on one output would go on from each other's checkpoints.
pub struct Claim {
    _locks: Vec<Lock>,
}

impl Claim {
    /// That on the model at `out` and the files beside it. Whether they can be written is tried here, not after hours of
    /// training.
    ///
    /// # Errors
    /// Where one of them cannot be written, or another run has them.
    pub fn of(out: &Path) -> Result<Self> {
        for path in checkpoint::all_of(out) {
            store::check(&path)?;
        }
        // Where `out` is a link, the model is elsewhere than the other files, and others may write to it there.
        let paths = [out.to_path_buf(), store::resolve(out)?];
        let locks: BTreeSet<PathBuf> = paths.iter().map(|path| lock_of(path)).collect();
        // In an order, so that of two runs one gets all it needs.
        let taken = locks.iter().map(|lock| Lock::take(lock, out));
        Ok(Claim {
            _locks: taken.collect::<Result<_>>()?,
        })
    }
}

/// The lock for the model at `out`, by the one name that its folder has.
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
