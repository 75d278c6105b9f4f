//! An image file, or the bytes of one, becomes RGB pixels.
//!
//! The format is recognised by content, never by the file's extension. Whatever comes in (grey, CMYK,
//! 16 bits, a palette, transparency, a camera held sideways) leaves as upright 8-bit RGB:
//!
//! - the camera's orientation is applied, in every format that can carry it and in every spelling;
//! - transparency is composed over white, as a page in a browser would show it;
//! - an animation is its first frame, a document of several pages its first page;
//! - four-channel JPEGs are read with Adobe's inverted ink values, as Pillow reads them.
//!
//! Files come from anywhere, so nothing here trusts them: a size is checked before memory is taken
//! for it, and every way in which a file can be unusable is an error of one line. Between whole and unusable are files
//! that are odd but hold all of their pixels: these are read, and the image says what was odd
//! ([`Image::warnings`]). A file that lost pixels is never read as if it had them.
//!
//! Each format has a file of its own, which takes from the bytes what the decoder (a library's) needs and leaves out
//! what it would stumble over.

mod bmp;
mod fault;
mod gif;
#[cfg(feature = "heic")]
mod heic;
mod jpeg;
mod kind;
mod orientation;
mod pixels;
mod png;
mod policy;
mod room;
mod tiff;
mod webp;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ::image::RgbImage;
use ::image::metadata::Orientation;

pub use self::fault::{Fault, Unreadable};
use self::kind::Kind;
pub use self::policy::Policy;
use crate::error::{Error, Result};

/// Upright 8-bit RGB pixels, row by row from the top, three bytes a pixel (`[height, width, 3]`).
///
/// Neither side is ever zero.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    warnings: Vec<String>,
}

impl fmt::Debug for Image {
    /// Without the pixels, which nobody could read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("width", &self.width)
            .field("height", &self.height)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// What an image may cost before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest file, in bytes.
    pub file_bytes: u64,
    /// The most pixels (width x height) that a file may claim to hold.
    pub pixels: u64,
    /// The most memory that decoding may take, in bytes: see [`Cost::bytes`].
    pub decoding_bytes: u64,
}

impl Limits {
    /// What strangers may send: 256 MiB and 100 megapixels.
    pub const UPLOADS: Limits = Limits {
        file_bytes: 256 << 20,
        pixels: 100_000_000,
        decoding_bytes: u64::MAX,
    };
}

impl Default for Limits {
    /// For files of one's own, 512 MiB and 250 megapixels: above the 200 megapixels that cameras make.
    fn default() -> Self {
        Limits {
            file_bytes: 512 << 20,
            pixels: 250_000_000,
            decoding_bytes: u64::MAX,
        }
    }
}

/// What an image costs to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Width x height.
    pub pixels: u64,
    /// The most memory that is taken at a time, beyond the bytes of the file: for the picture, for what its format needs
    /// besides, and for the second copy where it has to be turned.
    pub bytes: u64,
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
            warnings: Vec::new(),
        })
    }

    /// Reads the image file at `path` by the [`Policy`] of this process.
    ///
    /// # Errors
    ///
    /// A missing file, a folder, an empty or cut-off file, a file that is no image, one whose format is
    /// not supported or whose size is beyond the limits: each as one line that names the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Image> {
        let path = path.as_ref();
        let unreadable = |e: std::io::Error| Error::unread(path, &e);
        // Asked first, because opening a folder succeeds on some systems and fails obscurely on others.
        if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            return Err(Error::file(
                path,
                "is a folder, where an image file was expected",
            ));
        }
        let file = File::open(path).map_err(unreadable)?;
        let policy = Policy::current();
        policy.judge(Image::read(file, path, policy.limits)?, path)
    }

    /// Reads one image from standard input by the [`Policy`] of this process; its name is `-`.
    ///
    /// # Errors
    ///
    /// As [`Image::open`].
    pub fn from_standard_input() -> Result<Image> {
        let (policy, name) = (Policy::current(), Path::new("-"));
        policy.judge(
            Image::read(std::io::stdin().lock(), name, policy.limits)?,
            name,
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
            .map_err(|e| Error::unread(name, &e))?;
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
        let opened = Opened::new(bytes, limits)?;
        let _room = room::take(opened.cost().bytes)?;
        let decoded = opened.decode()?;
        let upright = pixels::turn(decoded.picture, decoded.orientation);
        let (width, height) = upright.dimensions();
        Ok(Image {
            width,
            height,
            pixels: upright.into_raw(),
            warnings: decoded.warnings,
        })
    }

    /// What decoding the bytes of an image would cost, as their headers tell; nothing is decoded.
    ///
    /// # Errors
    ///
    /// As [`Image::from_bytes`], as far as that can be told from a header.
    pub fn cost(bytes: &[u8], limits: Limits) -> Result<Cost, Unreadable> {
        Ok(Opened::new(bytes, limits)?.cost())
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

    /// What is odd about the file that the picture was read from, though it holds all of its pixels; each reads on from the
    /// file's name (`photo.jpg: has no end marker, but all of its pixels`).
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// This picture, made of another of which the same is odd.
    pub fn with_warnings_of(mut self, other: &Image) -> Image {
        self.warnings.clone_from(&other.warnings);
        self
    }

    /// The picture, refused where the file was odd.
    ///
    /// # Errors
    ///
    /// The first of the [`warnings`](Image::warnings).
    pub fn strictly(self) -> Result<Image, Unreadable> {
        match self.warnings.first() {
            Some(warning) => Err(Fault::Damaged.because(warning.clone())),
            None => Ok(self),
        }
    }

    /// The rows from the top, `width * 3` bytes each.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.pixels.chunks_exact(self.width as usize * 3)
    }
}

/// What a format's decoder gives: pixels as they are stored, and what to know about them.
struct Decoded {
    picture: RgbImage,
    orientation: Orientation,
    warnings: Vec<String>,
}

/// An image whose headers have been read, and whose size is within the limits.
enum Opened<'a> {
    Bmp(bmp::Bmp<'a>),
    Gif(Box<gif::Gif<'a>>),
    #[cfg(feature = "heic")]
    Heic(heic::Heic<'a>),
    Jpeg(jpeg::Jpeg<'a>),
    Png(png::Png<'a>),
    Tiff(Box<tiff::Tiff>),
    WebP(Box<webp::WebP<'a>>),
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
        let opened = match kind::recognise(bytes)? {
            Kind::Bmp => Opened::Bmp(bmp::Bmp::open(bytes)?),
            Kind::Gif => Opened::Gif(Box::new(gif::Gif::open(bytes)?)),
            #[cfg(feature = "heic")]
            Kind::Heic => Opened::Heic(heic::Heic::open(bytes)?),
            Kind::Jpeg => Opened::Jpeg(jpeg::Jpeg::open(bytes)?),
            Kind::Png => Opened::Png(png::Png::open(bytes)?),
            Kind::Tiff => Opened::Tiff(Box::new(tiff::Tiff::open(bytes, limits.pixels)?)),
            Kind::WebP => Opened::WebP(Box::new(webp::WebP::open(bytes)?)),
        };
        let (width, height) = opened.size();
        if width == 0 || height == 0 {
            return Err(fault::no_pixels(width, height));
        }
        if u64::from(width) * u64::from(height) > limits.pixels {
            return Err(Fault::TooLarge.because(format!(
                "claims {width} x {height} pixels, more than the {} that are accepted; scale it down first",
                megapixels(limits.pixels)
            )));
        }
        let Cost { pixels, bytes } = opened.cost();
        if bytes > limits.decoding_bytes {
            return Err(Fault::TooLarge.because(format!(
                "has {} megapixels in a form that takes {} MB to decode, more than the {} MB that are granted; scale it \
                 down first",
                pixels.div_ceil(1_000_000),
                bytes.div_ceil(1_000_000),
                limits.decoding_bytes / 1_000_000
            )));
        }
        Ok(opened)
    }

    /// Width and height as the file claims them, before it is turned upright.
    fn size(&self) -> (u32, u32) {
        match self {
            Opened::Bmp(bmp) => bmp.size(),
            Opened::Gif(gif) => gif.size(),
            #[cfg(feature = "heic")]
            Opened::Heic(heic) => heic.size(),
            Opened::Jpeg(jpeg) => jpeg.size(),
            Opened::Png(png) => png.size(),
            Opened::Tiff(tiff) => tiff.size(),
            Opened::WebP(webp) => webp.size(),
        }
    }

    /// What the rest of the way takes.
    fn cost(&self) -> Cost {
        let (width, height) = self.size();
        let pixels = u64::from(width) * u64::from(height);
        let (decoding, picture, orientation) = match self {
            Opened::Bmp(bmp) => (bmp.decoding_bytes(), 3 * pixels, Orientation::NoTransforms),
            // Read with the pixels, and hardly ever there.
            Opened::Gif(_) => (3 * pixels, 3 * pixels, Orientation::NoTransforms),
            #[cfg(feature = "heic")]
            Opened::Heic(heic) => (heic.decoding_bytes(), 3 * pixels, Orientation::NoTransforms),
            Opened::Jpeg(jpeg) => (
                jpeg.decoding_bytes(),
                jpeg.picture_bytes(),
                jpeg.orientation(),
            ),
            Opened::Png(png) => (png.decoding_bytes(), 3 * pixels, png.orientation()),
            Opened::Tiff(tiff) => (tiff.decoding_bytes(), 3 * pixels, tiff.orientation()),
            Opened::WebP(webp) => (webp.decoding_bytes(), 3 * pixels, webp.orientation()),
        };
        let turning = match orientation {
            Orientation::NoTransforms => 0,
            _ => 2 * picture,
        };
        Cost {
            pixels,
            bytes: decoding.max(turning),
        }
    }

    /// The rest of the way.
    fn decode(self) -> Result<Decoded, Unreadable> {
        match self {
            Opened::Bmp(bmp) => bmp.decode(),
            Opened::Gif(gif) => gif.decode(),
            #[cfg(feature = "heic")]
            Opened::Heic(heic) => heic.decode(),
            Opened::Jpeg(jpeg) => jpeg.decode(),
            Opened::Png(png) => png.decode(),
            Opened::Tiff(tiff) => tiff.decode(),
            Opened::WebP(webp) => webp.decode(),
        }
    }
}

/// `100 megapixels`; small limits in plain pixels.
fn megapixels(pixels: u64) -> String {
    match pixels {
        0..1_000_000 => format!("{pixels} pixels"),
        _ => format!("{} megapixels", pixels / 1_000_000),
    }
}
