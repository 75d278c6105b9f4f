//! The gradient with respect to the weights: `dw = A^T dy`. The rows of A are the windows of input pixels that the forward
//! pass multiplies by the weights.
//!
//! A column of A is one tap and one channel. The columns become the rows of the product, whose inner axis runs over all
//! output pixels. Channels are contiguous, so a strip of the transposed A is copied several elements at a time. Where there
//! are few weights and many pixels, as in the first layers, the sum over pixels is divided into parts, so that all cores
//! have work.

use std::ops::Range;

use super::Method;
use super::winograd::Tiling;
use crate::cpu::after::{Affine, After};
use crate::cpu::aligned::with_scratch;
use crate::cpu::kernel::{Output, RowBlock, multiply_block};
use crate::cpu::packed::{PackedB, tile_shape};
use crate::cpu::pixels::Pixels;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::threads::{self, SharedMut};
use crate::cpu::{Isa, Precision};
use crate::cpu::{memory, profile};
use crate::sizes::ConvShape;

// Output pixels whose products are summed before the running sum is updated.
const WEIGHT_PIXELS: usize = 256;
// Rows of the transposed A in one task at most. With more rows, fewer tasks fetch and pack the same rows of `dy`.
const WEIGHT_ROWS: usize = 256;
// Pixels from the pixel that is copied to the one that is prefetched.
const PREFETCH_PIXELS: usize = 8;
// Sums over pixels are divided into at most this many parts, which are added in order at the end.
const WEIGHT_PARTS: usize = 8;

/// Floats from one strip to the next. The last pixel of a strip writes whole vectors, which may reach into the 16 floats of
/// padding, but not into the next strip.
fn strip_len(height: usize) -> usize {
    height * WEIGHT_PIXELS + 16
}

/// Computes `dw`, the gradient with respect to the weights, `[O, C, kh, kw]`, from the input, `[N, H, W, C]`, with `before`
/// applied as in [`forward`](super::forward), and the output's gradient `dy`, `[N, OH, OW, O]`.
pub fn grad_weight(
    isa: Isa,
    shape: &ConvShape,
    x: Pixels,
    before: Option<Affine>,
    dy: Pixels,
    dw: &mut [f32],
) {
    let _timer = profile::time_flops("conv gradient, weight", shape, shape.flops());
    let window = shape.window();
    let tiling = Tiling::new(&window, shape.out_channels);
    if window.method(shape.out_channels, Precision::F32) == Method::Winograd
        && tiling.suits_grad_weight()
    {
        tiling.grad_weight(isa, x, before, dy, dw);
    } else {
        direct(isa, shape, x, before, dy, dw);
    }
}

/// Computes the gradient with respect to the weights by its definition, without Winograd's transforms.
pub(super) fn direct(
    isa: Isa,
    shape: &ConvShape,
    x: Pixels,
    before: Option<Affine>,
    dy: Pixels,
    dw: &mut [f32],
) {
    let (o, c, taps) = (shape.out_channels, shape.channels, shape.taps());
    let (k, pixels) = (shape.k(), shape.out_pixels());
    if k == 0 {
        return;
    }
    let source = Source::new(shape, x, before);
    let step = threads::equal_part(k, WEIGHT_ROWS);
    let blocks: Vec<Range<usize>> = (0..k)
        .step_by(step)
        .map(|first| first..(first + step).min(k))
        .collect();
    let parts = WEIGHT_PARTS
        .min(pixels.div_ceil(8 * WEIGHT_PIXELS))
        .min(16usize.div_ceil(blocks.len()))
        .max(1);
    let part_pixels = pixels.div_ceil(parts).next_multiple_of(WEIGHT_PIXELS);
    let mut sums = memory::zeros(parts * k * o);
    let c_out = SharedMut::new(&mut sums);
    let height = tile_shape(isa).0;
    threads::for_each(blocks.len() * parts, |task| {
        let (part, block) = (task / blocks.len(), &blocks[task % blocks.len()]);
        let first = part * part_pixels;
        let strip = strip_len(height);
        let offsets: Vec<usize> = (0..block.len())
            .map(|i| i / height * strip + i % height)
            .collect();
        let mut b = PackedB::zeroed(isa, WEIGHT_PIXELS, o);
        with_scratch(block.len().div_ceil(height) * strip, |strips| {
            for start in (first..(first + part_pixels).min(pixels)).step_by(WEIGHT_PIXELS) {
                let n = WEIGHT_PIXELS.min(pixels - start);
                b.set_rows(n, &dy.data[start * dy.stride..], dy.stride);
                isa.dispatch(Gather {
                    source: &source,
                    block: block.clone(),
                    start,
                    n,
                    strips: &mut *strips,
                });
                let a = RowBlock {
                    data: strips,
                    offsets: &offsets,
                    k_stride: height,
                    segments: &[0],
                    segment_len: n,
                };
                let out = Output {
                    c: c_out,
                    stride: o,
                    row: part * k + block.start,
                    accumulate: true,
                    after: After::Nothing,
                };
                // SAFETY: `sums` has `parts * k` rows of `o`; each task has rows of its own.
                unsafe { multiply_block(isa, &a, &b, 0, 0..b.panels(), out) };
            }
        });
    });
    // From [part, tap, c, o] to [o, c, tap].
    threads::for_each_chunk(dw, c * taps, |o_index, weights| {
        for (i, w) in weights.iter_mut().enumerate() {
            let (c_index, tap) = (i / taps, i % taps);
            let of_part = |p| sums[(p * k + tap * c + c_index) * o + o_index];
            *w = (0..parts).map(of_part).sum();
        }
    });
    memory::recycle(sums);
}

/// The rows of the transposed A: for each tap a segment of elements that lie side by side in the input.
///
/// Usually a segment is a pixel's channels. Where these are few and the pixels are contiguous, a whole row of taps is one
/// segment, and there are as many taps as the kernel has rows.
struct Source<'a> {
    shape: &'a ConvShape,
    x: Pixels<'a>,
    before: Option<Affine<'a>>,
    taps: [usize; 2],
    segment: usize,
}

impl<'a> Source<'a> {
    fn new(shape: &'a ConvShape, x: Pixels<'a>, before: Option<Affine<'a>>) -> Self {
        let [height, width] = shape.kernel;
        let joined = shape.channels < 16 && x.stride == shape.channels && before.is_none();
        let (taps, segment) = match joined {
            true => ([height, 1], width * shape.channels),
            false => ([height, width], shape.channels),
        };
        Source {
            shape,
            x,
            before,
            taps,
            segment,
        }
    }

    /// Returns where the segment begins that the output pixel in column `ox` reads under `tap`, counted from the beginning of an
    /// input row. It is negative, or beyond the row's end, where the segment lies partly or wholly in the padding.
    fn start(&self, ox: usize, tap: usize) -> isize {
        let column = (ox * self.shape.stride[1] + tap % self.taps[1]) as isize;
        (column - self.shape.padding[1] as isize) * self.x.stride as isize
    }
}

/// Writes the rows `block` of the transposed A for `n` output pixels from `start` on, as strips of a tile's height:
/// `[strip, pixel, row]`.
struct Gather<'a> {
    source: &'a Source<'a>,
    block: Range<usize>,
    start: usize,
    n: usize,
    strips: &'a mut [f32],
}

impl WithSimd for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gather {
            source, ref block, ..
        } = self;
        let (shape, x) = (source.shape, source.x);
        let (out_height, out_width) = (shape.out_height(), shape.out_width());
        let row_len = (shape.width - 1) * x.stride + shape.channels;
        let strip = strip_len(S::TILE_ROWS);
        // The elements of one pixel, and padding so that the last strip can be read as a whole vector.
        let mut line = [0.0; WEIGHT_ROWS + 32];
        let (mut ox, mut oy) = (self.start % out_width, self.start / out_width % out_height);
        let mut image = self.start / (out_height * out_width);
        for i in 0..self.n {
            let mut done = block.start;
            while done < block.end {
                let (tap, first) = (done / source.segment, done % source.segment);
                let len = (source.segment - first).min(block.end - done);
                let to = &mut line[done - block.start..][..len];
                done += len;
                let y = oy * shape.stride[0] + tap / source.taps[1];
                let Some(y) = y
                    .checked_sub(shape.padding[0])
                    .filter(|&y| y < shape.height)
                else {
                    to.fill(0.0);
                    continue;
                };
                let row = &x.data[(image * shape.height + y) * shape.width * x.stride..][..row_len];
                let start = source.start(ox, tap) + first as isize;
                let ahead = row
                    .as_ptr()
                    .wrapping_offset(start + (PREFETCH_PIXELS * x.stride) as isize);
                for line in (0..len).step_by(16) {
                    s.prefetch(ahead.wrapping_add(line));
                }
                let before = source.before.map(|f| f.channels(first..first + len));
                copy_clipped(s, row, start, before, to);
            }
            // Whole vectors may be a little longer than a strip is high: the next pixel overwrites the excess lanes.
            for j in 0..block.len().div_ceil(S::TILE_ROWS) {
                let (from, to) = (j * S::TILE_ROWS, j * strip + i * S::TILE_ROWS);
                for v in (0..S::TILE_ROWS).step_by(S::LANES) {
                    s.store(&mut self.strips[to + v..], s.load(&line[from + v..]));
                }
            }
            ox += 1;
            if ox == out_width {
                (ox, oy) = (0, oy + 1);
                if oy == out_height {
                    (oy, image) = (0, image + 1);
                }
            }
        }
    }
}

/// Computes `to = before(row[first..])`, zero outside `row`.
#[inline(always)]
fn copy_clipped<S: Simd>(s: S, row: &[f32], first: isize, before: Option<Affine>, to: &mut [f32]) {
    let skipped = (-first).clamp(0, to.len() as isize) as usize;
    let from = (first + skipped as isize) as usize;
    let present = row.len().saturating_sub(from).min(to.len() - skipped);
    to[..skipped].fill(0.0);
    to[skipped + present..].fill(0.0);
    if present == 0 {
        return;
    }
    let (to, from) = (
        &mut to[skipped..skipped + present],
        &row[from..from + present],
    );
    match before {
        None => to.copy_from_slice(from),
        // Where `before` is set, a segment is one pixel's channels, which lie wholly inside or wholly outside the row.
        Some(f) => f.relu_pixel(s, from, to),
    }
}
