//! PNG: extracts the chunks that the pixels need and passes only those to the decoder.
//!
//! A PNG file is a chain of chunks. Each has a length, a name of four letters, data and a checksum (W3C PNG
//! specification, section 5). Files with whole pixels can be odd in many ways: no end chunk, a wrong checksum, a chunk
//! that only one program knows, text and colour profiles that inflate to gigabytes. This module therefore walks the
//! chain itself, extracts the chunks that matter, and gives the decoder a clean file made of them.

use std::io::{Cursor, Read};

use ::image::RgbImage;
use ::image::metadata::Orientation;
use flate2::read::ZlibDecoder;

use super::fault::{self, COPY_AGAIN, Fault, Unreadable};
use super::pixels::{multiplied_over_white, narrow, over_white};
use super::{Decoded, orientation, room};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1A\n";
/// Size limit, in bytes, of inflated text; metadata with an orientation is far shorter.
const LONGEST_TEXT: u64 = 1 << 20;
const DAMAGED_PIXELS: &str = "has a wrong checksum in its pixels, parts of which may be wrong";

/// A PNG file whose chunks have been found.
#[derive(Default)]
pub(super) struct Png<'a> {
    header: &'a [u8],
    palette: Option<&'a [u8]>,
    transparency: Option<&'a [u8]>,
    /// The chunks of compressed pixels.
    data: Vec<&'a [u8]>,
    /// Whether Apple's tools made it: pixels without zlib's frame, blue first, colours multiplied by alpha.
    is_apples: bool,
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
    warnings: Vec<String>,
}

impl<'a> Png<'a> {
    /// Finds the chunks.
    ///
    /// # Errors
    /// If there is no header, if header or palette are damaged, or if there are no pixels.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let mut png = Png::default();
        let mut at = SIGNATURE.len();
        let has_end = loop {
            let Some(chunk) = Chunk::read(bytes, at) else {
                break false;
            };
            at = chunk.next;
            if chunk.is_complete && !chunk.is_sound() && chunk.name != *b"IDAT" {
                let name = chunk.name.escape_ascii();
                png.warn(&format!("has a wrong checksum in its {name} chunk"));
            }
            if chunk.name == *b"IEND" {
                break true;
            }
            png.take(&chunk)?;
        };
        if png.header.is_empty() {
            // The signature and the header together have 33 bytes.
            return Err(match bytes.len() {
                33.. => fault::damaged("PNG", "does not begin with its header"),
                _ => fault::no_header("PNG"),
            });
        }
        if png.data.is_empty() {
            return Err(fault::rows_missing(0, png.size().1));
        }
        if !has_end {
            png.warnings
                .push("ends without its end chunk, but has all of its pixels".into());
        }
        Ok(png)
    }

    /// Records one chunk, if it matters.
    fn take(&mut self, chunk: &Chunk<'a>) -> Result<(), Unreadable> {
        let is_sound = chunk.is_sound();
        let name = chunk.name.escape_ascii();
        match &chunk.name {
            b"IHDR" | b"PLTE" if !is_sound => {
                let what = format!("has a wrong checksum in its {name} chunk");
                return Err(fault::damaged("PNG", what));
            }
            b"IHDR" if chunk.data.len() != 13 => return Err(fault::no_header("PNG")),
            b"IHDR" if self.header.is_empty() => self.header = chunk.data,
            b"PLTE" => self.palette = Some(chunk.data),
            b"tRNS" => self.transparency = Some(chunk.data),
            b"IDAT" => {
                self.data.push(chunk.data);
                // A truncated chunk shows later, when rows are missing.
                if !is_sound && chunk.is_complete {
                    self.warn(DAMAGED_PIXELS);
                }
            }
            b"CgBI" => self.is_apples = true,
            b"eXIf" => self.exif = Some(chunk.data.to_vec()),
            b"tEXt" | b"zTXt" | b"iTXt" => self.text(chunk),
            // A capital first letter means that the picture cannot be shown correctly without understanding the chunk.
            [b'A'..=b'Z', ..] if chunk.is_complete => {
                self.warn(&format!(
                    "has a chunk of the kind {name}, which is not part of PNG and was passed over"
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn warn(&mut self, warning: &str) {
        if !self.warnings.iter().any(|known| known == warning) {
            self.warnings.push(warning.to_string());
        }
    }

    /// Reads EXIF or XMP data from a text chunk. A dedicated EXIF chunk has precedence over ImageMagick's raw profile.
    fn text(&mut self, chunk: &Chunk<'a>) {
        let Some((keyword, text)) = split_at_zero(chunk.data) else {
            return;
        };
        let is_exif = matches!(
            keyword,
            b"Raw profile type exif" | b"Raw profile type APP1" | b"Raw profile type app1"
        );
        let is_xmp = keyword == b"XML:com.adobe.xmp";
        if !is_exif && !is_xmp {
            return;
        }
        let text = match &chunk.name {
            b"tEXt" => Some(text.to_vec()),
            b"zTXt" => text.get(1..).and_then(inflate),
            _ => international(text),
        };
        match text {
            Some(text) if is_xmp => self.xmp = Some(text),
            Some(text) if self.exif.is_none() => self.exif = orientation::from_raw_profile(&text),
            _ => {}
        }
    }

    /// Returns width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        let side = |at: usize| {
            let bytes = self.header.get(at..at + 4).and_then(|b| b.try_into().ok());
            bytes.map_or(0, u32::from_be_bytes)
        };
        (side(0), side(4))
    }

    /// Returns the camera's orientation.
    pub fn orientation(&self) -> Orientation {
        orientation::read(self.exif.as_deref(), self.xmp.as_deref())
    }

    /// Returns the peak memory of decoding, in bytes: the clean file, the picture and, if it is interlaced, all
    /// samples.
    pub fn decoding_bytes(&self) -> u64 {
        let (width, height) = self.size();
        let compressed: usize = self.data.iter().map(|data| data.len()).sum();
        let field = |at: usize| self.header.get(at).copied().unwrap_or(0);
        let (depth, colour, is_interlaced) = (field(8), field(9), field(12) != 0);
        // Grey or RGB, plus alpha; a transparent colour becomes an alpha channel.
        let channels = match colour {
            0 | 4 => 2,
            _ => 4,
        };
        let samples = match is_interlaced {
            true => channels * u64::from(depth.max(8)) / 8,
            false => 0,
        };
        compressed as u64 + (3 + samples) * u64::from(width) * u64::from(height)
    }

    /// Decodes the pixels.
    ///
    /// # Errors
    /// If pixels are missing (the message says how many), data cannot be decompressed, or the header is malformed.
    pub fn decode(mut self) -> Result<Decoded, Unreadable> {
        let clean = self.clean();
        // First with the checksum over all pixels. Pixels that decode only without it are complete, but may be damaged.
        // Apple's tools write no checksum.
        let picture = match self.is_apples {
            true => self.pixels(&clean, false),
            false => self.pixels(&clean, true).or_else(|refusal| {
                let picture = self.pixels(&clean, false).map_err(|_| refusal)?;
                self.warn(DAMAGED_PIXELS);
                Ok(picture)
            }),
        };
        Ok(Decoded {
            picture: picture?,
            orientation: self.orientation(),
            warnings: self.warnings,
        })
    }

    /// Decodes the clean file, with or without verifying the checksum of its pixels.
    fn pixels(&self, clean: &[u8], with_checksum: bool) -> Result<RgbImage, Unreadable> {
        let nonsense = || fault::damaged("PNG", "has a malformed header");
        let (width, height) = self.size();
        let mut options = png::DecodeOptions::default();
        options.set_ignore_crc(true);
        options.set_ignore_adler32(!with_checksum);
        let mut decoder = png::Decoder::new_with_options(Cursor::new(clean), options);
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().map_err(|_| nonsense())?;
        let (colour, depth) = reader.output_color_type();
        let to_rgb = Samples {
            channels: colour.samples(),
            is_wide: depth == png::BitDepth::Sixteen,
            is_apples: self.is_apples,
        };

        let mut picture = room::picture(width, height, 0)?;
        let rows = picture.chunks_exact_mut(3 * width as usize);
        if reader.info().interlaced {
            // The passes of an interlaced picture spread over all rows: no row is whole before the last pass is.
            let missing = || {
                let what = "a part of its interlaced pixels is missing or damaged";
                Fault::Damaged.because(format!("is cut off: {what}; {COPY_AGAIN}"))
            };
            let length = reader.output_buffer_size().ok_or_else(nonsense)?;
            let mut samples = room::vector(length)?;
            samples.resize(length, 0);
            reader.next_frame(&mut samples).map_err(|_| missing())?;
            let from = samples.chunks_exact(samples.len() / height as usize);
            rows.zip(from).for_each(|(to, from)| to_rgb.row(from, to));
        } else {
            for (y, to) in (0..height).zip(rows) {
                let row = match to_rgb.is_rgb() {
                    true => reader.read_row(to).map(|row| row.map(|_| ())),
                    false => reader
                        .next_row()
                        .map(|row| row.map(|row| to_rgb.row(row.data(), to))),
                };
                if !matches!(row, Ok(Some(()))) {
                    return Err(fault::rows_missing(y, height));
                }
            }
            // The checksum comes after the last row.
            if with_checksum && reader.next_row().is_err() {
                return Err(fault::damaged("PNG", "has a wrong checksum"));
            }
        }
        Ok(picture)
    }

    /// Assembles a PNG file of the header, the colours and the pixels.
    fn clean(&self) -> Vec<u8> {
        let mut file = SIGNATURE.to_vec();
        let mut write = |name: &[u8; 4], parts: &[&[u8]]| {
            let length: usize = parts.iter().map(|part| part.len()).sum();
            file.extend((length as u32).to_be_bytes());
            file.extend(name);
            parts.iter().for_each(|part| file.extend_from_slice(part));
            // The checksum, which is not verified.
            file.extend([0; 4]);
        };
        write(b"IHDR", &[self.header]);
        self.palette.iter().for_each(|data| write(b"PLTE", &[data]));
        self.transparency
            .iter()
            .for_each(|data| write(b"tRNS", &[data]));
        if self.is_apples {
            // The zlib header, and below the trailer, which Apple leaves out.
            write(b"IDAT", &[&[0x78, 0x01]]);
        }
        // Not joined into one chunk, because a chunk's length has only 31 bits.
        self.data.iter().for_each(|data| write(b"IDAT", &[data]));
        if self.is_apples {
            write(b"IDAT", &[&[0; 4]]);
        }
        write(b"IEND", &[]);
        file
    }
}

/// The layout of a row of decoded samples, for its conversion to RGB.
struct Samples {
    /// 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
    channels: usize,
    /// Whether samples have 16 bits.
    is_wide: bool,
    is_apples: bool,
}

impl Samples {
    /// Whether the samples are 8-bit RGB already.
    fn is_rgb(&self) -> bool {
        self.channels == 3 && !self.is_wide && !self.is_apples
    }

    fn row(&self, samples: &[u8], rgb: &mut [u8]) {
        let (pixels, _) = rgb.as_chunks_mut::<3>();
        if self.is_wide {
            let wide = samples.chunks_exact(2 * self.channels);
            for (to, from) in pixels.iter_mut().zip(wide) {
                let mut narrowed = [0; 4];
                let (pairs, _) = from.as_chunks::<2>();
                for (narrow_one, pair) in narrowed.iter_mut().zip(pairs) {
                    *narrow_one = narrow(u16::from_be_bytes(*pair));
                }
                *to = self.pixel(&narrowed[..self.channels]);
            }
        } else if self.is_rgb() {
            rgb.copy_from_slice(&samples[..rgb.len()]);
        } else {
            for (to, from) in pixels.iter_mut().zip(samples.chunks_exact(self.channels)) {
                *to = self.pixel(from);
            }
        }
    }

    fn pixel(&self, samples: &[u8]) -> [u8; 3] {
        match *samples {
            [grey] => [grey; 3],
            [grey, alpha] => [over_white(grey, alpha); 3],
            [b, g, r] if self.is_apples => [r, g, b],
            [b, g, r, alpha] if self.is_apples => {
                [r, g, b].map(|c| multiplied_over_white(c, alpha))
            }
            [r, g, b, alpha] => [r, g, b].map(|c| over_white(c, alpha)),
            [r, g, b, ..] => [r, g, b],
            [] => [0; 3],
        }
    }
}

/// One chunk of the chain.
struct Chunk<'a> {
    name: [u8; 4],
    data: &'a [u8],
    /// Whether the file contains all of its data.
    is_complete: bool,
    /// The bytes that the checksum covers, followed by the checksum.
    covered: &'a [u8],
    checksum: Option<[u8; 4]>,
    next: usize,
}

impl<'a> Chunk<'a> {
    /// Reads the chunk at `at`, or as much of it as the file contains. `None` if its length or name is missing.
    fn read(bytes: &'a [u8], at: usize) -> Option<Self> {
        let length = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
        let name: [u8; 4] = bytes.get(at + 4..at + 8)?.try_into().ok()?;
        let ends = (at + 8).saturating_add(length);
        let data = &bytes[at + 8..ends.min(bytes.len())];
        Some(Chunk {
            name,
            data,
            is_complete: data.len() == length,
            covered: &bytes[at + 4..at + 8 + data.len()],
            checksum: bytes
                .get(ends..ends.saturating_add(4))
                .and_then(|b| b.try_into().ok()),
            next: ends.saturating_add(4),
        })
    }

    /// Whether the checksum matches the name and data.
    fn is_sound(&self) -> bool {
        self.checksum.map(u32::from_be_bytes) == Some(crc32fast::hash(self.covered))
    }
}

/// Splits at the first zero byte.
fn split_at_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let zero = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..zero], &bytes[zero + 1..]))
}

/// Returns the text of an `iTXt` chunk, which follows the keyword, compression flag, method, language and translated
/// keyword.
fn international(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&[is_compressed, _method], rest) = bytes.split_first_chunk::<2>()?;
    let (_language, rest) = split_at_zero(rest)?;
    let (_translated, text) = split_at_zero(rest)?;
    match is_compressed {
        0 => Some(text.to_vec()),
        _ => inflate(text),
    }
}

/// Inflates compressed text up to the size limit.
fn inflate(compressed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let limited = ZlibDecoder::new(compressed).take(LONGEST_TEXT);
    std::io::BufReader::new(limited)
        .read_to_end(&mut text)
        .ok()?;
    Some(text)
}
