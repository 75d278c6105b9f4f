//! The gradient by the weights: `dw = A^T dy`, with A the windows of input pixels that the forward pass multiplies
//! by the weights.
//!
//! A's columns, a tap and a channel each, become the rows of the product, and its inner axis runs over all output
//! pixels. Channels are contiguous, so that a strip of the transposed A is copied in runs. The sum over pixels is cut
//! into parts where there are few weights and many pixels, as in the first layers, so that all cores have work.

use super::{ConvShape, Pixels, ScaleShiftRelu, scale_shift_relu, source};
use crate::cpu::Isa;
use crate::cpu::aligned::AlignedVec;
use crate::cpu::kernel::{Output, PackedB, RowBlock, multiply_block};
use crate::cpu::profile;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::threads::{self, SharedMut};

// Output pixels whose products are summed before the running sum is touched again.
const WEIGHT_PIXELS: usize = 256;
// Rows of the transposed A that one task owns at most: eight strips of the widest tile.
const WEIGHT_ROWS: usize = 112;
// Sums over pixels are cut into at most this many parts, added up in order at the end.
const WEIGHT_PARTS: usize = 8;

/// The gradient by the weights, `[O, C, kh, kw]`, from the input, `[N, H, W, C]`, with `before` applied to it
/// as in [`forward`](super::forward), and the output's gradient, `[N, OH, OW, O]`.
pub fn grad_weight(
    isa: Isa,
    shape: &ConvShape,
    x: Pixels,
    before: Option<ScaleShiftRelu>,
    grad: Pixels,
    grad_weight: &mut [f32],
) {
    let _timer = profile::time("conv gradient, weight", shape, shape.flops());
    let (o, c, taps) = (
        shape.out_channels,
        shape.channels,
        shape.kernel[0] * shape.kernel[1],
    );
    let (k, pixels) = (shape.k(), shape.out_pixels());
    let b = PackedB::new(isa, pixels, o, |pixel, first, row| {
        row.copy_from_slice(&grad.data[pixel * grad.stride + first..][..row.len()]);
    });
    // Rows of the transposed A: a few whole taps where channels are few, else a run of one tap's channels.
    let blocks: Vec<WeightBlock> = if c < 16 {
        let step = (WEIGHT_ROWS / c.max(1)).max(1);
        (0..taps)
            .step_by(step)
            .map(|t| WeightBlock {
                taps: t..(t + step).min(taps),
                channels: 0..c,
            })
            .collect()
    } else {
        let channels: Vec<_> = (0..c)
            .step_by(WEIGHT_ROWS)
            .map(|f| f..(f + WEIGHT_ROWS).min(c))
            .collect();
        (0..taps)
            .flat_map(|t| {
                channels.iter().map(move |ch| WeightBlock {
                    taps: t..t + 1,
                    channels: ch.clone(),
                })
            })
            .collect()
    };
    let parts = WEIGHT_PARTS
        .min(pixels.div_ceil(8 * WEIGHT_PIXELS))
        .min(16usize.div_ceil(blocks.len()))
        .max(1);
    let part_pixels = pixels.div_ceil(parts).next_multiple_of(WEIGHT_PIXELS);
    let mut sums = vec![0.0; parts * k * o];
    let c_out = SharedMut::new(&mut sums);
    threads::for_each(blocks.len() * parts, |task| {
        let (part, block) = (task / blocks.len(), &blocks[task % blocks.len()]);
        let first = part * part_pixels;
        let width = block.width();
        let offsets: Vec<usize> = (0..width).collect();
        let mut strip = AlignedVec::zeros(WEIGHT_PIXELS * width);
        for start in (first..(first + part_pixels).min(pixels)).step_by(WEIGHT_PIXELS) {
            let n = WEIGHT_PIXELS.min(pixels - start);
            isa.dispatch(Gather {
                shape,
                x,
                before,
                block,
                start,
                strip: &mut strip[..n * width],
            });
            let a = RowBlock {
                data: &strip,
                offsets: &offsets,
                k_stride: width,
                segments: &[0],
                segment_len: n,
            };
            let row = part * k + block.taps.start * c + block.channels.start;
            let out = Output {
                c: c_out,
                stride: o,
                row,
                accumulate: true,
                bias: None,
            };
            // SAFETY: `sums` has `parts * k` rows of `o`; each task has rows of its own.
            unsafe { multiply_block(isa, &a, &b, start, 0..b.panels(), out) };
        }
    });
    // From [part, tap, c, o] to [o, c, tap].
    threads::for_each_chunk(grad_weight, c * taps, |o_index, weights| {
        for (i, w) in weights.iter_mut().enumerate() {
            let (c_index, tap) = (i / taps, i % taps);
            *w = (0..parts)
                .map(|p| sums[(p * k + tap * c + c_index) * o + o_index])
                .sum();
        }
    });
}

/// Rows of the transposed A: some taps, and some channels of each.
struct WeightBlock {
    taps: std::ops::Range<usize>,
    channels: std::ops::Range<usize>,
}

impl WeightBlock {
    fn width(&self) -> usize {
        self.taps.len() * self.channels.len()
    }
}

/// Writes, for each output pixel from `start` on, what the block's taps see there: `[pixels, block width]`.
struct Gather<'a> {
    shape: &'a ConvShape,
    x: Pixels<'a>,
    before: Option<ScaleShiftRelu<'a>>,
    block: &'a WeightBlock,
    start: usize,
    strip: &'a mut [f32],
}

impl WithSimd for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gather {
            shape, x, block, ..
        } = self;
        let (out_height, out_width) = (shape.out_height(), shape.out_width());
        let channels = block.channels.clone();
        let before = self.before.map(|f| ScaleShiftRelu {
            scale: &f.scale[channels.clone()],
            shift: &f.shift[channels.clone()],
        });
        for (i, row) in self.strip.chunks_exact_mut(block.width()).enumerate() {
            let pixel = self.start + i;
            let (image, oy, ox) = (
                pixel / (out_height * out_width),
                pixel / out_width % out_height,
                pixel % out_width,
            );
            for (tap, to) in block.taps.clone().zip(row.chunks_exact_mut(channels.len())) {
                let (ky, kx) = (tap / shape.kernel[1], tap % shape.kernel[1]);
                let y = source(
                    (oy * shape.stride[0] + ky) as isize - shape.padding[0] as isize,
                    1,
                    shape.height,
                );
                let xx = source(
                    (ox * shape.stride[1] + kx) as isize - shape.padding[1] as isize,
                    1,
                    shape.width,
                );
                let (Some(y), Some(xx)) = (y, xx) else {
                    to.fill(0.0);
                    continue;
                };
                let at = ((image * shape.height + y) * shape.width + xx) * x.stride;
                let from = &x.data[at + channels.start..at + channels.end];
                match before {
                    None => to.copy_from_slice(from),
                    Some(f) => scale_shift_relu(s, f, from, to),
                }
            }
        }
    }
}
