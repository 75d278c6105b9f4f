//! Any convolution, by a window that slides over a tile.
//!
//! A task copies the few input rows that its output rows look at into a tile in cache, with a border of zeros. In the
//! tile a tap of the kernel is the same distance away from every pixel, which is just what [`RowBlock`] describes.

use super::copy::CopyPixels;
use super::{Job, PixelsMut};
use crate::cpu::aligned::with_scratch;
use crate::cpu::kernel::{Output, RowBlock, multiply_block};
use crate::cpu::packed::tile_shape;
use crate::cpu::threads::{self, SharedMut};

/// How output pixels look at input pixels: the forward pass and the gradient by the input are both of this
/// form.
pub(super) struct Window {
    pub(super) batch: usize,
    pub(super) from: [usize; 2],
    pub(super) channels: usize,
    pub(super) to: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    // Zeros before the first input pixel; fewer than none where the padding was wider than the kernel.
    pub(super) before: [isize; 2],
    // Steps from one input pixel to the next, zeros between.
    pub(super) spread: [usize; 2],
}

// A tile should leave room for the packed weights in the second-level cache.
const TILE_FLOATS: usize = 48 * 1024;
// To multiply a pixel takes about as long as to copy this many.
const COPIES: usize = 12;

impl Window {
    /// Output pixels are rows of A, the tile's taps are segments of them.
    pub(super) fn slide(&self, job: &Job, y: PixelsMut) {
        let weight = job.weight;
        let c = SharedMut::new(y.data);
        let words = weight.precision().words(self.channels);
        let (pixel_stride, merged) = tile_pixel(words);
        let row_floats = self.tile_width() * pixel_stride;
        let rows = self.rows_per_task(tile_shape(job.isa).0, row_floats);
        let tasks_per_image = self.to[0].div_ceil(rows);
        let segments = self.segments(pixel_stride, merged);
        let segment_len = if merged {
            self.kernel[1] * words
        } else {
            words
        };

        threads::for_each(self.batch * tasks_per_image, |task| {
            let image = task / tasks_per_image;
            let first = task % tasks_per_image * rows;
            let rows = rows.min(self.to[0] - first);
            with_scratch(self.tile_height(rows) * row_floats, |tile| {
                tile.fill(0.0);
                let place = Place {
                    image,
                    first,
                    pixel_stride,
                };
                self.fill_tile(job, place, tile);
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
                    after: job.after,
                };
                // SAFETY: `y` was checked to hold all pixels; each task has output rows of its own.
                unsafe { multiply_block(job.isa, &block, weight, 0, 0..weight.panels(), out) };
            });
        });
    }

    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.before == [0, 0]
            && self.spread == [1, 1]
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

    /// Output rows of one task: no more than the tile may hold, and among those the number with which the busiest thread
    /// has least to do, multiplying, with strips that pixels do not fill, and copying. A sum is the same in whichever
    /// task it is taken.
    fn rows_per_task(&self, strip: usize, row_floats: usize) -> usize {
        let fits =
            (TILE_FLOATS / row_floats.max(1)).saturating_sub(self.kernel[0] - 1) / self.stride[0];
        let cost = |rows: usize| {
            let tasks = self.batch * self.to[0].div_ceil(rows);
            let multiplied = (rows * self.to[1]).next_multiple_of(strip);
            let copied = self.tile_height(rows) * self.tile_width();
            tasks.div_ceil(threads::count()) * (COPIES * multiplied + copied)
        };
        // A task more for each thread makes up for what else the machine does.
        let most = fits.min(self.to[0].div_ceil(2)).max(1);
        (1..=most).rev().min_by_key(|&rows| cost(rows)).unwrap_or(1)
    }

    /// Copies the input rows that output rows `first..` of `image` look at. The tile starts as zeros.
    fn fill_tile(&self, job: &Job, place: Place, tile: &mut [f32]) {
        let Place {
            image,
            first,
            pixel_stride,
        } = place;
        let Job {
            isa,
            x,
            before,
            weight,
            ..
        } = *job;
        let top = (first * self.stride[0]) as isize - self.before[0];
        for (i, row) in tile
            .chunks_exact_mut(self.tile_width() * pixel_stride)
            .enumerate()
        {
            let Some(y) = source(top + i as isize, self.spread[0], self.from[0]) else {
                continue;
            };
            // The tile's columns that hold input pixels, `spread` apart.
            let spread = self.spread[1] as isize;
            let first_x = (-self.before[1]).max(0).div_euclid(spread)
                + isize::from((-self.before[1]).max(0).rem_euclid(spread) != 0);
            let last_x = (self.from[1] as isize - 1)
                .min((self.tile_width() as isize - 1 - self.before[1]).div_euclid(spread));
            if last_x < first_x {
                continue;
            }
            let start = (first_x * spread + self.before[1]) as usize;
            let pixel = (image * self.from[0] + y) * self.from[1] + first_x as usize;
            let copy = CopyPixels {
                from: &x.data[pixel * x.stride..],
                from_stride: x.stride,
                to: &mut row[start * pixel_stride..],
                to_stride: self.spread[1] * pixel_stride,
                pixels: (last_x - first_x + 1) as usize,
                channels: self.channels,
                before,
                precision: weight.precision(),
            };
            copy.run(isa);
        }
    }
}

/// Where a tile belongs: its image, its first output row, and the floats from one of its pixels to the next.
struct Place {
    image: usize,
    first: usize,
    pixel_stride: usize,
}

/// The input coordinate at position `at` of an axis whose `len` pixels are `spread` apart, if one is there.
fn source(at: isize, spread: usize, len: usize) -> Option<usize> {
    let at = usize::try_from(at).ok()?;
    (at % spread == 0 && at / spread < len).then_some(at / spread)
}

/// Words from one pixel of the tile to the next where a pixel is `words`, and whether neighbouring taps of a row are one
/// segment.
///
/// Few words (an image's three channels) are kept dense, so that a row of taps is one long run. Otherwise the distance
/// is an odd number of cache lines: pixels an even power apart would all fall into the same few sets of the first-level
/// cache.
fn tile_pixel(words: usize) -> (usize, bool) {
    if words < 16 {
        (words, true)
    } else {
        let lines = words.div_ceil(16);
        ((lines | 1) * 16, false)
    }
}
