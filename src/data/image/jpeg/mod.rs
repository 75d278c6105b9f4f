//! JPEG: two decoders, and the choice between them.
//!
//! `zune-jpeg`, in Rust with SIMD, decodes the features that nearly all files use: Huffman coding, all components in
//! the first scan, and one to four luma samples for each sample of a chroma. It is the faster decoder, but other
//! features it decodes wrongly or not at all. The C library that Pillow and browsers build on (`mozjpeg`, a
//! libjpeg-turbo) decodes the rest: arithmetic coding, components in separate scans, other sampling factors, CMYK,
//! contradictory colour markers, and frames of motion JPEG without Huffman tables. It can also decode at eighths of the
//! size, for pictures far larger than any encoder needs. The choice is made from the file's headers, never by a failed
//! attempt.
//!
//! Neither decoder reports how much of a picture was present. [`rows_present`] determines it if a file has no end
//! marker or a decoder gave warnings.

mod encode;
mod headers;
mod turbo;

use ::image::RgbImage;
use ::image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

use self::headers::{Coding, Headers};
use super::fault::{self, COPY_AGAIN, Fault, Unreadable};
use super::{Decoded, orientation};

/// A picture of more pixels than this is decoded at an eighth, a quarter or half of its size.
const REDUCE_ABOVE: u64 = 40_000_000;
/// The length that its short side then keeps at least: eight times the 256 pixels to which encoders' recipes scale.
const SHORT_SIDE: u32 = 2048;
/// Limit for the bytes of coefficients. If there are several scans, a decoder keeps all coefficients until the last.
const MOST_COEFFICIENTS: u64 = 700_000_000;

/// A JPEG file whose headers have been read.
pub(super) struct Jpeg<'a> {
    bytes: &'a [u8],
    headers: Headers<'a>,
}

impl<'a> Jpeg<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// If neither decoder reads this kind of JPEG, or headers are cut off or inconsistent.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let headers = Headers::read(bytes)?;
        let components = &headers.frame.components;
        let largest = |of: fn(&headers::Component) -> u8| components.iter().map(of).max();
        let widest = largest(|c| c.horizontal).unwrap_or(0);
        let highest = largest(|c| c.vertical).unwrap_or(0);
        for component in components {
            let (horizontal, vertical) = (component.horizontal, component.vertical);
            if !(1..=4).contains(&horizontal) || !(1..=4).contains(&vertical) {
                return Err(fault::damaged("JPEG", "names impossible sampling factors"));
            }
            if widest % horizontal != 0 || highest % vertical != 0 {
                let what = "sampling factors that are not multiples of each other";
                return Err(fault::unsupported("JPEG", what));
            }
        }
        let jpeg = Jpeg { bytes, headers };
        jpeg.check_length()?;
        Ok(jpeg)
    }

    /// Refuses a large picture if the file has too few bytes for it, before anything is decoded. A decoder would invent
    /// the missing pixels, which takes seconds for millions of them.
    ///
    /// The shortest Huffman code has one bit. In a sequential file a block takes at least two codes: its average and
    /// the end of its details. In a progressive file it takes at least one, its average, because one code can end the
    /// details of many blocks.
    fn check_length(&self) -> Result<(), Unreadable> {
        let Headers { frame, .. } = &self.headers;
        let pixels = u64::from(frame.width) * u64::from(frame.height);
        // For smaller pictures, counting the rows that are present is cheap and gives a better message.
        if pixels < 1_000_000 || frame.is_arithmetic {
            return Ok(());
        }
        let largest = |of: fn(&headers::Component) -> u8| {
            u64::from(frame.components.iter().map(of).max().unwrap_or(1))
        };
        let (widest, highest) = (largest(|c| c.horizontal), largest(|c| c.vertical));
        let blocks = frame.components.iter().map(|component| {
            let (horizontal, vertical) = (component.horizontal, component.vertical);
            let columns = (u64::from(frame.width) * u64::from(horizontal)).div_ceil(8 * widest);
            let rows = (u64::from(frame.height) * u64::from(vertical)).div_ceil(8 * highest);
            columns * rows
        });
        let bits = match frame.coding {
            Coding::Sequential => 2,
            Coding::Progressive => 1,
        };
        let needed = (bits * blocks.sum::<u64>()).div_ceil(8);
        let present = self.headers.data_ends - self.headers.data_begins;
        match (present as u64) < needed {
            true => Err(Fault::Damaged.because(format!(
                "is cut off: {present} bytes cannot hold its {} x {} pixels; {COPY_AGAIN}",
                frame.width, frame.height
            ))),
            false => Ok(()),
        }
    }

    /// Returns width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.headers.frame.width, self.headers.frame.height)
    }

    /// Returns the camera's orientation.
    pub fn orientation(&self) -> Orientation {
        orientation::read(self.headers.exif, self.headers.xmp)
    }

    /// Returns the size of the decoded picture in bytes.
    pub fn picture_bytes(&self) -> u64 {
        let eighths = u64::from(self.eighths());
        let side = |pixels: u32| (u64::from(pixels) * eighths).div_ceil(8);
        let (width, height) = self.size();
        3 * side(width) * side(height)
    }

    /// Returns the peak memory of decoding, in bytes: the picture and, if there are several scans, all coefficients.
    pub fn decoding_bytes(&self) -> u64 {
        let kept = self.coefficients().unwrap_or(0);
        // The data is copied and continued if the end marker is missing.
        let copy = if self.headers.has_end {
            0
        } else {
            self.bytes.len() as u64
        };
        copy + kept + self.picture_bytes()
    }

    /// Decodes the pixels.
    ///
    /// # Errors
    /// If pixels are missing (the message says how many), the data is inconsistent, or decoding needs more memory than
    /// granted.
    pub fn decode(self) -> Result<Decoded, Unreadable> {
        self.check_scans()?;
        self.check_memory()?;
        let mut warnings = Vec::new();
        let mut ended = Vec::new();
        let mut bytes = self.bytes;
        if !self.headers.has_end {
            self.check_rows()?;
            warnings.push("has no end marker, but all of its pixels".to_string());
            ended.extend_from_slice(&bytes[..self.headers.data_ends]);
            ended.extend_from_slice(&END_MARKER);
            bytes = &ended;
        }

        let eighths = self.eighths();
        let by_rust = match eighths {
            8 if self.is_ordinary() => rust(bytes),
            _ => None,
        };
        let picture = match by_rust {
            Some(picture) => {
                // This decoder fills in missing pixels without a warning. If the picture looks like that, it is decoded
                // again, averages only, by the library that gives warnings.
                if warnings.is_empty()
                    && ends_alike(&picture)
                    && turbo::decode(bytes, 1)?.has_warnings
                {
                    self.check_rows()?;
                }
                picture
            }
            None => {
                let decoded = turbo::decode(bytes, eighths)?;
                let is_unchecked = warnings.is_empty();
                // Something was filled in or skipped; find out whether pixels are missing. An arithmetic decoder cannot
                // know.
                if is_unchecked && (decoded.has_warnings || self.headers.frame.is_arithmetic) {
                    self.check_rows()?;
                }
                if is_unchecked && decoded.has_warnings {
                    warnings.push("holds damaged data; parts of the picture may be wrong".into());
                }
                RgbImage::from_raw(decoded.width, decoded.height, decoded.pixels)
                    .ok_or_else(|| fault::damaged("JPEG", "contradicts itself"))?
            }
        };
        Ok(Decoded {
            picture,
            orientation: self.orientation(),
            warnings,
        })
    }

    /// Whether the Rust decoder reads this kind of file, and with the same result as all other readers.
    fn is_ordinary(&self) -> bool {
        let Headers { frame, .. } = &self.headers;
        let sampling = |at: usize| {
            let component = frame.components[at];
            (component.horizontal, component.vertical)
        };
        let is_usual = match frame.components.len() {
            1 => sampling(0) == (1, 1),
            3 => {
                matches!(sampling(0), (1, 1) | (2, 1) | (1, 2) | (2, 2))
                    && sampling(1) == (1, 1)
                    && sampling(2) == (1, 1)
                    && self.headers.is_ycbcr()
                    && self.headers.adobe.is_none_or(|transform| transform == 1)
                    && !self.headers.names_rgb()
            }
            _ => false,
        };
        let is_interleaved = frame.coding == Coding::Progressive
            || self.headers.in_first_scan == frame.components.len();
        is_usual && is_interleaved && !frame.is_arithmetic && !self.headers.lacks_tables
    }

    /// Returns the number of eighths of its size at which the picture is decoded.
    fn eighths(&self) -> u8 {
        let (width, height) = self.size();
        if u64::from(width) * u64::from(height) <= REDUCE_ABOVE {
            return 8;
        }
        let short = u64::from(width.min(height));
        let keeps_enough = |eighths: &u8| short * u64::from(*eighths) >= u64::from(SHORT_SIDE) * 8;
        [1, 2, 4].into_iter().find(keeps_enough).unwrap_or(8)
    }

    /// Returns the bytes of the coefficients of all blocks, if they have to be kept until the last scan.
    fn coefficients(&self) -> Option<u64> {
        let Headers { frame, .. } = &self.headers;
        let keeps_all = frame.coding == Coding::Progressive
            || self.headers.in_first_scan < frame.components.len();
        let largest = |of: fn(&headers::Component) -> u8| {
            u64::from(frame.components.iter().map(of).max().unwrap_or(1))
        };
        let full = largest(|c| c.horizontal) * largest(|c| c.vertical);
        let pixels = u64::from(frame.width) * u64::from(frame.height);
        let samples = frame.components.iter().map(|component| {
            let share = u64::from(component.horizontal) * u64::from(component.vertical);
            pixels * share / full
        });
        // Two bytes for each coefficient.
        keeps_all.then(|| 2 * samples.sum::<u64>())
    }

    /// Refuses a picture with too many coefficients.
    fn check_memory(&self) -> Result<(), Unreadable> {
        let Headers { frame, .. } = &self.headers;
        let pixels = u64::from(frame.width) * u64::from(frame.height);
        if let Some(coefficients) = self.coefficients().filter(|&all| all > MOST_COEFFICIENTS) {
            let kind = match frame.coding {
                Coding::Progressive => "progressive JPEG",
                Coding::Sequential => "JPEG with several scans",
            };
            return Err(Fault::TooLarge.because(format!(
                "is a {kind} of {} megapixels, which takes {} MB to decode; scale it down or save it as a baseline JPEG \
                 first",
                pixels / 1_000_000,
                coefficients / 1_000_000
            )));
        }
        Ok(())
    }

    /// Refuses a picture whose scans leave out a colour or the last bits of coefficients that they began.
    fn check_scans(&self) -> Result<(), Unreadable> {
        let Headers { frame, .. } = &self.headers;
        let is_enough = match self.headers.has_end {
            true => self.headers.has_all_begun,
            false => self.headers.has_all,
        };
        let what = match frame.coding {
            _ if is_enough => return Ok(()),
            Coding::Sequential => "one of its colours is missing",
            Coding::Progressive => "the last of its scans, which hold the details, are missing",
        };
        Err(Fault::Damaged.because(format!("is cut off: {what}; {COPY_AGAIN}")))
    }

    /// Refuses a picture with missing rows.
    fn check_rows(&self) -> Result<(), Unreadable> {
        let height = self.headers.frame.height;
        let present = rows_present(&self.bytes[..self.headers.data_ends], &self.headers)?;
        match present < height {
            true => Err(fault::rows_missing(present, height)),
            false => Ok(()),
        }
    }
}

/// The side of a block of coefficients, in pixels.
const BLOCK_SIDE: u32 = 8;

/// Whether the last blocks of the picture equal each other but for their average. If data ends before the pixels do, a
/// decoder continues with zeros, and the blocks that it invents have this property. A photo seldom ends so.
fn ends_alike(picture: &RgbImage) -> bool {
    let (width, height) = picture.dimensions();
    let (across, down) = ((width - 1) / BLOCK_SIDE, (height - 1) / BLOCK_SIDE);
    match (across, down) {
        (0, 0) => false,
        (0, _) => is_alike(picture, (0, down), (0, down - 1)),
        // A large photo often ends with two blocks of sky, but not with eight.
        _ => (0..(across / 16).clamp(1, 8)).all(|k| {
            let block = across - k;
            is_alike(picture, (block, down), (block - 1, down))
        }),
    }
}

/// Whether the blocks at these positions, in units of blocks, differ only by their average.
fn is_alike(picture: &RgbImage, one: (u32, u32), other: (u32, u32)) -> bool {
    let (left, top) = (one.0 * BLOCK_SIDE, one.1 * BLOCK_SIDE);
    let (back, up) = (
        (one.0 - other.0) * BLOCK_SIDE,
        (one.1 - other.1) * BLOCK_SIDE,
    );
    let difference = |x: u32, y: u32| {
        let (here, there) = (picture.get_pixel(x, y), picture.get_pixel(x - back, y - up));
        [0, 1, 2].map(|c| i16::from(here.0[c]) - i16::from(there.0[c]))
    };
    // Upsampling of chroma blurs the edges of blocks, so these are left out.
    let inside = |from: u32, end: u32| {
        let to = end.min(from + BLOCK_SIDE);
        if to - from > 2 {
            from + 1..to - 1
        } else {
            from..to
        }
    };
    let rows = inside(top, picture.height());
    let columns = inside(left, picture.width());
    let average = difference(columns.start, rows.start);
    rows.into_iter().all(|y| {
        columns.clone().all(|x| {
            let difference = difference(x, y);
            (0..3).all(|c| difference[c].abs_diff(average[c]) <= 4)
        })
    })
}

/// The end marker.
const END_MARKER: [u8; 2] = [0xFF, 0xD9];

/// Returns the number of rows, from the top, that the entropy-coded data at the end of `bytes` covers.
///
/// If data is missing, a decoder continues with whatever follows. The data is therefore continued in several ways. The
/// rows that come out equal each time did not need the missing data.
fn rows_present(bytes: &[u8], headers: &Headers<'_>) -> Result<u32, Unreadable> {
    const LENGTH: usize = 4096;
    const FIRST_BYTES: [u8; 4] = [0x00, 0x55, 0xAA, 0xF0];
    // A sequence of this many zeros is not image data; a file system filled it in.
    const MIN_ZEROS: usize = 256;
    let without = |filling: u8| {
        let last = bytes.iter().rposition(|&byte| byte != filling);
        last.map_or(0, |last| last + 1)
    };
    let end = match without(0) {
        end if bytes.len() - end >= MIN_ZEROS => end,
        // Half of a marker or of a coded 0xFF.
        _ => without(0xFF),
    };
    // An arithmetic coder omits zeros at the end of its data; they are not missing.
    let zeros = if headers.frame.is_arithmetic { 8 } else { 0 };

    let continued = |first: u8| {
        let mut state = u32::from(first);
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Never 0xFF, which would begin a marker.
            (state >> 24) as u8 & 0xFE
        });
        let mut longer = Vec::with_capacity(end + zeros + 1 + LENGTH + END_MARKER.len());
        longer.extend_from_slice(&bytes[..end]);
        longer.extend(std::iter::repeat_n(0, zeros));
        longer.push(first);
        longer.extend(noise.take(LENGTH));
        longer.extend(END_MARKER);
        turbo::digests(&longer)
    };
    let one = continued(FIRST_BYTES[0])?;
    let mut present = one.len();
    for first in &FIRST_BYTES[1..] {
        let other = continued(*first)?;
        present = one
            .iter()
            .zip(&other)
            .take(present)
            .take_while(|(a, b)| a == b)
            .count();
    }
    Ok(present as u32)
}

/// Decodes an ordinary file; `None` if the decoder finds anything that a whole file does not have.
fn rust(bytes: &[u8]) -> Option<RgbImage> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().ok()?;
    let (width, height) = decoder.dimensions()?;
    RgbImage::from_raw(width as u32, height as u32, pixels)
}
