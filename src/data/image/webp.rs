//! WebP: the decoder of the `image` crate, and what the container says around the pixels.
//!
//! A WebP file is a RIFF file: chunks of a name, a length and data, padded to even lengths (RFC 9649). The pixels are in
//! one `VP8 ` or `VP8L` chunk, an animation's in `ANMF` chunks; `EXIF` and `XMP ` chunks come after them.

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

/// What comes before the first chunk: `RIFF`, a length, `WEBP`.
const RIFF_HEADER: usize = 12;
/// Flags of an extended file.
const EXIF: u8 = 0x08;
const XMP: u8 = 0x04;
const PROFILE: u8 = 0x20;

impl<'a> WebP<'a> {
    /// Finds the chunks and reads the headers.
    ///
    /// # Errors
    /// Pixels that are cut off; headers that make no sense.
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

        // Whole chunks alone, under a length that fits them.
        let mut whole = bytes[..chunks.end].to_vec();
        whole.resize(whole.len().next_multiple_of(2), 0);
        let length = (whole.len() as u32).wrapping_sub(8);
        whole[4..8].copy_from_slice(&length.to_le_bytes());
        if let Some(flags) = chunks.flags_at {
            // What was promised of metadata and profiles may have been lost, and none of it is the decoder's business.
            whole[flags] &= !(EXIF | XMP | PROFILE);
        }
        let decoder = WebPDecoder::new(Cursor::new(whole))
            .map_err(|_| fault::damaged("WebP", "has headers that make no sense"))?;
        Ok(WebP {
            decoder,
            file_bytes: bytes.len() as u64,
            exif: chunks.exif,
            xmp: chunks.xmp,
            warnings,
        })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.decoder.dimensions()
    }

    /// How the camera was held.
    pub fn orientation(&self) -> Orientation {
        orientation::read(self.exif, self.xmp)
    }

    /// The most memory that decoding takes: a copy of the file, a frame's four channels, the same as they are handed
    /// over, and as RGB.
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
    /// Data that contradicts itself.
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

/// What a walk through the chunks finds.
#[derive(Default)]
struct Chunks<'a> {
    has_pixels: bool,
    /// Where the flags of an extended file are.
    flags_at: Option<usize>,
    exif: Option<&'a [u8]>,
    xmp: Option<&'a [u8]>,
    /// Where the last whole chunk ends.
    end: usize,
}

impl<'a> Chunks<'a> {
    /// Walks to the end of the file or of what makes sense.
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
