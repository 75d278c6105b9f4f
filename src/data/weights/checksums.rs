//! Checksums: a file that was damaged after it was written is refused when it is read.
//!
//! Disks and memory flip bits, and a power failure can leave blocks of zeros. Most damage to a tensor still yields
//! numbers, so only a checksum reveals it. Files that this program writes carry a CRC-32 of each tensor's bytes and one
//! of the header. They are stored in two entries of the header's metadata, so the files remain valid safetensors files:
//!
//! | entry | text |
//! |---|---|
//! | `glimpse-checksums` | `crc32 HHHHHHHH AAAAAAAABBBBBBBB…`: the header's checksum, then those of the tensors in the order of their bytes, 8 hexadecimal digits each |
//! | `glimpse-checksum-count` | how many tensors there are |
//!
//! The CRC-32 is that of zlib and PNG. The header's is computed over its length (8 bytes) and its text, with zeros in
//! place of the digits of the header's own checksum. The second entry distinguishes a file whose first entry was
//! damaged from a file without checksums: one entry without the other is refused. Files of other programs and of older
//! versions have neither entry and are read without verification.
//!
//! A CRC-32 detects every damage within 32 neighbouring bits, and any other damage except for one case in four thousand
//! million. It does not protect against manipulation: somebody who changes a file on purpose can compute new checksums.

use std::collections::HashMap;

use crc32fast::Hasher;
use safetensors::tensor::{Dtype, Metadata};
use serde_json::{Map, Value, json};

use crate::cpu::threads;
use crate::data::words;

/// The metadata entry with the checksums.
pub const KEY: &str = "glimpse-checksums";

/// The metadata entry with the number of tensors.
pub const COUNT_KEY: &str = "glimpse-checksum-count";

/// The name of the checksum algorithm, with which the first entry begins.
const KIND: &str = "crc32";

/// The number of hexadecimal digits of a checksum.
const DIGITS: usize = 8;

/// The number of bytes that one task reads.
const PIECE: usize = 1 << 20;

/// The length of the longest header that the format allows.
const LONGEST_HEADER: usize = 100_000_000;

/// Why a damaged file cannot be used, and what to do about it.
pub(crate) const DAMAGED: &str =
    "the file was damaged after it was written; take it from a backup, or make it again";

/// Computes the CRC-32 of some bytes.
pub(crate) fn of(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Combines the checksums of parts that follow one another, each given by its checksum and its length.
pub(crate) fn join(parts: impl IntoIterator<Item = (u32, usize)>) -> u32 {
    let mut whole = Hasher::new();
    for (sum, len) in parts {
        whole.combine(&Hasher::new_with_initial_len(sum, len as u64));
    }
    whole.finalize()
}

/// Computes the checksum of each element of `all` on all threads. Calls `pause` after about every `together` bytes.
pub(crate) fn of_each(all: &[&[u8]], together: usize, pause: &dyn Fn()) -> Vec<u32> {
    let numbered = all.iter().enumerate();
    let pieces: Vec<(usize, &[u8])> = numbered
        .flat_map(|(i, bytes)| bytes.chunks(PIECE).map(move |piece| (i, piece)))
        .collect();
    let mut sums: Vec<Vec<(u32, usize)>> = vec![Vec::new(); all.len()];
    for pieces in pieces.chunks((together / PIECE).max(1)) {
        let found = threads::map(pieces.len(), |i| of(pieces[i].1));
        for (sum, &(tensor, piece)) in found.into_iter().zip(pieces) {
            sums[tensor].push((sum, piece.len()));
        }
        pause();
    }
    sums.into_iter().map(join).collect()
}

/// A tensor as listed in a header.
pub(crate) struct Listed<'a> {
    pub(crate) name: &'a str,
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'a [usize],
    /// The number of its bytes in the file.
    pub(crate) len: usize,
    /// Their checksum.
    pub(crate) sum: u32,
}

/// Builds the beginning of a file, up to its first tensor. The tensors follow each other in the given order. The bytes
/// depend only on the arguments, and their number does not depend on the checksums.
///
/// # Errors
/// If the header cannot be built; the message does not name the file.
pub(crate) fn beginning(
    metadata: &HashMap<String, String>,
    tensors: &[Listed],
) -> Result<Vec<u8>, String> {
    let zeros = "0".repeat(DIGITS);
    let sums: String = tensors.iter().map(|tensor| digits(tensor.sum)).collect();
    let mut entries: Vec<(&str, String)> = metadata
        .iter()
        .map(|(key, text)| (key.as_str(), text.clone()))
        .filter(|(key, _)| ![KEY, COUNT_KEY].contains(key))
        .collect();
    entries.push((KEY, format!("{KIND} {zeros} {sums}")));
    entries.push((COUNT_KEY, tensors.len().to_string()));
    // A map has no order, but equal models must yield equal bytes.
    entries.sort_unstable();
    let entries = entries.into_iter().map(|(k, text)| (k.into(), text.into()));
    let entries: Map<String, Value> = entries.collect();
    let mut header = Map::from_iter([("__metadata__".to_string(), Value::Object(entries))]);
    let mut at = 0usize;
    for tensor in tensors {
        let end = at + tensor.len;
        let listed = json!({
            "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end],
        });
        header.insert(tensor.name.into(), listed);
        at = end;
    }
    let mut text = serde_json::to_vec(&header).map_err(|e| words::json(&e))?;
    text.resize(text.len().next_multiple_of(8), b' ');
    if text.len() > LONGEST_HEADER {
        return Err("its header would be longer than the format allows".into());
    }
    let mut beginning = (text.len() as u64).to_le_bytes().to_vec();
    beginning.extend(text);
    let at = own_field(&beginning).ok_or("its header has no place for its checksum")?;
    let own = digits(of(&beginning));
    beginning[at..at + DIGITS].copy_from_slice(own.as_bytes());
    Ok(beginning)
}

fn digits(sum: u32) -> String {
    format!("{sum:08x}")
}

/// Returns the position of the header's own checksum in the beginning of a file. Quotation marks within a text are
/// escaped, so nothing else in a header looks like this entry.
fn own_field(beginning: &[u8]) -> Option<usize> {
    let entry = format!("\"{KEY}\":\"{KIND} ");
    let text = std::str::from_utf8(beginning.get(8..)?).ok()?;
    let mut places = text.match_indices(&entry);
    let at = 8 + places.next()?.0 + entry.len();
    let is_only = places.next().is_none();
    (is_only && beginning.len() >= at + DIGITS).then_some(at)
}

/// Verifies the header's own checksum and returns the checksums of the tensors by name; `None` if the file has no
/// checksums. `beginning` is everything before the first tensor.
///
/// # Errors
/// If the header is damaged; the message does not name the file.
pub(super) fn read(
    beginning: &[u8],
    header: &Metadata,
) -> Result<Option<HashMap<String, u32>>, String> {
    let entry = |key: &str| header.metadata().as_ref().and_then(|all| all.get(key));
    let (text, count) = match (entry(KEY), entry(COUNT_KEY)) {
        (None, None) => return Ok(None),
        (Some(text), Some(count)) => (text, count),
        _ => return Err(format!("its header has lost its checksums: {DAMAGED}")),
    };
    let unknown = || {
        format!(
            "its header holds checksums of a kind that this program does not know: get a newer Glimpse, or, where \
             {DAMAGED}"
        )
    };
    let mut parts = text.splitn(3, ' ');
    if parts.next() != Some(KIND) {
        return Err(unknown());
    }
    let (Some(own), Some(sums)) = (parts.next(), parts.next()) else {
        return Err(unknown());
    };
    let mismatch = || {
        format!(
            "its header does not match its checksum: {DAMAGED} (another program that writes such a file again has to \
             leave `{KEY}` and `{COUNT_KEY}` out)"
        )
    };
    let at = own_field(beginning).ok_or_else(mismatch)?;
    let hash = [&beginning[..at], b"00000000", &beginning[at + DIGITS..]]
        .iter()
        .fold(Hasher::new(), |mut hash, part| {
            hash.update(part);
            hash
        });
    if own != digits(hash.finalize()) {
        return Err(mismatch());
    }
    let names = header.offset_keys();
    let (sums, rest) = sums.as_bytes().as_chunks::<DIGITS>();
    if sums.len() != names.len() || !rest.is_empty() || *count != names.len().to_string() {
        let (tensors, sums) = (names.len(), sums.len());
        return Err(format!(
            "its header lists {tensors} tensors, but checksums of {sums}: {DAMAGED}"
        ));
    }
    let number = |digits: &[u8; DIGITS]| {
        let digits = std::str::from_utf8(digits).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let pairs = names.into_iter().zip(sums);
    pairs
        .map(|(name, digits)| Some((name, number(digits)?)))
        .collect::<Option<HashMap<_, _>>>()
        .map(Some)
        .ok_or_else(unknown)
}

/// Removes the checksums from a file given as bytes, which makes it like a file of another program.
#[cfg(test)]
pub(crate) fn removed(file: &[u8]) -> Vec<u8> {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let (text, data) = file[8..].split_at(length);
    let mut header: Map<String, Value> = serde_json::from_slice(text).unwrap();
    let entries = header["__metadata__"].as_object_mut().unwrap();
    for key in [KEY, COUNT_KEY] {
        entries.remove(key).unwrap();
    }
    let mut text = serde_json::to_vec(&header).unwrap();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes(), &text[..], data].concat()
}
