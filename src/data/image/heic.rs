//! HEIC, the format of telephones' cameras, in a build with the feature `heic`.
//!
//! The pixels are coded as a frame of HEVC video (ITU-T H.265), which is covered by patents in many countries. Support
//! is therefore off unless the builder enables it. The container gives the picture's orientation; EXIF data only
//! repeats it and is not read.

use ::image::RgbImage;
use ::image::metadata::Orientation;
use heic_rs::{DecodeOptions, Error, PixelLayout};

use super::Decoded;
use super::fault::{self, COPY_AGAIN, Fault, Unreadable};
use super::pixels::over_white;

/// A HEIC file whose container has been read.
pub(super) struct Heic<'a> {
    bytes: &'a [u8],
    width: u32,
    height: u32,
    has_alpha: bool,
}

impl<'a> Heic<'a> {
    /// Reads the container.
    ///
    /// # Errors
    /// If the container is cut off or malformed, or its coding is not supported.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let info = heic_rs::probe(bytes).map_err(explain)?;
        Ok(Heic {
            bytes,
            width: info.width,
            height: info.height,
            has_alpha: info.has_alpha,
        })
    }

    /// Returns width and height in pixels, as the picture is shown.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Returns the peak memory of decoding, in bytes: the samples of all channels (two bytes each if they have more
    /// than eight bits), the pixels with alpha, and the pixels as RGB.
    pub fn decoding_bytes(&self) -> u64 {
        let channels = if self.has_alpha { 8 + 4 + 3 } else { 6 + 3 };
        channels * u64::from(self.width) * u64::from(self.height)
    }

    /// Decodes the pixels.
    ///
    /// # Errors
    /// If the data is cut off or inconsistent.
    pub fn decode(self) -> Result<Decoded, Unreadable> {
        let options = DecodeOptions {
            layout: match self.has_alpha {
                true => PixelLayout::Rgba8,
                false => PixelLayout::Rgb8,
            },
            decode_alpha: self.has_alpha,
            // The number of pixels was checked before.
            max_pixels: None,
            threads: Some(1),
            ..DecodeOptions::default()
        };
        let image = heic_rs::decode(self.bytes, &options).map_err(explain)?;
        let rgb = match self.has_alpha {
            false => image.data,
            true => {
                let (pixels, _) = image.data.as_chunks::<4>();
                let flat = |&[r, g, b, alpha]: &[u8; 4]| [r, g, b].map(|c| over_white(c, alpha));
                pixels.iter().flat_map(flat).collect()
            }
        };
        let picture = RgbImage::from_raw(image.width, image.height, rgb);
        Ok(Decoded {
            picture: picture.ok_or_else(|| fault::damaged("HEIC", "contradicts itself"))?,
            orientation: Orientation::NoTransforms,
            warnings: Vec::new(),
        })
    }
}

fn explain(error: Error) -> Unreadable {
    match error {
        Error::Truncated(_) => Fault::Damaged.because(format!(
            "is cut off: the HEIC file ends before its pixels; {COPY_AGAIN}"
        )),
        Error::Unsupported(_) => fault::unsupported("HEIC", "its coding"),
        _ => fault::damaged("HEIC", "has a malformed container"),
    }
}
