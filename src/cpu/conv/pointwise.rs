//! A 1x1 convolution: each pixel for itself, a matrix product.
//!
//! A task takes some pixels and a run of channels at a time. The run is copied, normalised on the way, into a block of
//! A that stays in the second-level cache, while a panel of B, as long as the run, stays in the first: each element
//! of B is fetched once for all pixels of the task, each of A once for each panel.

use super::{Job, Pixels, PixelsMut};
use crate::cpu::after::{After, ScaleShiftRelu};
use crate::cpu::aligned::with_scratch;
use crate::cpu::kernel::{Output, RowBlock, multiply_block};
use crate::cpu::rows::scale_shift_relu;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::threads::{self, SharedMut};

// Channels of a run, at most. A panel of B is then 32 or 64 KiB, which is fetched ahead of its use. Longer runs leave too
// little of a cache to the pixels, shorter ones spend too much time on beginning and ending sums.
const CHANNELS: usize = 512;
// Pixels of a task, at most: whole strips of six and of fourteen.
const PIXELS: usize = 84;

// With fewer pixels, tasks share out the weights instead, so that each core fetches only some of them.
const FEW_PIXELS: usize = 100;

/// `y = after(before(x) w)` for `pixels` pixels.
pub(super) fn multiply(job: &Job, pixels: usize, channels: usize, y: PixelsMut) {
    let c = SharedMut::new(y.data);
    let step = match pixels < FEW_PIXELS {
        true => pixels,
        false => threads::share(pixels, PIXELS),
    };
    let run = threads::even(channels, CHANNELS);
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
            for k_first in (0..channels.max(1)).step_by(run) {
                let k = run.min(channels - k_first);
                let before = job.before.map(|f| ScaleShiftRelu {
                    scale: &f.scale[k_first..k_first + k],
                    shift: &f.shift[k_first..k_first + k],
                });
                let from = Pixels {
                    data: &job.x.data[first * job.x.stride + k_first..],
                    stride: job.x.stride,
                };
                job.isa.dispatch(CopyRun {
                    from,
                    before,
                    to: block,
                    stride: run,
                    k,
                });
                let a = RowBlock {
                    data: block,
                    offsets: &offsets,
                    k_stride: 1,
                    segments: &[0],
                    segment_len: k,
                };
                let is_last = k_first + k == channels;
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

/// Copies `k` channels of each pixel, as `before` makes them, into rows `stride` apart.
struct CopyRun<'a> {
    from: Pixels<'a>,
    before: Option<ScaleShiftRelu<'a>>,
    to: &'a mut [f32],
    stride: usize,
    k: usize,
}

impl WithSimd for CopyRun<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let CopyRun {
            from,
            before,
            to,
            stride,
            k,
        } = self;
        for (i, to) in to.chunks_exact_mut(stride).enumerate() {
            let from = &from.data[i * from.stride..][..k];
            match before {
                None => to[..k].copy_from_slice(from),
                Some(f) => scale_shift_relu(s, f, from, &mut to[..k]),
            }
        }
    }
}
