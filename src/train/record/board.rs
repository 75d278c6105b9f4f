//! TensorBoard's event files, limited to scalars.
//!
//! A file is a sequence of records: the length in 8 bytes, its checksum, the bytes of an `Event`, and their checksum.
//! Lengths and checksums are little-endian. The checksum is a CRC-32C that is rotated and offset by a constant
//! ("masked"), so that records may hold records. An `Event` is a protocol buffer: the time, the step, and a `Summary`
//! of named numbers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// An open event file.
pub(super) struct Board {
    path: PathBuf,
    file: File,
}

impl Board {
    /// Creates a new file in `folder`, which is created if missing.
    ///
    /// # Errors
    /// Fails if the file cannot be created.
    pub(super) fn create(folder: &Path, now: f64) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            let what = "is a file; --tensorboard takes a folder, which is made where it is missing";
            return Err(Error::file(folder, what));
        }
        fs::create_dir_all(folder).map_err(|e| Error::unwritten(folder, &e))?;
        let process = std::process::id();
        let mut number = 0;
        loop {
            // TensorBoard recognises files by `tfevents`, and reads them in the order of their names.
            let name = format!(
                "events.out.tfevents.{:010}.glimpse.{process}.{number}",
                now as u64
            );
            let path = folder.join(name);
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut board = Board { path, file };
                    board.write(&version(now))?;
                    return Ok(board);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(Error::unwritten(&path, &e)),
            }
        }
    }

    /// Marks the earlier events of `step` and later ones as superseded: the run was resumed from an earlier checkpoint.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(super) fn restart(&mut self, now: f64, step: u64) -> Result<()> {
        let mut event = stamped(now, step);
        // `session_log`, whose `status` is START.
        message(&mut event, 7, &[0x08, 1]);
        self.write(&event)
    }

    /// Appends the numbers of a step.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(super) fn add(&mut self, now: f64, step: u64, numbers: &[(&str, f32)]) -> Result<()> {
        self.write(&scalars(now, step, numbers))
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        let written = self.file.write_all(&framed(event));
        written.map_err(|e| Error::unwritten(&self.path, &e))
    }
}

/// Returns the first event of a file.
fn version(now: f64) -> Vec<u8> {
    let mut event = double(1, now);
    message(&mut event, 3, b"brain.Event:2");
    event
}

/// Returns the event with the numbers of a step.
fn scalars(now: f64, step: u64, numbers: &[(&str, f32)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (name, number) in numbers {
        let mut value = Vec::new();
        message(&mut value, 1, name.as_bytes());
        // `simple_value`: field 2, four bytes.
        value.push(2 << 3 | 5);
        value.extend(number.to_le_bytes());
        message(&mut summary, 1, &value);
    }
    let mut event = stamped(now, step);
    message(&mut event, 5, &summary);
    event
}

/// Returns the fields `wall_time` and `step` of an event.
fn stamped(now: f64, step: u64) -> Vec<u8> {
    let mut event = double(1, now);
    event.push(2 << 3);
    varint(&mut event, step);
    event
}

fn double(field: u8, number: f64) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 1];
    bytes.extend(number.to_le_bytes());
    bytes
}

/// Appends a field that is a string or a message.
fn message(bytes: &mut Vec<u8>, field: u8, content: &[u8]) {
    bytes.push(field << 3 | 2);
    varint(bytes, content.len() as u64);
    bytes.extend(content);
}

/// Appends a number in groups of seven bits, the lowest first.
fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Frames an event as a record.
fn framed(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(event);
    record.extend(masked(crc32c(event)).to_le_bytes());
    record
}

fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Computes the CRC-32C (Castagnoli), which has another polynomial than the CRC-32 of zlib and PNG.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| TABLE[usize::from(sum as u8 ^ byte)] ^ (sum >> 8);
    !bytes.iter().fold(u32::MAX, step)
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut sum = at as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 * (sum & 1));
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::hex;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(masked(0), 0xa282_ead8);
    }

    #[test]
    fn a_file_has_these_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new/runs");
        let mut board = Board::create(&folder, 1000.5).unwrap();
        board.restart(1001.0, 300).unwrap();
        board
            .add(1002.25, 300, &[("train/loss", 2.5), ("dev/CIDEr", 40.0)])
            .unwrap();
        let bytes = fs::read(&board.path).unwrap();
        assert_eq!(hex(&bytes), EXAMPLE);
        let name = board.path.file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with("events.out.tfevents.0000001000.glimpse."),
            "{name}"
        );
        // A second run in the same second has a file of its own.
        let second = Board::create(&folder, 1000.5).unwrap();
        assert_ne!(second.path, board.path);
    }

    /// Written by TensorBoard 2.21 itself: the version, the start of a session at step 300, and two numbers.
    const EXAMPLE: &str = concat!(
        "1800000000000000a37f4b22090000000000448f401a0d627261696e2e4576656e743a32aba333451000000000000000",
        "95fbfe18090000000000488f4010ac023a0208013ecd253333000000000000000ca72056090000000000528f4010ac02",
        "2a250a110a0a747261696e2f6c6f737315000020400a100a096465762f434944457215000020420f20695b",
    );
}
