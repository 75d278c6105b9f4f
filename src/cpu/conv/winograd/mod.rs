//! 3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3), as Lavin and Gray (2015,
//! arXiv 1509.09308) apply it to networks.
//!
//! The idea is a theorem about products of polynomials, transposed. Let `g` be three taps and `v` four numbers, both
//! read as coefficients of polynomials. Their product has six coefficients, so its values at six points determine it, and
//! each value costs one multiplication:
//!
//! ```text
//! g (*) v = B [(G g) * (A v)]
//! ```
//!
//! where `(*)` multiplies polynomials and `*` multiplies element by element. `G` and `A` evaluate the two polynomials at
//! the points, and `B` interpolates: from six values it finds the six coefficients. With
//! `M(x) = x (x^2 - a^2) (x^2 - b^2)`, Lagrange's polynomial of a point `p` is `M(x) / (x - p) / M'(p)`; the constant
//! `1 / M'(p)` stands in `G`, and the coefficients of the rest are a column of `B`. For a fixed `g` the product is a
//! linear map of `v`, a 6x4 matrix. Filtering six neighbouring inputs `d` with the taps,
//! `y[k] = sum over j of g[j] d[k + j]` for four outputs, is the transpose of that matrix. The transpose of a chain of
//! matrices is the chain of their transposes, backward, and `(G g) *` is a diagonal matrix, which is its own transpose:
//!
//! ```text
//! y = A^T [(G g) * (B^T d)]        and in two dimensions        Y = A^T [(G g G^T) * (B^T d B)] A
//! ```
//!
//! So `B^T` does not evaluate anything and `A^T` does not interpolate: they are the transposes of interpolating and of
//! evaluating. A tile of 16 outputs takes 36 multiplications (`*`) instead of 144. Summed over channels, each of the 36
//! is a matrix product `[tiles, C] [C, O]`, and the transforms on both sides are a few additions for each channel.
//!
//! The points decide how much rounding is amplified. The usual points, 0, 1, -1, 2, -2 and infinity, have an error five
//! times that of the direct sum. Here they are `0, a, -a, b, -b` and infinity with `a = 1/sqrt(2)` and `b = sqrt(2)`, whose
//! powers are closer together: the error is twice that of the direct sum, 1e-6 relative (the tests demand 2e-6). For these
//! points `(x^2 - a^2) (x^2 - b^2) = x^4 - 5/2 x^2 + 1`, whose coefficients are the first row of `B^T` below.
//!
//! The gradient with respect to the weights is the transpose of `g -> Y`. With `dY` for the gradient with respect to a
//! tile's outputs and `Q = A dY A^T`, their values at the points,
//!
//! ```text
//! dU = sum over tiles of (B^T d B) * Q        dg = G^T dU G
//! ```
//!
//! again a matrix product, `[C, tiles] [tiles, O]`, for each of the 36.
//!
//! The matrices:
//!
//! ```text
//!       | 1   0   -5/2  0    1   0 |         |  1     0     0  |
//!       | 0  -2a  -2    a    1   0 |         | -2/3 -2a/3 -1/3 |          | 1  1    1    1   1   0 |
//! B^T = | 0   2a  -2   -a    1   0 |     G = | -2/3  2a/3 -1/3 |    A^T = | 0  a   -a    b  -b   0 |
//!       | 0 -b/2  -1/2  b    1   0 |         |  1/6  b/6   1/3 |          | 0  1/2  1/2  2   2   0 |
//!       | 0  b/2  -1/2 -b    1   0 |         |  1/6 -b/6   1/3 |          | 0  a/2 -a/2  2b -2b  1 |
//!       | 0   1    0  -5/2   0   1 |         |  0     0     1  |
//! ```

// Indices that are constants once the loops are unrolled keep the vectors in registers.
#![allow(clippy::needless_range_loop)]

mod grad_weight;
mod points;

use points::{evaluate_taps, evaluate_transposed, interpolate_transposed};

use super::{ConvArgs, SlidingWindow};
use crate::cpu::Isa;
use crate::cpu::after::{Affine, After};
use crate::cpu::aligned::with_scratch;
use crate::cpu::kernel::{Output, RowBlock, multiply_block};
use crate::cpu::packed::PackedB;
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::threads::{self, SharedMut};

/// Output pixels of a tile along each axis.
const OUT: usize = 4;
/// Input pixels of a tile along each axis.
const IN: usize = 6;
/// Points of a tile: as many as it has input pixels.
const POINTS: usize = IN * IN;

// Input channels whose weights one task packs.
const PACKED: usize = 16;
// Tiles of a task at most: their transformed inputs fill half of a second-level cache.
const TILES: usize = 14;
// With fewer tiles than this, the method costs more than it saves, because it fetches four times as many weights.
const FEWEST_TILES: usize = 32;

/// Transforms and packs weights for `C` inputs and `O` outputs, `weight(c, o, tap)`: `U = G g G^T` as `[36 C, O]`.
pub(super) fn pack(
    isa: Isa,
    [channels, outputs]: [usize; 2],
    weight: impl Fn(usize, usize, usize) -> f32 + Sync + Send,
) -> PackedB {
    let mut packed = PackedB::zeroed(isa, POINTS * channels, outputs);
    let room = packed.shared();
    threads::for_each(channels.div_ceil(PACKED), |task| {
        let mut taps = vec![0.0; 9 * outputs];
        for c in (task * PACKED..channels).take(PACKED) {
            for o in 0..outputs {
                for tap in 0..9 {
                    taps[tap * outputs + o] = weight(c, o, tap);
                }
            }
            let rows = |point, o| {
                let at = packed.position(point * channels + c, o);
                // SAFETY: the position lies within the panels, whose last vector is whole. Every `c` has rows of its own.
                unsafe { room.offset(at) }
            };
            isa.dispatch(TransformWeights {
                taps: &taps,
                outputs,
                rows,
            });
        }
    });
    packed
}

/// Transforms the weights of one input channel, `U = G g G^T`, a vector of outputs at a time. `rows(i, o)` receives point `i`
/// of the outputs from `o` on.
struct TransformWeights<'a, F> {
    taps: &'a [f32],
    outputs: usize,
    rows: F,
}

impl<F: Fn(usize, usize) -> SharedMut> WithSimd for TransformWeights<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for o in (0..self.outputs).step_by(S::LANES) {
            let mut columns = [[s.splat(0.0); 3]; IN];
            for x in 0..3 {
                let mut taps = [s.splat(0.0); 3];
                for (y, tap) in taps.iter_mut().enumerate() {
                    *tap = s.load(&self.taps[(3 * y + x) * self.outputs + o..]);
                }
                let values = evaluate_taps(s, taps);
                for i in 0..IN {
                    columns[i][x] = values[i];
                }
            }
            for (i, row) in columns.into_iter().enumerate() {
                for (j, value) in evaluate_taps(s, row).into_iter().enumerate() {
                    // SAFETY: `rows` returns a position with room for a vector.
                    unsafe { s.store_ptr((self.rows)(i * IN + j, o).get(), value) };
                }
            }
        }
    }
}

/// The output divided into tiles of 4x4 pixels. Tiles at the lower and right edge may be only partly used.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    /// Tiles along each axis.
    tiles: [usize; 2],
    batch: usize,
    from: [usize; 2],
    to: [usize; 2],
    padding: [isize; 2],
    channels: usize,
    outputs: usize,
}

impl Tiling {
    /// Returns whether this method applies to the convolution and is the faster one.
    pub(super) fn suits(window: &SlidingWindow, outputs: usize) -> bool {
        let fills_vectors = window.channels.is_multiple_of(16) && outputs.is_multiple_of(16);
        let plain = window.kernel == [3, 3] && window.stride == [1, 1] && window.dilation == [1, 1];
        plain && fills_vectors && Tiling::new(window, outputs).count() >= FEWEST_TILES
    }

    pub(super) fn new(window: &SlidingWindow, outputs: usize) -> Self {
        Tiling {
            tiles: window.to.map(|n| n.div_ceil(OUT)),
            batch: window.batch,
            from: window.from,
            to: window.to,
            padding: window.padding,
            channels: window.channels,
            outputs,
        }
    }

    fn count(&self) -> usize {
        self.batch * self.tiles[0] * self.tiles[1]
    }

    /// Returns the image of a tile, and the row and column of the output pixel at its upper left.
    fn place(&self, tile: usize) -> (usize, [usize; 2]) {
        let [rows, columns] = self.tiles;
        let (image, row, column) = (
            tile / (rows * columns),
            tile / columns % rows,
            tile % columns,
        );
        (image, [row * OUT, column * OUT])
    }

    /// Computes `y = after(conv(before(x)))`, some tiles per task.
    pub(super) fn multiply(&self, args: &ConvArgs, y: PixelsMut) {
        let (channels, outputs, weight) = (self.channels, self.outputs, args.weight);
        assert!(weight.k() == POINTS * channels && weight.columns() == outputs);
        let out = SharedMut::new(y.data);
        let step = threads::balanced(self.count(), TILES);
        // One more cache line per point: otherwise the 36 elements of a channel would fall into the same few sets of the cache.
        let (in_stride, out_stride) = (step * channels + 16, step * outputs + 16);
        threads::for_each(self.count().div_ceil(step), |task| {
            let first = task * step;
            let count = step.min(self.count() - first);
            let offsets: Vec<usize> = (0..count).map(|t| t * channels).collect();
            with_scratch(POINTS * in_stride, |values| {
                args.isa.dispatch(TransformInput {
                    tiling: self,
                    x: args.x,
                    before: args.before,
                    first,
                    count,
                    stride: in_stride,
                    values: SharedMut::new(values),
                });
                with_scratch(POINTS * out_stride, |products| {
                    let c = SharedMut::new(products);
                    for point in 0..POINTS {
                        let a = RowBlock {
                            data: values,
                            offsets: &offsets,
                            k_stride: 1,
                            segments: &[point * in_stride],
                            segment_len: channels,
                        };
                        // SAFETY: `products` has `count` rows for each point, and is this task's own.
                        unsafe {
                            let c = c.offset(point * out_stride);
                            let out = Output {
                                c,
                                stride: outputs,
                                row: 0,
                                accumulate: false,
                                after: After::Nothing,
                            };
                            multiply_block(
                                args.isa,
                                &a,
                                weight,
                                point * channels,
                                0..weight.panels(),
                                out,
                            );
                        }
                    }
                    args.isa.dispatch(TransformOutput {
                        tiling: self,
                        products,
                        stride: out_stride,
                        first,
                        count,
                        after: args.after,
                        y: out,
                        y_stride: y.stride,
                    });
                });
            });
        });
    }
}

/// Transforms inputs: `V = B^T d B` of some tiles, as `values[point][tile][channel]`, points `stride` apart.
struct TransformInput<'a> {
    tiling: &'a Tiling,
    x: Pixels<'a>,
    before: Option<Affine<'a>>,
    first: usize,
    count: usize,
    stride: usize,
    // Room for every point and tile.
    values: SharedMut,
}

impl WithSimd for TransformInput<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for t in 0..self.count {
            match self.before {
                None => self.tile(
                    s,
                    t,
                    #[inline(always)]
                    |_, x| x,
                ),
                Some(f) => self.tile(
                    s,
                    t,
                    #[inline(always)]
                    |c, x| f.relu(s, x, c),
                ),
            }
        }
    }
}

impl TransformInput<'_> {
    #[inline(always)]
    fn tile<S: Simd>(&self, s: S, t: usize, before: impl Fn(usize, S::V) -> S::V) {
        let Tiling {
            from: [height, width],
            channels,
            padding,
            ..
        } = *self.tiling;
        let (image, corner) = self.tiling.place(self.first + t);
        // The channels of each input pixel of the tile; `None` for the zeros around the map.
        let mut pixels = [[None; IN]; IN];
        for (i, row) in pixels.iter_mut().enumerate() {
            for (j, pixel) in row.iter_mut().enumerate() {
                let y = (corner[0] + i)
                    .checked_add_signed(-padding[0])
                    .filter(|&y| y < height);
                let x = (corner[1] + j)
                    .checked_add_signed(-padding[1])
                    .filter(|&x| x < width);
                *pixel = y.zip(x).map(|(y, x)| {
                    let start = ((image * height + y) * width + x) * self.x.stride;
                    &self.x.data[start..start + channels]
                });
            }
        }
        for c in (0..channels).step_by(S::LANES) {
            let mut columns = [[s.splat(0.0); IN]; IN];
            for j in 0..IN {
                let mut d = [s.splat(0.0); IN];
                for i in 0..IN {
                    if let Some(pixel) = pixels[i][j] {
                        d[i] = before(c, s.load(&pixel[c..]));
                    }
                }
                let values = interpolate_transposed(s, d);
                for i in 0..IN {
                    columns[i][j] = values[i];
                }
            }
            for i in 0..IN {
                let values = interpolate_transposed(s, columns[i]);
                for j in 0..IN {
                    let at = (i * IN + j) * self.stride + t * channels + c;
                    // SAFETY: there is room for every point, tile and channel.
                    unsafe { s.store_ptr(self.values.get().add(at), values[j]) };
                }
            }
        }
    }
}

/// Transforms products back: `Y = A^T M A` of some tiles, with `M` as `products[point][tile][output]`, written to `y`.
struct TransformOutput<'a> {
    tiling: &'a Tiling,
    products: &'a [f32],
    stride: usize,
    first: usize,
    count: usize,
    after: After<'a>,
    y: SharedMut,
    y_stride: usize,
}

impl WithSimd for TransformOutput<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for t in 0..self.count {
            self.tile(s, t);
        }
    }
}

impl TransformOutput<'_> {
    #[inline(always)]
    fn tile<S: Simd>(&self, s: S, t: usize) {
        let Tiling {
            to: [height, width],
            outputs,
            ..
        } = *self.tiling;
        let (image, [top, left]) = self.tiling.place(self.first + t);
        for o in (0..outputs).step_by(S::LANES) {
            let mut columns = [[s.splat(0.0); IN]; OUT];
            for j in 0..IN {
                let mut m = [s.splat(0.0); IN];
                for i in 0..IN {
                    m[i] = s.load(&self.products[(i * IN + j) * self.stride + t * outputs + o..]);
                }
                let values = evaluate_transposed(s, m);
                for i in 0..OUT {
                    columns[i][j] = values[i];
                }
            }
            for (i, row) in columns.into_iter().enumerate().take(height - top) {
                let values = evaluate_transposed(s, row);
                for (j, value) in values.into_iter().enumerate().take(width - left) {
                    let pixel = (image * height + top + i) * width + left + j;
                    let value = self.after.apply(s, value, o);
                    // SAFETY: `y` was checked to hold all pixels; each tile has pixels of its own.
                    unsafe { s.store_ptr(self.y.get().add(pixel * self.y_stride + o), value) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizes::ConvShape;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// The convolution by its definition, in 64 bits.
    fn direct(
        window: &SlidingWindow,
        outputs: usize,
        x: &[f32],
        weight: &[f32],
        f: Affine,
    ) -> Vec<f64> {
        let (c, [height, width]) = (window.channels, window.from);
        let mut y = Vec::new();
        for image in 0..window.batch {
            for (p, q) in (0..window.to[0]).flat_map(|p| (0..window.to[1]).map(move |q| (p, q))) {
                for o in 0..outputs {
                    let mut sum = 0.0;
                    for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
                        let row = (p + i)
                            .checked_add_signed(-window.padding[0])
                            .filter(|&y| y < height);
                        let column = (q + j)
                            .checked_add_signed(-window.padding[1])
                            .filter(|&x| x < width);
                        let Some((row, column)) = row.zip(column) else {
                            continue;
                        };
                        for k in 0..c {
                            let x = x[((image * height + row) * width + column) * c + k];
                            let z = f64::from(x)
                                .mul_add(f.scale[k].into(), f.shift[k].into())
                                .max(0.0);
                            sum += z * f64::from(weight[(o * c + k) * 9 + 3 * i + j]);
                        }
                    }
                    y.push(sum);
                }
            }
        }
        y
    }

    #[test]
    fn the_error_is_the_stated_one() {
        for (batch, from, padding, channels, outputs) in [
            (2, [16, 16], 1, 128, 32),
            (3, [14, 9], 1, 32, 48),
            (2, [17, 18], 0, 16, 16),
            (3, [13, 11], 2, 48, 32),
        ] {
            let window = SlidingWindow {
                batch,
                from,
                channels,
                to: from.map(|n| n + 2 * padding - 2),
                kernel: [3, 3],
                stride: [1, 1],
                padding: [padding as isize; 2],
                dilation: [1, 1],
            };
            assert!(Tiling::suits(&window, outputs));
            let x = numbers(batch * from[0] * from[1] * channels, 1);
            let weight = numbers(outputs * channels * 9, 2);
            let (scale, shift) = (numbers(channels, 3), numbers(channels, 4));
            let f = Affine {
                scale: &scale,
                shift: &shift,
            };
            let want = direct(&window, outputs, &x, &weight, f);
            for isa in Isa::available() {
                let packed = pack(isa, [channels, outputs], |c, o, tap| {
                    weight[(o * channels + c) * 9 + tap]
                });
                let args = ConvArgs {
                    isa,
                    x: Pixels::new(&x, channels),
                    before: Some(f),
                    weight: &packed,
                    after: After::Nothing,
                };
                let mut y = vec![0.0; want.len()];
                Tiling::new(&window, outputs).multiply(&args, PixelsMut::new(&mut y, outputs));
                let distance: f64 = y
                    .iter()
                    .zip(&want)
                    .map(|(&y, w)| (f64::from(y) - w).powi(2))
                    .sum();
                let norm: f64 = want.iter().map(|w| w * w).sum();
                let relative = (distance / norm).sqrt();
                assert!(relative <= 2e-6, "{isa}: {relative:.2e}");
            }
        }
    }

    #[test]
    fn the_gradient_with_respect_to_the_weights_is_the_direct_one() {
        // Several parts of several groups, and edges that no whole tile fits.
        for (batch, side, channels, outputs) in [(1, 14, 32, 16), (6, 30, 16, 32), (2, 17, 48, 16)]
        {
            let shape = ConvShape {
                batch,
                height: side,
                width: side,
                channels,
                out_channels: outputs,
                kernel: [3, 3],
                stride: [1, 1],
                padding: [1, 1],
            };
            let x = numbers(shape.pixels() * channels, 1);
            let dy = numbers(shape.out_pixels() * outputs, 2);
            let (scale, shift) = (numbers(channels, 3), numbers(channels, 4));
            let before = Some(Affine {
                scale: &scale,
                shift: &shift,
            });
            let x = Pixels::new(&x, channels);
            let dy = Pixels::new(&dy, outputs);
            for isa in Isa::available() {
                let (mut got, mut want) = (
                    vec![0.0; outputs * channels * 9],
                    vec![0.0; outputs * channels * 9],
                );
                Tiling::new(&shape.window(), outputs).grad_weight(isa, x, before, dy, &mut got);
                crate::cpu::conv::grad_weight::direct(isa, &shape, x, before, dy, &mut want);
                let distance: f64 = got
                    .iter()
                    .zip(&want)
                    .map(|(&g, &w)| f64::from(g - w).powi(2))
                    .sum();
                let norm: f64 = want.iter().map(|&w| f64::from(w).powi(2)).sum();
                let relative = (distance / norm).sqrt();
                assert!(relative <= 4e-6, "{isa}: {relative:.2e}");
            }
        }
    }

    #[test]
    fn few_tiles_and_odd_channels_go_another_way() {
        let window = |side: usize, channels| SlidingWindow {
            batch: 1,
            from: [side; 2],
            channels,
            to: [side; 2],
            kernel: [3, 3],
            stride: [1, 1],
            padding: [1, 1],
            dilation: [1, 1],
        };
        assert!(Tiling::suits(&window(28, 32), 32));
        assert!(!Tiling::suits(&window(14, 32), 32));
        assert!(!Tiling::suits(&window(28, 20), 32));
        assert!(!Tiling::suits(&window(28, 32), 20));
        assert!(!Tiling::suits(
            &SlidingWindow {
                stride: [2, 2],
                ..window(58, 32)
            },
            32
        ));
    }
}
