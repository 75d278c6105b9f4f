//! A second location for files that took long to compute, used if the first cannot be written.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::error::{self, Error, Result};

/// Delays before each new attempt to write the file: a network drive may have returned by then.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// Writes a file to `path` by `write`. If that fails repeatedly, writes it to a new folder in the working directory or
/// among the temporary files.
///
/// # Errors
/// Fails if the file could not be written to `path`. If it was written to the other location, the message names that.
pub(super) fn write_or_elsewhere(
    path: &Path,
    write: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<()> {
    write_or_in(path, &[PathBuf::from("."), std::env::temp_dir()], write)
}

fn write_or_in(
    path: &Path,
    folders: &[PathBuf],
    write: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<()> {
    let mut failed = write(path);
    for pause in PAUSES {
        // Errors that do not concern the file would occur again.
        if matches!(failed, Ok(()) | Err(Error::Gpu { .. })) {
            return failed;
        }
        sleep(pause);
        failed = write(path);
    }
    let Err(Error::File {
        path: at,
        what,
        source,
    }) = failed
    else {
        return failed;
    };
    for folder in folders {
        // The folder has a unique name, and only this user may write to it.
        let mut builder = tempfile::Builder::new();
        let Ok(new) = builder.prefix("glimpse-rescued-").tempdir_in(folder) else {
            continue;
        };
        let place = new.path().join(path.file_name().unwrap_or_default());
        if write(&place).is_ok() {
            let folder = new.keep();
            let place = folder.canonicalize().unwrap_or(folder);
            let place = place.join(path.file_name().unwrap_or_default());
            let what = format!(
                "{what}; what was to be written is in {}",
                error::name(&place)
            );
            return Err(Error::File {
                path: at,
                what,
                source,
            });
        }
    }
    Err(Error::File {
        path: at,
        what,
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;
    use crate::data::store::write_atomically;

    #[test]
    fn it_is_tried_again_and_then_put_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let folders = [dir.path().join("none"), other.path().to_path_buf()];
        let tries = Cell::new(0);
        // Number of failures at the first location.
        let write = |failures: u32| {
            tries.set(0);
            write_or_in(&path, &folders, &mut |at| {
                tries.set(tries.get() + 1);
                match at == path && tries.get() <= failures {
                    true => Err(Error::file(at, "cannot be written: the disk is full")),
                    false => write_atomically(at, b"model"),
                }
            })
        };
        write(0).unwrap();
        write(2).unwrap();
        assert_eq!(
            (tries.get(), fs::read(&path).unwrap()),
            (3, b"model".to_vec())
        );
        fs::remove_file(&path).unwrap();
        let message = write(9).unwrap_err().to_string();
        let (_, place) = message.split_once("is in ").unwrap();
        assert!(message.contains("the disk is full"), "{message}");
        assert_eq!(fs::read(place).unwrap(), b"model");
        assert!(
            !path.exists() && Path::new(place).starts_with(other.path().canonicalize().unwrap())
        );
    }

    #[test]
    fn what_can_be_written_nowhere_leaves_nothing() {
        let other = tempfile::tempdir().unwrap();
        let mut fail = |at: &Path| Err(Error::file(at, "a number is beyond the range of f16"));
        let path = Path::new("a.safetensors");
        let failed = write_or_in(path, &[other.path().into()], &mut fail);
        assert_eq!(
            failed.unwrap_err().to_string(),
            "a.safetensors: a number is beyond the range of f16"
        );
        assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
    }
}
