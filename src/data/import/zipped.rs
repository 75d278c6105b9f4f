//! The zip archives of PyTorch and of Keras.

use std::io::Cursor;

use serde_json::Value;
use zip::ZipArchive;

use super::hdf5::Hdf5;
use super::source::{Source, largest};
use super::torch::TorchFile;
use super::unzip::read_entry;
use crate::data::bytes::Bytes;

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
