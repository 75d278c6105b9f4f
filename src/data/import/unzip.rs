//! The entries of a zip archive, read within limits.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::pickle::Printable;
use crate::data::bytes::Bytes;

const DAMAGED: &str = "is damaged; get the file again";

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
