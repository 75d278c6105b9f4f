//! Loops over `[rows, channels]`, for batch norm, its gradient and sums over rows.
//!
//! A feature map `[N, H, W, C]` is such a matrix with one row per pixel. Sums over rows are taken in blocks whose size
//! depends on the shape alone, each in `f32`, and the blocks are added in order in `f64`.

use std::ops::Range;

use super::Isa;
use super::after::ScaleShiftRelu;
use super::pixels::{Pixels, PixelsMut};
use super::profile;
use super::simd::{Simd, WithSimd};
use super::threads::{self, SharedMut};

/// Mean and variance of each channel.
#[derive(Clone, Debug)]
pub struct Moments {
    /// `sum(x) / rows`
    pub mean: Vec<f32>,
    /// `sum((x - mean)^2) / rows`, the biased variance that batch norm normalises by.
    pub var: Vec<f32>,
}

/// Batch norm with its statistics folded in: `y = x * scale + shift`, with `scale = gamma / sqrt(var + eps)` and
/// `shift = beta - mean * scale`.
#[derive(Clone, Debug)]
pub struct Normalizer {
    /// One factor per channel.
    pub scale: Vec<f32>,
    /// One summand per channel.
    pub shift: Vec<f32>,
    /// The mean that is subtracted.
    pub mean: Vec<f32>,
    /// `1 / sqrt(var + eps)`
    pub inv_std: Vec<f32>,
}

impl Normalizer {
    /// Computes it from `gamma`, `beta` and the statistics, one of each per channel.
    pub fn new(gamma: &[f32], beta: &[f32], mean: &[f32], var: &[f32], eps: f32) -> Self {
        let inv_std: Vec<f32> = var
            .iter()
            .map(|&v| (1.0 / (f64::from(v) + f64::from(eps)).sqrt()) as f32)
            .collect();
        let scale: Vec<f32> = gamma.iter().zip(&inv_std).map(|(g, s)| g * s).collect();
        let shift = beta
            .iter()
            .zip(mean)
            .zip(&scale)
            .map(|((b, m), s)| b - m * s)
            .collect();
        Normalizer {
            scale,
            shift,
            mean: mean.to_vec(),
            inv_std,
        }
    }

    /// The factor and the summand of each channel.
    pub fn affine(&self) -> ScaleShiftRelu<'_> {
        ScaleShiftRelu {
            scale: &self.scale,
            shift: &self.shift,
        }
    }

    /// The values that the gradient needs; `relu` says whether ReLU follows.
    pub fn state(&self, relu: bool) -> NormState<'_> {
        NormState {
            affine: self.affine(),
            mean: &self.mean,
            inv_std: &self.inv_std,
            relu,
        }
    }
}

/// Computes `to = max(0, from * scale + shift)` for one pixel.
#[inline(always)]
pub(crate) fn scale_shift_relu<S: Simd>(
    s: S,
    affine: ScaleShiftRelu,
    from: &[f32],
    to: &mut [f32],
) {
    let n = from.len();
    let (scale, shift, to) = (&affine.scale[..n], &affine.shift[..n], &mut to[..n]);
    let whole = n - n % S::LANES;
    let zero = s.splat(0.0);
    for c in (0..whole).step_by(S::LANES) {
        let y = s.mul_add(s.load(&from[c..]), s.load(&scale[c..]), s.load(&shift[c..]));
        s.store(&mut to[c..], s.max(y, zero));
    }
    for c in whole..n {
        to[c] = (from[c] * scale[c] + shift[c]).max(0.0);
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

/// Loads the vector of `x` from `first` on; elements beyond the end are zero.
#[inline(always)]
fn get<S: Simd>(s: S, x: &[f32], first: usize) -> S::V {
    let x = &x[first..];
    match x.len() >= S::LANES {
        true => s.load(x),
        false => s.load_part(x, 0.0),
    }
}

/// Stores the vector of `x` from `first` on; lanes beyond the end are dropped.
#[inline(always)]
fn put<S: Simd>(s: S, x: &mut [f32], first: usize, v: S::V) {
    let x = &mut x[first..];
    match x.len() >= S::LANES {
        true => s.store(x, v),
        false => s.store_part(x, v),
    }
}

/// Computes mean and variance of each of the first `channels` channels over `rows` rows.
///
/// Within a block the mean comes first, then the squared distances from it; blocks are merged by the rule of Chan, Golub
/// and LeVeque (1979). So no large numbers of nearly the same size are subtracted.
pub fn moments(isa: Isa, x: Pixels, rows: usize, channels: usize) -> Moments {
    let sizes = format_args!("[{rows}, {}]", channels);
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
    Moments {
        mean: mean.iter().map(|&m| m as f32).collect(),
        var: squares
            .iter()
            .map(|&q| (q / count.max(1.0)) as f32)
            .collect(),
    }
}

/// Computes the sum of each channel over all rows.
pub fn sum_rows(isa: Isa, x: Pixels, rows: usize, channels: usize) -> Vec<f32> {
    let sizes = format_args!("[{rows}, {}]", channels);
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

/// Computes `y = max(0, x * scale + shift)` row by row, or `y = x * scale + shift` where `relu` is false.
pub fn scale_shift(
    isa: Isa,
    x: Pixels,
    affine: ScaleShiftRelu,
    relu: bool,
    rows: usize,
    y: PixelsMut,
) {
    let sizes = format_args!("[{rows}, {}]", affine.scale.len());
    let _timer = profile::time("scale and shift", sizes);
    let channels = affine.scale.len();
    let out = SharedMut::new(y.data);
    assert!(rows == 0 || (rows - 1) * y.stride + channels <= y.data.len());
    blocks(rows, channels, |first, n| {
        let body = ScaleShift {
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

/// `to = max(floor, x * scale + shift)`
struct ScaleShift<'a> {
    x: Pixels<'a>,
    affine: ScaleShiftRelu<'a>,
    floor: f32,
    // Checked to hold every row; each block has rows of its own.
    to: SharedMut,
    stride: usize,
}

impl RowBody for ScaleShift<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, row: usize, c: usize) {
        let ScaleShiftRelu { scale, shift } = self.affine;
        let x = get(s, self.x.row(row, scale.len()), c);
        let y = s.mul_add(x, get(s, scale, c), get(s, shift, c));
        // SAFETY: `scale_shift` checked that every row lies in `to`; each block has rows of its own.
        let to = unsafe { self.to.row(row * self.stride, scale.len()) };
        put(s, to, c, s.max(y, s.splat(self.floor)));
    }
}

/// Values of the forward pass that the gradient of batch norm (and ReLU after it) needs.
#[derive(Clone, Copy)]
pub struct NormState<'a> {
    /// The normalised map is `x * scale + shift`.
    pub affine: ScaleShiftRelu<'a>,
    /// The mean that was subtracted.
    pub mean: &'a [f32],
    /// `1 / sqrt(var + eps)`
    pub inv_std: &'a [f32],
    /// Whether ReLU follows: then the gradient is zero where the normalised value is not positive.
    pub relu: bool,
}

/// Computes `(sum(dz), sum(dz * xhat))` of each channel: the gradients with respect to beta and gamma.
///
/// `xhat = (x - mean) * inv_std`, and `dz` is the gradient with respect to the normalised map.
pub fn norm_grad_sums(
    isa: Isa,
    x: Pixels,
    grad: Pixels,
    state: NormState,
    rows: usize,
) -> (Vec<f32>, Vec<f32>) {
    let sizes = format_args!("[{rows}, {}]", state.mean.len());
    let _timer = profile::time("norm gradient, sums", sizes);
    let channels = state.mean.len();
    let parts = blocks(rows, channels, |first, n| {
        let (mut sum, mut dot) = (vec![0.0f32; channels], vec![0.0f32; channels]);
        let body = GradSums {
            grad: MaskedGrad { x, grad, state },
            sum: &mut sum,
            dot: &mut dot,
        };
        isa.dispatch(EachVector {
            rows: first..first + n,
            channels,
            body,
        });
        (sum, dot)
    });
    let (sums, dots) = parts.into_iter().unzip();
    (add_in_order(sums, channels), add_in_order(dots, channels))
}

/// The gradient with respect to a normalised map: the output's gradient, zero where ReLU was zero.
#[derive(Clone, Copy)]
struct MaskedGrad<'a> {
    x: Pixels<'a>,
    grad: Pixels<'a>,
    state: NormState<'a>,
}

impl MaskedGrad<'_> {
    /// Loads `x` and the gradient.
    #[inline(always)]
    fn get<S: Simd>(&self, s: S, row: usize, c: usize) -> [S::V; 2] {
        let ScaleShiftRelu { scale, shift } = self.state.affine;
        let x = get(s, self.x.row(row, scale.len()), c);
        let grad = get(s, self.grad.row(row, scale.len()), c);
        for map in [self.x, self.grad] {
            let ahead = (row + PREFETCH_ROWS) * map.stride + c;
            s.prefetch(map.data.as_ptr().wrapping_add(ahead));
        }
        if !self.state.relu {
            return [x, grad];
        }
        let y = s.mul_add(x, get(s, scale, c), get(s, shift, c));
        [x, s.select_less(s.splat(0.0), y, grad, s.splat(0.0))]
    }
}

/// `sum += dz` and `dot += dz xhat`
struct GradSums<'a> {
    grad: MaskedGrad<'a>,
    sum: &'a mut [f32],
    dot: &'a mut [f32],
}

impl RowBody for GradSums<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, row: usize, c: usize) {
        let [x, grad] = self.grad.get(s, row, c);
        let NormState { mean, inv_std, .. } = self.grad.state;
        let xhat = s.mul(s.sub(x, get(s, mean, c)), get(s, inv_std, c));
        let sum = s.add(get(s, self.sum, c), grad);
        let dot = s.mul_add(grad, xhat, get(s, self.dot, c));
        put(s, self.sum, c, sum);
        put(s, self.dot, c, dot);
    }
}

/// Adds the gradient of batch norm with respect to its input to `grad_x`.
///
/// With batch statistics over `M` rows, `dx = scale (dz - sum(dz) / M - xhat sum(dz xhat) / M)`; pass the sums of
/// [`norm_grad_sums`]. With running statistics, which are constants, `sums` is `None` and `dx = scale dz`.
pub fn norm_grad_input(
    isa: Isa,
    x: Pixels,
    grad: Pixels,
    state: NormState,
    sums: Option<(&[f32], &[f32])>,
    rows: usize,
    grad_x: PixelsMut,
) {
    let sizes = format_args!("[{rows}, {}]", state.mean.len());
    let _timer = profile::time("norm gradient, input", sizes);
    let channels = state.mean.len();
    let scale = &state.affine.scale[..channels];
    // dx = scale dz + slope x + offset
    let (mut slope, mut offset) = (vec![0.0f32; channels], vec![0.0f32; channels]);
    if let Some((sum, dot)) = sums {
        let m = rows as f32;
        for c in 0..channels {
            let xhat_slope = state.inv_std[c] * dot[c] / m;
            slope[c] = -scale[c] * xhat_slope;
            offset[c] = scale[c] * (state.mean[c] * xhat_slope - sum[c] / m);
        }
    }
    let out = SharedMut::new(grad_x.data);
    let stride = grad_x.stride;
    assert!(rows == 0 || (rows - 1) * stride + channels <= grad_x.data.len());
    blocks(rows, channels, |first, n| {
        let body = GradInput {
            grad: MaskedGrad { x, grad, state },
            slope: &slope,
            offset: &offset,
            to: out,
            stride,
        };
        isa.dispatch(EachVector {
            rows: first..first + n,
            channels,
            body,
        });
    });
}

/// `to += scale dz + (slope x + offset)`
struct GradInput<'a> {
    grad: MaskedGrad<'a>,
    slope: &'a [f32],
    offset: &'a [f32],
    // Checked to hold every row; each block has rows of its own.
    to: SharedMut,
    stride: usize,
}

impl RowBody for GradInput<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, row: usize, c: usize) {
        let [x, grad] = self.grad.get(s, row, c);
        let scale = get(s, self.grad.state.affine.scale, c);
        // SAFETY: `norm_grad_input` checked that every row lies in `to`; each block has rows of its own.
        let to = unsafe { self.to.row(row * self.stride, self.slope.len()) };
        let constant = s.mul_add(get(s, self.slope, c), x, get(s, self.offset, c));
        let sum = s.add(get(s, to, c), s.mul_add(scale, grad, constant));
        put(s, to, c, sum);
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
            let got = moments(
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
                assert!((f64::from(got.mean[c]) - mean).abs() < 1e-3, "{isa}");
                assert!((f64::from(got.var[c]) - var).abs() < 1e-4 * var, "{isa}");
            }
        }
    }
}
