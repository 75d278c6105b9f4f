//! The folder where fetched encoders wait, and what an encoder's name means.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::DenseNetConfig;

/// The folder, by the platform's convention: `~/.cache/glimpse` on Linux, or below `XDG_CACHE_HOME`.
///
/// # Errors
/// Where the platform knows of none.
pub fn folder() -> Result<PathBuf> {
    dirs::cache_dir()
        .map(|cache| cache.join("glimpse"))
        .ok_or_else(|| {
            Error::usage(
                "there is no cache folder without a home; set XDG_CACHE_HOME or give --to DIR",
            )
        })
}

/// What the encoder called `name` is called as a file.
pub fn file_name(name: &str) -> String {
    format!("{name}.safetensors")
}

/// Where the encoder called `name` is, once it has been fetched.
///
/// # Errors
/// As [`folder`].
pub fn path(name: &str) -> Result<PathBuf> {
    Ok(folder()?.join(file_name(name)))
}

/// The file that `--encoder FILE|NAME` means: what exists is itself, the name of a published network its file in the
/// cache. Anything else is left to whoever opens it, who will say what is wrong with it.
///
/// # Errors
/// Where a network is named that has not been fetched.
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
