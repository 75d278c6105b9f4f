//! BMP: converts headers of all versions to one that the decoder reads.
//!
//! A BMP file consists of a file header, an information header, optional colour masks and a palette, and rows of pixels
//! from the bottom up, each padded to four bytes. The information header grew from 12 to 124 bytes over the versions of
//! Windows, and OS/2 had its own of up to 64. Some programs omit the offset of the pixels, the padding of the last row,
//! or the alpha values that they announce. This module reads the header and rewrites it for the decoder of the `image`
//! crate.

use std::io::Cursor;

use ::image::codecs::bmp::BmpDecoder;
use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder};

use super::Decoded;
use super::fault::{self, COPY_AGAIN, Fault, Unreadable};
use super::pixels::flatten;

const FILE_HEADER: usize = 14;
/// Size of the first information header of Windows and OS/2, with 16-bit dimensions and a palette without padding.
const CORE: usize = 12;
/// Sizes of the headers that the decoder gets: the plain one, and the third version with the four colour masks.
const PLAIN: u32 = 40;
const WITH_MASKS: u32 = 56;

/// How the pixels are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    /// Run-length encoding with 8 or 4 bits a pixel.
    Runs,
    /// Bit fields: masks say which bits hold each colour.
    Masks,
}

/// A BMP file whose headers have been read.
pub(super) struct Bmp<'a> {
    width: u32,
    height: u32,
    is_top_down: bool,
    bits: u16,
    compression: Compression,
    /// Red, green, blue, alpha.
    masks: [u32; 4],
    /// Colours by index: blue, green, red and an unused byte.
    palette: Vec<[u8; 4]>,
    data: &'a [u8],
}

impl<'a> Bmp<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// If the headers are cut off or malformed, or this kind of BMP is not supported.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let field = Fields(bytes);
        let offset = field.u32(10)? as usize;
        let header = field.u32(FILE_HEADER)? as usize;
        let is_core = header == CORE;
        if !is_core && !(16..=256).contains(&header) {
            let what = format!("has a header of {header} bytes");
            return Err(fault::damaged("BMP", what));
        }
        let (width, height, bits) = match is_core {
            true => (
                i32::from(field.u16(18)?),
                i32::from(field.u16(20)?),
                field.u16(24)?,
            ),
            false => (field.i32(18)?, field.i32(22)?, field.u16(28)?),
        };
        // Fields beyond the header's end are zero: OS/2 truncated the header as it liked.
        let optional = |at: usize| match at + 4 <= FILE_HEADER + header {
            true => field.u32(at),
            false => Ok(0),
        };
        let code = if is_core { 0 } else { optional(30)? };
        let colours = if is_core { 0 } else { optional(46)? };
        let is_os2 = matches!(header, 16 | 64);
        let compression = compression(code, bits, is_os2)?;

        let (masks, after) = match compression {
            Compression::Masks => field.masks(header, code)?,
            _ => ([0; 4], FILE_HEADER + header),
        };
        let entry = if is_core { 3 } else { 4 };
        let most = if bits <= 8 { 1_usize << bits } else { 0 };
        let count = match colours as usize {
            0 => most,
            stated => stated.min(most),
        };
        // Small files of OS/2 have room for fewer colours than their bits allow.
        let room = match offset > after {
            true => (offset - after) / entry,
            false => usize::MAX,
        };
        let palette = field.colours(after, entry, count.min(room))?;
        let start = match offset >= FILE_HEADER + header {
            true => offset,
            false => after + entry * count,
        };
        let no_pixels = || fault::rows_missing(0, height.unsigned_abs());
        Ok(Bmp {
            width: u32::try_from(width)
                .map_err(|_| fault::damaged("BMP", format!("claims a width of {width}")))?,
            height: height.unsigned_abs(),
            is_top_down: height < 0,
            bits,
            compression,
            masks,
            palette,
            data: bytes.get(start..).ok_or_else(no_pixels)?,
        })
    }

    /// Returns width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Returns the peak memory of decoding, in bytes: the rewritten file, the pixels in their own channels, and as RGB.
    pub fn decoding_bytes(&self) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let channels = match (self.compression, self.bits) {
            (Compression::Masks, _) | (_, 32) => 4 + 3,
            _ => 3,
        };
        self.data.len() as u64 + channels * pixels
    }

    /// Decodes the pixels.
    ///
    /// # Errors
    /// If pixels are missing (the message says how many), or masks or runs are malformed.
    pub fn decode(self) -> Result<Decoded, Unreadable> {
        let mut warnings = Vec::new();
        let file = self.rewritten(&mut warnings)?;
        let nonsense = || fault::damaged("BMP", "has pixels that cannot be decoded");
        let decoder = BmpDecoder::new(Cursor::new(file)).map_err(|_| nonsense())?;
        if decoder.dimensions() != (self.width, self.height) {
            return Err(nonsense());
        }
        let decoded = DynamicImage::from_decoder(decoder).map_err(|_| nonsense())?;
        // An alpha channel of zeros was never filled in; respecting it would make the picture invisible.
        let is_forgotten = |rgba: &::image::RgbaImage| rgba.pixels().all(|pixel| pixel.0[3] == 0);
        let picture = match decoded {
            DynamicImage::ImageRgba8(rgba) if is_forgotten(&rgba) => {
                DynamicImage::ImageRgba8(rgba).into_rgb8()
            }
            other => flatten(other),
        };
        Ok(Decoded {
            picture,
            orientation: Orientation::NoTransforms,
            warnings,
        })
    }

    /// Returns the file with a header that the decoder reads, and with all of its pixels.
    fn rewritten(&self, warnings: &mut Vec<String>) -> Result<Vec<u8>, Unreadable> {
        let has_masks = self.compression == Compression::Masks;
        let header = if has_masks { WITH_MASKS } else { PLAIN };
        let offset = FILE_HEADER as u32 + header + 4 * self.palette.len() as u32;
        let height = self.height as i32;
        let code = match self.compression {
            Compression::None => 0,
            Compression::Runs if self.bits == 8 => 1,
            Compression::Runs => 2,
            Compression::Masks => 3_u32,
        };
        let mut file = b"BM\0\0\0\0\0\0\0\0".to_vec();
        file.extend(offset.to_le_bytes());
        file.extend(header.to_le_bytes());
        file.extend(self.width.to_le_bytes());
        let height = if self.is_top_down {
            height.wrapping_neg()
        } else {
            height
        };
        file.extend(height.to_le_bytes());
        file.extend(1_u16.to_le_bytes());
        file.extend(self.bits.to_le_bytes());
        file.extend(code.to_le_bytes());
        // The size of the pixels and the resolution, which the decoder does not need.
        file.extend([0; 12]);
        file.extend((self.palette.len() as u32).to_le_bytes());
        file.extend([0; 4]);
        if has_masks {
            self.masks
                .iter()
                .for_each(|mask| file.extend(mask.to_le_bytes()));
        }
        self.palette.iter().for_each(|colour| file.extend(colour));
        match self.compression {
            Compression::Runs => self.add_runs(&mut file, warnings)?,
            _ => self.add_rows(&mut file, warnings)?,
        }
        Ok(file)
    }

    /// Appends the rows, and the padding of the last one if it is missing.
    fn add_rows(&self, file: &mut Vec<u8>, warnings: &mut Vec<String>) -> Result<(), Unreadable> {
        let bits = u64::from(self.width) * u64::from(self.bits);
        let (used, stride) = (bits.div_ceil(8), bits.div_ceil(32) * 4);
        let (rows, present) = (u64::from(self.height), self.data.len() as u64);
        if present < stride * (rows - 1) + used {
            let whole = (present / stride).min(rows - 1);
            return Err(fault::rows_missing(whole as u32, self.height));
        }
        let size = (stride * rows) as usize;
        let data = &self.data[..size.min(self.data.len())];
        file.extend_from_slice(data);
        if data.len() < size {
            file.extend(std::iter::repeat_n(0, size - data.len()));
            warnings.push("lacks the padding of its last row, but has all of its pixels".into());
        }
        Ok(())
    }

    /// Appends the runs, and the end mark if it is missing.
    fn add_runs(&self, file: &mut Vec<u8>, warnings: &mut Vec<String>) -> Result<(), Unreadable> {
        const END: [u8; 2] = [0, 1];
        file.extend_from_slice(self.data);
        match self.run_rows() {
            None => {}
            Some(rows) if rows < self.height => {
                return Err(fault::rows_missing(rows, self.height));
            }
            Some(_) => {
                file.extend(END);
                warnings.push("lacks its end mark, but has all of its pixels".into());
            }
        }
        Ok(())
    }

    /// Returns how many rows the runs fill; `None` if an end mark says that no more follow.
    fn run_rows(&self) -> Option<u32> {
        let (mut x, mut y, mut at) = (0_u64, 0_u64, 0);
        let width = u64::from(self.width);
        while let Some(&[count, value]) = self.data.get(at..at + 2).and_then(|b| b.first_chunk()) {
            at += 2;
            match (count, value) {
                (0, 0) => (x, y) = (0, y + 1),
                (0, 1) => return None,
                (0, 2) => {
                    let Some(&[right, up]) =
                        self.data.get(at..at + 2).and_then(|b| b.first_chunk())
                    else {
                        break;
                    };
                    (x, y, at) = (x + u64::from(right), y + u64::from(up), at + 2);
                }
                (0, pixels) => {
                    let bytes = usize::from(pixels) * usize::from(self.bits) / 8;
                    let bytes = bytes + usize::from(pixels) * usize::from(self.bits) % 8 / 4;
                    at += bytes.next_multiple_of(2);
                    if at > self.data.len() {
                        break;
                    }
                    x += u64::from(pixels);
                }
                (pixels, _) => x += u64::from(pixels),
            }
        }
        let rows = y + u64::from(x >= width);
        Some(rows.min(u64::from(self.height)) as u32)
    }
}

/// Interprets the code of the compression.
fn compression(code: u32, bits: u16, is_os2: bool) -> Result<Compression, Unreadable> {
    let what = match (code, bits) {
        (0, 1 | 2 | 4 | 8 | 16 | 24 | 32) => return Ok(Compression::None),
        (1, 8) | (2, 4) => return Ok(Compression::Runs),
        (3 | 6, 16 | 32) if !is_os2 => return Ok(Compression::Masks),
        (3, _) if is_os2 => "Huffman coding".to_string(),
        (4, _) if is_os2 => "runs of 24 bits".to_string(),
        (4, _) => "a JPEG file inside".to_string(),
        (5, _) => "a PNG file inside".to_string(),
        (0..=3 | 6, _) => format!("{bits} bits a pixel"),
        _ => format!("compression {code}"),
    };
    Err(fault::unsupported("BMP", what))
}

/// Numbers in the headers, little-endian.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N], Unreadable> {
        let bytes = self.0.get(at..at + N).and_then(|b| b.try_into().ok());
        bytes.ok_or_else(|| fault::no_header("BMP"))
    }

    fn u16(&self, at: usize) -> Result<u16, Unreadable> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Result<u32, Unreadable> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    fn i32(&self, at: usize) -> Result<i32, Unreadable> {
        self.bytes(at).map(i32::from_le_bytes)
    }

    /// Returns the four masks, and the position after them and the header. The masks lie in the header if it is long
    /// enough, and after it if it is the plain one.
    fn masks(&self, header: usize, code: u32) -> Result<([u32; 4], usize), Unreadable> {
        let has_alpha = code == 6 || header >= WITH_MASKS as usize;
        let (start, count) = (FILE_HEADER + PLAIN as usize, if has_alpha { 4 } else { 3 });
        let mut masks = [0; 4];
        for (i, mask) in masks.iter_mut().enumerate().take(count) {
            *mask = self.u32(start + 4 * i)?;
        }
        Ok((masks, (FILE_HEADER + header).max(start + 4 * count)))
    }

    /// Reads `count` colours of `entry` bytes each.
    fn colours(&self, at: usize, entry: usize, count: usize) -> Result<Vec<[u8; 4]>, Unreadable> {
        let bytes = self.0.get(at..at + entry * count);
        let bytes = bytes.ok_or_else(|| {
            Fault::Damaged.because(format!(
                "is cut off: the BMP file ends within its palette; {COPY_AGAIN}"
            ))
        })?;
        Ok(bytes
            .chunks_exact(entry)
            .map(|c| [c[0], c[1], c[2], 0])
            .collect())
    }
}
