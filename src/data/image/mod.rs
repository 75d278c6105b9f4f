//! Decodes image files to RGB pixels.
//!
//! The format is recognised by content, never by the file's extension. The input may be grey, CMYK, 16-bit, have a
//! palette or transparency, or come from a camera held sideways. The result is always upright 8-bit RGB:
//!
//! - The camera's orientation is applied, whatever the format and the type of metadata that store it.
//! - Transparency is composed over white, as a browser would show it.
//! - An animation yields its first frame, a document of several pages its first page.
//! - Four-channel JPEGs are read with Adobe's inverted ink values, as Pillow reads them.
//!
//! Files come from anywhere and are not trusted. A size is checked before memory is allocated for it, and every reason
//! why a file is unusable is an error of one line. Some files are odd, but hold all of their pixels. They are read, and
//! the image has warnings ([`Image::warnings`]). A file that lost pixels is never read as if it had them.
//!
//! Each format has a module. It extracts from the bytes what the library's decoder needs, and leaves out parts that the
//! decoder would fail on.

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
    /// Leaves out the pixels, which would be unreadable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("width", &self.width)
            .field("height", &self.height)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// Limits beyond which an image is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest file, in bytes.
    pub file_bytes: u64,
    /// The largest number of pixels (width x height) that a file may claim to have.
    pub pixels: u64,
    /// The largest peak memory of decoding, in bytes; see [`Cost::bytes`].
    pub decoding_bytes: u64,
}

impl Limits {
    /// Limits for files from strangers: 256 MiB and 100 megapixels.
    pub const UPLOADS: Limits = Limits {
        file_bytes: 256 << 20,
        pixels: 100_000_000,
        decoding_bytes: u64::MAX,
    };
}

impl Default for Limits {
    /// Limits for the user's own files, 512 MiB and 250 megapixels: above the 200 megapixels that cameras make.
    fn default() -> Self {
        Limits {
            file_bytes: 512 << 20,
            pixels: 250_000_000,
            decoding_bytes: u64::MAX,
        }
    }
}

/// The cost of decoding an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Width x height.
    pub pixels: u64,
    /// The peak memory of decoding in bytes, without the bytes of the file: the picture, the buffers that its format
    /// needs, and a second copy if it has to be rotated.
    pub bytes: u64,
}

impl Image {
    /// Creates an image from `pixels`, `width * height * 3` bytes of RGB.
    ///
    /// # Errors
    ///
    /// If a side is zero or the number of bytes is wrong.
    pub fn from_rgb(width: u32, height: u32, pixels: Vec<u8>) -> Result<Image> {
        let bytes = u64::from(width) * u64::from(height) * 3;
        if bytes == 0 || bytes != pixels.len() as u64 {
            let expected =
                format!("width * height * 3 bytes, with sides above zero, for {width} x {height}");
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
    /// If the file is missing, a folder, empty, cut off, not an image, in a format that is not supported, or larger
    /// than the limits. Each error is one line that names the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Image> {
        let path = path.as_ref();
        let unreadable = |e: std::io::Error| Error::unread(path, &e);
        // Checked first, because opening a folder succeeds on some systems and fails with an obscure error on others.
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
    /// If the input is empty, cut off, not an image, in a format that is not supported, or larger than the limits.
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
    /// If the input is empty, cut off, not an image, in a format that is not supported, or larger than the limits.
    /// Reading stops at the limit, so an endless stream is refused too.
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
    /// If the bytes are empty, cut off, not an image, in a format that is not supported, or beyond the limits. The error's
    /// source is an [`Unreadable`], which has a kind.
    pub fn decode(bytes: &[u8], name: impl AsRef<Path>, limits: Limits) -> Result<Image> {
        Image::from_bytes(bytes, limits).map_err(|e| Error::file(name, &e).because(e))
    }

    /// Decodes the bytes of an image that has no name.
    ///
    /// # Errors
    ///
    /// If the bytes are not a usable image; the error has a kind and a text.
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

    /// Computes from the headers what decoding an image would cost; decodes nothing.
    ///
    /// # Errors
    ///
    /// If the headers show that the bytes are not a usable image.
    pub fn cost(bytes: &[u8], limits: Limits) -> Result<Cost, Unreadable> {
        Ok(Opened::new(bytes, limits)?.cost())
    }

    /// Returns the number of pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns the number of rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns the bytes, `[height, width, 3]`, red first.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Returns the bytes for changes in place.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// Returns the oddities of the file that the picture was read from; the picture still has all of its pixels. Each
    /// text continues the file's name (`photo.jpg: has no end marker, but all of its pixels`).
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Copies the warnings of `other`, the image that this one was made from.
    pub fn with_warnings_of(mut self, other: &Image) -> Image {
        self.warnings.clone_from(&other.warnings);
        self
    }

    /// Returns the picture, or refuses it if its file was odd.
    ///
    /// # Errors
    ///
    /// The first of the [`warnings`](Image::warnings), if there are any.
    pub fn strictly(self) -> Result<Image, Unreadable> {
        match self.warnings.first() {
            Some(warning) => Err(Fault::Damaged.because(warning.clone())),
            None => Ok(self),
        }
    }

    /// Returns the rows from the top, `width * 3` bytes each.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.pixels.chunks_exact(self.width as usize * 3)
    }
}

/// The result of a format's decoder: pixels as they are stored, their orientation and warnings.
struct Decoded {
    picture: RgbImage,
    orientation: Orientation,
    warnings: Vec<String>,
}

/// An image whose headers have been read and whose size is within the limits.
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
    /// Recognises the format and checks the size.
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

    /// Returns width and height as the file claims them, before rotation.
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

    /// Returns the cost of decoding.
    fn cost(&self) -> Cost {
        let (width, height) = self.size();
        let pixels = u64::from(width) * u64::from(height);
        let (decoding, picture, orientation) = match self {
            Opened::Bmp(bmp) => (bmp.decoding_bytes(), 3 * pixels, Orientation::NoTransforms),
            // The orientation is read together with the pixels, and is hardly ever present.
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

    /// Decodes the pixels.
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

/// Formats a number of pixels: `100 megapixels`, or the plain number if it is small.
fn megapixels(pixels: u64) -> String {
    match pixels {
        0..1_000_000 => format!("{pixels} pixels"),
        _ => format!("{} megapixels", pixels / 1_000_000),
    }
}
