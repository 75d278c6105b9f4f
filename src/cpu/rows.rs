//! Loops over `[rows, channels]`: what batch norm, its gradient and biases are made of.
//!
//! A feature map `[N, H, W, C]` is such a matrix, a pixel a row. Sums over rows are taken in blocks cut by
//! shape alone, each in `f32`, and the blocks are added in order in `f64`.

use super::Isa;
use super::after::ScaleShiftRelu;
use super::conv::{Pixels, PixelsMut};
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
    /// One factor a channel.
    pub scale: Vec<f32>,
    /// One summand a channel.
    pub shift: Vec<f32>,
    /// The mean that is subtracted.
    pub mean: Vec<f32>,
    /// `1 / sqrt(var + eps)`
    pub inv_std: Vec<f32>,
}

impl Normalizer {
    /// From `gamma`, `beta`, and the statistics, one of each a channel.
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

    /// What is done to each element.
    pub fn affine(&self) -> ScaleShiftRelu<'_> {
        ScaleShiftRelu {
            scale: &self.scale,
            shift: &self.shift,
        }
    }

    /// What the gradient needs; `relu` says whether ReLU comes after.
    pub fn state(&self, relu: bool) -> NormState<'_> {
        NormState {
            affine: self.affine(),
            mean: &self.mean,
            inv_std: &self.inv_std,
            relu,
        }
    }
}

/// `to = max(0, from * scale + shift)`, one pixel.
#[inline(always)]
pub(crate) fn scale_shift_relu<S: Simd>(s: S, f: ScaleShiftRelu, from: &[f32], to: &mut [f32]) {
    let n = from.len();
    let (scale, shift, to) = (&f.scale[..n], &f.shift[..n], &mut to[..n]);
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

// Rows of a block: about a quarter of a megabyte of floats, so that a second look at them hits the cache.
fn block_rows(channels: usize) -> usize {
    (65_536 / channels.max(1)).clamp(16, 2048)
}

/// Calls `body(first_row, rows)` for each block and returns what they yield, in order.
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

/// Work on each row of a block, compiled for the instruction set: plain loops are enough for the compiler.
struct EachRow<F>(usize, F);

impl<F: FnMut(usize)> WithSimd for EachRow<F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        for i in 0..self.0 {
            (self.1)(i);
        }
    }
}

/// The moments of each of the first `channels` channels over `rows` rows.
///
/// Within a block the mean comes first, then the squared distances from it; blocks are joined by the rule of
/// Chan, Golub and LeVeque (1979). Nothing large is subtracted from something as large.
pub fn moments(isa: Isa, x: Pixels, rows: usize, channels: usize) -> Moments {
    let sizes = format_args!("[{rows}, {}]", channels);
    let _timer = profile::time("moments", sizes, 0.0);
    let parts = blocks(rows, channels, |first, n| {
        let (mut mean, mut squares) = (vec![0.0f32; channels], vec![0.0f32; channels]);
        isa.dispatch(EachRow(
            n,
            #[inline(always)]
            |i| {
                let x = &x.data[(first + i) * x.stride..][..channels];
                mean.iter_mut().zip(x).for_each(|(m, x)| *m += x);
            },
        ));
        mean.iter_mut().for_each(|m| *m /= n as f32);
        isa.dispatch(EachRow(
            n,
            #[inline(always)]
            |i| {
                let x = &x.data[(first + i) * x.stride..][..channels];
                for ((q, m), x) in squares.iter_mut().zip(&mean).zip(x) {
                    *q += (x - m) * (x - m);
                }
            },
        ));
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

/// The sum over rows of each channel.
pub fn sum_rows(isa: Isa, x: Pixels, rows: usize, channels: usize) -> Vec<f32> {
    let sizes = format_args!("[{rows}, {}]", channels);
    let _timer = profile::time("sum of rows", sizes, 0.0);
    let parts = blocks(rows, channels, |first, n| {
        let mut sum = vec![0.0f32; channels];
        isa.dispatch(EachRow(
            n,
            #[inline(always)]
            |i| {
                let x = &x.data[(first + i) * x.stride..][..channels];
                sum.iter_mut().zip(x).for_each(|(s, x)| *s += x);
            },
        ));
        sum
    });
    add_in_order(parts, channels)
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

/// `y = max(0, x * scale + shift)`, row by row; without `relu`, `y = x * scale + shift`.
pub fn scale_shift(isa: Isa, x: Pixels, f: ScaleShiftRelu, relu: bool, rows: usize, y: PixelsMut) {
    let sizes = format_args!("[{rows}, {}]", f.scale.len());
    let _timer = profile::time("scale and shift", sizes, 0.0);
    let channels = f.scale.len();
    let out = SharedMut::new(y.data);
    assert!(rows == 0 || (rows - 1) * y.stride + channels <= y.data.len());
    blocks(rows, channels, |first, n| {
        struct Run<'a>(
            Pixels<'a>,
            ScaleShiftRelu<'a>,
            bool,
            SharedMut,
            usize,
            std::ops::Range<usize>,
        );
        impl WithSimd for Run<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, s: S) {
                let Run(x, f, relu, out, stride, rows) = self;
                let channels = f.scale.len();
                for i in rows {
                    let from = &x.data[i * x.stride..][..channels];
                    // SAFETY: the length was checked, and each block has rows of its own.
                    let to = unsafe {
                        std::slice::from_raw_parts_mut(out.get().add(i * stride), channels)
                    };
                    if relu {
                        scale_shift_relu(s, f, from, to);
                    } else {
                        for c in 0..channels {
                            to[c] = from[c] * f.scale[c] + f.shift[c];
                        }
                    }
                }
            }
        }
        isa.dispatch(Run(x, f, relu, out, y.stride, first..first + n));
    });
}

/// What the gradient of batch norm (and ReLU after it) needs to know of the forward pass.
#[derive(Clone, Copy)]
pub struct NormState<'a> {
    /// The normalised map is `x * scale + shift`.
    pub affine: ScaleShiftRelu<'a>,
    /// The mean that was subtracted.
    pub mean: &'a [f32],
    /// `1 / sqrt(var + eps)`
    pub inv_std: &'a [f32],
    /// Whether ReLU came after: then the gradient is zero where the normalised value is not positive.
    pub relu: bool,
}

/// `(sum(dz), sum(dz * xhat))` of each channel, with `xhat = (x - mean) * inv_std` and `dz` the gradient of the
/// normalised map: the gradients of batch norm's shift and scale.
pub fn norm_grad_sums(
    isa: Isa,
    x: Pixels,
    grad: Pixels,
    state: NormState,
    rows: usize,
) -> (Vec<f32>, Vec<f32>) {
    let sizes = format_args!("[{rows}, {}]", state.mean.len());
    let _timer = profile::time("norm gradient, sums", sizes, 0.0);
    let channels = state.mean.len();
    let parts = blocks(rows, channels, |first, n| {
        let (mut sum, mut dot) = (vec![0.0f32; channels], vec![0.0f32; channels]);
        let floor = if state.relu { 0.0 } else { f32::NEG_INFINITY };
        let (scale, shift) = (
            &state.affine.scale[..channels],
            &state.affine.shift[..channels],
        );
        isa.dispatch(EachRow(
            n,
            #[inline(always)]
            |i| {
                let x = &x.data[(first + i) * x.stride..][..channels];
                let grad = &grad.data[(first + i) * grad.stride..][..channels];
                let (sum, dot) = (&mut sum[..channels], &mut dot[..channels]);
                let (mean, inv_std) = (&state.mean[..channels], &state.inv_std[..channels]);
                for c in 0..channels {
                    let g = if x[c] * scale[c] + shift[c] > floor {
                        grad[c]
                    } else {
                        0.0
                    };
                    sum[c] += g;
                    dot[c] += g * ((x[c] - mean[c]) * inv_std[c]);
                }
            },
        ));
        (sum, dot)
    });
    let (sums, dots) = parts.into_iter().unzip();
    (add_in_order(sums, channels), add_in_order(dots, channels))
}

/// Adds to `grad_x` the gradient of batch norm by its input.
///
/// With batch statistics over `M` rows, `dx = scale (dz - sum(dz) / M - xhat sum(dz xhat) / M)`; pass the sums of
/// [`norm_grad_sums`]. With running statistics (`sums` is `None`) the statistics are constants and
/// `dx = scale dz`.
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
    let _timer = profile::time("norm gradient, input", sizes, 0.0);
    let channels = state.mean.len();
    let scale = &state.affine.scale[..channels];
    let shift = &state.affine.shift[..channels];
    // dx = scale dz + slope x + offset
    let (mut slope, mut offset) = (vec![0.0f32; channels], vec![0.0f32; channels]);
    if let Some((sum, dot)) = sums {
        let m = rows as f32;
        for c in 0..channels {
            let tilt = state.inv_std[c] * dot[c] / m;
            slope[c] = -scale[c] * tilt;
            offset[c] = scale[c] * (state.mean[c] * tilt - sum[c] / m);
        }
    }
    let out = SharedMut::new(grad_x.data);
    let stride = grad_x.stride;
    assert!(rows == 0 || (rows - 1) * stride + channels <= grad_x.data.len());
    let floor = if state.relu { 0.0 } else { f32::NEG_INFINITY };
    blocks(rows, channels, |first, n| {
        let (slope, offset) = (&slope[..channels], &offset[..channels]);
        isa.dispatch(EachRow(
            n,
            #[inline(always)]
            |i| {
                let x = &x.data[(first + i) * x.stride..][..channels];
                let grad = &grad.data[(first + i) * grad.stride..][..channels];
                // SAFETY: the length was checked, and each block has rows of its own.
                let to = unsafe {
                    std::slice::from_raw_parts_mut(out.get().add((first + i) * stride), channels)
                };
                for c in 0..channels {
                    let g = if x[c] * scale[c] + shift[c] > floor {
                        grad[c]
                    } else {
                        0.0
                    };
                    to[c] += scale[c] * g + (slope[c] * x[c] + offset[c]);
                }
            },
        ));
    });
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
