//! Loops over `[rows, channels]`, and the sum over the rows.
//!
//! A feature map `[N, H, W, C]` is such a matrix with one row per pixel. Sums over rows are taken in blocks whose size
//! depends on the shape alone, each in `f32`, and the blocks are added in order in `f64`.

use std::ops::Range;

use super::Isa;
use super::elements::{get, put};
use super::pixels::{Pixels, PixelsMut};
use super::profile;
use super::simd::{Simd, WithSimd};
use super::threads;

// Rows of a block: about a quarter of a megabyte of floats, so that a second pass over them hits the cache.
fn block_rows(channels: usize) -> usize {
    (65_536 / channels.max(1)).clamp(16, 2048)
}

/// Calls `body(rows)` for each block of rows and returns the results in order.
pub(crate) fn blocks<R: Send>(
    rows: usize,
    channels: usize,
    body: impl Fn(Range<usize>) -> R + Sync + Send,
) -> Vec<R> {
    let step = block_rows(channels);
    threads::map(rows.div_ceil(step), |i| {
        body(i * step..rows.min((i + 1) * step))
    })
}

/// Calls `body(rows, block)` for each block of the rows that are written to `to`; `block` begins with the first of them.
pub(crate) fn write_blocks(
    to: PixelsMut,
    rows: usize,
    channels: usize,
    body: impl Fn(Range<usize>, PixelsMut) + Sync + Send,
) {
    let (step, stride) = (block_rows(channels), to.stride);
    // Otherwise the rows that do not fit would be left out without a word.
    assert!(rows == 0 || (rows - 1) * stride + channels <= to.data.len());
    threads::for_each_chunk(to.data, step * stride, |i, data| {
        let end = rows.min((i + 1) * step);
        body(i * step..end, PixelsMut::new(data, stride));
    });
}

/// Runs `body` on each of `rows`, one vector of channels at a time, compiled for the instruction set.
///
/// `body` loads and stores with [`get`] and [`put`], because the row may end within its last vector. With plain loops, the
/// compiler processed the channels beyond a multiple of four vectors one at a time, which took a third of the time.
pub(crate) fn each_vector(isa: Isa, rows: Range<usize>, channels: usize, body: impl RowBody) {
    isa.dispatch(EachVector {
        rows,
        channels,
        body,
    });
}

struct EachVector<F> {
    rows: Range<usize>,
    channels: usize,
    body: F,
}

/// Processes one vector of a row, starting at `channel`.
pub(crate) trait RowBody {
    fn run<S: Simd>(&mut self, s: S, row: usize, channel: usize);
}

impl<F: RowBody> WithSimd for EachVector<F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for row in self.rows {
            for channel in (0..self.channels).step_by(S::LANES) {
                self.body.run(s, row, channel);
            }
        }
    }
}

/// Computes the sum of each channel over all rows.
pub fn sum_rows(isa: Isa, x: Pixels, rows: usize, channels: usize) -> Vec<f32> {
    let sizes = format_args!("[{rows}, {channels}]");
    let _timer = profile::time("sum of rows", sizes);
    let parts = blocks(rows, channels, |rows| block_sum(isa, x, rows, channels));
    add_in_order(parts, channels)
}

/// Computes the sum of each channel over some rows.
pub(crate) fn block_sum(isa: Isa, x: Pixels, rows: Range<usize>, channels: usize) -> Vec<f32> {
    let mut sum = vec![0.0f32; channels];
    each_vector(isa, rows, channels, Sum { x, sum: &mut sum });
    sum
}

struct Sum<'a> {
    x: Pixels<'a>,
    sum: &'a mut [f32],
}

impl RowBody for Sum<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, row: usize, c: usize) {
        let x = get(s, self.x.row(row, self.sum.len()), c);
        let sum = s.add(get(s, self.sum, c), x);
        put(s, self.sum, c, sum);
    }
}

/// Adds sums of blocks in order.
pub(crate) fn add_in_order(parts: Vec<Vec<f32>>, channels: usize) -> Vec<f32> {
    let mut total = vec![0.0f64; channels];
    for part in parts {
        total
            .iter_mut()
            .zip(&part)
            .for_each(|(t, &p)| *t += f64::from(p));
    }
    total.into_iter().map(|t| t as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_written_once_and_what_lies_between_stays() {
        // Several blocks, of which the last is shorter, and rows of 3 channels that begin 5 floats apart.
        let rows = 2 * block_rows(3) + 7;
        let mut map = vec![0.0; rows * 5 - 2];
        write_blocks(PixelsMut::new(&mut map, 5), rows, 3, |rows, mut to| {
            for row in rows.clone() {
                to.row(row - rows.start, 3)
                    .iter_mut()
                    .for_each(|x| *x += row as f32 + 1.0);
            }
        });
        for (i, &x) in map.iter().enumerate() {
            let want = if i % 5 < 3 { i / 5 + 1 } else { 0 };
            assert_eq!(x, want as f32, "element {i}");
        }
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn a_map_without_room_for_all_rows_is_refused() {
        let mut map = vec![0.0; 11];
        write_blocks(PixelsMut::new(&mut map, 4), 3, 4, |_, _| {});
    }
}
