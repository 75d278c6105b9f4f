//! The matrix product `C = A B`, written six times; all matrices are row-major.

use glimpse::cpu::Isa;
use glimpse::cpu::aligned::AlignedVec;
use glimpse::cpu::gemm::{Matrix, Product};
use glimpse::cpu::packed::tile_shape;
use glimpse::cpu::simd::{Simd, WithSimd};

use crate::common::random;
use crate::{Ladder, Rung};

/// A is `[m, k]`, B is `[k, n]`, C is `[m, n]`.
#[derive(Clone, Copy)]
pub struct Size {
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

/// Two squares, and a 1x1 convolution of DenseNet-121's first block: 56 x 56 pixels, 256 channels to 128.
const SIZES: [[usize; 3]; 3] = [[256, 256, 256], [512, 512, 512], [3136, 256, 128]];

pub fn measure(ladder: &Ladder, isa: Isa) {
    for &[m, k, n] in ladder.shapes(&SIZES) {
        let size = Size { m, k, n };
        let (a, b) = (random(&[m, k], 1), random(&[k, n], 2));
        let (a, b) = (a.data(), b.data());
        ladder.measure(
            &format!("gemm {m}x{k}x{n}"),
            2.0 * (m * k * n) as f64,
            || exact(size, a, b),
            vec![
                Rung::new("naive", |c| naive(size, a, b, c)),
                Rung::new("reordered", |c| reordered(size, a, b, c)),
                Rung::new("blocked", |c| blocked(size, a, b, c)),
                Rung::new("packed", |c| packed(size, a, b, c)),
                Rung::new("simd", |c| simd(isa, size, a, b, c)),
                Rung::new("library", |c| library(isa, size, a, b, c)).on_all_threads(),
            ],
        );
    }
}

/// The definition in 64-bit floats, which the rungs are compared with.
pub fn exact(Size { m, k, n }: Size, a: &[f32], b: &[f32]) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for (c, a) in c.chunks_exact_mut(n).zip(a.chunks_exact(k)) {
        for (&a, b) in a.iter().zip(b.chunks_exact(n)) {
            for (c, &b) in c.iter_mut().zip(b) {
                *c += f64::from(a) * f64::from(b);
            }
        }
    }
    c
}

/// The definition: `c[i, j]` is the sum over `p` of `a[i, p] b[p, j]`.
///
/// Two things limit it. First, each addition waits three or four cycles for the previous one, because the compiler may
/// not change the order of a sum of floats. Second, the loop goes down a column of B: every iteration reads another cache
/// line and uses one of its sixteen floats.
fn naive(Size { m, k, n }: Size, a: &[f32], b: &[f32], c: &mut [f32]) {
    for i in 0..m {
        for j in 0..n {
            let mut sum = 0.0;
            for p in 0..k {
                sum += a[i * k + p] * b[p * n + j];
            }
            c[i * n + j] = sum;
        }
    }
}

/// The two inner loops are exchanged, so that the innermost runs along a row of B and a row of C.
///
/// Neighbours in memory are now read one after the other, and each addition belongs to another sum: nothing waits, and the
/// compiler uses vectors. The limit is memory traffic. Every multiply-add loads a float of B and one of C and stores C again,
/// and all of B is loaded for each row of A, from whatever cache is large enough to hold it.
fn reordered(Size { k, n, .. }: Size, a: &[f32], b: &[f32], c: &mut [f32]) {
    c.fill(0.0);
    for (c, a) in c.chunks_exact_mut(n).zip(a.chunks_exact(k)) {
        for (&a, b) in a.iter().zip(b.chunks_exact(n)) {
            for (c, &b) in c.iter_mut().zip(b) {
                *c += a * b;
            }
        }
    }
}

/// The loops of [`reordered`] over one block of B at a time, which stays in the first-level cache (16 KiB of its 32) for all
/// rows of A. Four rows of the block are multiplied at once, so C is loaded and stored once for four multiply-adds.
///
/// A block is wide and low on purpose. A narrow block consists of short parts of rows that lie a power of two apart. They
/// fall into the same few sets of the cache and evict each other. The limit is still memory traffic: each multiply-add
/// loads its own float of B, and a quarter of one of C.
fn blocked(Size { m, k, n }: Size, a: &[f32], b: &[f32], c: &mut [f32]) {
    const COLUMNS: usize = 512;
    const FLOATS: usize = 4096;
    c.fill(0.0);
    for column in (0..n).step_by(COLUMNS) {
        let columns = COLUMNS.min(n - column);
        let height = (FLOATS / columns).next_multiple_of(4);
        for row in (0..k).step_by(height) {
            for i in 0..m {
                let c = &mut c[i * n + column..][..columns];
                let b = |p: usize| &b[p * n + column..][..columns];
                let rows = row..(row + height).min(k);
                let (fours, rest) = a[i * k..][rows.clone()].as_chunks::<4>();
                for (a, p) in fours.iter().zip(rows.clone().step_by(4)) {
                    let [b0, b1, b2, b3] = [b(p), b(p + 1), b(p + 2), b(p + 3)];
                    for j in 0..columns {
                        c[j] += a[0] * b0[j] + a[1] * b1[j] + a[2] * b2[j] + a[3] * b3[j];
                    }
                }
                for (a, p) in rest.iter().zip(rows.end - rest.len()..) {
                    for (c, b) in c.iter_mut().zip(b(p)) {
                        *c += a * b;
                    }
                }
            }
        }
    }
}

/// A tile of C, 4 by 8, stays in registers for a whole block of `k`; A and B are copied beforehand into the order in which the
/// tile reads them.
///
/// Each `k` loads `4 + 8` floats for `4 * 8` multiply-adds, and C is loaded and stored once per block instead of once per `k`.
/// The copies move `m k + k n` floats for `m k n` multiply-adds, and make every load of the inner loop the next one in memory.
/// The limit is now the instruction set. With vectors of four, and a separate multiplication and addition, the tile spends as
/// many instructions on loading and broadcasting its operands as on arithmetic, and gains little over `blocked`. But the next
/// rung needs this order.
pub fn packed(size: Size, a: &[f32], b: &[f32], c: &mut [f32]) {
    const ROWS: usize = 4;
    const COLUMNS: usize = 8;
    multiply_packed(size, (ROWS, COLUMNS), a, b, c, |strip, panel, tile| {
        let mut sums = [[0.0; COLUMNS]; ROWS];
        let (a, _) = strip.as_chunks::<ROWS>();
        let (b, _) = panel.as_chunks::<COLUMNS>();
        for (a, b) in a.iter().zip(b) {
            for r in 0..ROWS {
                for j in 0..COLUMNS {
                    sums[r][j] += a[r] * b[j];
                }
            }
        }
        tile.copy_from_slice(sums.as_flattened());
    });
}

/// The copies of [`packed`] with a tile of vectors that fills the register file: 6 by 16 floats with AVX2 and NEON, 14 by
/// 32 with AVX-512.
///
/// A vector of B, loaded once, is multiplied with every row of the tile; a float of A, broadcast once, with every vector. With
/// AVX2, 8 loads feed 12 fused multiply-adds, and two of either can start in a cycle: the arithmetic is the limit, as it should
/// be. The distance to the peak is due to the copies, and to rows that do not fill a tile.
fn simd(isa: Isa, size: Size, a: &[f32], b: &[f32], c: &mut [f32]) {
    multiply_packed(size, tile_shape(isa), a, b, c, |strip, panel, tile| {
        isa.dispatch(Tile { strip, panel, tile });
    });
}

/// The library's product: the tile of [`simd`], on all threads.
///
/// It copies B alone. Rows of A are read in place, each as a stream of its own. That is as good as a strip while they stay in
/// cache, and saves a transposition that pays only where B has many columns.
fn library(isa: Isa, Size { m, k, n }: Size, a: &[f32], b: &[f32], c: &mut [f32]) {
    let (a, b) = (Matrix::new(a, m, k), Matrix::new(b, k, n));
    glimpse::cpu::gemm::gemm(isa, a, b, Product::into(c, n));
}

/// Rows of B that are multiplied at a time: a panel of 16 columns then takes half the first-level cache.
const K_BLOCK: usize = 256;
/// Rows of A that are copied together: with [`K_BLOCK`] columns 84 KiB, which fit the second-level cache. A multiple of each
/// tile's rows.
const BLOCK: usize = 84;

/// Multiplies with the loops around a tile: B in panels as wide as the tile, A in strips as high as the tile.
///
/// `tile(strip, panel, sums)` writes the product of a strip, `[k, rows]`, and a panel, `[k, columns]`. The panel stays in the
/// first-level cache while the strips of a block come from the second.
fn multiply_packed(
    Size { m, k, n }: Size,
    (rows, columns): (usize, usize),
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    tile: impl Fn(&[f32], &[f32], &mut [f32]),
) {
    c.fill(0.0);
    let mut sums = vec![0.0; rows * columns];
    for first_k in (0..k).step_by(K_BLOCK) {
        let k_block = K_BLOCK.min(k - first_k);
        let panels = pack_panels(&b[first_k * n..][..k_block * n], n, columns);
        for first_row in (0..m).step_by(BLOCK) {
            let height = BLOCK.min(m - first_row);
            let strips = pack_strips(&a[first_row * k + first_k..], k, height, k_block, rows);
            for (panel, column) in panels
                .chunks_exact(k_block * columns)
                .zip((0..n).step_by(columns))
            {
                let width = columns.min(n - column);
                for (strip, row) in strips
                    .chunks_exact(k_block * rows)
                    .zip((0..height).step_by(rows))
                {
                    tile(strip, panel, &mut sums);
                    for (i, sums) in sums.chunks_exact(columns).enumerate().take(height - row) {
                        let c = &mut c[(first_row + row + i) * n + column..][..width];
                        for (c, sum) in c.iter_mut().zip(sums) {
                            *c += sum;
                        }
                    }
                }
            }
        }
    }
}

/// Packs a row-major matrix of `n` columns as `[panel, row, width]`, the last panel padded with zeros.
pub fn pack_panels(b: &[f32], n: usize, width: usize) -> AlignedVec {
    let k = b.len() / n;
    let mut panels = AlignedVec::zeros(n.div_ceil(width) * k * width);
    for (panel, column) in panels
        .chunks_exact_mut(k * width)
        .zip((0..n).step_by(width))
    {
        let used = width.min(n - column);
        for (to, from) in panel.chunks_exact_mut(width).zip(b.chunks_exact(n)) {
            to[..used].copy_from_slice(&from[column..][..used]);
        }
    }
    panels
}

/// Packs the first `height` by `k` elements of a matrix, whose rows are `stride` apart, as `[strip, k, rows]`, the last strip
/// padded with zeros.
fn pack_strips(a: &[f32], stride: usize, height: usize, k: usize, rows: usize) -> AlignedVec {
    let mut strips = AlignedVec::zeros(height.div_ceil(rows) * k * rows);
    for i in 0..height {
        let strip = &mut strips[i / rows * k * rows..][..k * rows];
        for (to, from) in strip.chunks_exact_mut(rows).zip(&a[i * stride..][..k]) {
            to[i % rows] = *from;
        }
    }
    strips
}

/// The register tile of [`simd`].
struct Tile<'a> {
    strip: &'a [f32],
    panel: &'a [f32],
    tile: &'a mut [f32],
}

impl WithSimd for Tile<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match (S::TILE_ROWS, S::TILE_VECTORS) {
            (14, 2) => self.multiply::<S, 14, 2>(s),
            (6, 4) => self.multiply::<S, 6, 4>(s),
            (6, 2) => self.multiply::<S, 6, 2>(s),
            (6, 1) => self.multiply::<S, 6, 1>(s),
            _ => unreachable!("no instruction set has another tile"),
        }
    }
}

impl Tile<'_> {
    // Indices that are constants once the loops are unrolled keep `sums` in registers.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn multiply<S: Simd, const R: usize, const V: usize>(self, s: S) {
        let mut sums = [[s.splat(0.0); V]; R];
        let (a, _) = self.strip.as_chunks::<R>();
        for (a, b) in a.iter().zip(self.panel.chunks_exact(V * S::LANES)) {
            let mut vectors = [s.splat(0.0); V];
            for v in 0..V {
                vectors[v] = s.load(&b[v * S::LANES..]);
            }
            for r in 0..R {
                let x = s.splat(a[r]);
                for v in 0..V {
                    sums[r][v] = s.mul_add(x, vectors[v], sums[r][v]);
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                s.store(&mut self.tile[(r * V + v) * S::LANES..], sums[r][v]);
            }
        }
    }
}
