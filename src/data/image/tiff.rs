//! TIFF: decodes the first picture of a file. The `tiff` crate decodes the samples; palettes are applied here.
//!
//! A TIFF file holds directories of tags (TIFF 6.0); the first describes the picture. A camera's raw file is a TIFF
//! file too, but its first directory describes a thumbnail. Such a file is refused as a raw file, because a caption of
//! the thumbnail would be taken for one of the photo.

use std::io::Cursor;

use ::image::RgbImage;
use ::image::metadata::Orientation;
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

use super::fault::{self, COPY_AGAIN, Fault, Unreadable};
use super::kind::RAW;
use super::pixels::{multiplied_over_white, narrow, over_white, times};
use super::{Decoded, orientation, room};

/// A TIFF file whose first directory has been read.
pub(super) struct Tiff {
    decoder: Decoder<Cursor<Vec<u8>>>,
    file_bytes: u64,
    width: u32,
    height: u32,
    colour: ColorType,
    /// Red, green and blue for each index.
    palette: Option<Vec<[u8; 3]>>,
    alpha: Alpha,
    orientation: Orientation,
}

/// The meaning of an additional sample (`ExtraSamples`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alpha {
    None,
    Plain,
    /// The colours are multiplied by it already.
    Multiplied,
}

impl Alpha {
    /// Composes a colour over white.
    fn over_white(self, c: u8, alpha: u8) -> u8 {
        match self {
            Alpha::None => c,
            Alpha::Plain => over_white(c, alpha),
            Alpha::Multiplied => multiplied_over_white(c, alpha),
        }
    }
}

/// Values of `PhotometricInterpretation`: indices into a palette; shades from black to white.
const PALETTE: u16 = 3;
const BLACK_IS_ZERO: u8 = 1;

impl Tiff {
    /// Reads the first directory.
    ///
    /// # Errors
    /// If it is a camera's raw file, the directory is cut off or malformed, or its colours are not supported.
    pub fn open(bytes: &[u8], most_pixels: u64) -> Result<Self, Unreadable> {
        match values_fit(bytes) {
            Some(true) => {}
            Some(false) => {
                return Err(fault::damaged("TIFF", "has a malformed directory"));
            }
            None => return Err(fault::no_header("TIFF")),
        }
        // A pixel has at most sixteen bytes.
        let most = usize::try_from(most_pixels.saturating_mul(16)).unwrap_or(usize::MAX);
        let mut limits = Limits::default();
        limits.decoding_buffer_size = most;
        limits.intermediate_buffer_size = most;

        // Indices are decoded as if they were shades; the palette is applied afterwards.
        let mut copy = bytes.to_vec();
        let is_palette = orientation::patch_short(&mut copy, 0x0106, PALETTE, BLACK_IS_ZERO);
        let decoder = Decoder::new(Cursor::new(copy)).map_err(|e| explain(&e))?;
        let mut decoder = decoder.with_limits(limits);
        if is_raw(&mut decoder) {
            return Err(Fault::Foreign.because(format!(
                "is RAW (a camera's raw file), a format that is not supported; {RAW}"
            )));
        }

        let palette = match is_palette {
            true => Some(palette(&mut decoder)?),
            false => None,
        };
        let (width, height) = decoder.dimensions().map_err(|e| explain(&e))?;
        let colour = decoder.colortype().map_err(|e| explain(&e))?;
        let extra = decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples);
        let orientation = orientation_of(&mut decoder);
        Ok(Tiff {
            file_bytes: bytes.len() as u64,
            decoder,
            width,
            height,
            colour,
            palette,
            alpha: match extra.ok().flatten().as_deref() {
                Some([1, ..]) => Alpha::Multiplied,
                Some([2, ..]) => Alpha::Plain,
                _ => Alpha::None,
            },
            orientation,
        })
    }

    /// Returns width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Returns the camera's orientation.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// Returns the peak memory of decoding, in bytes: a copy of the file, all samples as stored, in 8 bits, and as RGB.
    pub fn decoding_bytes(&self) -> u64 {
        let channels = u64::from(self.colour.num_samples());
        let stored = match self.colour.bit_depth() {
            0..=8 => 1,
            bits => u64::from(bits / 8) + 1,
        };
        let pixels = u64::from(self.width) * u64::from(self.height);
        self.file_bytes + (channels * stored + 3) * pixels
    }

    /// Decodes the pixels.
    ///
    /// # Errors
    /// If pixels are missing (the message says how many), or colours, samples or compression are not supported.
    pub fn decode(mut self) -> Result<Decoded, Unreadable> {
        let (channels, bits) = match self.colour {
            ColorType::Gray(bits) => (1, bits),
            ColorType::GrayA(bits) => (2, bits),
            ColorType::RGB(bits) | ColorType::YCbCr(bits) => (3, bits),
            ColorType::RGBA(bits) | ColorType::CMYK(bits) => (4, bits),
            ColorType::Multiband {
                bit_depth,
                num_samples: 2,
            } => (2, bit_depth),
            other => return Err(unsupported(other)),
        };
        let mut samples = DecodingResult::U8(Vec::new());
        let layout = match self.decoder.read_image_to_buffer(&mut samples) {
            Ok(layout) => layout,
            Err(error @ tiff::TiffError::UnsupportedError(_)) => return Err(explain(&error)),
            Err(_) => return Err(self.missing()),
        };
        let bytes: Vec<u8> = match (samples, bits) {
            (DecodingResult::U8(bytes), 8) => bytes,
            (DecodingResult::U8(bytes), 1 | 2 | 4) if channels == 1 => self.unpacked(&bytes, bits),
            (DecodingResult::U16(wide), 16) => wide.into_iter().map(narrow).collect(),
            (DecodingResult::F32(levels), 32) => from_floats(&levels),
            _ => return Err(unsupported(self.colour)),
        };
        let pixels = self.width as usize * self.height as usize;
        if bytes.len() < pixels * channels {
            return Err(self.missing());
        }
        // The samples of a pixel follow each other, or each channel has a plane of its own.
        let (step, plane) = match layout.planes {
            0 | 1 => (channels, 1),
            _ => (1, pixels),
        };
        let mut rgb = room::vector(3 * pixels)?;
        let mut pixel = vec![0; channels];
        for i in 0..pixels {
            for (channel, sample) in pixel.iter_mut().enumerate() {
                *sample = bytes[i * step + channel * plane];
            }
            rgb.extend(self.rgb(&pixel));
        }
        let picture = RgbImage::from_raw(self.width, self.height, rgb);
        Ok(Decoded {
            picture: picture.ok_or_else(|| unsupported(self.colour))?,
            orientation: self.orientation,
            warnings: Vec::new(),
        })
    }

    /// Converts one pixel's samples to RGB.
    fn rgb(&self, samples: &[u8]) -> [u8; 3] {
        match (samples, self.colour, &self.palette) {
            (&[index], _, Some(palette)) => {
                palette.get(usize::from(index)).copied().unwrap_or_default()
            }
            (&[grey, alpha, ..], ColorType::Multiband { .. } | ColorType::GrayA(_), _) => {
                [self.alpha.over_white(grey, alpha); 3]
            }
            (&[y, blue, red], ColorType::YCbCr(_), _) => from_ycbcr(y, blue, red),
            (&[cyan, magenta, yellow, black], ColorType::CMYK(_), _) => {
                [cyan, magenta, yellow].map(|ink| times(255 - ink, 255 - black))
            }
            (&[r, g, b, alpha], _, _) => [r, g, b].map(|c| self.alpha.over_white(c, alpha)),
            (&[r, g, b, ..], _, _) => [r, g, b],
            (&[grey, ..], _, _) => [grey; 3],
            (&[], _, _) => [0; 3],
        }
    }

    /// Unpacks samples of fewer than eight bits to a byte each: indices unchanged, shades spread over all levels.
    fn unpacked(&self, packed: &[u8], bits: u8) -> Vec<u8> {
        let width = self.width as usize;
        let stride = (width * usize::from(bits)).div_ceil(8);
        let most = (1_u16 << bits) - 1;
        let spread = if self.palette.is_some() {
            1
        } else {
            255 / most
        };
        let mut samples = Vec::with_capacity(width * self.height as usize);
        for row in packed.chunks_exact(stride) {
            samples.extend((0..width).map(|x| {
                let bit = x * usize::from(bits);
                let shift = 8 - usize::from(bits) - bit % 8;
                let value = u16::from(row[bit / 8]) >> shift & most;
                (value * spread) as u8
            }));
        }
        samples
    }

    /// Finds out how much is missing by reading strips and tiles one by one until one fails.
    fn missing(mut self) -> Unreadable {
        let (_, rows) = self.decoder.chunk_dimensions();
        let chunks = match self.decoder.get_chunk_type() {
            tiff::decoder::ChunkType::Strip => self.decoder.strip_count(),
            tiff::decoder::ChunkType::Tile => self.decoder.tile_count(),
        };
        let chunks = chunks.unwrap_or(0);
        let whole = (0..chunks)
            .take_while(|&i| self.decoder.read_chunk(i).is_ok())
            .count() as u32;
        if whole == chunks {
            return fault::damaged("TIFF", "has pixels that cannot be decoded");
        }
        match self.decoder.get_chunk_type() {
            tiff::decoder::ChunkType::Strip => {
                fault::rows_missing((whole * rows).min(self.height), self.height)
            }
            tiff::decoder::ChunkType::Tile => Fault::Damaged.because(format!(
                "is cut off: {} of {chunks} tiles are missing or damaged; {COPY_AGAIN}",
                chunks - whole
            )),
        }
    }
}

/// Returns a number in the first directory.
fn number(decoder: &mut Decoder<Cursor<Vec<u8>>>, tag: Tag) -> Option<u32> {
    decoder.find_tag_unsigned(tag).ok().flatten()
}

/// Whether it is a camera's raw file. The signs are the tag of digital negatives, a camera's own compression, or a
/// first picture that is declared a thumbnail of others.
fn is_raw(decoder: &mut Decoder<Cursor<Vec<u8>>>) -> bool {
    const DNG_VERSION: Tag = Tag::Unknown(50706);
    const CAMERA_COMPRESSIONS: [u32; 3] = [32767, 34713, 65535];
    let compression = number(decoder, Tag::Compression).unwrap_or(1);
    let is_thumbnail = number(decoder, Tag::NewSubfileType).unwrap_or(0) & 1 == 1;
    let mut has = |tag| decoder.find_tag(tag).ok().flatten().is_some();
    has(DNG_VERSION)
        || CAMERA_COMPRESSIONS.contains(&compression)
        || is_thumbnail && has(Tag::SubIfd)
}

/// Returns the orientation from TIFF's own tag; if that is missing or upright, from XMP data.
fn orientation_of(decoder: &mut Decoder<Cursor<Vec<u8>>>) -> Orientation {
    const XMP: Tag = Tag::Unknown(700);
    let code = number(decoder, Tag::Orientation).and_then(|code| u8::try_from(code).ok());
    let xmp = decoder.find_tag(XMP).ok().flatten();
    let xmp = xmp.and_then(|value| value.into_u8_vec().ok());
    match code.and_then(Orientation::from_exif) {
        Some(Orientation::NoTransforms) | None => orientation::read(None, xmp.as_deref()),
        Some(turned) => turned,
    }
}

/// Whether the values of the first directory fit in the file; the decoder does not check that before it allocates
/// memory for them. `None` if the file ends within the directory.
fn values_fit(bytes: &[u8]) -> Option<bool> {
    let is_little = bytes.starts_with(b"II");
    let is_big = matches!(bytes.get(2..4), Some([43, 0] | [0, 43]));
    let number = |at: u64, size: u64| {
        let at = usize::try_from(at).ok()?;
        let field = bytes.get(at..at.checked_add(size as usize)?)?;
        let digit = |n: u64, byte: &u8| n << 8 | u64::from(*byte);
        Some(match is_little {
            true => field.iter().rev().fold(0, digit),
            false => field.iter().fold(0, digit),
        })
    };
    // The lengths of the directory's offset field, of offsets, of the count of entries, and of entries.
    let (place, wide, count, entry) = if is_big { (8, 8, 8, 20) } else { (4, 4, 2, 12) };
    let start = number(place, wide)?;
    let entries = number(start, count)?;
    for i in 0..entries {
        let at = start
            .checked_add(count)?
            .checked_add(i.checked_mul(entry)?)?;
        let size = match number(at + 2, 2)? {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            _ => 8,
        };
        let length = number(at + 4, wide)?.checked_mul(size);
        if length.is_none_or(|length| length > bytes.len() as u64) {
            return Some(false);
        }
    }
    Some(true)
}

/// Reads the palette: all reds, all greens, all blues, 16 bits each.
fn palette(decoder: &mut Decoder<Cursor<Vec<u8>>>) -> Result<Vec<[u8; 3]>, Unreadable> {
    let colours = decoder.get_tag_u16_vec(Tag::ColorMap);
    let colours = colours.map_err(|_| fault::damaged("TIFF", "has no palette for its indices"))?;
    let count = colours.len() / 3;
    // Some programs write 8-bit values in these fields.
    let is_narrow = colours.iter().all(|&level| level < 256);
    let level = |at: usize| match is_narrow {
        true => colours[at] as u8,
        false => (colours[at] >> 8) as u8,
    };
    Ok((0..count)
        .map(|i| [level(i), level(count + i), level(2 * count + i)])
        .collect())
}

/// Converts floating-point levels to bytes. They are taken to run from 0 to 1, or to 255 if any of them exceeds 1.
fn from_floats(levels: &[f32]) -> Vec<u8> {
    let white = if levels.iter().any(|&level| level > 1.0) {
        1.0
    } else {
        255.0
    };
    let narrow = |level: &f32| (level * white).round().clamp(0.0, 255.0) as u8;
    levels.iter().map(narrow).collect()
}

/// Converts luma and chromas to RGB by ITU-R BT.601 with full range, as in JPEG.
fn from_ycbcr(y: u8, blue: u8, red: u8) -> [u8; 3] {
    let (y, blue, red) = (
        f32::from(y),
        f32::from(blue) - 128.0,
        f32::from(red) - 128.0,
    );
    [
        y + 1.402 * red,
        y - 0.344_136 * blue - 0.714_136 * red,
        y + 1.772 * blue,
    ]
    .map(|level| level.round().clamp(0.0, 255.0) as u8)
}

fn unsupported(colour: ColorType) -> Unreadable {
    let what = match colour {
        ColorType::Gray(bits) | ColorType::GrayA(bits) => format!("grey of {bits} bits"),
        ColorType::RGB(bits) | ColorType::RGBA(bits) => format!("RGB of {bits} bits a colour"),
        ColorType::CMYK(bits) | ColorType::CMYKA(bits) => format!("CMYK of {bits} bits an ink"),
        ColorType::YCbCr(bits) => format!("YCbCr of {bits} bits a sample"),
        ColorType::Lab(_) => "CIE L*a*b*".to_string(),
        ColorType::Multiband { num_samples, .. } => format!("{num_samples} channels"),
        _ => "unknown colours".to_string(),
    };
    fault::unsupported("TIFF", what)
}

fn explain(error: &tiff::TiffError) -> Unreadable {
    match error {
        tiff::TiffError::UnsupportedError(_) => {
            fault::unsupported("TIFF", "its colours or its compression")
        }
        tiff::TiffError::LimitsExceeded => Fault::TooLarge
            .because("is TIFF data that would need too much memory to decode; scale it down first"),
        tiff::TiffError::IoError(_) => Fault::Damaged.because(format!(
            "is cut off: the TIFF file ends before its pixels; {COPY_AGAIN}"
        )),
        _ => fault::damaged("TIFF", "has a malformed directory"),
    }
}
