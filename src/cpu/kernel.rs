//! The innermost loop: a tile of `C += A B` held in registers.
//!
//! A tile is [`TILE_ROWS`](Simd::TILE_ROWS) rows by [`TILE_VECTORS`](Simd::TILE_VECTORS) vectors of columns.
//! For each `k` the loop loads one row of B (packed, so it is contiguous), broadcasts one element of A for
//! each row of the tile, and multiplies and adds: `2 rows columns` floating-point operations for `rows + columns`
//! floats loaded. All matrix products and convolutions end here.
//!
//! A needs no packing. A row of it is where [`RowBlock::offsets`] says, its elements lie
//! [`RowBlock::k_stride`] apart, and its `k` axis may be cut into segments that begin at a distance from the
//! row: the taps of a convolution are such segments, and the same ones for every pixel.
//!
//! Elements of A and B are words: each an `f32`, or a pair of bf16 whose products are added in one step
//! ([`Precision`]).

use super::after::After;
use super::packed::PackedB;
use super::simd::{Simd, WithSimd};
use super::threads::SharedMut;
use super::{Isa, Precision};

// Floats of a cache line.
const LINE: usize = 16;
// How far ahead of the multiplication B is fetched: weights are too many to stay in a cache from one image to the next,
// and the processor's own guesses end with each page of 4 KiB.
const AHEAD: usize = 2048;

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
    /// Done to the sums, those that were there included.
    pub after: After<'a>,
}

/// `C[row.., panels] = after(A B (+ C))`, where A's `k` axis stands against rows `k_first..` of B.
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
    assert!(out.after.fits(b.columns));
    let block = Block {
        a,
        b,
        k_first,
        panels,
        out,
    };
    match b.precision {
        Precision::F32 => isa.dispatch(Multiply(block, OfFloats)),
        Precision::Bf16 => isa.dispatch_pairs(Multiply(block, OfPairs)),
    }
}

/// What happens to a word of A, a word of B and their sum.
trait Products {
    fn mul_add<S: Simd>(s: S, a: S::V, b: S::V, sum: S::V) -> S::V;
}

struct OfFloats;

impl Products for OfFloats {
    #[inline(always)]
    fn mul_add<S: Simd>(s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        s.mul_add(a, b, sum)
    }
}

struct OfPairs;

impl Products for OfPairs {
    #[inline(always)]
    fn mul_add<S: Simd>(s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        s.dot_pairs(a, b, sum)
    }
}

/// A block to be multiplied, and how.
struct Multiply<'a, P>(Block<'a>, P);

struct Block<'a> {
    a: &'a RowBlock<'a>,
    b: &'a PackedB,
    k_first: usize,
    panels: std::ops::Range<usize>,
    out: Output<'a>,
}

impl<P: Products> WithSimd for Multiply<'_, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match S::TILE_VECTORS {
            1 => self.0.strips::<S, P, 1>(s),
            _ => self.0.strips::<S, P, 2>(s),
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn strips<S: Simd, P: Products, const V: usize>(self, s: S) {
        for panel in self.panels.clone() {
            let mut first = 0;
            while let Some(rows) = self.a.offsets.get(first..).filter(|rows| !rows.is_empty()) {
                let rows = &rows[..strip_rows(rows.len(), S::TILE_ROWS)];
                let row = self.out.row + first;
                first += rows.len();
                // A strip takes the smallest loop that holds it; its last row is computed again in place of missing
                // ones. Which loops there are is known when this is compiled for an instruction set.
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
    fn tile<S: Simd, P: Products, const R: usize, const V: usize>(
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
                            acc[r][v] = P::mul_add(s, x, bv[v], acc[r][v]);
                        }
                    }
                    for line in (0..width).step_by(LINE) {
                        s.prefetch(b.wrapping_add(AHEAD + line));
                    }
                    b = b.add(width);
                }
                shift = opaque(shift + k_stride);
            }
        }
        let place = Place {
            row,
            rows: rows.len(),
            column: panel * width,
        };
        let whole_vectors = place.column + width <= self.b.columns;
        if whole_vectors && rows.len() == R {
            return self.finish(s, InRegisters(acc), place);
        }
        // What follows counts rows at run time, so it reads a copy: an array with any index that is not a constant
        // lives in memory.
        let mut sums = [[s.splat(0.0); V]; R];
        for r in 0..R {
            for v in 0..V {
                sums[r][v] = acc[r][v];
            }
        }
        // Behind a pointer the compiler does not know how many rows there can be at most, and leaves the loop a loop.
        let sums = sums.as_ptr().cast::<[S::V; V]>();
        if whole_vectors {
            self.finish(s, InMemory(sums), place);
        } else {
            self.finish_part::<S, V>(s, sums, place);
        }
    }

    /// Writes the sums of whole vectors to their places in C.
    #[inline(always)]
    fn finish<S: Simd, const V: usize>(&self, s: S, sums: impl Sums<S, V>, place: Place) {
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
            After::ScaleShiftRelu(f) => {
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

    /// The same where the last columns of B are fewer than a tile has, one by one.
    #[inline(always)]
    fn finish_part<S: Simd, const V: usize>(&self, s: S, sums: *const [S::V; V], place: Place) {
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

/// A tile's sums, wherever they are.
trait Sums<S: Simd, const V: usize> {
    /// Writes what `after` makes of them, a vector of the row at a time, to their places in C.
    fn write(self, s: S, out: Output, place: Place, after: impl Fn(usize, S::V) -> S::V);
}

/// All rows of a tile. Their number is known to the compiler, so they go to C straight from the registers.
struct InRegisters<S: Simd, const R: usize, const V: usize>([[S::V; V]; R]);

impl<S: Simd, const R: usize, const V: usize> Sums<S, V> for InRegisters<S, R, V> {
    #[inline(always)]
    fn write(self, s: S, out: Output, place: Place, after: impl Fn(usize, S::V) -> S::V) {
        for (r, row) in self.0.iter().enumerate() {
            // SAFETY: the caller of `multiply_block` vouches for these rows and columns of C.
            unsafe { write_row(s, out, place, r, row, &after) };
        }
    }
}

/// The first rows of a tile, as many as the place has.
struct InMemory<S: Simd, const V: usize>(*const [S::V; V]);

impl<S: Simd, const V: usize> Sums<S, V> for InMemory<S, V> {
    #[inline(always)]
    fn write(self, s: S, out: Output, place: Place, after: impl Fn(usize, S::V) -> S::V) {
        for r in 0..place.rows {
            // SAFETY: there are at least `place.rows` rows of sums. For C, as above.
            unsafe { write_row(s, out, place, r, &*self.0.add(r), &after) };
        }
    }
}

/// # Safety
/// The row and the columns of C exist, and nobody else touches them meanwhile.
#[inline(always)]
unsafe fn write_row<S: Simd, const V: usize>(
    s: S,
    out: Output,
    place: Place,
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

/// `x`, as a number about which the compiler knows nothing.
///
/// A loop over one index and many base pointers is turned by the compiler into a loop over many pointers, each with an
/// addition of its own. There are not enough registers for that: most pointers would live in memory.
#[inline(always)]
fn opaque(mut x: usize) -> usize {
    // SAFETY: not an instruction, so nothing happens.
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) x, options(pure, nomem, nostack, preserves_flags))
    };
    x
}

/// `V` vectors of `x` from `first` on.
#[inline(always)]
fn vectors<S: Simd, const V: usize>(s: S, x: &[f32], first: usize) -> [S::V; V] {
    let mut vectors = [s.splat(0.0); V];
    for (v, vector) in vectors.iter_mut().enumerate() {
        *vector = s.load(&x[first + v * S::LANES..]);
    }
    vectors
}

/// Where a tile's sums go.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    rows: usize,
    column: usize,
}

/// Rows of the next strip where `left` are left: a whole tile, but the last two strips are of nearly one height
/// rather than a whole one and a sliver that would leave most of the multipliers idle.
#[inline(always)]
fn strip_rows(left: usize, tile: usize) -> usize {
    match left {
        _ if left <= tile => left,
        _ if left < tile + tile.div_ceil(2) => left.div_ceil(2),
        _ => tile,
    }
}
