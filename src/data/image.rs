//! An image file, or the bytes of one, becomes RGB pixels.
//!
//! The format is recognised by content, never by the file's extension. Whatever comes in (grey, CMYK,
//! 16 bits, a palette, transparency, a camera held sideways) leaves as upright 8-bit RGB:
//!
//! - EXIF orientation is applied, in every format that can carry it;
//! - transparency is composed over white, as a page in a browser would show it;
//! - an animation is its first frame;
//! - four-channel JPEGs are read with Adobe's inverted ink values, as Pillow reads them.
//!
//! Files come from anywhere, so nothing here trusts them: a size is checked before memory is taken
//! for it, and every way in which a file can be unusable is an error of one line.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

use crate::error::{Error, Result};

/// Upright 8-bit RGB pixels, row by row from the top, three bytes a pixel (`[height, width, 3]`).
///
/// Neither side is ever zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

/// What an image may cost before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest file, in bytes.
    pub file_bytes: u64,
    /// The most pixels (width x height) that a file may claim to hold.
    pub pixels: u64,
}

impl Default for Limits {
    /// 256 MiB and 100 megapixels: above what cameras make, below what hurts a small machine.
    fn default() -> Self {
        Limits {
            file_bytes: 256 << 20,
            pixels: 100_000_000,
        }
    }
}

/// Why bytes are no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unreadable {
    /// What kind of thing is wrong.
    pub fault: Fault,
    /// What is wrong, without the file's name.
    pub what: String,
}

/// What kind of thing can be wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is beyond the [`Limits`].
    TooLarge,
    /// It is no image, or one of a kind that is not supported.
    Foreign,
    /// It is empty, cut off, or contradicts itself.
    Damaged,
}

impl Fault {
    fn because(self, what: impl Into<String>) -> Unreadable {
        Unreadable {
            fault: self,
            what: what.into(),
        }
    }
}

impl Image {
    /// Wraps `pixels`, `width * height * 3` bytes of RGB.
    ///
    /// # Errors
    ///
    /// When a side is zero or the number of bytes is another.
    pub fn from_rgb(width: u32, height: u32, pixels: Vec<u8>) -> Result<Image> {
        let bytes = u64::from(width) * u64::from(height) * 3;
        if bytes == 0 || bytes != pixels.len() as u64 {
            let expected =
                format!("width * height * 3 bytes, none of them zero, for {width} x {height}");
            return Err(Error::shape(
                "Image::from_rgb",
                expected,
                format!("{} bytes", pixels.len()),
            ));
        }
        Ok(Image {
            width,
            height,
            pixels,
        })
    }

    /// Reads the image file at `path` under the default [`Limits`].
    ///
    /// # Errors
    ///
    /// A missing file, a folder, an empty or cut-off file, a file that is no image, one whose format is
    /// not supported or whose size is beyond the limits: each as one line that names the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Image> {
        let path = path.as_ref();
        let unreadable = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => Error::file(path, "does not exist; check the path"),
            _ => Error::file(path, format_args!("cannot be read: {e}")),
        };
        // Asked first, because opening a folder succeeds on some systems and fails obscurely on others.
        if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            return Err(Error::file(
                path,
                "is a folder, where an image file was expected",
            ));
        }
        Image::read(
            File::open(path).map_err(unreadable)?,
            path,
            Limits::default(),
        )
    }

    /// Reads one image from a stream to its end; `name` stands for it in messages (`-` for standard input).
    ///
    /// # Errors
    ///
    /// As [`Image::open`]. A stream that does not end is refused at the limit, not read for ever.
    pub fn read(stream: impl Read, name: impl AsRef<Path>, limits: Limits) -> Result<Image> {
        let name = name.as_ref();
        let mut bytes = Vec::new();
        stream
            .take(limits.file_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|e| Error::file(name, format_args!("cannot be read: {e}")))?;
        Image::decode(&bytes, name, limits)
    }

    /// Decodes the bytes of an image file; `name` stands for it in messages.
    ///
    /// # Errors
    ///
    /// As [`Image::open`].
    pub fn decode(bytes: &[u8], name: impl AsRef<Path>, limits: Limits) -> Result<Image> {
        Image::from_bytes(bytes, limits).map_err(|e| Error::file(name, e))
    }

    /// Decodes the bytes of an image that has no name.
    ///
    /// # Errors
    ///
    /// What is wrong, and what kind of thing that is.
    pub fn from_bytes(bytes: &[u8], limits: Limits) -> Result<Image, Unreadable> {
        decode(Opened::new(bytes, limits)?)
    }

    /// How many pixels the bytes of an image claim to hold; none of them is decoded.
    ///
    /// # Errors
    ///
    /// As [`Image::from_bytes`], as far as that can be told from a header.
    pub fn count_pixels(bytes: &[u8], limits: Limits) -> Result<u64, Unreadable> {
        Ok(Opened::new(bytes, limits)?.pixels)
    }

    /// Pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The bytes, `[height, width, 3]`, red first.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes, to be changed in place.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The rows from the top, `width * 3` bytes each.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.pixels.chunks_exact(self.width as usize * 3)
    }
}

/// An image whose header has been read, and is within the limits.
struct Opened<'a> {
    format: ImageFormat,
    decoder: Box<dyn ImageDecoder + 'a>,
    pixels: u64,
}

impl<'a> Opened<'a> {
    /// The beginning of the way of the bytes: recognise, measure.
    fn new(bytes: &'a [u8], limits: Limits) -> Result<Self, Unreadable> {
        if bytes.is_empty() {
            return Err(Fault::Damaged.because("is empty (0 bytes); copy or download it again"));
        }
        if bytes.len() as u64 > limits.file_bytes {
            return Err(Fault::TooLarge.because(format!(
                "is larger than {} bytes; scale it down first",
                limits.file_bytes
            )));
        }
        let format = recognise(bytes).map_err(|what| Fault::Foreign.because(what))?;
        let is_complete = match format {
            ImageFormat::Jpeg => jpeg_is_complete(bytes),
            ImageFormat::WebP => webp_is_complete(bytes),
            // The decoders of the others notice.
            _ => true,
        };
        if !is_complete {
            return Err(Fault::Damaged.because(cut_off(format)));
        }

        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut decoder_limits = ::image::Limits::default();
        // Four channels of 16 bits are the widest pixel there is; as much again for a decoder's own buffers.
        decoder_limits.max_alloc = Some(limits.pixels.saturating_mul(16));
        reader.limits(decoder_limits);

        let decoder = reader.into_decoder().map_err(|e| explain(format, e))?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 {
            return Err(
                Fault::Damaged.because(format!("is damaged: it claims {width} x {height} pixels"))
            );
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > limits.pixels {
            return Err(Fault::TooLarge.because(format!(
                "claims {width} x {height} pixels, more than the {} that are accepted; scale it down first",
                megapixels(limits.pixels)
            )));
        }
        Ok(Opened {
            format,
            decoder: Box::new(decoder),
            pixels,
        })
    }
}

/// The rest of the way: decode, flatten to RGB, turn upright.
fn decode(opened: Opened<'_>) -> Result<Image, Unreadable> {
    let Opened {
        format,
        mut decoder,
        ..
    } = opened;
    // Damaged metadata is no reason to refuse a picture that is whole.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(|e| explain(format, e))?;

    let mut upright = DynamicImage::ImageRgb8(flatten(decoded));
    upright.apply_orientation(orientation);
    let rgb = upright.into_rgb8();
    let (width, height) = rgb.dimensions();
    Ok(Image {
        width,
        height,
        pixels: rgb.into_raw(),
    })
}

/// Which of the supported formats the first bytes announce.
fn recognise(bytes: &[u8]) -> Result<ImageFormat, String> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    const ADVICE: &str = "convert it to JPEG, PNG, WebP, GIF or BMP";
    match ::image::guess_format(bytes) {
        Ok(format @ (Bmp | Gif | Jpeg | Png | WebP)) => Ok(format),
        Ok(other) => Err(format!(
            "is {}, a format that is not supported; {ADVICE}",
            name(other)
        )),
        // What telephones write; the one unsupported format that people will meet every day.
        Err(_) if bytes.get(4..8) == Some(b"ftyp") => Err(format!(
            "is HEIC or a video, a format that is not supported; {ADVICE}"
        )),
        Err(_) => Err("is not an image (JPEG, PNG, WebP, GIF and BMP are recognised)".into()),
    }
}

/// Whether a JPEG's data runs to its end marker.
///
/// The decoder paints what is missing grey and reports success, so this has to be found out here. Walks
/// the segments by their lengths, so that the end marker of an embedded thumbnail does not count, and
/// the entropy-coded data byte by byte, where 0xFF is a marker unless a zero or a restart number follows.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xD9;
    let mut at = 2;
    while let (Some(&first), Some(&code)) = (bytes.get(at), bytes.get(at + 1)) {
        at += match (first, code) {
            (0xFF, END_OF_IMAGE) => return true,
            // A fill byte; or a stray one between segments, which decoders skip too.
            (0xFF, 0xFF) | (..0xFF, _) => 1,
            // A coded 0xFF, a restart, and the other markers that carry no data.
            (0xFF, 0x00 | 0x01 | 0xD0..=0xD8) => 2,
            (0xFF, _) => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        };
    }
    false
}

/// Whether a WebP file is as long as it says. Its orientation comes last, so that the pixels of a file
/// which lost its end can be whole and lie on their side.
fn webp_is_complete(bytes: &[u8]) -> bool {
    const RIFF_HEADER: usize = 8;
    match bytes.get(4..RIFF_HEADER) {
        Some(&[a, b, c, d]) => {
            u32::from_le_bytes([a, b, c, d]) as usize <= bytes.len() - RIFF_HEADER
        }
        _ => false,
    }
}

/// Drops the alpha channel by composing over white, and everything beyond 8 bits of RGB.
fn flatten(decoded: DynamicImage) -> ::image::RgbImage {
    if !decoded.color().has_alpha() {
        return decoded.into_rgb8();
    }
    let rgba = decoded.into_rgba8();
    ::image::RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0;
        ::image::Rgb([r, g, b].map(|c| over_white(c, alpha)))
    })
}

/// `alpha * c + (1 - alpha) * white`, rounded to the nearest level.
fn over_white(c: u8, alpha: u8) -> u8 {
    let (c, alpha) = (u32::from(c), u32::from(alpha));
    ((c * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// What people call a format.
fn name(format: ImageFormat) -> String {
    format!("{format:?}").to_uppercase()
}

fn cut_off(format: ImageFormat) -> String {
    format!(
        "is cut off: the {} data ends early; copy or download it again",
        name(format)
    )
}

/// A decoder's complaint in our words.
fn explain(format: ImageFormat, error: ImageError) -> Unreadable {
    match error {
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Fault::Damaged.because(cut_off(format))
        }
        ImageError::Unsupported(e) => Fault::Foreign.because(format!(
            "uses a kind of {} that is not supported: {e}",
            name(format)
        )),
        ImageError::Limits(_) => Fault::TooLarge.because(format!(
            "is {} data that would need too much memory to decode",
            name(format)
        )),
        other => Fault::Damaged.because(format!("is damaged: {other}")),
    }
}

/// `100 megapixels`; small limits in plain pixels.
fn megapixels(pixels: u64) -> String {
    match pixels {
        0..1_000_000 => format!("{pixels} pixels"),
        _ => format!("{} megapixels", pixels / 1_000_000),
    }
}
