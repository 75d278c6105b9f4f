//! A convolution, written seven times: 3x3, stride 1, padding 1, 128 channels to 32, as in every dense layer of
//! DenseNet-121. The seventh, the library's, is also timed in bf16.
//!
//! Images are `[side, side, channels]`. The weights are `[out, channels, 3, 3]`, as they are in files. A network's weights
//! stay the same from image to image, so each rung gets them packed in the order that it reads, and only the work on the
//! image is timed.

use glimpse::cpu::after::After;
use glimpse::cpu::aligned::AlignedVec;
use glimpse::cpu::conv::{forward, pack_forward};
use glimpse::cpu::packed::{PackedB, tile_shape};
use glimpse::cpu::pixels::{Pixels, PixelsMut};
use glimpse::cpu::{Isa, Precision};
use glimpse::sizes::ConvShape;

use crate::common::random;
use crate::gemm::{self, Size, pack_panels};
use crate::segments::{IN, OUT, SegmentProduct, segments};
use crate::{Ladder, Rung, winograd};

/// Summands of one output element.
const K: usize = 9 * IN;

pub fn measure(ladder: &Ladder, isa: Isa) {
    for &side in ladder.shapes(&[14, 28, 56]) {
        let shape = shape(side);
        let (x, weight) = (random(&[side, side, IN], 1), random(&[OUT, IN, 3, 3], 2));
        let (x, weight) = (x.data(), weight.data());
        let taps_first = taps_first(weight);
        let narrow_panels = pack_panels(&taps_first, OUT, COLUMNS);
        let wide_panels = pack_panels(&taps_first, OUT, tile_shape(isa).1);
        let transformed = winograd::Weights::new(isa, weight);
        let [packed, pairs] = [Precision::F32, Precision::Bf16]
            .map(|precision| pack_forward(isa, &shape, precision, weight));
        ladder.measure(
            &format!("conv {side}x{side}x{IN} to {OUT}"),
            shape.flops(),
            || gemm::exact(size(side), &patches(side, x), &taps_first),
            vec![
                Rung::new("naive", |y| naive(side, x, weight, y)),
                Rung::new("reordered", |y| reordered(side, x, &taps_first, y)),
                Rung::new("im2col", |y| im2col(side, x, &taps_first, y)),
                Rung::new("implicit", |y| implicit(side, x, &narrow_panels, y)),
                Rung::new("simd", |y| simd(isa, side, x, &wide_panels, y)),
                Rung::new("winograd", |y| {
                    winograd::convolve(isa, side, x, &transformed, y)
                })
                .within(1e-4),
                Rung::new("library", |y| library(isa, side, x, &packed, y)).on_all_threads(),
                Rung::new("in bf16", |y| library(isa, side, x, &pairs, y))
                    .on_all_threads()
                    .within(1e-2),
            ],
        );
    }
}

fn shape(side: usize) -> ConvShape {
    ConvShape {
        batch: 1,
        height: side,
        width: side,
        channels: IN,
        out_channels: OUT,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
    }
}

/// Packs the weights as `[3, 3, channels, out]`: the matrix B of a product whose A has the patches as rows.
fn taps_first(weight: &[f32]) -> Vec<f32> {
    let at = |tap, c, o| weight[(o * IN + c) * 9 + tap];
    (0..K * OUT)
        .map(|i| at(i / OUT / IN, i / OUT % IN, i % OUT))
        .collect()
}

/// Returns the channels of input pixel `(y, x) + tap - 1`, or `None` outside the image.
fn input_pixel(side: usize, image: &[f32], [y, x]: [usize; 2], tap: usize) -> Option<&[f32]> {
    let (y, x) = ((y + tap / 3).checked_sub(1)?, (x + tap % 3).checked_sub(1)?);
    (y < side && x < side).then(|| &image[(y * side + x) * IN..][..IN])
}

/// The definition: six loops, of which the three inner ones are a sum; a batch would be the seventh.
///
/// Its order is that of the weights in the file, and the worst for the image. Neighbouring taps are whole pixels apart, so each
/// multiply-add reads another cache line. Each addition waits for the previous one, and each tap checks whether it is inside
/// the image.
fn naive(side: usize, x: &[f32], weight: &[f32], y: &mut [f32]) {
    for row in 0..side {
        for column in 0..side {
            for o in 0..OUT {
                let mut sum = 0.0;
                for c in 0..IN {
                    for ky in 0..3 {
                        for kx in 0..3 {
                            let (iy, ix) = (row + ky, column + kx);
                            if (1..=side).contains(&iy) && (1..=side).contains(&ix) {
                                sum += x[((iy - 1) * side + ix - 1) * IN + c]
                                    * weight[((o * IN + c) * 3 + ky) * 3 + kx];
                            }
                        }
                    }
                }
                y[(row * side + column) * OUT + o] = sum;
            }
        }
    }
}

/// Taps in the outer loop, channels inside: a pixel's channels are read in order, and the 32 outputs, which do not depend on
/// each other, are the innermost loop.
///
/// That loop runs over neighbours in memory, so the compiler uses vectors, and each tap checks once for 128 channels whether it
/// is inside the image. The 32 sums even fit the registers, as four floats each. The limit: all 144 KiB of weights are loaded
/// from the second-level cache for every single pixel, one load for each multiply-add. For vectors of four that is just fast
/// enough; wider ones would wait.
fn reordered(side: usize, x: &[f32], taps_first: &[f32], y: &mut [f32]) {
    for (i, y) in y.chunks_exact_mut(OUT).enumerate() {
        let mut sums = [0.0; OUT];
        for (tap, weights) in taps_first.chunks_exact(IN * OUT).enumerate() {
            let Some(pixel) = input_pixel(side, x, [i / side, i % side], tap) else {
                continue;
            };
            for (x, weights) in pixel.iter().zip(weights.chunks_exact(OUT)) {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += x * weight;
                }
            }
        }
        y.copy_from_slice(&sums);
    }
}

/// Writes the patch of each output as a row of a matrix, `[side * side, 9 * 128]`; the rest is a product: [`gemm::packed`].
///
/// Everything that makes products fast now serves convolutions: a weight, once loaded, is multiplied with four pixels. Yet this
/// is a step down. The limit is the matrix, nine times the size of the image: it is written, read again, and copied once more
/// into strips, and with only 32 columns there is too little arithmetic to pay for that.
fn im2col(side: usize, x: &[f32], taps_first: &[f32], y: &mut [f32]) {
    gemm::packed(size(side), &patches(side, x), taps_first, y);
}

/// The sizes of the convolution as a product of the patches, one for each pixel, and the weights.
fn size(side: usize) -> Size {
    Size {
        m: side * side,
        k: K,
        n: OUT,
    }
}

/// Builds the matrix of [`im2col`].
fn patches(side: usize, x: &[f32]) -> Vec<f32> {
    let mut patches = vec![0.0; side * side * K];
    for (i, patch) in patches.chunks_exact_mut(K).enumerate() {
        for (tap, to) in patch.chunks_exact_mut(IN).enumerate() {
            if let Some(from) = input_pixel(side, x, [i / side, i % side], tap) {
                to.copy_from_slice(from);
            }
        }
    }
    patches
}

/// The product of [`im2col`] without its matrix. In an image with a border of zeros, a tap lies at the same distance from every
/// pixel, so row `i` of the matrix is nine segments of 128 floats at `pixel(i) + tap`.
///
/// Only the image is copied, once, instead of nine times and again; the overlapping patches are read from the cache. The tile
/// is that of [`gemm::packed`], and so is its limit: vectors of four without fused multiply-add, for which `reordered` was
/// good enough.
fn implicit(side: usize, x: &[f32], narrow_panels: &[f32], y: &mut [f32]) {
    let bordered = Bordered::new(side, x);
    for (pixels, y) in bordered.pixels.chunks(ROWS).zip(y.chunks_mut(ROWS * OUT)) {
        for (panel, column) in narrow_panels
            .chunks_exact(K * COLUMNS)
            .zip((0..OUT).step_by(COLUMNS))
        {
            let sums = tile(&bordered, pixels, panel);
            for (y, sums) in y.chunks_exact_mut(OUT).zip(sums) {
                y[column..][..COLUMNS].copy_from_slice(&sums);
            }
        }
    }
}

const ROWS: usize = 4;
const COLUMNS: usize = 8;

/// The register tile of [`implicit`]: at most [`ROWS`] pixels by [`COLUMNS`] outputs.
// Indices that are constants once the loops are unrolled keep `sums` in registers, and `take` tells the compiler that `c`
// needs no bounds check. The tile of vectors below does likewise.
#[allow(clippy::needless_range_loop)]
fn tile(image: &Bordered, pixels: &[usize], panel: &[f32]) -> [[f32; COLUMNS]; ROWS] {
    let mut sums = [[0.0; COLUMNS]; ROWS];
    for (tap, weights) in image.taps.iter().zip(panel.chunks_exact(IN * COLUMNS)) {
        let rows: [_; ROWS] = segments(&image.data, pixels, *tap);
        for (c, weights) in weights.as_chunks::<COLUMNS>().0.iter().enumerate().take(IN) {
            for r in 0..ROWS {
                for j in 0..COLUMNS {
                    sums[r][j] += rows[r][c] * weights[j];
                }
            }
        }
    }
    sums
}

/// An image with a border of zeros, and the positions of its pixels and taps.
struct Bordered {
    data: Vec<f32>,
    /// The upper left corner of each output's patch.
    pixels: Vec<usize>,
    /// The distance of each tap from that corner.
    taps: [usize; 9],
}

impl Bordered {
    fn new(side: usize, x: &[f32]) -> Self {
        let stride = (side + 2) * IN;
        let mut data = vec![0.0; (side + 2) * stride];
        for (to, from) in data
            .chunks_exact_mut(stride)
            .skip(1)
            .zip(x.chunks_exact(side * IN))
        {
            to[IN..][..from.len()].copy_from_slice(from);
        }
        Bordered {
            data,
            pixels: (0..side * side)
                .map(|i| i / side * stride + i % side * IN)
                .collect(),
            taps: std::array::from_fn(|tap| tap / 3 * stride + tap % 3 * IN),
        }
    }
}

/// The loops of [`implicit`] with a tile of vectors that fills the register file: 6 pixels by 16 outputs with AVX2 and NEON, 14
/// by 32 with AVX-512.
///
/// As in [`gemm`], arithmetic is the limit. The rest of the time goes into the copy of the image, into the weights, which do not
/// fit the first-level cache and are loaded again for every few pixels, and into the tile that the last pixels do not fill.
fn simd(isa: Isa, side: usize, x: &[f32], wide_panels: &AlignedVec, y: &mut [f32]) {
    let image = Bordered::new(side, x);
    isa.dispatch(SegmentProduct {
        data: &image.data,
        rows: &image.pixels,
        taps: &image.taps,
        panels: wide_panels,
        y,
    });
}

/// The library's convolution: the idea of [`simd`], on all threads.
///
/// Each task copies only the few rows that it needs into a tile that stays in its own second-level cache. It keeps pixels an odd
/// number of cache lines apart, so that they do not compete for the same sets, and has smaller tiles for the last pixels.
fn library(isa: Isa, side: usize, x: &[f32], packed: &PackedB, y: &mut [f32]) {
    let x = Pixels::new(x, IN);
    let y = PixelsMut::new(y, OUT);
    forward(isa, &shape(side), x, None, packed, After::Nothing, y);
}
