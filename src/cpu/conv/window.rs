//! Any convolution, as a window that slides over a tile.
//!
//! A task copies the few input rows that its output rows read into a tile in cache, with a border of zeros. In the tile, a
//! tap of the kernel lies at the same distance from every pixel, which is what [`RowBlock`] requires.

use super::ConvArgs;
use super::copy::CopyPixels;
use crate::cpu::aligned::with_scratch;
use crate::cpu::kernel::{Output, RowBlock, multiply_block};
use crate::cpu::packed::tile_shape;
use crate::cpu::pixels::PixelsMut;
use crate::cpu::threads::{self, SharedMut};

/// The input pixels that an output pixel reads. The forward pass and the gradient with respect to the input both have this
/// form. Pairs are `[vertical, horizontal]`.
pub(super) struct SlidingWindow {
    pub(super) batch: usize,
    // Height and width of the input.
    pub(super) from: [usize; 2],
    pub(super) channels: usize,
    // Height and width of the output.
    pub(super) to: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    // Zeros before the first input pixel; negative in the gradient where the padding is at least as wide as the kernel.
    pub(super) padding: [isize; 2],
    // Distance between neighbouring input pixels, with zeros between them.
    pub(super) dilation: [usize; 2],
}

// Floats of a tile at most: it should leave room for the packed weights in the second-level cache.
const TILE_FLOATS: usize = 48 * 1024;
// The time to multiply one pixel, in units of the time to copy one.
const COPIES: usize = 12;

impl SlidingWindow {
    /// Multiplies with output pixels as rows of A, and the taps in the tile as their segments.
    pub(super) fn slide(&self, args: &ConvArgs, y: PixelsMut) {
        let weight = args.weight;
        let c = SharedMut::new(y.data);
        let lanes = weight.precision().lanes(self.channels);
        let (pixel_stride, merged) = tile_pixel(lanes);
        let row_floats = self.tile_width() * pixel_stride;
        let rows = self.rows_per_task(tile_shape(args.isa).0, row_floats);
        let tasks_per_image = self.to[0].div_ceil(rows);
        let segments = self.segments(pixel_stride, merged);
        let segment_len = if merged {
            self.kernel[1] * lanes
        } else {
            lanes
        };

        threads::for_each(self.batch * tasks_per_image, |task| {
            let image = task / tasks_per_image;
            let first = task % tasks_per_image * rows;
            let rows = rows.min(self.to[0] - first);
            with_scratch(self.tile_height(rows) * row_floats, |tile| {
                tile.fill(0.0);
                let position = TilePosition {
                    image,
                    first,
                    pixel_stride,
                };
                self.fill_tile(args, position, tile);
                let offsets: Vec<usize> = (0..rows * self.to[1])
                    .map(|i| {
                        let (row, column) = (i / self.to[1], i % self.to[1]);
                        row * self.stride[0] * row_floats + column * self.stride[1] * pixel_stride
                    })
                    .collect();
                let block = RowBlock {
                    data: tile,
                    offsets: &offsets,
                    k_stride: 1,
                    segments: &segments,
                    segment_len,
                };
                let out = Output {
                    c,
                    stride: y.stride,
                    row: (image * self.to[0] + first) * self.to[1],
                    accumulate: false,
                    after: args.after,
                };
                // SAFETY: `y` was checked to hold all pixels; each task has output rows of its own.
                unsafe { multiply_block(args.isa, &block, weight, 0, 0..weight.panels(), out) };
            });
        });
    }

    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.padding == [0, 0]
            && self.dilation == [1, 1]
    }

    fn tile_height(&self, rows: usize) -> usize {
        (rows - 1) * self.stride[0] + self.kernel[0]
    }

    fn tile_width(&self) -> usize {
        (self.to[1] - 1) * self.stride[1] + self.kernel[1]
    }

    fn segments(&self, pixel_stride: usize, merged: bool) -> Vec<usize> {
        let row = self.tile_width() * pixel_stride;
        let columns = if merged { 1 } else { self.kernel[1] };
        (0..self.kernel[0])
            .flat_map(|ky| (0..columns).map(move |kx| ky * row + kx * pixel_stride))
            .collect()
    }

    /// Output rows of one task. Of the numbers for which the tile is small enough, it is the one that gives the busiest thread
    /// the least work: multiplication, including the unused rows of the last strip, and copies. A sum does not depend on the
    /// task that computes it.
    fn rows_per_task(&self, strip: usize, row_floats: usize) -> usize {
        let fits =
            (TILE_FLOATS / row_floats.max(1)).saturating_sub(self.kernel[0] - 1) / self.stride[0];
        let cost = |rows: usize| {
            let tasks = self.batch * self.to[0].div_ceil(rows);
            let multiplied = (rows * self.to[1]).next_multiple_of(strip);
            let copied = self.tile_height(rows) * self.tile_width();
            tasks.div_ceil(threads::count()) * (COPIES * multiplied + copied)
        };
        // At least two tasks per image: if another program delays one thread, the others take over its remaining tasks.
        let most = fits.min(self.to[0].div_ceil(2)).max(1);
        (1..=most).rev().min_by_key(|&rows| cost(rows)).unwrap_or(1)
    }

    /// Copies the input rows that output rows `first..` of `image` read. The tile starts as zeros.
    fn fill_tile(&self, args: &ConvArgs, position: TilePosition, tile: &mut [f32]) {
        let TilePosition {
            image,
            first,
            pixel_stride,
        } = position;
        let ConvArgs {
            isa,
            x,
            before,
            weight,
            ..
        } = *args;
        let top = (first * self.stride[0]) as isize - self.padding[0];
        for (i, row) in tile
            .chunks_exact_mut(self.tile_width() * pixel_stride)
            .enumerate()
        {
            let Some(y) = source(top + i as isize, self.dilation[0], self.from[0]) else {
                continue;
            };
            // The tile's columns that hold input pixels, `dilation` apart.
            let dilation = self.dilation[1] as isize;
            let first_x = (-self.padding[1]).max(0).div_euclid(dilation)
                + isize::from((-self.padding[1]).max(0).rem_euclid(dilation) != 0);
            let last_x = (self.from[1] as isize - 1)
                .min((self.tile_width() as isize - 1 - self.padding[1]).div_euclid(dilation));
            if last_x < first_x {
                continue;
            }
            let start = (first_x * dilation + self.padding[1]) as usize;
            let pixel = (image * self.from[0] + y) * self.from[1] + first_x as usize;
            let copy = CopyPixels {
                from: &x.data[pixel * x.stride..],
                from_stride: x.stride,
                to: &mut row[start * pixel_stride..],
                to_stride: self.dilation[1] * pixel_stride,
                pixels: (last_x - first_x + 1) as usize,
                channels: self.channels,
                before,
                precision: weight.precision(),
            };
            copy.run(isa);
        }
    }
}

/// The position of a tile: its image, its first output row, and the floats from one of its pixels to the next.
struct TilePosition {
    image: usize,
    first: usize,
    pixel_stride: usize,
}

/// Returns the index of the input pixel at position `at` of an axis whose `len` pixels are `dilation` apart, if there is
/// one.
fn source(at: isize, dilation: usize, len: usize) -> Option<usize> {
    let at = usize::try_from(at).ok()?;
    (at % dilation == 0 && at / dilation < len).then_some(at / dilation)
}

/// Returns the floats from one pixel of the tile to the next where a pixel has `lanes` lanes, and whether neighbouring taps
/// of a row form one segment.
///
/// Few lanes (an image's three channels) are kept dense, so that a row of taps is one long segment. Otherwise the distance is
/// an odd number of cache lines: at a multiple of a high power of two, all pixels would fall into the same few sets of the
/// first-level cache.
fn tile_pixel(lanes: usize) -> (usize, bool) {
    if lanes < 16 {
        (lanes, true)
    } else {
        let lines = lanes.div_ceil(16);
        ((lines | 1) * 16, false)
    }
}
