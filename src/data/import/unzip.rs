//! The zip archives of PyTorch and of Keras.

use std::io::{Cursor, Read};

use serde_json::Value;
use zip::ZipArchive;
use zip::result::ZipError;

use super::archive::{Source, largest};
use super::hdf5::Hdf5;
use super::pickle::Printable;
use super::torch::TorchFile;
use crate::data::bytes::Bytes;

const DAMAGED: &str = "is damaged; get the file again";

/// Size limit, in bytes, of the configuration in a `.keras` archive.
const LARGEST_CONFIG: usize = 16 << 20;

/// Opens a zip archive of either kind, and reads the configuration in it.
pub(super) fn open(bytes: Bytes) -> Result<(Source, Option<Value>), String> {
    let largest = largest(&bytes);
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|_| "is not a whole zip archive; get it again")?;
    if archive.index_for_name("model.weights.h5").is_some() {
        let weights = read_entry(&mut archive, "model.weights.h5", largest)?;
        let config = read_entry(&mut archive, "config.json", LARGEST_CONFIG)?;
        let config = config.and_then(|text| serde_json::from_slice(&text).ok());
        let hdf5 = Hdf5::open(weights.unwrap_or_default().into(), largest)?;
        return Ok((Source::Hdf5(hdf5), config));
    }
    let folder = archive
        .file_names()
        .filter_map(|name| Some(name.ok()?.strip_suffix("data.pkl")?.to_string()))
        .filter(|folder| folder.is_empty() || folder.ends_with('/'))
        .min_by_key(String::len);
    match folder {
        Some(folder) => Ok((
            Source::Torch(TorchFile::zip(archive, folder, largest)?),
            None,
        )),
        None => Err(
            "is a zip archive without weights: neither `data.pkl`, which PyTorch writes, nor \
                     `model.weights.h5`, which Keras writes, is in it"
                .into(),
        ),
    }
}

/// Reads an archive's entry of at most `most` bytes; `None` if there is no such entry.
pub(super) fn read_entry(
    archive: &mut ZipArchive<Cursor<Bytes>>,
    name: &str,
    most: usize,
) -> Result<Option<Vec<u8>>, String> {
    let Some(index) = archive.index_for_name(name) else {
        return Ok(None);
    };
    let broken = |why: &str| format!("entry `{}` {why}", Printable(name));
    let entry = archive.by_index(index).map_err(|e| {
        broken(match e {
            ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
                "is encrypted; store it without a password"
            }
            ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => {
                "is compressed in a way that is not supported; save the file again with the program that made it"
            }
            _ => DAMAGED,
        })
    })?;
    let size = entry.size();
    // The declared size is not trusted: the buffer grows with the bytes that really come out.
    if size > most as u64 {
        return Err(format!(
            "entry `{}` says it holds {size} bytes, where at most {most} belong",
            Printable(name)
        ));
    }
    let mut bytes = Vec::new();
    entry
        .take(most as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| broken(DAMAGED))?;
    if bytes.len() as u64 != size {
        return Err(format!(
            "entry `{}` holds {} bytes where it says {size}",
            Printable(name),
            bytes.len()
        ));
    }
    Ok(Some(bytes))
}
