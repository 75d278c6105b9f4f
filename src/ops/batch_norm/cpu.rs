//! SIMD loops over the rows `[rows, channels]` of a feature map, one vector of channels at a time.

use super::{Folded, Job, Moments, Norm, gradients};
use crate::cpu::after::Affine;
use crate::cpu::elements::{get, put};
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::rows::{RowBody, add_in_order, block_sum, blocks, each_vector, write_blocks};
use crate::cpu::simd::Simd;
use crate::cpu::{Isa, memory, profile};
use crate::tensor::{Tensor, Wanted};

/// Folds `norm` for the pixels `x`; also returns the moments of the mini-batch if the norm uses them.
pub(crate) fn fold_for(isa: Isa, norm: &Norm, x: Pixels, rows: usize) -> (Folded, Option<Moments>) {
    norm.fold_by(|| moments(isa, x, rows, norm.gamma.len()))
}

/// `y = scale x + shift`, or with ReLU `y = max(0, scale x + shift)`
pub(crate) fn forward(isa: Isa, job: &Job, norm: &Norm) -> (Tensor, Folded, Option<Moments>) {
    let x = Pixels::new(job.x.data(), job.channels);
    let (folded, moments) = fold_for(isa, norm, x, job.rows);
    let mut y = memory::unset(job.x.len());
    let _timer = profile::time("scale and shift", job.x.shape());
    let out = PixelsMut::new(&mut y, job.channels);
    write_blocks(out, job.rows, job.channels, |rows, to| {
        let body = AffineRow {
            x,
            affine: folded.affine(),
            floor: if job.relu { 0.0 } else { f32::NEG_INFINITY },
            first: rows.start,
            to,
        };
        each_vector(isa, rows, job.channels, body);
    });
    (Tensor::computed(y, job.x.dims()), folded, moments)
}

/// `dx`, `dgamma` and `dbeta`
pub(crate) fn backward(
    isa: Isa,
    job: &Job,
    folded: &Folded,
    dy: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let x_and_dy = [&job.x, dy].map(|t| Pixels::new(t.data(), job.channels));
    gradients(&job.x, wanted, |dx| {
        grads(isa, x_and_dy, folded, job.relu, job.rows, dx)
    })
}

/// `dgamma = sum dz xhat` and `dbeta = sum dz`. Adds `scale (dz - dbeta / M - xhat dgamma / M)` to `dx`, or with running
/// statistics `scale dz`.
pub(crate) fn grads(
    isa: Isa,
    [x, dy]: [Pixels; 2],
    folded: &Folded,
    relu: bool,
    rows: usize,
    dx: Option<PixelsMut>,
) -> [Tensor; 2] {
    let [.., mean, inv_std] = folded.rows();
    let grad = NormGrad {
        x,
        dy,
        rows,
        affine: folded.affine(),
        mean,
        inv_std,
        relu,
    };
    let sums = grad.sums(isa);
    if let Some(dx) = dx {
        grad.input(isa, folded.batch.then_some(&sums), dx);
    }
    sums.map(|sums| Tensor::computed(sums, &[mean.len()]))
}

/// Computes mean and biased variance of each of the first `channels` channels over `rows` rows.
///
/// Within a block the mean comes first, then the squared distances from it; blocks are merged by the rule of Chan, Golub
/// and LeVeque (1979). So no large numbers of nearly the same size are subtracted.
pub(crate) fn moments(isa: Isa, x: Pixels, rows: usize, channels: usize) -> [Vec<f32>; 2] {
    let sizes = format_args!("[{rows}, {channels}]");
    let _timer = profile::time("moments", sizes);
    let parts = blocks(rows, channels, |rows| {
        let n = rows.len();
        let mut mean = block_sum(isa, x, rows.clone(), channels);
        mean.iter_mut().for_each(|m| *m /= n as f32);
        let mut squares = vec![0.0f32; channels];
        let body = Squares {
            x,
            mean: &mean,
            squares: &mut squares,
        };
        each_vector(isa, rows, channels, body);
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

/// `to = max(floor, scale x + shift)`
struct AffineRow<'a> {
    x: Pixels<'a>,
    affine: Affine<'a>,
    floor: f32,
    /// The first row of the block, with which `to` begins.
    first: usize,
    to: PixelsMut<'a>,
}

impl RowBody for AffineRow<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, row: usize, c: usize) {
        let Affine { scale, shift } = self.affine;
        let x = get(s, self.x.row(row, scale.len()), c);
        let y = s.mul_add(x, get(s, scale, c), get(s, shift, c));
        let to = self.to.row(row - self.first, scale.len());
        put(s, to, c, s.max(y, s.splat(self.floor)));
    }
}

// Rows from the row in use to the one that is prefetched: maps in training are larger than any cache.
const PREFETCH_ROWS: usize = 8;

/// The backward pass of batch norm and, if a ReLU follows, of the ReLU.
///
/// ```text
/// xhat = (x - mean) inv_std        dz = dy without a ReLU, or where scale x + shift > 0, else 0
/// ```
#[derive(Clone, Copy)]
struct NormGrad<'a> {
    /// The input.
    x: Pixels<'a>,
    /// The gradient with respect to the output.
    dy: Pixels<'a>,
    /// The pixels of both.
    rows: usize,
    /// The norm as an affine map.
    affine: Affine<'a>,
    /// The mean of each channel.
    mean: &'a [f32],
    /// `1 / sqrt(var + eps)`
    inv_std: &'a [f32],
    /// Whether ReLU follows.
    relu: bool,
}

impl NormGrad<'_> {
    /// Computes `[dgamma, dbeta]`: `dgamma = sum dz xhat` and `dbeta = sum dz`.
    fn sums(&self, isa: Isa) -> [Vec<f32>; 2] {
        let (rows, channels) = (self.rows, self.mean.len());
        let _timer = profile::time("norm gradient, sums", format_args!("[{rows}, {channels}]"));
        let parts = blocks(rows, channels, |rows| {
            let (mut dgamma, mut dbeta) = (vec![0.0f32; channels], vec![0.0f32; channels]);
            let body = GradSums {
                grad: *self,
                dgamma: &mut dgamma,
                dbeta: &mut dbeta,
            };
            each_vector(isa, rows, channels, body);
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
    fn input(&self, isa: Isa, sums: Option<&[Vec<f32>; 2]>, dx: PixelsMut) {
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
        write_blocks(dx, rows, channels, |rows, dx| {
            let body = GradInput {
                grad: *self,
                slope: &slope,
                offset: &offset,
                first: rows.start,
                dx,
            };
            each_vector(isa, rows, channels, body);
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
    /// The first row of the block, with which `dx` begins.
    first: usize,
    dx: PixelsMut<'a>,
}

impl RowBody for GradInput<'_> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, row: usize, c: usize) {
        let [x, dz] = self.grad.load(s, row, c);
        let scale = get(s, self.grad.affine.scale, c);
        let dx = self.dx.row(row - self.first, self.slope.len());
        let constant = s.mul_add(get(s, self.slope, c), x, get(s, self.offset, c));
        let sum = s.add(get(s, dx, c), s.mul_add(scale, dz, constant));
        put(s, dx, c, sum);
    }
}
