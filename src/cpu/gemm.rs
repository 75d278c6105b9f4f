//! Matrix products `C = A B` for any strides, on all cores.
//!
//! B is packed once into panels as wide as the kernel's tile. A is read in place when its rows are contiguous. When its
//! columns are contiguous (a transposed operand), strips of it are copied: a strip holds as many rows as a tile, and for
//! each `k` the elements of those rows lie side by side.

use std::borrow::Cow;
use std::ops::Range;

use super::after::After;
use super::kernel::{Output, RowBlock, multiply_block};
use super::packed::{PackedB, tile_shape};
use super::threads::SharedMut;
use super::{Isa, aligned::with_scratch, profile, threads};

/// A matrix in a slice: element `(i, j)` is at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Elements from one row to the next.
    pub row_stride: usize,
    /// Elements from one column to the next.
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Returns a row-major `[rows, columns]` matrix; panics where `data` is shorter.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// Returns a matrix whose rows begin `row_stride` apart; panics where `data` is too short.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        let m = Matrix {
            data,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        };
        assert!(
            m.fits(),
            "a {rows}x{columns} matrix needs more than {} elements",
            data.len()
        );
        m
    }

    /// Returns the transposed matrix.
    pub fn t(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn fits(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
                < self.data.len()
    }

    /// Packs this matrix as the right-hand operand.
    pub fn pack(self, isa: Isa) -> PackedB {
        let sizes = format_args!("{} x {}", self.rows, self.columns);
        let _timer = profile::time("gemm pack", sizes);
        let Matrix {
            data,
            row_stride,
            column_stride,
            ..
        } = self;
        PackedB::new(isa, self.rows, self.columns, |k, first, row| {
            let start = k * row_stride + first * column_stride;
            if column_stride == 1 {
                row.copy_from_slice(&data[start..start + row.len()]);
            } else {
                for (x, &y) in row
                    .iter_mut()
                    .zip(data[start..].iter().step_by(column_stride.max(1)))
                {
                    *x = y;
                }
            }
        })
    }
}

/// The output of a product: the matrix C, whether the product replaces it or is added to it, and a bias.
pub struct Product<'a> {
    /// C, whose row `i` begins at `i * stride`.
    pub c: &'a mut [f32],
    /// Elements from one row of C to the next.
    pub stride: usize,
    /// Add to C instead of replacing it.
    pub accumulate: bool,
    /// The bias, one element per column, which is added to every row of the product.
    pub bias: Option<&'a [f32]>,
}

impl<'a> Product<'a> {
    /// An output that replaces a row-major C with `columns` columns.
    pub fn into(c: &'a mut [f32], columns: usize) -> Self {
        Product {
            c,
            stride: columns,
            accumulate: false,
            bias: None,
        }
    }

    /// Makes the product be added to C.
    pub fn accumulate(self) -> Self {
        Product {
            accumulate: true,
            ..self
        }
    }

    /// Makes `bias` be added to every row.
    pub fn bias(self, bias: Option<&'a [f32]>) -> Self {
        Product { bias, ..self }
    }
}

/// Computes `C = A B`. Panics where the inner sizes differ or C is too short: operations check shapes before.
pub fn gemm(isa: Isa, a: Matrix, b: Matrix, out: Product) {
    gemm_packed(isa, a, &b.pack(isa), out);
}

// Rows of A that one task takes at most: enough to amortise its start, few enough to keep all threads busy.
const TASK_ROWS: usize = 112;
// Elements of k that are multiplied at a time. A block of one panel of B is then 32 or 64 KiB, which is prefetched.
// Shorter blocks spend too much time on loading and storing sums.
const K_BLOCK: usize = 512;
// Panels that are multiplied in turn for each block of k, so that their part of C stays in the second-level cache.
const PANEL_GROUP: usize = 16;
// With at least this many panels per thread, only the columns are divided among the threads.
const PANELS_PER_THREAD: usize = 4;
// Tasks at most that divide the columns of a group of rows, on few threads.
const COLUMN_TASKS: usize = 8;
// Multiply-adds that one task should at least have; below that, another thread costs more than it saves.
const TASK_WORK: usize = 1 << 18;

/// Computes `C = A B` with B packed before.
pub fn gemm_packed(isa: Isa, a: Matrix, b: &PackedB, out: Product) {
    let k = a.columns;
    assert!(k == b.k(), "gemm: A has {k} columns, B has {} rows", b.k());
    gemm_packed_rows(isa, a, b, 0, out);
}

/// Computes `C = A B'`, where `B'` are the rows of a packed B from `first` on, as many as A has columns.
///
/// So the weights of two inputs that lie side by side in one matrix can be packed once, and multiplied with each input
/// alone.
pub fn gemm_packed_rows(isa: Isa, a: Matrix, b: &PackedB, first: usize, out: Product) {
    let (m, k, n) = (a.rows, a.columns, b.columns());
    let used = first..first + k;
    assert!(
        used.end <= b.k(),
        "gemm: A has {k} columns, B has {} rows from {first} on",
        b.k()
    );
    if m == 0 || n == 0 {
        return;
    }
    let sizes = format_args!("{m} x {k} x {n}");
    let _timer = profile::time_flops("gemm", sizes, 2.0 * (m * k * n) as f64);
    assert!(
        out.stride >= n && (m - 1) * out.stride + n <= out.c.len(),
        "gemm: C is too short"
    );
    let c = SharedMut::new(out.c);
    let (tile_rows, tile_columns) = tile_shape(isa);

    // Divide the rows first; divide the columns too where that leaves too few tasks, as in a decoder's single step.
    let panels = b.panels();
    let rows = rows_per_task(m, tile_rows, panels);
    let row_tasks = m.div_ceil(rows);
    let panels_worth_it = TASK_WORK.div_ceil(rows.min(m) * k.max(1) * tile_columns);
    let panel_step = if row_tasks >= 8 {
        panels
    } else {
        panels_worth_it.max(panels.div_ceil(COLUMN_TASKS.max(4 * threads::count())))
    };
    let column_tasks = panels.div_ceil(panel_step);
    let shared = (row_tasks == 1 && a.column_stride == 1).then(|| contiguous_rows(a, 0..m));

    threads::for_each(row_tasks * column_tasks, |task| {
        let first = task / column_tasks * rows;
        let block = first..(first + rows).min(m);
        let panel = task % column_tasks * panel_step;
        let panels = panel..(panel + panel_step).min(panels);
        let out = Output {
            c,
            stride: out.stride,
            row: first,
            accumulate: out.accumulate,
            after: out.bias.into(),
        };
        if let Some(rows) = &shared {
            multiply_rows(isa, rows, b, used.clone(), panels, out);
        } else if a.column_stride == 1 {
            let rows = contiguous_rows(a, block);
            multiply_rows(isa, &rows, b, used.clone(), panels, out);
        } else {
            for first in panels.clone().step_by(PANEL_GROUP) {
                let group = first..(first + PANEL_GROUP).min(panels.end);
                transposed_block(isa, a, block.clone(), b, used.start, group, out);
            }
        }
    });
}

/// Rows of A, of `m`, that one task takes. A task takes all rows where they are few and the columns suffice to keep every
/// thread busy: B is the larger operand then, and each part of B is read once.
fn rows_per_task(m: usize, tile_rows: usize, panels: usize) -> usize {
    if m <= TASK_ROWS && panels >= PANELS_PER_THREAD * threads::count() {
        m
    } else {
        threads::balanced_strips(m, tile_rows, TASK_ROWS)
    }
}

/// Multiplies rows by panels, some panels and a block of `k` at a time. `used` are the rows of B that meet the columns of A.
fn multiply_rows(
    isa: Isa,
    rows: &Rows,
    b: &PackedB,
    used: Range<usize>,
    panels: Range<usize>,
    mut out: Output,
) {
    let (k, after) = (used.len(), out.after);
    let (k_block, accumulate) = (threads::equal_part(k, K_BLOCK), out.accumulate);
    for first in panels.clone().step_by(PANEL_GROUP) {
        let group = first..(first + PANEL_GROUP).min(panels.end);
        for k_first in (0..k.max(1)).step_by(k_block) {
            let len = k_block.min(k - k_first);
            let a = RowBlock {
                data: &rows.data,
                offsets: &rows.offsets,
                k_stride: 1,
                segments: &[k_first],
                segment_len: len,
            };
            let is_last = k_first + len == k;
            out.accumulate = accumulate || k_first > 0;
            out.after = if is_last { after } else { After::Nothing };
            // SAFETY: the caller checked C and gave this task rows and columns of its own.
            unsafe { multiply_block(isa, &a, b, used.start + k_first, group.clone(), out) };
        }
    }
}

/// Rows of A as the kernel reads them.
struct Rows<'a> {
    data: Cow<'a, [f32]>,
    offsets: Vec<usize>,
}

/// Returns the rows `block` of an A whose rows are contiguous, in place where possible. Rows that begin at the same offset
/// in a 4096-byte page would evict each other from the first-level cache, so they are copied a little further apart.
fn contiguous_rows(a: Matrix<'_>, block: Range<usize>) -> Rows<'_> {
    if !a.row_stride.is_multiple_of(512) || block.len() < 8 {
        let offsets = block.map(|i| i * a.row_stride).collect();
        return Rows {
            data: Cow::Borrowed(a.data),
            offsets,
        };
    }
    let stride = a.columns.next_multiple_of(16) + 16;
    let mut data = Vec::with_capacity(block.len() * stride);
    for i in block.clone() {
        data.extend_from_slice(&a.data[i * a.row_stride..][..a.columns]);
        data.resize((i + 1 - block.start) * stride, 0.0);
    }
    Rows {
        data: Cow::Owned(data),
        offsets: (0..block.len()).map(|i| i * stride).collect(),
    }
}

/// Multiplies the rows `block` of an A whose columns are contiguous. Its rows are copied as strips of a tile's height,
/// `[strip, k, row]`. The columns of A meet the rows of B from `first_used` on.
fn transposed_block(
    isa: Isa,
    a: Matrix,
    block: Range<usize>,
    b: &PackedB,
    first_used: usize,
    panels: Range<usize>,
    mut out: Output,
) {
    let (k, after, accumulate) = (a.columns, out.after, out.accumulate);
    let (height, k_block) = (tile_shape(isa).0, threads::equal_part(k, K_BLOCK));
    let strip = height * k_block;
    let offsets: Vec<usize> = (0..block.len())
        .map(|i| i / height * strip + i % height)
        .collect();
    with_scratch(block.len().div_ceil(height) * strip, |strips| {
        for k_first in (0..k.max(1)).step_by(k_block) {
            let len = k_block.min(k - k_first);
            for (s, strip) in strips.chunks_exact_mut(strip.max(1)).enumerate() {
                let first = block.start + s * height;
                let used = height.min(block.end - first);
                for (i, row) in strip.chunks_exact_mut(height).take(len).enumerate() {
                    let start = (k_first + i) * a.column_stride + first * a.row_stride;
                    if a.row_stride == 1 {
                        row[..used].copy_from_slice(&a.data[start..start + used]);
                    } else {
                        let column = a.data[start..].iter().step_by(a.row_stride.max(1));
                        row[..used]
                            .iter_mut()
                            .zip(column)
                            .for_each(|(x, &y)| *x = y);
                    }
                }
            }
            let rows = RowBlock {
                data: strips,
                offsets: &offsets,
                k_stride: height,
                segments: &[0],
                segment_len: len,
            };
            let is_last = k_first + len == k;
            out.accumulate = accumulate || k_first > 0;
            out.after = if is_last { after } else { After::Nothing };
            // SAFETY: the caller checked C and gave this task rows and columns of its own.
            unsafe { multiply_block(isa, &rows, b, first_used + k_first, panels.clone(), out) };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// `A B` by the crate `matrixmultiply`.
    fn reference(a: Matrix, b: Matrix) -> Vec<f32> {
        let mut c = vec![0.0; a.rows * b.columns];
        // SAFETY: the matrices fit their slices and C has `rows * columns` elements.
        unsafe {
            matrixmultiply::sgemm(
                a.rows,
                a.columns,
                b.columns,
                1.0,
                a.data.as_ptr(),
                a.row_stride as isize,
                a.column_stride as isize,
                b.data.as_ptr(),
                b.row_stride as isize,
                b.column_stride as isize,
                0.0,
                c.as_mut_ptr(),
                b.columns as isize,
                1,
            );
        }
        c
    }

    fn check(m: usize, k: usize, n: usize, transpose_a: bool, transpose_b: bool) {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let (bias, before) = (numbers(n, 3), numbers(m * n, 4));
        let a = if transpose_a {
            Matrix::new(&a, k, m).t()
        } else {
            Matrix::new(&a, m, k)
        };
        let b = if transpose_b {
            Matrix::new(&b, n, k).t()
        } else {
            Matrix::new(&b, k, n)
        };
        let want = reference(a, b);
        for isa in Isa::available() {
            for accumulate in [false, true] {
                let mut c = before.clone();
                let out = Product::into(&mut c, n);
                let out = if accumulate {
                    out.accumulate()
                } else {
                    out.bias(Some(&bias))
                };
                gemm(isa, a, b, out);
                for (i, (&got, &want)) in c.iter().zip(&want).enumerate() {
                    let want = want + if accumulate { before[i] } else { bias[i % n] };
                    assert!(
                        (got - want).abs() <= 1e-5 * (k as f32).sqrt().max(1.0),
                        "{isa} {m}x{k}x{n} element {i}: {got} for {want}"
                    );
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn any_shape_and_orientation(m in 1..40usize, k in 1..70usize, n in 1..80usize, ta: bool, tb: bool) {
            check(m, k, n, ta, tb);
        }
    }

    #[test]
    fn shapes_that_take_several_tasks_and_several_runs_of_k() {
        check(300, 33, 65, false, true);
        check(130, 1100, 34, true, false);
        check(5, 600, 2500, false, true);
        check(40, 512, 30, false, false);
    }

    #[test]
    fn some_rows_of_b_are_a_product_of_their_own() {
        let (m, n) = (13, 41);
        for (first, k, transposed) in [
            (0, 30, false),
            (7, 600, false),
            (600, 37, true),
            (5, 0, false),
        ] {
            let (a, b) = (numbers(m * k, 1), numbers(637 * n, 2));
            let b = Matrix::new(&b, 637, n);
            let a = match transposed {
                true => Matrix::new(&a, k, m).t(),
                false => Matrix::new(&a, m, k),
            };
            let alone = Matrix::new(&b.data[first * n..], k, n);
            for isa in Isa::available() {
                let (mut got, mut want) = (vec![1.0; m * n], vec![2.0; m * n]);
                gemm_packed_rows(isa, a, &b.pack(isa), first, Product::into(&mut got, n));
                gemm(isa, a, alone, Product::into(&mut want, n));
                assert_eq!(got, want, "{isa}: {k} rows from {first} on");
            }
        }
    }

    #[test]
    fn an_empty_k_gives_the_bias() {
        let mut c = [7.0; 6];
        gemm(
            Isa::current(),
            Matrix::new(&[], 2, 0),
            Matrix::new(&[], 0, 3),
            Product::into(&mut c, 3).bias(Some(&[1.0, 2.0, 3.0])),
        );
        assert_eq!(c, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let (a, b) = (numbers(200 * 90, 5), numbers(90 * 70, 6));
        let run = |threads| {
            let mut c = vec![0.0; 200 * 70];
            threads::with_count(threads, || {
                let (a, b) = (Matrix::new(&a, 200, 90), Matrix::new(&b, 90, 70));
                gemm(Isa::current(), a, b, Product::into(&mut c, 70));
            })
            .unwrap();
            c
        };
        assert_eq!(run(1), run(3));
    }
}
