//! GIF: decodes the first frame, onto a screen that may be too small for it.
//!
//! A GIF file describes a screen and frames that are painted on it (GIF89a specification). In some files the frame is
//! larger than the screen, the screen has no size, or no palette says which colours the indices mean. Browsers and
//! Pillow enlarge the screen and take the indices as shades of grey; this reader does the same.

use std::io::Cursor;

use gif::{ColorOutput, DecodeOptions, Decoder, MemoryLimit};

use super::fault::{self, COPY_AGAIN, Fault, Unreadable};
use super::{Decoded, orientation, room};

/// A GIF file that has been read up to the pixels of its first frame.
pub(super) struct Gif<'a> {
    decoder: Decoder<Source<'a>>,
    width: u32,
    height: u32,
}

/// The file's bytes, with a palette inserted if it has none.
type Source<'a> = std::io::Chain<Cursor<Vec<u8>>, Cursor<&'a [u8]>>;

/// Length of the signature and the description of the screen.
const SCREEN: usize = 13;
/// Flag of the screen: a palette for all frames follows, of 2^(n + 1) colours.
const HAS_PALETTE: u8 = 0x80;
const PALETTE_SIZE: u8 = 0x07;

impl<'a> Gif<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// If there is no frame, or headers are cut off or malformed.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let (screen, rest) = bytes
            .split_at_checked(SCREEN)
            .ok_or_else(|| fault::no_header("GIF"))?;
        let mut head = screen.to_vec();
        if head[10] & HAS_PALETTE == 0 {
            // A frame's own palette still has precedence.
            head[10] |= HAS_PALETTE | PALETTE_SIZE;
            head.extend((0..=255).flat_map(|grey| [grey; 3]));
        }
        let source = std::io::Read::chain(Cursor::new(head), Cursor::new(rest));

        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::Indexed);
        options.set_memory_limit(MemoryLimit::Unlimited);
        options.check_frame_consistency(false);
        options.check_lzw_end_code(false);
        options.allow_unknown_blocks(true);
        let mut decoder = options.read_info(source).map_err(|e| explain(&e))?;
        let (screen_width, screen_height) = (decoder.width(), decoder.height());
        let frame = decoder.next_frame_info().map_err(|e| explain(&e))?;
        let frame = frame.ok_or_else(|| {
            Fault::Damaged.because(format!(
                "is cut off: the GIF file holds no picture; {COPY_AGAIN}"
            ))
        })?;
        let width = u32::from(frame.left) + u32::from(frame.width);
        let height = u32::from(frame.top) + u32::from(frame.height);
        if frame.width == 0 || frame.height == 0 {
            return Err(fault::no_pixels(
                u32::from(frame.width),
                u32::from(frame.height),
            ));
        }
        Ok(Gif {
            width: width.max(u32::from(screen_width)),
            height: height.max(u32::from(screen_height)),
            decoder,
        })
    }

    /// Returns width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Decodes the pixels. Parts of the screen that the frame does not cover, and transparent pixels, become white.
    ///
    /// # Errors
    /// If pixels are missing (the message says how many), or data cannot be decompressed.
    pub fn decode(mut self) -> Result<Decoded, Unreadable> {
        let xmp = self.decoder.xmp_metadata().map(<[u8]>::to_vec);
        let palette = self.decoder.palette().map(<[u8]>::to_vec);
        let palette = palette.map_err(|e| explain(&e))?;
        let (colours, _) = palette.as_chunks::<3>();
        let frame = self
            .decoder
            .current_frame_info()
            .ok_or_else(|| fault::no_header("GIF"))?;
        let transparent = frame.transparent;
        let [left, top, width, height] =
            [frame.left, frame.top, frame.width, frame.height].map(usize::from);
        let order: Vec<usize> = match frame.interlaced {
            true => interlaced(height).collect(),
            false => (0..height).collect(),
        };

        let mut picture = room::picture(self.width, self.height, 255)?;
        let stride = 3 * self.width as usize;
        let mut indices = vec![0; width];
        for (done, y) in order.into_iter().enumerate() {
            // Missing data shows as an error or as a row that is not filled.
            if !self.decoder.fill_buffer(&mut indices).unwrap_or(false) {
                return Err(fault::rows_missing(done as u32, height as u32));
            }
            let start = (top + y) * stride + 3 * left;
            let (pixels, _) = picture.as_flat_samples_mut().samples[start..start + 3 * width]
                .as_chunks_mut::<3>();
            for (pixel, &index) in pixels.iter_mut().zip(&indices) {
                if transparent != Some(index) {
                    *pixel = colours.get(usize::from(index)).copied().unwrap_or_default();
                }
            }
        }
        Ok(Decoded {
            picture,
            orientation: orientation::read(None, xmp.as_deref()),
            warnings: Vec::new(),
        })
    }
}

/// Returns the rows in the order in which an interlaced frame stores them: every eighth from 0 and from 4, every fourth
/// from 2, every second from 1.
fn interlaced(height: usize) -> impl Iterator<Item = usize> {
    const PASSES: [(usize, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];
    PASSES
        .into_iter()
        .flat_map(move |(first, step)| (first..height).step_by(step))
}

fn explain(error: &gif::DecodingError) -> Unreadable {
    match error {
        gif::DecodingError::Io(_) => Fault::Damaged.because(format!(
            "is cut off: the GIF file ends before its pixels; {COPY_AGAIN}"
        )),
        _ => fault::damaged("GIF", "has malformed headers"),
    }
}
