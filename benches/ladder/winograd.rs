//! Winograd's convolution, F(4x4, 3x3): fewer multiplications instead of faster ones.
//!
//! The values of a polynomial at enough points determine it, also if it is the product of two polynomials. For 3
//! coefficients times 4 that are 6 values, each of which costs one multiplication. `G` and `A` evaluate the two factors
//! at the points, and `B` finds the product's 6 coefficients. Filtering 6 inputs with 3 taps into 4 outputs is the
//! transpose of that product as a map of the 4 numbers, so it takes the transposed matrices in reverse order,
//! `y = A^T [(G g) * (B^T d)]`: 6 multiplications in place of 12, and in two dimensions 36 in place of 144 (Lavin and
//! Gray 2015, arXiv:1509.09308). For a 6x6 patch `d` of the image and a 3x3 kernel `g`, with `*` element by element,
//!
//! ```text
//! Y = A^T [(G g G^T) * (B^T d B)] A
//! ```
//!
//! For the points `p = 0, a, -a, b, -b` and infinity, with `a = 1/sqrt 2` and `b = sqrt 2`, Cook and Toom's
//! construction gives, with `M(x) = x (x^2 - a^2) (x^2 - b^2)`:
//!
//! ```text
//!       row of G: (1, p, p^2) / M'(p)    row of B^T: M(x) / (x - p)      column of A^T: (1, p, p^2, p^3)
//!
//!   0   [   1     0      0  ]            [1   0   -5/2   0    1  0]      [1   0    0     0  ]
//!   a   [-2/3  -2/3 a  -1/3 ]            [0  -2a   -2    a    1  0]      [1   a   1/2   a/2 ]
//!  -a   [-2/3   2/3 a  -1/3 ]            [0   2a   -2   -a    1  0]      [1  -a   1/2  -a/2 ]
//!   b   [ 1/6   1/6 b   1/3 ]            [0  -b/2 -1/2   b    1  0]      [1   b    2    2b  ]
//!  -b   [ 1/6  -1/6 b   1/3 ]            [0   b/2 -1/2  -b    1  0]      [1  -b    2   -2b  ]
//! inf   [   0     0      1  ]            [0   1     0  -5/2   0  1]      [0   0    0     1  ]
//! ```
//!
//! Any points are exact on paper. In 32-bit floats, values that have grown with the powers of a point cancel in the last
//! transform. The magnitudes of these points are inverses of each other, and they lose half as much as the usual
//! `0, 1, -1, 2, -2`.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use glimpse::cpu::Isa;
use glimpse::cpu::aligned::AlignedVec;
use glimpse::cpu::packed::tile_shape;
use glimpse::cpu::simd::{Simd, WithSimd};

use crate::gemm::pack_panels;
use crate::segments::{IN, OUT, SegmentProduct};

/// Outputs along an edge of a patch, and inputs along an edge.
const SIDE: usize = 4;
const PATCH: usize = SIDE + 2;
/// Values of a patch in one channel.
const POINTS: usize = PATCH * PATCH;
/// Patches that are processed together at most: enough that the weights, which are loaded once for all of them, are used often;
/// few enough that their values, 18 KiB each, stay in the second-level cache.
const GROUP: usize = 28;
/// Floats from the values of one point to those of the next, and from products to products: an odd number of cache lines. At a
/// distance of a power of two, the 36 points of a patch would fall into the same few sets of the cache and evict each other.
const VALUES: usize = GROUP * IN + 16;
const PRODUCTS: usize = GROUP * OUT + 16;

/// `G g G^T` for every kernel, `[36, channels, out]`, and each of the 36 packed for the tile.
pub struct Weights(Vec<AlignedVec>);

impl Weights {
    /// Transforms the weights in 64-bit floats: this happens once, and its error would be in every output.
    pub fn new(isa: Isa, weight: &[f32]) -> Self {
        let (a, b) = (0.5f64.sqrt(), 2f64.sqrt());
        let g: [[f64; 3]; PATCH] = [
            [1.0, 0.0, 0.0],
            [-2.0 / 3.0, -2.0 / 3.0 * a, -1.0 / 3.0],
            [-2.0 / 3.0, 2.0 / 3.0 * a, -1.0 / 3.0],
            [1.0 / 6.0, 1.0 / 6.0 * b, 1.0 / 3.0],
            [1.0 / 6.0, -1.0 / 6.0 * b, 1.0 / 3.0],
            [0.0, 0.0, 1.0],
        ];
        let value = |point: usize, c: usize, o: usize| -> f32 {
            let kernel = &weight[(o * IN + c) * 9..][..9];
            let term = |tap: usize| {
                g[point / PATCH][tap / 3] * g[point % PATCH][tap % 3] * f64::from(kernel[tap])
            };
            (0..9).map(term).sum::<f64>() as f32
        };
        let packed = |point: usize| {
            let matrix: Vec<_> = (0..IN * OUT)
                .map(|i| value(point, i / OUT, i % OUT))
                .collect();
            pack_panels(&matrix, OUT, tile_shape(isa).1)
        };
        Weights((0..POINTS).map(packed).collect())
    }
}

/// Transforms the patches of the image into values at 36 points, `[36, patch, channels]`; multiplies them at each point by the
/// weights' values, giving `[36, patch, out]`; and transforms those into the outputs.
///
/// The products take a quarter of the multiplications of a direct convolution; they are [`SegmentProduct`], as in the `simd`
/// rung. Three things keep the gain below four. The transforms of the image cost time: its patches overlap (36 values for 16
/// pixels), and only 32 outputs pay for them. The weights are four times larger (576 KiB), and every group reads them. And
/// small images have products of few rows, and patches that reach over the edge. The price is precision: twice the error.
pub fn convolve(isa: Isa, side: usize, x: &[f32], weights: &Weights, y: &mut [f32]) {
    let across = side.div_ceil(SIDE);
    let patches: Vec<_> = (0..across * across)
        .map(|i| [i / across * SIDE, i % across * SIDE])
        .collect();
    let mut values = AlignedVec::zeros(POINTS * VALUES);
    let mut products = AlignedVec::zeros(POINTS * PRODUCTS);
    let rows: Vec<_> = (0..GROUP).map(|i| i * IN).collect();
    let groups = patches.len().div_ceil(GROUP);
    for group in patches.chunks(patches.len().div_ceil(groups)) {
        isa.dispatch(TransformInput {
            side,
            x,
            group,
            values: &mut values,
        });
        for (point, panels) in weights.0.iter().enumerate() {
            isa.dispatch(SegmentProduct {
                data: &values[point * VALUES..],
                rows: &rows[..group.len()],
                taps: &[0],
                panels,
                y: &mut products[point * PRODUCTS..],
            });
        }
        isa.dispatch(TransformOutput {
            side,
            products: &products,
            group,
            y,
        });
    }
}

/// `B^T d B` for a group of patches.
struct TransformInput<'a> {
    side: usize,
    x: &'a [f32],
    /// The upper left output of each patch.
    group: &'a [[usize; 2]],
    values: &'a mut [f32],
}

impl WithSimd for TransformInput<'_> {
    type Output = ();
    // All channels have the same arithmetic: a vector holds as many channels as it has lanes.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, &[top, left]) in self.group.iter().enumerate() {
            for c in (0..IN).step_by(S::LANES) {
                let mut d = [[s.splat(0.0); PATCH]; PATCH];
                for (ky, d) in d.iter_mut().enumerate() {
                    for (kx, d) in d.iter_mut().enumerate() {
                        let (y, x) = (top + ky, left + kx);
                        if (1..=self.side).contains(&y) && (1..=self.side).contains(&x) {
                            *d = s.load(&self.x[((y - 1) * self.side + x - 1) * IN + c..]);
                        }
                    }
                }
                for row in &mut d {
                    *row = interpolate_transposed(s, *row);
                }
                for kx in 0..PATCH {
                    let values = interpolate_transposed(s, column(&d, kx));
                    for (ky, value) in values.into_iter().enumerate() {
                        let at = (ky * PATCH + kx) * VALUES + i * IN + c;
                        s.store(&mut self.values[at..], value);
                    }
                }
            }
        }
    }
}

/// `B^T d`, the transpose of the interpolation: points of opposite sign share their even part and their odd part.
#[inline(always)]
fn interpolate_transposed<S: Simd>(s: S, d: [S::V; PATCH]) -> [S::V; PATCH] {
    // x + factor * y
    let sum = |x, factor, y| s.mul_add(s.splat(factor), y, x);
    let (even_a, odd_a) = (sum(d[4], -2.0, d[2]), sum(d[3], -2.0, d[1]));
    let (even_b, odd_b) = (sum(d[4], -0.5, d[2]), sum(d[3], -0.5, d[1]));
    [
        s.add(sum(d[0], -2.5, d[2]), d[4]),
        sum(even_a, FRAC_1_SQRT_2, odd_a),
        sum(even_a, -FRAC_1_SQRT_2, odd_a),
        sum(even_b, SQRT_2, odd_b),
        sum(even_b, -SQRT_2, odd_b),
        s.add(sum(d[1], -2.5, d[3]), d[5]),
    ]
}

/// Returns column `at` of six rows.
#[inline(always)]
fn column<V: Copy, const N: usize>(m: &[[V; N]; PATCH], at: usize) -> [V; PATCH] {
    [m[0][at], m[1][at], m[2][at], m[3][at], m[4][at], m[5][at]]
}

/// `A^T m A` for a group of patches.
struct TransformOutput<'a> {
    side: usize,
    products: &'a [f32],
    /// The upper left output of each patch.
    group: &'a [[usize; 2]],
    y: &'a mut [f32],
}

impl WithSimd for TransformOutput<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, &[top, left]) in self.group.iter().enumerate() {
            for o in (0..OUT).step_by(S::LANES) {
                let mut m = [[s.splat(0.0); SIDE]; PATCH];
                for (ky, m) in m.iter_mut().enumerate() {
                    let mut row = [s.splat(0.0); PATCH];
                    for (kx, m) in row.iter_mut().enumerate() {
                        *m = s.load(&self.products[(ky * PATCH + kx) * PRODUCTS + i * OUT + o..]);
                    }
                    *m = evaluate_transposed(s, row);
                }
                for x in 0..SIDE.min(self.side - left) {
                    let outputs = evaluate_transposed(s, column(&m, x));
                    // The last patches may reach beyond the image.
                    for (y, value) in outputs.into_iter().enumerate().take(self.side - top) {
                        let at = ((top + y) * self.side + left + x) * OUT + o;
                        s.store(&mut self.y[at..], value);
                    }
                }
            }
        }
    }
}

/// `A^T m`, the transpose of the evaluation: even powers take the sum of the values at opposite points, odd powers the
/// difference.
#[inline(always)]
fn evaluate_transposed<S: Simd>(s: S, m: [S::V; PATCH]) -> [S::V; SIDE] {
    let (even_a, even_b) = (s.add(m[1], m[2]), s.add(m[3], m[4]));
    let odd_a = s.mul(s.splat(FRAC_1_SQRT_2), s.sub(m[1], m[2]));
    let odd_b = s.mul(s.splat(SQRT_2), s.sub(m[3], m[4]));
    // The next power of the same parity: another p^2, which is a half at a and two at b.
    let next = |a, b| s.mul_add(s.splat(0.5), a, s.mul(s.splat(2.0), b));
    [
        s.add(m[0], s.add(even_a, even_b)),
        s.add(odd_a, odd_b),
        next(even_a, even_b),
        s.add(next(odd_a, odd_b), m[5]),
    ]
}
