//! The gradient with respect to the weights, over the tiles and points of the forward pass.

// Indices that are constants once the loops are unrolled keep the vectors in registers.
#![allow(clippy::needless_range_loop)]

use super::points::{evaluate_outputs, evaluate_taps_transposed};
use super::{IN, OUT, POINTS, TILES, Tiling, TransformInput};
use crate::cpu::after::{Affine, After};
use crate::cpu::kernel::{Output, RowBlock, multiply_block};
use crate::cpu::packed::PackedB;
use crate::cpu::pixels::Pixels;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::threads::{self, SharedMut};
use crate::cpu::{Isa, memory};

// Tiles whose products are summed before the running sum is updated. Their transforms should stay in a cache that all
// cores share.
const GROUP: usize = 112;
// With fewer tiles, the transform back from 36 sums for each pair of channels costs more than the products save.
const FEWEST_TILES: usize = 64;

impl Tiling {
    /// Returns whether there are enough tiles for this method to pay.
    pub(in crate::cpu::conv) fn suits_grad_weight(&self) -> bool {
        self.count() >= FEWEST_TILES
    }

    /// Computes the gradient with respect to the weights, `[O, C, 3, 3]`, from the input, with `before` applied, and the output's
    /// gradient `dy`.
    ///
    /// Groups of tiles are processed in turn. In the first step a task transforms some of the group's tiles; in the second, a
    /// task multiplies at one point, so it has sums of its own.
    pub(in crate::cpu::conv) fn grad_weight(
        &self,
        isa: Isa,
        x: Pixels,
        before: Option<Affine>,
        dy: Pixels,
        dw: &mut [f32],
    ) {
        let (channels, outputs) = (self.channels, self.outputs);
        let size = channels * outputs;
        let (in_stride, out_stride) = (GROUP * channels + 16, GROUP * outputs + 16);
        let mut values = memory::unset(POINTS * in_stride);
        let mut grads = memory::unset(POINTS * out_stride);
        let mut sums = memory::zeros(POINTS * size);
        let offsets: Vec<usize> = (0..channels).collect();
        for first in (0..self.count()).step_by(GROUP) {
            let group = GROUP.min(self.count() - first);
            let step = threads::balanced(group, TILES);
            let (to_values, to_grads) = (SharedMut::new(&mut values), SharedMut::new(&mut grads));
            threads::for_each(group.div_ceil(step), |task| {
                let (skipped, count) = (task * step, step.min(group - task * step));
                isa.dispatch(TransformInput {
                    tiling: self,
                    x,
                    before,
                    first: first + skipped,
                    count,
                    stride: in_stride,
                    // SAFETY: `values` has GROUP rows for each point; each task has rows of its own.
                    values: unsafe { to_values.offset(skipped * channels) },
                });
                isa.dispatch(TransformGrad {
                    tiling: self,
                    dy,
                    first: first + skipped,
                    count,
                    stride: out_stride,
                    // SAFETY: `grads` has GROUP rows for each point; each task has rows of its own.
                    values: unsafe { to_grads.offset(skipped * outputs) },
                });
            });
            let c = SharedMut::new(&mut sums);
            threads::for_each(POINTS, |point| {
                let b = PackedB::new(isa, group, outputs, |t, first, row| {
                    let start = point * out_stride + t * outputs + first;
                    row.copy_from_slice(&grads[start..start + row.len()]);
                });
                let a = RowBlock {
                    data: &values,
                    offsets: &offsets,
                    k_stride: channels,
                    segments: &[point * in_stride],
                    segment_len: group,
                };
                // SAFETY: the sums have `channels` rows for each point, which are this task's own.
                unsafe {
                    let c = c.offset(point * size);
                    let out = Output {
                        c,
                        stride: outputs,
                        row: 0,
                        accumulate: true,
                        after: After::Nothing,
                    };
                    multiply_block(isa, &a, &b, 0, 0..b.panels(), out);
                }
            });
        }
        memory::recycle(values);
        memory::recycle(grads);
        // From [point, c, o] to [c, tap, o], and from there to [o, c, tap].
        let mut taps = memory::unset(9 * size);
        threads::for_each_chunk(&mut taps, 9 * outputs, |c, taps| {
            for o in 0..outputs {
                let at = |point: usize| sums[point * size + c * outputs + o];
                let rows = std::array::from_fn::<_, IN, _>(|i| {
                    evaluate_taps_transposed(std::array::from_fn(|j| at(i * IN + j)))
                });
                for x in 0..3 {
                    let column = evaluate_taps_transposed(rows.map(|row| row[x]));
                    for (y, value) in column.into_iter().enumerate() {
                        taps[(3 * y + x) * outputs + o] = value;
                    }
                }
            }
        });
        threads::for_each_chunk(dw, 9 * channels, |o, weights| {
            for (i, w) in weights.iter_mut().enumerate() {
                *w = taps[i * outputs + o];
            }
        });
        memory::recycle(sums);
        memory::recycle(taps);
    }
}

/// Transforms output gradients: `Q = A dY A^T` of some tiles, as `values[point][tile][output]`, points `stride` apart.
struct TransformGrad<'a> {
    tiling: &'a Tiling,
    dy: Pixels<'a>,
    first: usize,
    count: usize,
    stride: usize,
    // Room for every point and tile.
    values: SharedMut,
}

impl WithSimd for TransformGrad<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for t in 0..self.count {
            self.tile(s, t);
        }
    }
}

impl TransformGrad<'_> {
    #[inline(always)]
    fn tile<S: Simd>(&self, s: S, t: usize) {
        let Tiling {
            to: [height, width],
            outputs,
            ..
        } = *self.tiling;
        let (image, [top, left]) = self.tiling.place(self.first + t);
        let (rows, columns_used) = (OUT.min(height - top), OUT.min(width - left));
        let corner = (image * height + top) * width + left;
        for o in (0..outputs).step_by(S::LANES) {
            let mut columns = [[s.splat(0.0); OUT]; IN];
            for j in 0..OUT {
                let mut y = [s.splat(0.0); OUT];
                for (i, y) in y.iter_mut().enumerate() {
                    if i < rows && j < columns_used {
                        *y = s.load(&self.dy.data[(corner + i * width + j) * self.dy.stride + o..]);
                    }
                }
                let values = evaluate_outputs(s, y);
                for i in 0..IN {
                    columns[i][j] = values[i];
                }
            }
            for (i, row) in columns.into_iter().enumerate() {
                for (j, value) in evaluate_outputs(s, row).into_iter().enumerate() {
                    let at = (i * IN + j) * self.stride + t * outputs + o;
                    // SAFETY: there is room for every point, tile and output.
                    unsafe { s.store_ptr(self.values.get().add(at), value) };
                }
            }
        }
    }
}
