//! Matrix products, with `shaders/matmul.wgsl`.

use super::Gpu;
use super::Slice;
use super::shaders::Shader;
use crate::error::Result;
use crate::gpu::params::shader_params;

shader_params! {
    /// The sizes, and where the elements of each matrix are: the first, and the distances between rows and between columns.
    struct Params of Matmul {
        m: u32,
        n: u32,
        k: u32,
        k_per_split: u32,
        a_start: u32,
        a_row: u32,
        a_column: u32,
        b_start: u32,
        b_row: u32,
        b_column: u32,
        c_start: u32,
        c_row: u32,
        bias_start: u32,
        splits: u32,
    }
}

/// A matrix in a buffer: element `[i][j]` is at `i * row + j * column` from its beginning.
#[derive(Clone)]
pub struct Matrix {
    /// The first element.
    pub data: Slice,
    /// Elements from one row to the next.
    pub row: usize,
    /// Elements from one column to the next.
    pub column: usize,
}

impl Matrix {
    /// Returns a row-major matrix of `columns` columns.
    pub fn new(data: Slice, columns: usize) -> Self {
        Matrix {
            data,
            row: columns,
            column: 1,
        }
    }

    /// Returns whether its contiguous axis, of `len` elements, can be loaded in aligned vec4s.
    fn in_vec4s(&self, len: usize) -> bool {
        let (along, across) = (self.row.min(self.column), self.row.max(self.column));
        let fours = [self.data.offset, across, len];
        along == 1 && fours.iter().all(|n| n.is_multiple_of(4))
    }

    /// Returns the transposed matrix.
    pub fn t(&self) -> Self {
        Matrix {
            data: self.data.clone(),
            row: self.column,
            column: self.row,
        }
    }
}

/// The output of a product.
pub struct Product {
    /// The matrix C, row-major.
    pub c: Slice,
    /// Elements from one row of C to the next.
    pub stride: usize,
    /// Whether the product is added to the contents of C.
    pub accumulate: bool,
    /// The summand of each column, if any.
    pub bias: Option<Slice>,
}

impl Product {
    /// An output that replaces `c`, rows `stride` apart.
    pub fn into(c: Slice, stride: usize) -> Self {
        Product {
            c,
            stride,
            accumulate: false,
            bias: None,
        }
    }
}

/// Invocations of a workgroup, down and across; each computes 8 rows and 4 columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) down: usize,
    pub(super) across: usize,
}

// Workgroups that keep a large GPU busy.
const BUSY_GROUPS: usize = 256;
// The smallest depth of a split that is worth its cost.
const MIN_DEPTH: usize = 128;

impl Tile {
    /// Returns the tile for a result of these sizes: no wider than the result, and small where there would be few large ones.
    pub(super) fn of(rows: usize, columns: usize) -> Self {
        let across = match columns {
            0..=16 => 4,
            17..=32 => 8,
            // The decoder's step for a few sentences.
            65.. if rows <= 8 => 32,
            _ => 16,
        };
        let groups = |down: usize| rows.div_ceil(down * 8) * columns.div_ceil(across * 4);
        let down = match rows {
            0..=8 => 1,
            9..=16 => 2,
            17..=32 => 4,
            _ if groups(16) < BUSY_GROUPS => 8,
            _ => 16,
        };
        Tile { down, across }
    }

    /// Workgroups down and across.
    pub(super) fn groups(self, rows: usize, columns: usize) -> [usize; 2] {
        [
            rows.div_ceil(self.down * 8),
            columns.div_ceil(self.across * 4),
        ]
    }

    /// Returns the number of parts that a sum of `depth` elements is split into, and the length of each: a multiple of the
    /// shaders' DEPTH. The partial sums of all elements together are at most `limit` elements.
    pub(super) fn splits(
        self,
        [rows, columns]: [usize; 2],
        depth: usize,
        limit: usize,
    ) -> [usize; 2] {
        let [down, across] = self.groups(rows, columns);
        let wanted = BUSY_GROUPS.div_ceil((down * across).max(1));
        let room = limit / (rows * columns).max(1);
        let splits = wanted.min(depth / MIN_DEPTH).min(room).clamp(1, 64);
        let length = depth.div_ceil(splits).next_multiple_of(16).max(16);
        [depth.div_ceil(length).max(1), length]
    }
}

/// Computes `C = A B` of `[m, k]` and `[k, n]`.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn gemm(gpu: &Gpu, [m, k, n]: [usize; 3], a: &Matrix, b: &Matrix, out: &Product) -> Result<()> {
    if m == 0 || n == 0 {
        return Ok(());
    }
    let tile = Tile::of(m, n);
    let [splits, length] = tile.splits([m, n], k, gpu.max_elements());
    let parts = match splits {
        1 => out.c.clone(),
        _ => gpu.unset(splits * m * n)?.into(),
    };
    let bias = out.bias.as_ref();
    let params = Params {
        m: m as u32,
        n: n as u32,
        k: k as u32,
        k_per_split: length as u32,
        a_start: a.data.start(),
        a_row: a.row as u32,
        a_column: a.column as u32,
        b_start: b.data.start(),
        b_row: b.row as u32,
        b_column: b.column as u32,
        c_start: out.c.start(),
        c_row: out.stride as u32,
        bias_start: bias.map_or(0, Slice::start),
        splits: splits as u32,
    };
    let [down, across] = tile.groups(m, n);
    let a_along_rows = a.row == 1 && a.column != 1;
    let b_along_depth = b.row == 1 && b.column != 1;
    let (accumulate, has_bias) = (u32::from(out.accumulate), u32::from(bias.is_some()));
    gpu.kernel(Shader::Matmul, "matmul_product")
        .constant("DOWN", tile.down as u32)
        .constant("ACROSS", tile.across as u32)
        .constant("A_ALONG_ROWS", a_along_rows.into())
        .constant("B_ALONG_DEPTH", b_along_depth.into())
        .constant(
            "A_VEC4",
            a.in_vec4s(if a_along_rows { m } else { k }).into(),
        )
        .constant(
            "B_VEC4",
            b.in_vec4s(if b_along_depth { k } else { n }).into(),
        )
        .constant("ACCUMULATE", accumulate)
        .constant("HAS_BIAS", has_bias)
        .params(&params)
        .read(1, &a.data)
        .read(2, &b.data)
        .read(3, bias.unwrap_or(&b.data))
        .write(4, &parts)
        .read(5, &a.data)
        .read(6, &b.data)
        .flops(2.0 * m as f64 * k as f64 * n as f64)
        .grid([down, across, splits])?;
    if splits == 1 {
        return Ok(());
    }
    gpu.kernel(Shader::Matmul, "matmul_sum_splits")
        .constant("ACCUMULATE", accumulate)
        .constant("HAS_BIAS", has_bias)
        .params(&params)
        .read(1, &parts)
        .read(3, bias.unwrap_or(&parts))
        .write(4, &out.c)
        .over(m * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_cover_the_depth_and_are_worth_it() {
        for (rows, columns) in [(1, 1), (49, 128), (3136, 32), (100_000, 64)] {
            for depth in [0, 1, 15, 127, 128, 1024, 1152, 100_000] {
                let tile = Tile::of(rows, columns);
                let [splits, length] = tile.splits([rows, columns], depth, 1 << 20);
                assert!(splits * length >= depth && (splits - 1) * length < depth.max(1));
                assert!(splits == 1 || length >= MIN_DEPTH / 2);
            }
        }
    }
}
