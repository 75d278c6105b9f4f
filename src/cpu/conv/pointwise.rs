//! A 1x1 convolution: a matrix product of pixels and weights.
//!
//! A task takes some pixels, and processes one block of their channels after the other. The block is copied, and
//! normalised on the way, into a part of A that stays in the second-level cache. The matching block of each panel of B
//! also stays there while it is used. So a task fetches each element of A once, and each element of B once for all its
//! pixels.

use super::ConvArgs;
use super::copy::CopyPixels;
use crate::cpu::after::After;
use crate::cpu::aligned::with_scratch;
use crate::cpu::kernel::{Output, RowBlock, multiply_block};
use crate::cpu::packed::tile_shape;
use crate::cpu::pixels::PixelsMut;
use crate::cpu::threads::{self, SharedMut};

// Lanes of a block at most. The block of a panel of B is then 32 or 64 KiB, which is prefetched. Longer blocks leave too
// little cache to the pixels, shorter ones spend too much time on loading and storing sums.
const K_BLOCK: usize = 512;
// Pixels of a task at most: their block should leave half of a second-level cache to the weights.
const PIXELS: usize = 112;
// With fewer pixels, tasks divide the weights instead, so that each core fetches only some of them.
const FEW_PIXELS: usize = 100;

/// Computes `y = after(before(x) w)` for `pixels` pixels.
pub(super) fn multiply(args: &ConvArgs, pixels: usize, channels: usize, y: PixelsMut) {
    let c = SharedMut::new(y.data);
    let step = match pixels < FEW_PIXELS {
        true => pixels,
        false => threads::balanced_strips(pixels, tile_shape(args.isa).0, PIXELS),
    };
    let precision = args.weight.precision();
    let lanes = precision.lanes(channels);
    let k_block = threads::equal_part(lanes, K_BLOCK);
    let panels = args.weight.panels();
    let panel_step = match pixels < FEW_PIXELS {
        true => threads::balanced(panels, panels),
        false => panels,
    };
    let column_tasks = panels.div_ceil(panel_step);
    threads::for_each(pixels.div_ceil(step) * column_tasks, |task| {
        let first = task / column_tasks * step;
        let panel = task % column_tasks * panel_step;
        let count = step.min(pixels - first);
        let offsets: Vec<usize> = (0..count).map(|i| i * k_block).collect();
        with_scratch(count * k_block, |rows| {
            // Without channels there is one empty block, whose multiplication writes the result of the empty sums.
            for k_first in (0..lanes.max(1)).step_by(k_block) {
                let k = k_block.min(lanes - k_first);
                let channel = k_first * precision.per_lane();
                let end = (channel + k * precision.per_lane()).min(channels);
                let copy = CopyPixels {
                    from: &args.x.data[first * args.x.stride + channel..],
                    from_stride: args.x.stride,
                    to: rows,
                    to_stride: k_block,
                    pixels: count,
                    channels: end - channel,
                    before: args.before.map(|f| f.channels(channel..end)),
                    precision,
                };
                copy.run(args.isa);
                let a = RowBlock {
                    data: rows,
                    offsets: &offsets,
                    k_stride: 1,
                    segments: &[0],
                    segment_len: k,
                };
                let is_last = k_first + k == lanes;
                let out = Output {
                    c,
                    stride: y.stride,
                    row: first,
                    accumulate: k_first > 0,
                    after: if is_last { args.after } else { After::Nothing },
                };
                // SAFETY: `y` was checked to hold all pixels; each task has pixels of its own.
                unsafe {
                    multiply_block(
                        args.isa,
                        &a,
                        args.weight,
                        k_first,
                        panel..(panel + panel_step).min(panels),
                        out,
                    )
                };
            }
        });
    });
}
