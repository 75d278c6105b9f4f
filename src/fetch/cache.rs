//! The cache folder of downloaded encoders, and the meaning of an encoder's name.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::DenseNetConfig;

/// Returns the cache folder, by the platform's convention: `~/.cache/glimpse` on Linux, or below `XDG_CACHE_HOME`.
///
/// # Errors
/// If the platform has no such folder.
pub fn folder() -> Result<PathBuf> {
    dirs::cache_dir()
        .map(|cache| cache.join("glimpse"))
        .ok_or_else(|| {
            Error::usage(
                "there is no cache folder without a home; set XDG_CACHE_HOME or give --to DIR",
            )
        })
}

/// Returns the file name of the encoder `name`.
pub fn file_name(name: &str) -> String {
    format!("{name}.safetensors")
}

/// Returns the path of the encoder `name` in the cache.
///
/// # Errors
/// If the platform has no cache folder.
pub fn path(name: &str) -> Result<PathBuf> {
    Ok(folder()?.join(file_name(name)))
}

/// Returns the file that `--encoder FILE|NAME` means: an existing file, or the cached file of a published network. Any
/// other path is returned unchanged; opening it gives the error.
///
/// # Errors
/// If the network has not been downloaded.
pub fn find(name: &Path) -> Result<PathBuf> {
    let network = name
        .to_str()
        .filter(|name| DenseNetConfig::NAMES.contains(name));
    let Some(network) = network.filter(|_| !name.exists()) else {
        return Ok(name.to_path_buf());
    };
    match path(network) {
        Ok(path) if path.is_file() => Ok(path),
        _ => Err(Error::usage(format_args!(
            "--encoder {network}: not fetched yet; run `glimpse fetch {network}`, or give the path of a file"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_for_themselves() {
        for name in [
            "no/such.safetensors",
            "densenet",
            "densenet121.safetensors",
            "src/densenet121",
            "src",
        ] {
            assert_eq!(find(Path::new(name)).unwrap(), Path::new(name));
        }
    }
}
