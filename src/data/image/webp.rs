//! WebP: decodes with the `image` crate and reads the container's metadata itself.
//!
//! A WebP file is a RIFF file: chunks with a name, a length and data, padded to even lengths (RFC 9649). The pixels are
//! in one `VP8 ` or `VP8L` chunk, those of an animation in `ANMF` chunks. `EXIF` and `XMP ` chunks follow them.

use std::io::Cursor;

use ::image::codecs::webp::WebPDecoder;
use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder};

use super::fault::{self, COPY_AGAIN, Fault, Unreadable};
use super::pixels::flatten;
use super::{Decoded, orientation};

/// A WebP file whose chunks have been found.
pub(super) struct WebP<'a> {
    decoder: WebPDecoder<Cursor<Vec<u8>>>,
    file_bytes: u64,
    exif: Option<&'a [u8]>,
    xmp: Option<&'a [u8]>,
    warnings: Vec<String>,
}

/// Length of the file header: `RIFF`, a length, `WEBP`.
const RIFF_HEADER: usize = 12;
/// Flags of an extended file.
const EXIF: u8 = 0x08;
const XMP: u8 = 0x04;
const PROFILE: u8 = 0x20;

impl<'a> WebP<'a> {
    /// Finds the chunks and reads the headers.
    ///
    /// # Errors
    /// If pixels are cut off or headers are malformed.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let mut chunks = Chunks::default();
        chunks.walk(bytes)?;
        let mut warnings = Vec::new();
        let claimed = bytes.get(4..8).and_then(|length| length.try_into().ok());
        let claimed = claimed.map_or(0, u32::from_le_bytes) as usize + 8;
        if claimed > bytes.len() {
            let claims_exif = chunks.flags_at.is_some_and(|at| bytes[at] & EXIF != 0);
            let what = match claims_exif && chunks.exif.is_none() {
                true => {
                    "has all of its pixels, but lost what says how the camera was held: it may lie on its side"
                }
                false => "is shorter than it says, but has all of its pixels",
            };
            warnings.push(what.to_string());
        }

        // Keep only whole chunks, and correct the file's length.
        let mut whole = bytes[..chunks.end].to_vec();
        whole.resize(whole.len().next_multiple_of(2), 0);
        let length = (whole.len() as u32).wrapping_sub(8);
        whole[4..8].copy_from_slice(&length.to_le_bytes());
        if let Some(flags) = chunks.flags_at {
            // The file may have lost the metadata and profiles that its flags announce; the decoder needs none of them.
            whole[flags] &= !(EXIF | XMP | PROFILE);
        }
        let decoder = WebPDecoder::new(Cursor::new(whole))
            .map_err(|_| fault::damaged("WebP", "has malformed headers"))?;
        Ok(WebP {
            decoder,
            file_bytes: bytes.len() as u64,
            exif: chunks.exif,
            xmp: chunks.xmp,
            warnings,
        })
    }

    /// Returns width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.decoder.dimensions()
    }

    /// Returns the camera's orientation.
    pub fn orientation(&self) -> Orientation {
        orientation::read(self.exif, self.xmp)
    }

    /// Returns the peak memory of decoding, in bytes: a copy of the file, a frame's four channels, the copy that is
    /// returned, and the RGB pixels.
    pub fn decoding_bytes(&self) -> u64 {
        let (width, height) = self.size();
        let channels = match self.decoder.color_type().has_alpha() {
            true => 4 + 4 + 3,
            false => 4 + 3,
        };
        self.file_bytes + channels * u64::from(width) * u64::from(height)
    }

    /// Decodes the pixels.
    ///
    /// # Errors
    /// If the data is inconsistent.
    pub fn decode(self) -> Result<Decoded, Unreadable> {
        let orientation = self.orientation();
        let decoded = DynamicImage::from_decoder(self.decoder)
            .map_err(|_| fault::damaged("WebP", "has pixels that cannot be decoded"))?;
        Ok(Decoded {
            picture: flatten(decoded),
            orientation,
            warnings: self.warnings,
        })
    }
}

/// The chunks that were found in a file.
#[derive(Default)]
struct Chunks<'a> {
    has_pixels: bool,
    /// Position of the flags of an extended file.
    flags_at: Option<usize>,
    exif: Option<&'a [u8]>,
    xmp: Option<&'a [u8]>,
    /// End of the last whole chunk.
    end: usize,
}

impl<'a> Chunks<'a> {
    /// Walks the chunks to the end of the file or to the first that is malformed.
    fn walk(&mut self, bytes: &'a [u8]) -> Result<(), Unreadable> {
        if bytes.len() < RIFF_HEADER + 8 {
            return Err(fault::no_header("WebP"));
        }
        self.end = RIFF_HEADER;
        while let Some(head) = bytes.get(self.end..self.end + 8) {
            let name = &head[..4];
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let start = self.end + 8;
            let is_pixels = matches!(name, b"VP8 " | b"VP8L" | b"ANMF");
            let Some(data) = bytes.get(start..start.saturating_add(length)) else {
                if is_pixels && !self.has_pixels {
                    let missing = length - (bytes.len() - start);
                    return Err(Fault::Damaged.because(format!(
                        "is cut off: {missing} of {length} bytes of its pixels are missing; {COPY_AGAIN}"
                    )));
                }
                break;
            };
            match name {
                b"VP8X" if length > 0 => self.flags_at = Some(start),
                b"EXIF" => self.exif = self.exif.or(Some(data)),
                b"XMP " => self.xmp = self.xmp.or(Some(data)),
                _ => self.has_pixels |= is_pixels,
            }
            // The padding of the last chunk may be left out.
            self.end = (start + length + length % 2).min(bytes.len());
        }
        if !self.has_pixels {
            return Err(Fault::Damaged.because(format!(
                "is cut off: the WebP file has no pixels; {COPY_AGAIN}"
            )));
        }
        Ok(())
    }
}
