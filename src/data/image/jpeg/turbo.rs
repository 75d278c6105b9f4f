//! JPEG decoding with the C library of browsers and Pillow, for files that the Rust decoder cannot read.
//!
//! The library reports errors and warnings. An error ends the decoding: its handler unwinds, and the unwinding is
//! caught here. After a warning (data that ends early, codes that are in no table) the library continues and fills in
//! pixels. Warnings are counted, because a picture with filled-in pixels must not be taken for a whole one.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hasher};
use std::os::raw::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null;

use mozjpeg::decompress::DecompressStarted;
use mozjpeg::{ColorSpace, Decompress};
use mozjpeg_sys::{jpeg_common_struct, jpeg_error_mgr as ErrorMgr};

use super::super::fault::{self, Unreadable};
use super::super::pixels::times;
use super::super::room;

/// Decoded pixels, possibly reduced by eighths.
pub(super) struct Decoded {
    pub width: u32,
    pub height: u32,
    /// RGB, row by row.
    pub pixels: Vec<u8>,
    /// Whether the library had to fill in or skip data.
    pub has_warnings: bool,
}

/// Decodes `bytes` at `eighths` / 8 of the size.
///
/// # Errors
/// If the data is inconsistent.
pub(super) fn decode(bytes: &[u8], eighths: u8) -> Result<Decoded, Unreadable> {
    let mut pixels = Vec::new();
    let mut refused = None;
    let ((width, height), has_warnings) = rows(bytes, eighths, |width, height, y, row| {
        if y == 0 {
            match room::vector(width * height * 3) {
                Ok(empty) => pixels = empty,
                Err(error) => refused = Some(error),
            }
        }
        if refused.is_none() {
            pixels.extend_from_slice(row);
        }
    })?;
    if let Some(error) = refused {
        return Err(error);
    }
    Ok(Decoded {
        width,
        height,
        pixels,
        has_warnings,
    })
}

/// Computes a hash of each row that `bytes` decode to; equal rows have equal hashes.
///
/// # Errors
/// If the data is inconsistent.
pub(super) fn digests(bytes: &[u8]) -> Result<Vec<u64>, Unreadable> {
    let mut digests = Vec::new();
    rows(bytes, 8, |_, _, _, row| {
        let mut hasher = DefaultHasher::new();
        hasher.write(row);
        digests.push(hasher.finish());
    })?;
    Ok(digests)
}

thread_local! {
    /// The number of warnings in this thread's current decoding.
    static WARNINGS: Cell<usize> = const { Cell::new(0) };
}

/// Decodes row by row and calls `take(width, height, y, rgb)`. Returns the size, and whether there were warnings.
fn rows(
    bytes: &[u8],
    eighths: u8,
    mut take: impl FnMut(usize, usize, usize, &[u8]),
) -> Result<((u32, u32), bool), Unreadable> {
    WARNINGS.set(0);
    let contradicts = || fault::damaged("JPEG", "contradicts itself");
    // The closure's contents are dropped or overwritten when it unwinds.
    let decoding = AssertUnwindSafe(|| {
        let mut decoder = Decompress::with_err(errors()).from_mem(bytes).ok()?;
        decoder.scale(eighths);
        let is_ink = decoder.color_space() == ColorSpace::JCS_CMYK
            || decoder.color_space() == ColorSpace::JCS_YCCK;
        let mut started = match is_ink {
            true => decoder.to_colorspace(ColorSpace::JCS_CMYK).ok()?,
            false => decoder.rgb().ok()?,
        };
        let size = (started.width(), started.height());
        read_rows(&mut started, is_ink, |y, row| take(size.0, size.1, y, row))?;
        // The decoder is not asked to finish, because data after the last row does not matter.
        Some((size.0 as u32, size.1 as u32))
    });
    let size = catch_unwind(decoding)
        .ok()
        .flatten()
        .ok_or_else(contradicts)?;
    Ok((size, WARNINGS.get() > 0))
}

/// Reads all rows, as RGB, of a decoder that has started.
fn read_rows<R: std::io::BufRead>(
    decoder: &mut DecompressStarted<R>,
    is_ink: bool,
    mut take: impl FnMut(usize, &[u8]),
) -> Option<()> {
    let (width, height) = (decoder.width(), decoder.height());
    let mut row = vec![0; width * if is_ink { 4 } else { 3 }];
    let mut rgb = vec![0; if is_ink { width * 3 } else { 0 }];
    for y in 0..height {
        decoder.read_scanlines_into::<u8>(&mut row).ok()?;
        if !is_ink {
            take(y, &row);
            continue;
        }
        // Adobe stores inverted ink values, 255 for no ink; all other programs do too, whatever the standard says.
        let (inks, _) = row.as_chunks::<4>();
        let (pixels, _) = rgb.as_chunks_mut::<3>();
        for (pixel, &[cyan, magenta, yellow, black]) in pixels.iter_mut().zip(inks) {
            *pixel = [cyan, magenta, yellow].map(|ink| times(ink, black));
        }
        take(y, &rgb);
    }
    Some(())
}

/// Creates handlers that unwind on errors and count warnings; no message is ever formatted.
fn errors() -> ErrorMgr {
    extern "C-unwind" fn unwind(_: &mut jpeg_common_struct) {
        // Unlike a panic, this calls no hook and prints nothing.
        resume_unwind(Box::new("JPEG"));
    }
    extern "C-unwind" fn count(_: &mut jpeg_common_struct, level: c_int) {
        // Negative levels are warnings, others are traces.
        if level < 0 {
            WARNINGS.set(WARNINGS.get() + 1);
        }
    }
    extern "C-unwind" fn ignore(_: &mut jpeg_common_struct) {}
    extern "C-unwind" fn format(_: &mut jpeg_common_struct, _: &[u8; 80]) {}

    ErrorMgr {
        error_exit: Some(unwind),
        emit_message: Some(count),
        output_message: Some(ignore),
        format_message: Some(format),
        reset_error_mgr: Some(ignore),
        msg_code: 0,
        msg_parm: Default::default(),
        trace_level: 0,
        num_warnings: 0,
        jpeg_message_table: null(),
        last_jpeg_message: 0,
        addon_message_table: null(),
        first_addon_message: 0,
        last_addon_message: 0,
    }
}
