//! A 1x1 convolution: each pixel for itself, a matrix product.
//!
//! A task takes some pixels and a run of channels at a time. The run is copied, normalised on the way, into a block of
//! A that stays in the second-level cache, and so does a panel of B, as long as the run: each element of B comes from
//! further away once for all pixels of the task, each of A once.

use super::copy::CopyPixels;
use super::{Job, PixelsMut};
use crate::cpu::after::After;
use crate::cpu::aligned::with_scratch;
use crate::cpu::kernel::{Output, RowBlock, multiply_block};
use crate::cpu::packed::tile_shape;
use crate::cpu::threads::{self, SharedMut};

// Words of a run, at most. A panel of B is then 32 or 64 KiB, which is fetched ahead of its use. Longer runs leave too
// little of a cache to the pixels, shorter ones spend too much time on beginning and ending sums.
const WORDS: usize = 512;
// Pixels of a task, at most: their run should leave half of a second-level cache to the weights.
const PIXELS: usize = 112;
// With fewer pixels, tasks share out the weights instead, so that each core fetches only some of them.
const FEW_PIXELS: usize = 100;

/// `y = after(before(x) w)` for `pixels` pixels.
pub(super) fn multiply(job: &Job, pixels: usize, channels: usize, y: PixelsMut) {
    let c = SharedMut::new(y.data);
    let step = match pixels < FEW_PIXELS {
        true => pixels,
        false => threads::strips(pixels, tile_shape(job.isa).0, PIXELS),
    };
    let precision = job.weight.precision();
    let words = precision.words(channels);
    let run = threads::even(words, WORDS);
    let panels = job.weight.panels();
    let panel_step = match pixels < FEW_PIXELS {
        true => threads::share(panels, panels),
        false => panels,
    };
    let column_tasks = panels.div_ceil(panel_step);
    threads::for_each(pixels.div_ceil(step) * column_tasks, |task| {
        let first = task / column_tasks * step;
        let panel = task % column_tasks * panel_step;
        let count = step.min(pixels - first);
        let offsets: Vec<usize> = (0..count).map(|i| i * run).collect();
        with_scratch(count * run, |block| {
            // Without channels there is one run of none, which writes what is left of the sums.
            for k_first in (0..words.max(1)).step_by(run) {
                let k = run.min(words - k_first);
                let channel = k_first * precision.per_word();
                let end = (channel + k * precision.per_word()).min(channels);
                let copy = CopyPixels {
                    from: &job.x.data[first * job.x.stride + channel..],
                    from_stride: job.x.stride,
                    to: block,
                    to_stride: run,
                    pixels: count,
                    channels: end - channel,
                    before: job.before.map(|f| f.of(channel..end)),
                    precision,
                };
                copy.run(job.isa);
                let a = RowBlock {
                    data: block,
                    offsets: &offsets,
                    k_stride: 1,
                    segments: &[0],
                    segment_len: k,
                };
                let is_last = k_first + k == words;
                let out = Output {
                    c,
                    stride: y.stride,
                    row: first,
                    accumulate: k_first > 0,
                    after: if is_last { job.after } else { After::Nothing },
                };
                // SAFETY: `y` was checked to hold all pixels; each task has pixels of its own.
                unsafe {
                    multiply_block(
                        job.isa,
                        &a,
                        job.weight,
                        k_first,
                        panel..(panel + panel_step).min(panels),
                        out,
                    )
                };
            }
        });
    });
}
