//! The innermost loop: a tile of `C += A B` held in registers.
//!
//! A tile is [`TILE_ROWS`](Simd::TILE_ROWS) rows by [`TILE_VECTORS`](Simd::TILE_VECTORS) vectors of columns.
//! For each `k` the loop loads one row of B (packed, so it is contiguous), broadcasts one element of A for
//! each row of the tile, and multiplies and adds: two floats of work for each of `rows * columns` pairs, with
//! `rows + columns` loads. Everything that ends in arithmetic, matrix products and convolutions alike, ends
//! here.
//!
//! A needs no packing. A row of it is where [`RowBlock::offsets`] says, its elements lie
//! [`RowBlock::k_stride`] apart, and its `k` axis may be cut into segments that begin at a distance from the
//! row: the taps of a convolution are such segments, and the same ones for every pixel.

use super::aligned::AlignedVec;
use super::simd::{Simd, WithSimd};
use super::threads::SharedMut;
use super::{Isa, threads};

/// Rows of A: row `i`, segment `j`, element `k` is at `offsets[i] + segments[j] + k * k_stride`.
pub struct RowBlock<'a> {
    /// Where the elements are.
    pub data: &'a [f32],
    /// Where each row begins.
    pub offsets: &'a [usize],
    /// The distance between neighbours along `k`.
    pub k_stride: usize,
    /// Where each segment begins, from the row's beginning.
    pub segments: &'a [usize],
    /// Elements in a segment.
    pub segment_len: usize,
}

/// B, `[k, columns]`, cut into panels as wide as a tile: `[panel, k, width]`, the last one padded with zeros.
#[derive(Clone)]
pub struct PackedB {
    data: AlignedVec,
    isa: Isa,
    width: usize,
    k: usize,
    columns: usize,
}

// Rows of packed B that one task fills.
const PACK_ROWS: usize = 512;

struct TileShape;

impl WithSimd for TileShape {
    type Output = (usize, usize);
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> (usize, usize) {
        (S::TILE_ROWS, S::TILE_VECTORS * S::LANES)
    }
}

/// Rows and columns of the tile that `isa` computes in registers.
pub fn tile_shape(isa: Isa) -> (usize, usize) {
    isa.dispatch(TileShape)
}

impl PackedB {
    /// Packs `[k, columns]`: `fill(k, first, row)` writes the elements `first..` of row `k` into `row`.
    pub fn new(
        isa: Isa,
        k: usize,
        columns: usize,
        fill: impl Fn(usize, usize, &mut [f32]) + Sync + Send,
    ) -> Self {
        let width = tile_shape(isa).1;
        let mut data = AlignedVec::zeros(columns.div_ceil(width) * k * width);
        threads::for_each_chunk(&mut data, PACK_ROWS * width, |chunk, rows| {
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let row_of_all = chunk * PACK_ROWS + i;
                let first = row_of_all / k * width;
                let used = width.min(columns - first);
                fill(row_of_all % k, first, &mut row[..used]);
            }
        });
        PackedB {
            data,
            isa,
            width,
            k,
            columns,
        }
    }

    /// The instruction set that this order of elements is for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Rows of B.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of B.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Panels of a tile's width.
    pub fn panels(&self) -> usize {
        self.columns.div_ceil(self.width)
    }
}

/// Where a block of products goes.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    /// The first row and column of the whole matrix C.
    pub c: SharedMut,
    /// The distance between rows of C.
    pub stride: usize,
    /// The row of C that the block's first row belongs to.
    pub row: usize,
    /// Add to what is there instead of replacing it.
    pub accumulate: bool,
    /// Added to every row, one element a column; only where nothing is accumulated.
    pub bias: Option<&'a [f32]>,
}

/// `C[row.., panels] = A B (+ bias)`, where A's `k` axis stands against rows `k_first..` of B.
///
/// # Safety
/// The rows and columns of `out` that the block covers lie within one allocation, and nothing else touches
/// those columns of those rows meanwhile.
pub(crate) unsafe fn multiply_block(
    isa: Isa,
    a: &RowBlock,
    b: &PackedB,
    k_first: usize,
    panels: std::ops::Range<usize>,
    out: Output,
) {
    let k = a.segments.len() * a.segment_len;
    let Some(last_row) = a.offsets.iter().max() else {
        return;
    };
    assert!(b.isa == isa && k_first + k <= b.k && panels.end <= b.panels());
    if k > 0 {
        let last_segment = a.segments.iter().max().unwrap_or(&0);
        assert!(last_row + last_segment + (a.segment_len - 1) * a.k_stride < a.data.len());
    }
    assert!(
        out.bias
            .is_none_or(|bias| bias.len() == b.columns && !out.accumulate)
    );
    isa.dispatch(Block {
        a,
        b,
        k_first,
        panels,
        out,
    });
}

struct Block<'a> {
    a: &'a RowBlock<'a>,
    b: &'a PackedB,
    k_first: usize,
    panels: std::ops::Range<usize>,
    out: Output<'a>,
}

impl WithSimd for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match S::TILE_VECTORS {
            1 => self.strips::<S, 1>(s),
            _ => self.strips::<S, 2>(s),
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn strips<S: Simd, const V: usize>(self, s: S) {
        for (i, rows) in self.a.offsets.chunks(S::TILE_ROWS).enumerate() {
            let row = self.out.row + i * S::TILE_ROWS;
            for panel in self.panels.clone() {
                // A strip that is not full takes the smallest loop that holds it; its last row is computed
                // again in place of the missing ones.
                match rows.len() {
                    1 => self.tile::<S, 1, V>(s, rows, row, panel),
                    2 => self.tile::<S, 2, V>(s, rows, row, panel),
                    3 | 4 => self.tile::<S, 4, V>(s, rows, row, panel),
                    5 | 6 => self.tile::<S, 6, V>(s, rows, row, panel),
                    7 | 8 => self.tile::<S, 8, V>(s, rows, row, panel),
                    9..=11 => self.tile::<S, 11, V>(s, rows, row, panel),
                    _ => self.tile::<S, 14, V>(s, rows, row, panel),
                }
            }
        }
    }

    // Indices that are constants once the loops are unrolled keep the accumulators in registers.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(
        &self,
        s: S,
        rows: &[usize],
        row: usize,
        panel: usize,
    ) {
        let RowBlock {
            data,
            k_stride,
            segments,
            segment_len,
            ..
        } = *self.a;
        let width = V * S::LANES;
        let mut at = [data.as_ptr(); R];
        for r in 0..R {
            // SAFETY: every row, segment and element was checked against `data` in `multiply_block`.
            at[r] = unsafe { data.as_ptr().add(rows[r.min(rows.len() - 1)]) };
        }
        let mut acc = [[s.splat(0.0); V]; R];
        let first = (panel * self.b.k + self.k_first) * width;
        let mut b = self.b.data[first..first + segments.len() * segment_len * width].as_ptr();
        for &segment in segments {
            let mut shift = segment;
            for _ in 0..segment_len {
                // SAFETY: `b` runs over the slice taken above, `width` floats a step; `at` as above.
                unsafe {
                    let mut bv = [s.splat(0.0); V];
                    for v in 0..V {
                        bv[v] = s.load_ptr(b.add(v * S::LANES));
                    }
                    for r in 0..R {
                        let x = s.splat(*at[r].add(shift));
                        for v in 0..V {
                            acc[r][v] = s.mul_add(x, bv[v], acc[r][v]);
                        }
                    }
                    b = b.add(width);
                }
                shift += k_stride;
            }
        }
        // What follows counts rows at run time, so it reads a copy: an array with any index that is not a constant
        // lives in memory.
        let mut sums = [[s.splat(0.0); V]; R];
        for r in 0..R {
            for v in 0..V {
                sums[r][v] = acc[r][v];
            }
        }
        let column = panel * width;
        for (r, sums) in sums.iter().enumerate().take(rows.len()) {
            for (v, &sum) in sums.iter().enumerate() {
                let column = column + v * S::LANES;
                if column < self.b.columns {
                    let lanes = (self.b.columns - column).min(S::LANES);
                    // SAFETY: the caller of `multiply_block` vouches for these rows and columns of C.
                    unsafe {
                        let c = self.out.c.get().add((row + r) * self.out.stride + column);
                        let c = std::slice::from_raw_parts_mut(c, lanes);
                        self.finish(s, sum, c, column);
                    }
                }
            }
        }
    }

    /// Writes a vector of sums, whole or in part, to its place in C.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, sum: S::V, c: &mut [f32], column: usize) {
        let whole = c.len() == S::LANES;
        let load = |x: &[f32]| {
            if whole {
                s.load(x)
            } else {
                s.load_part(x, 0.0)
            }
        };
        let sum = match self.out.bias {
            Some(bias) => s.add(sum, load(&bias[column..column + c.len()])),
            None if self.out.accumulate => s.add(sum, load(c)),
            None => sum,
        };
        if whole {
            s.store(c, sum)
        } else {
            s.store_part(c, sum)
        }
    }
}
