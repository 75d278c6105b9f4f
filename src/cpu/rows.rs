//! Loops over `[rows, channels]`, for batch norm, its gradient and sums over rows.
//!
//! A feature map `[N, H, W, C]` is such a matrix with one row per pixel. Sums over rows are taken in blocks whose size
//! depends on the shape alone, each in `f32`, and the blocks are added in order in `f64`.

use std::ops::Range;

use super::Isa;
use super::after::Affine;
use super::elements::{get, put};
use super::pixels::{Pixels, PixelsMut};
use super::profile;
use super::simd::{Simd, WithSimd};
use super::threads::{self, SharedMut};

/// Computes `to = max(0, from * scale + shift)` for one pixel.
#[inline(always)]
pub(crate) fn affine_relu<S: Simd>(s: S, affine: Affine, from: &[f32], to: &mut [f32]) {
    let n = from.len();
    let (affine, to) = (affine.channels(0..n), &mut to[..n]);
    let whole = n - n % S::LANES;
    for c in (0..whole).step_by(S::LANES) {
        s.store(&mut to[c..], affine.relu(s, s.load(&from[c..]), c));
    }
    for c in whole..n {
        to[c] = affine.relu_one(from[c], c);
    }
}

// Rows from the row in use to the one that is prefetched: maps in training are larger than any cache.
const PREFETCH_ROWS: usize = 8;

// Rows of a block: about a quarter of a megabyte of floats, so that a second pass over them hits the cache.
fn block_rows(channels: usize) -> usize {
    (65_536 / channels.max(1)).clamp(16, 2048)
}

/// Calls `body(first_row, rows)` for each block and returns the results in order.
fn blocks<R: Send>(
    rows: usize,
    channels: usize,
    body: impl Fn(usize, usize) -> R + Sync + Send,
) -> Vec<R> {
    let step = block_rows(channels);
    threads::map(rows.div_ceil(step), |i| {
        body(i * step, step.min(rows - i * step))
    })
}

/// Runs `body` on each row of a block, one vector of channels at a time, compiled for the instruction set.
///
/// `body` loads and stores with [`get`] and [`put`], because the last vector of a row may be only partly there. Left to
/// itself, the compiler would process the channels beyond a multiple of four vectors one at a time, which took a third of
/// the time.
struct EachVector<F> {
    rows: Range<usize>,
    channels: usize,
    body: F,
}

/// Processes one vector of a row, starting at `channel`.
trait RowBody {
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

/// Computes mean and biased variance of each of the first `channels` channels over `rows` rows.
///
/// Within a block the mean comes first, then the squared distances from it; blocks are merged by the rule of Chan, Golub
/// and LeVeque (1979). So no large numbers of nearly the same size are subtracted.
pub fn moments(isa: Isa, x: Pixels, rows: usize, channels: usize) -> [Vec<f32>; 2] {
    let sizes = format_args!("[{rows}, {channels}]");
    let _timer = profile::time("moments", sizes);
    let parts = blocks(rows, channels, |first, n| {
        let mut mean = block_sum(isa, x, first..first + n, channels);
        mean.iter_mut().for_each(|m| *m /= n as f32);
        let mut squares = vec![0.0f32; channels];
        let body = Squares {
            x,
            mean: &mean,
            squares: &mut squares,
        };
        isa.dispatch(EachVector {
            rows: first..first + n,
            channels,
            body,
        });
        (n as f64, mean, squares)
    });
    let mut count = 0.0f64;
    let (mut mean, mut squares) = (vec![0.0f64; channels], vec![0.0f64; channels]);
    for (n, part_mean, part_squares) in parts {
        let total = count + n;
        for c in 0..channels {
            let delta = f64::from(part_mean[c]) - mean[c];
            mean[c] += delta * n / total;
            squares[c] += f64::from(part_squares[c]) + delta * delta * count * n / total;
        }
        count = total;
    }
    let of_squares = |&q: &f64| (q / count.max(1.0)) as f32;
    [
        mean.iter().map(|&m| m as f32).collect(),
        squares.iter().map(of_squares).collect(),
    ]
}

/// Computes the sum of each channel over all rows.
pub fn sum_rows(isa: Isa, x: Pixels, rows: usize, channels: usize) -> Vec<f32> {
    let sizes = format_args!("[{rows}, {channels}]");
    let _timer = profile::time("sum of rows", sizes);
    let parts = blocks(rows, channels, |first, n| {
        block_sum(isa, x, first..first + n, channels)
    });
    add_in_order(parts, channels)
}

/// Computes the sum of each channel over some rows.
fn block_sum(isa: Isa, x: Pixels, rows: Range<usize>, channels: usize) -> Vec<f32> {
    let mut sum = vec![0.0f32; channels];
    let body = Sum { x, sum: &mut sum };
    isa.dispatch(EachVector {
        rows,
        channels,
        body,
    });
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

/// `squares += (x - mean)^2`
struct Squares<'a> {
    x: Pixels<'a>,
    mean: &'a [f32],
    squares: &'a mut [f32],
}

impl RowBody for Squares<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, row: usize, c: usize) {
        let x = get(s, self.x.row(row, self.mean.len()), c);
        let distance = s.sub(x, get(s, self.mean, c));
        let sum = s.mul_add(distance, distance, get(s, self.squares, c));
        put(s, self.squares, c, sum);
    }
}

fn add_in_order(parts: Vec<Vec<f32>>, channels: usize) -> Vec<f32> {
    let mut total = vec![0.0f64; channels];
    for part in parts {
        total
            .iter_mut()
            .zip(&part)
            .for_each(|(t, &p)| *t += f64::from(p));
    }
    total.into_iter().map(|t| t as f32).collect()
}

/// Computes `y = scale x + shift` row by row, or with `relu` `y = max(0, scale x + shift)`.
pub fn affine(isa: Isa, x: Pixels, affine: Affine, relu: bool, rows: usize, y: PixelsMut) {
    let sizes = format_args!("[{rows}, {}]", affine.scale.len());
    let _timer = profile::time("scale and shift", sizes);
    let channels = affine.scale.len();
    let out = SharedMut::new(y.data);
    assert!(rows == 0 || (rows - 1) * y.stride + channels <= y.data.len());
    blocks(rows, channels, |first, n| {
        let body = AffineRow {
            x,
            affine,
            floor: if relu { 0.0 } else { f32::NEG_INFINITY },
            to: out,
            stride: y.stride,
        };
        isa.dispatch(EachVector {
            rows: first..first + n,
            channels,
            body,
        });
    });
}

/// `to = max(floor, scale x + shift)`
struct AffineRow<'a> {
    x: Pixels<'a>,
    affine: Affine<'a>,
    floor: f32,
    // Checked to hold every row; each block has rows of its own.
    to: SharedMut,
    stride: usize,
}

impl RowBody for AffineRow<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, row: usize, c: usize) {
        let Affine { scale, shift } = self.affine;
        let x = get(s, self.x.row(row, scale.len()), c);
        let y = s.mul_add(x, get(s, scale, c), get(s, shift, c));
        // SAFETY: `affine` checked that every row lies in `to`; each block has rows of its own.
        let to = unsafe { self.to.row(row * self.stride, scale.len()) };
        put(s, to, c, s.max(y, s.splat(self.floor)));
    }
}

/// The backward pass of batch norm, and of the ReLU after it where there is one.
///
/// ```text
/// xhat = (x - mean) inv_std        dz = dy where there is no ReLU or scale x + shift > 0, else 0
/// ```
#[derive(Clone, Copy)]
pub struct NormGrad<'a> {
    /// The input.
    pub x: Pixels<'a>,
    /// The gradient with respect to the output.
    pub dy: Pixels<'a>,
    /// The pixels of both.
    pub rows: usize,
    /// The norm as an affine map.
    pub affine: Affine<'a>,
    /// The mean of each channel.
    pub mean: &'a [f32],
    /// `1 / sqrt(var + eps)`
    pub inv_std: &'a [f32],
    /// Whether ReLU follows.
    pub relu: bool,
}

impl NormGrad<'_> {
    /// Computes `[dgamma, dbeta]`: `dgamma = sum dz xhat` and `dbeta = sum dz`.
    pub fn sums(&self, isa: Isa) -> [Vec<f32>; 2] {
        let (rows, channels) = (self.rows, self.mean.len());
        let _timer = profile::time("norm gradient, sums", format_args!("[{rows}, {channels}]"));
        let parts = blocks(rows, channels, |first, n| {
            let (mut dgamma, mut dbeta) = (vec![0.0f32; channels], vec![0.0f32; channels]);
            let body = GradSums {
                grad: *self,
                dgamma: &mut dgamma,
                dbeta: &mut dbeta,
            };
            isa.dispatch(EachVector {
                rows: first..first + n,
                channels,
                body,
            });
            (dgamma, dbeta)
        });
        let (dgamma, dbeta) = parts.into_iter().unzip();
        [
            add_in_order(dgamma, channels),
            add_in_order(dbeta, channels),
        ]
    }

    /// Adds the gradient with respect to the input to `dx`.
    ///
    /// With the statistics of a mini-batch of `M` rows, `dx = scale (dz - dbeta / M - xhat dgamma / M)`; pass the
    /// [`sums`](NormGrad::sums). Running statistics are constants: pass `None`, and `dx = scale dz`.
    pub fn input(&self, isa: Isa, sums: Option<&[Vec<f32>; 2]>, dx: PixelsMut) {
        let (rows, channels) = (self.rows, self.mean.len());
        let _timer = profile::time("norm gradient, input", format_args!("[{rows}, {channels}]"));
        let scale = &self.affine.scale[..channels];
        // dx = scale dz + slope x + offset
        let (mut slope, mut offset) = (vec![0.0f32; channels], vec![0.0f32; channels]);
        if let Some([dgamma, dbeta]) = sums {
            let m = rows as f32;
            for c in 0..channels {
                let xhat_slope = self.inv_std[c] * dgamma[c] / m;
                slope[c] = -scale[c] * xhat_slope;
                offset[c] = scale[c] * (self.mean[c] * xhat_slope - dbeta[c] / m);
            }
        }
        let stride = dx.stride;
        assert!(rows == 0 || (rows - 1) * stride + channels <= dx.data.len());
        let dx = SharedMut::new(dx.data);
        blocks(rows, channels, |first, n| {
            let body = GradInput {
                grad: *self,
                slope: &slope,
                offset: &offset,
                dx,
                stride,
            };
            isa.dispatch(EachVector {
                rows: first..first + n,
                channels,
                body,
            });
        });
    }

    /// Loads `x` and `dz`.
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, row: usize, c: usize) -> [S::V; 2] {
        let Affine { scale, shift } = self.affine;
        let x = get(s, self.x.row(row, scale.len()), c);
        let dy = get(s, self.dy.row(row, scale.len()), c);
        for map in [self.x, self.dy] {
            let ahead = (row + PREFETCH_ROWS) * map.stride + c;
            s.prefetch(map.data.as_ptr().wrapping_add(ahead));
        }
        if !self.relu {
            return [x, dy];
        }
        let y = s.mul_add(x, get(s, scale, c), get(s, shift, c));
        [x, s.select_less(s.splat(0.0), y, dy, s.splat(0.0))]
    }
}

/// `dgamma += dz xhat` and `dbeta += dz`
struct GradSums<'a> {
    grad: NormGrad<'a>,
    dgamma: &'a mut [f32],
    dbeta: &'a mut [f32],
}

impl RowBody for GradSums<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, row: usize, c: usize) {
        let [x, dz] = self.grad.load(s, row, c);
        let NormGrad { mean, inv_std, .. } = self.grad;
        let xhat = s.mul(s.sub(x, get(s, mean, c)), get(s, inv_std, c));
        let dbeta = s.add(get(s, self.dbeta, c), dz);
        let dgamma = s.mul_add(dz, xhat, get(s, self.dgamma, c));
        put(s, self.dbeta, c, dbeta);
        put(s, self.dgamma, c, dgamma);
    }
}

/// `dx += scale dz + (slope x + offset)`
struct GradInput<'a> {
    grad: NormGrad<'a>,
    slope: &'a [f32],
    offset: &'a [f32],
    // Checked to hold every row; each block has rows of its own.
    dx: SharedMut,
    stride: usize,
}

impl RowBody for GradInput<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, row: usize, c: usize) {
        let [x, dz] = self.grad.load(s, row, c);
        let scale = get(s, self.grad.affine.scale, c);
        // SAFETY: `NormGrad::input` checked that every row lies in `dx`; each block has rows of its own.
        let dx = unsafe { self.dx.row(row * self.stride, self.slope.len()) };
        let constant = s.mul_add(get(s, self.slope, c), x, get(s, self.offset, c));
        let sum = s.add(get(s, dx, c), s.mul_add(scale, dz, constant));
        put(s, dx, c, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_survive_a_large_mean() {
        let rows = 10_000;
        let x: Vec<f32> = (0..rows * 3).map(|i| 4096.0 + (i % 7) as f32).collect();
        for isa in Isa::available() {
            let [mean_got, var_got] = moments(
                isa,
                Pixels {
                    data: &x,
                    stride: 3,
                },
                rows,
                3,
            );
            for c in 0..3 {
                let column: Vec<f64> = x.iter().skip(c).step_by(3).map(|&v| f64::from(v)).collect();
                let mean = column.iter().sum::<f64>() / rows as f64;
                let var = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / rows as f64;
                assert!((f64::from(mean_got[c]) - mean).abs() < 1e-3, "{isa}");
                assert!((f64::from(var_got[c]) - var).abs() < 1e-4 * var, "{isa}");
            }
        }
    }
}
