//! The innermost loop: a tile of `C += A B` held in registers.
//!
//! A tile is [`TILE_ROWS`](Simd::TILE_ROWS) rows by [`TILE_VECTORS`](Simd::TILE_VECTORS) vectors of columns. For each `k`
//! the loop loads one row of B (packed, so it is contiguous), broadcasts one element of A for each row of the tile, and
//! multiplies and adds: `2 rows columns` floating-point operations for `rows + columns` floats loaded. All matrix products
//! and convolutions on the CPU end here.
//!
//! A needs no packing. [`RowBlock::offsets`] says where each row begins, [`RowBlock::k_stride`] how far apart its elements
//! lie. The `k` axis may be divided into segments, each at a distance from the beginning of the row: the taps of a
//! convolution are such segments, at the same distances for every pixel.
//!
//! An element of A or B fills 32 bits, one *lane*. A lane holds an `f32`, or a pair of bf16 whose products are added to one
//! sum ([`Precision`]).

use super::after::After;
use super::packed::PackedB;
use super::simd::{Simd, WithSimd};
use super::threads::SharedMut;
use super::{Isa, Precision};

// Floats of a cache line.
const LINE: usize = 16;
// Floats from an element of B to the one that is prefetched. The weights of a network exceed the caches, and the
// processor's own prefetcher stops at the end of each page of 4 KiB.
const PREFETCH_DISTANCE: usize = 2048;

/// Rows of A: element `k` of segment `j` of row `i` is at `offsets[i] + segments[j] + k * k_stride`.
pub struct RowBlock<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// The beginning of each row.
    pub offsets: &'a [usize],
    /// Elements from one `k` to the next.
    pub k_stride: usize,
    /// The beginning of each segment, counted from the beginning of the row.
    pub segments: &'a [usize],
    /// Elements in a segment.
    pub segment_len: usize,
}

/// The output of a block of products.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    /// The first element of the whole matrix C.
    pub c: SharedMut,
    /// Elements from one row of C to the next.
    pub stride: usize,
    /// The row of C that receives the block's first row.
    pub row: usize,
    /// Add to the contents of C instead of replacing them.
    pub accumulate: bool,
    /// The operation applied to the sums; where `accumulate` is set, after the contents of C are added.
    pub after: After<'a>,
}

/// Computes `C[row.., panels] = after(A B (+ C))`, where column 0 of A meets row `k_first` of B.
///
/// # Safety
/// The rows and columns of `out` that the block covers lie within one allocation, and no other thread reads or writes them
/// meanwhile.
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
    assert!(out.after.fits(b.columns));
    let block = Block {
        a,
        b,
        k_first,
        panels,
        out,
    };
    match b.precision {
        Precision::F32 => isa.dispatch(Multiply(block, F32Lanes)),
        Precision::Bf16 => isa.dispatch_pairs(Multiply(block, Bf16Pairs)),
    }
}

/// The multiply-add of one lane of A, one lane of B and their sum.
trait MulAdd {
    fn mul_add<S: Simd>(s: S, a: S::V, b: S::V, sum: S::V) -> S::V;
}

struct F32Lanes;

impl MulAdd for F32Lanes {
    #[inline(always)]
    fn mul_add<S: Simd>(s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        s.mul_add(a, b, sum)
    }
}

struct Bf16Pairs;

impl MulAdd for Bf16Pairs {
    #[inline(always)]
    fn mul_add<S: Simd>(s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        s.dot_pairs(a, b, sum)
    }
}

/// A block to be multiplied, and its multiply-add.
struct Multiply<'a, P>(Block<'a>, P);

struct Block<'a> {
    a: &'a RowBlock<'a>,
    b: &'a PackedB,
    k_first: usize,
    panels: std::ops::Range<usize>,
    out: Output<'a>,
}

impl<P: MulAdd> WithSimd for Multiply<'_, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match S::TILE_VECTORS {
            1 => self.0.multiply_strips::<S, P, 1>(s),
            2 => self.0.multiply_strips::<S, P, 2>(s),
            4 => self.0.multiply_strips::<S, P, 4>(s),
            vectors => unreachable!("no instruction set has a tile of {vectors} vectors"),
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn multiply_strips<S: Simd, P: MulAdd, const V: usize>(self, s: S) {
        for panel in self.panels.clone() {
            let mut first = 0;
            while let Some(rows) = self.a.offsets.get(first..).filter(|rows| !rows.is_empty()) {
                let rows = &rows[..strip_rows(rows.len(), S::TILE_ROWS)];
                let row = self.out.row + first;
                first += rows.len();
                // A strip runs the smallest compiled loop that holds it; missing rows are filled up with its last row. The
                // match folds to the loops of one instruction set when it is compiled for that.
                match rows.len() {
                    1 => self.tile::<S, P, 1, V>(s, rows, row, panel),
                    2 => self.tile::<S, P, 2, V>(s, rows, row, panel),
                    3 if S::TILE_ROWS <= 6 => self.tile::<S, P, 3, V>(s, rows, row, panel),
                    3 | 4 => self.tile::<S, P, 4, V>(s, rows, row, panel),
                    5 if S::TILE_ROWS <= 6 => self.tile::<S, P, 5, V>(s, rows, row, panel),
                    5 | 6 => self.tile::<S, P, 6, V>(s, rows, row, panel),
                    7 | 8 if S::TILE_ROWS > 6 => self.tile::<S, P, 8, V>(s, rows, row, panel),
                    9..=11 if S::TILE_ROWS > 6 => self.tile::<S, P, 11, V>(s, rows, row, panel),
                    _ if S::TILE_ROWS > 6 => self.tile::<S, P, 14, V>(s, rows, row, panel),
                    _ => unreachable!("no strip is higher than a tile"),
                }
            }
        }
    }

    // Indices that are constants once the loops are unrolled keep the accumulators in registers.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn tile<S: Simd, P: MulAdd, const R: usize, const V: usize>(
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
                // SAFETY: `b` moves through the slice taken above, `width` floats for each `k`; the pointers in `at` stay
                // within `data`, as checked in `multiply_block`.
                unsafe {
                    let mut bv = [s.splat(0.0); V];
                    for v in 0..V {
                        bv[v] = s.load_ptr(b.add(v * S::LANES));
                    }
                    for r in 0..R {
                        let x = s.splat(*at[r].add(shift));
                        for v in 0..V {
                            acc[r][v] = P::mul_add(s, x, bv[v], acc[r][v]);
                        }
                    }
                    for line in (0..width).step_by(LINE) {
                        s.prefetch(b.wrapping_add(PREFETCH_DISTANCE + line));
                    }
                    b = b.add(width);
                }
                shift = opaque(shift + k_stride);
            }
        }
        let place = TilePosition {
            row,
            rows: rows.len(),
            column: panel * width,
        };
        let whole_vectors = place.column + width <= self.b.columns;
        if whole_vectors && rows.len() == R {
            return self.finish(s, InRegisters(acc), place);
        }
        // The code below counts rows at run time, so it reads a copy: an array that is indexed by a variable lives in
        // memory, and the accumulators must stay in registers.
        let mut sums = [[s.splat(0.0); V]; R];
        for r in 0..R {
            for v in 0..V {
                sums[r][v] = acc[r][v];
            }
        }
        // A pointer hides the number of rows from the compiler, which would otherwise unroll the loop.
        let sums = sums.as_ptr().cast::<[S::V; V]>();
        if whole_vectors {
            self.finish(s, InMemory(sums), place);
        } else {
            self.finish_part::<S, V>(s, sums, place);
        }
    }

    /// Writes a tile whose columns all exist.
    #[inline(always)]
    fn finish<S: Simd, const V: usize>(&self, s: S, sums: impl Sums<S, V>, place: TilePosition) {
        match self.out.after {
            After::Nothing => sums.write(
                s,
                self.out,
                place,
                #[inline(always)]
                |_, sum| sum,
            ),
            After::Bias(bias) => {
                let bias = vectors::<S, V>(s, bias, place.column);
                sums.write(
                    s,
                    self.out,
                    place,
                    #[inline(always)]
                    |v, sum| s.add(sum, bias[v]),
                );
            }
            After::AffineRelu(f) => {
                let scale = vectors::<S, V>(s, f.scale, place.column);
                let shift = vectors::<S, V>(s, f.shift, place.column);
                sums.write(
                    s,
                    self.out,
                    place,
                    #[inline(always)]
                    |v, sum| s.max(s.mul_add(sum, scale[v], shift[v]), s.splat(0.0)),
                );
            }
        }
    }

    /// Writes a tile in the last panel, where B has fewer columns than the tile, one element at a time.
    #[inline(always)]
    fn finish_part<S: Simd, const V: usize>(
        &self,
        s: S,
        sums: *const [S::V; V],
        place: TilePosition,
    ) {
        let mut lanes = [0.0; 32];
        let columns = self.b.columns - place.column;
        for r in 0..place.rows {
            // SAFETY: as in `write`.
            let c = unsafe {
                let sums = &*sums.add(r);
                for (v, &sum) in sums.iter().enumerate() {
                    s.store(&mut lanes[v * S::LANES..], sum);
                }
                let c = self
                    .out
                    .c
                    .get()
                    .add((place.row + r) * self.out.stride + place.column);
                std::slice::from_raw_parts_mut(c, columns)
            };
            for (i, (c, sum)) in c.iter_mut().zip(lanes).enumerate() {
                let sum = if self.out.accumulate { sum + *c } else { sum };
                *c = self.out.after.apply_one(sum, place.column + i);
            }
        }
    }
}

/// A tile's sums, in registers or in memory.
trait Sums<S: Simd, const V: usize> {
    /// Writes `after(v, sum)` for each vector `v` of each row to C.
    fn write(self, s: S, out: Output, place: TilePosition, after: impl Fn(usize, S::V) -> S::V);
}

/// A tile with all its rows. The compiler knows their number, so they go from the registers to C directly.
struct InRegisters<S: Simd, const R: usize, const V: usize>([[S::V; V]; R]);

impl<S: Simd, const R: usize, const V: usize> Sums<S, V> for InRegisters<S, R, V> {
    #[inline(always)]
    fn write(self, s: S, out: Output, place: TilePosition, after: impl Fn(usize, S::V) -> S::V) {
        for (r, row) in self.0.iter().enumerate() {
            // SAFETY: the caller of `multiply_block` vouches for these rows and columns of C.
            unsafe { write_row(s, out, place, r, row, &after) };
        }
    }
}

/// A tile that has only the first `rows` rows of its position.
struct InMemory<S: Simd, const V: usize>(*const [S::V; V]);

impl<S: Simd, const V: usize> Sums<S, V> for InMemory<S, V> {
    #[inline(always)]
    fn write(self, s: S, out: Output, place: TilePosition, after: impl Fn(usize, S::V) -> S::V) {
        for r in 0..place.rows {
            // SAFETY: there are at least `place.rows` rows of sums. The caller of `multiply_block` vouches for C.
            unsafe { write_row(s, out, place, r, &*self.0.add(r), &after) };
        }
    }
}

/// Writes row `r` of a tile.
///
/// # Safety
/// The row and the columns of C exist, and no other thread reads or writes them meanwhile.
#[inline(always)]
unsafe fn write_row<S: Simd, const V: usize>(
    s: S,
    out: Output,
    place: TilePosition,
    r: usize,
    sums: &[S::V; V],
    after: &impl Fn(usize, S::V) -> S::V,
) {
    // SAFETY: the caller vouches for them.
    unsafe {
        let c = (out.c.get()).add((place.row + r) * out.stride + place.column);
        for (v, &sum) in sums.iter().enumerate() {
            let c = c.add(v * S::LANES);
            let sum = if out.accumulate {
                s.add(sum, s.load_ptr(c))
            } else {
                sum
            };
            s.store_ptr(c, after(v, sum));
        }
    }
}

/// Returns `x` and hides its value from the optimiser.
///
/// The compiler turns a loop over one index and many base pointers into a loop over many pointers, each with an addition of
/// its own. There are not enough registers for that: most pointers would live in memory.
#[inline(always)]
fn opaque(mut x: usize) -> usize {
    // SAFETY: the assembly is a comment, so it executes no instruction.
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) x, options(pure, nomem, nostack, preserves_flags))
    };
    x
}

/// Loads `V` vectors of `x` from `first` on.
#[inline(always)]
fn vectors<S: Simd, const V: usize>(s: S, x: &[f32], first: usize) -> [S::V; V] {
    let mut vectors = [s.splat(0.0); V];
    for (v, vector) in vectors.iter_mut().enumerate() {
        *vector = s.load(&x[first + v * S::LANES..]);
    }
    vectors
}

/// The position of a tile in C.
#[derive(Clone, Copy)]
struct TilePosition {
    row: usize,
    rows: usize,
    column: usize,
}

/// Rows of the next strip where `left` rows are left. That is a whole tile, except that the last two strips are of nearly
/// equal height: a full tile and a very low one would leave most multipliers idle.
#[inline(always)]
fn strip_rows(left: usize, tile: usize) -> usize {
    match left {
        _ if left <= tile => left,
        _ if left < tile + tile.div_ceil(2) => left.div_ceil(2),
        _ => tile,
    }
}
