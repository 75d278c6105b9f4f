//! The right-hand operand of a product, in the order in which the kernel reads it.

use super::aligned::AlignedVec;
use super::simd::{Simd, WithSimd};
use super::threads::{self, SharedMut};
use super::{Isa, Precision};

/// Memory layout of a packed weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[outputs, inputs]` of a linear layer, packed as `[inputs, outputs]`.
    Linear,
    /// `[O, C, kh, kw]`, packed as `[kh kw C, O]`.
    Convolution,
    /// `[O, C, kh, kw]`, packed in pairs of bf16 as `[kh kw C/2, O]`, with `C/2` rounded up.
    ConvolutionPairs,
    /// `[O, C, 3, 3]`, transformed and packed as `[36 C, O]`.
    Winograd,
}

/// B, `[k, columns]`, cut into panels as wide as a tile: `[panel, k, width]`, the last one padded with zeros. Each element is
/// a lane of some [`Precision`].
#[derive(Clone)]
pub struct PackedB {
    pub(super) data: AlignedVec,
    pub(super) isa: Isa,
    pub(super) width: usize,
    pub(super) k: usize,
    pub(super) columns: usize,
    pub(super) precision: Precision,
}

// Rows from the row that is copied to the one that is prefetched.
const PREFETCH_ROWS: usize = 8;
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

/// Returns the rows and columns of the tile that `isa` computes in registers.
pub fn tile_shape(isa: Isa) -> (usize, usize) {
    isa.dispatch(TileShape)
}

impl PackedB {
    /// Packs `[k, columns]`: `fill(k, first, row)` writes the elements of row `k` from column `first` on into `row`.
    pub fn new(
        isa: Isa,
        k: usize,
        columns: usize,
        fill: impl Fn(usize, usize, &mut [f32]) + Sync + Send,
    ) -> Self {
        let width = tile_shape(isa).1;
        let mut data = AlignedVec::unset(columns.div_ceil(width) * k * width);
        threads::for_each_chunk(&mut data, PACK_ROWS * width, |chunk, rows| {
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let row_of_all = chunk * PACK_ROWS + i;
                let first = row_of_all / k * width;
                let used = width.min(columns - first);
                row[used..].fill(0.0);
                fill(row_of_all % k, first, &mut row[..used]);
            }
        });
        PackedB {
            data,
            isa,
            width,
            k,
            columns,
            precision: Precision::F32,
        }
    }

    /// Declares that the packed lanes are of this precision.
    pub(crate) fn with_precision(self, precision: Precision) -> Self {
        PackedB { precision, ..self }
    }

    /// Allocates `[k, columns]`, to be filled by [`PackedB::set_rows`].
    pub(crate) fn zeroed(isa: Isa, k: usize, columns: usize) -> Self {
        let width = tile_shape(isa).1;
        // The unused columns of the last panel are never set, but they are multiplied too: zeros, because subnormal
        // numbers would be slow.
        let data = AlignedVec::zeros(columns.div_ceil(width) * k * width);
        PackedB {
            data,
            isa,
            width,
            k,
            columns,
            precision: Precision::F32,
        }
    }

    /// Packs `[rows, columns]`, whose rows begin `stride` apart in `from`, as the first rows of B.
    pub(crate) fn set_rows(&mut self, rows: usize, from: &[f32], stride: usize) {
        assert!(rows <= self.k && (rows == 0 || (rows - 1) * stride + self.columns <= from.len()));
        self.isa.dispatch(SetRows {
            rows,
            from,
            stride,
            b: self,
        });
    }

    /// Returns the position of the element in row `k` and `column`.
    #[inline(always)]
    pub(crate) fn position(&self, k: usize, column: usize) -> usize {
        (column / self.width * self.k + k) * self.width + column % self.width
    }

    /// Returns the elements, for several tasks to fill.
    pub(crate) fn shared(&mut self) -> SharedMut {
        SharedMut::new(&mut self.data)
    }

    /// The instruction set whose tile is as wide as the panels.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The precision of the lanes.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Rows of B.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of B.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.columns.div_ceil(self.width)
    }
}

struct SetRows<'a> {
    rows: usize,
    from: &'a [f32],
    stride: usize,
    b: &'a mut PackedB,
}

impl WithSimd for SetRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PackedB {
            width,
            k,
            columns,
            ref mut data,
            ..
        } = *self.b;
        let panels = columns.div_ceil(width);
        for row in 0..self.rows {
            let ahead = self
                .from
                .as_ptr()
                .wrapping_add((row + PREFETCH_ROWS) * self.stride);
            let from = &self.from[row * self.stride..][..columns];
            for panel in 0..panels {
                let first = panel * width;
                let to = &mut data[(panel * k + row) * width..][..width];
                for v in (0..width).step_by(S::LANES) {
                    s.prefetch(ahead.wrapping_add(first + v));
                }
                match from.get(first..first + width) {
                    Some(from) => {
                        for v in (0..width).step_by(S::LANES) {
                            s.store(&mut to[v..], s.load(&from[v..]));
                        }
                    }
                    None => to[..columns - first].copy_from_slice(&from[first..]),
                }
            }
        }
    }
}
