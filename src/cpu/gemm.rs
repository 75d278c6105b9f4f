//! Matrix products: `C = A B`, any strides, over all cores.
//!
//! B is packed once into panels as wide as the kernel's tile. A is read where it lies when its rows are
//! contiguous; when its columns are (a transposed operand), strips of it are copied so that a tile's rows
//! lie side by side.

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
    /// How many rows.
    pub rows: usize,
    /// How many columns.
    pub columns: usize,
    /// From one row to the next.
    pub row_stride: usize,
    /// From one column to the next.
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major `[rows, columns]` matrix; panics where `data` is shorter.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// A matrix whose rows begin `row_stride` apart; panics where `data` is too short.
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

    /// Rows for columns.
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
        let _timer = profile::time("gemm pack", sizes, 0.0);
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

/// Where a product goes and what happens to what is there.
pub struct Product<'a> {
    /// C, whose row `i` begins at `i * stride`.
    pub c: &'a mut [f32],
    /// From one row of C to the next.
    pub stride: usize,
    /// Add to C instead of replacing it.
    pub accumulate: bool,
    /// Added to every row of the product, one element a column.
    pub bias: Option<&'a [f32]>,
}

impl<'a> Product<'a> {
    /// Replaces a row-major C with `columns` columns.
    pub fn into(c: &'a mut [f32], columns: usize) -> Self {
        Product {
            c,
            stride: columns,
            accumulate: false,
            bias: None,
        }
    }

    /// Adds to C.
    pub fn accumulate(self) -> Self {
        Product {
            accumulate: true,
            ..self
        }
    }

    /// Adds `bias` to every row.
    pub fn bias(self, bias: Option<&'a [f32]>) -> Self {
        Product { bias, ..self }
    }
}

/// `C = A B`. Panics where the inner sizes differ or C is too short: operations check shapes before.
pub fn gemm(isa: Isa, a: Matrix, b: Matrix, out: Product) {
    gemm_packed(isa, a, &b.pack(isa), out);
}

// Rows of A that one task takes at most: enough to amortise its start, few enough to share.
const TASK_ROWS: usize = 112;
// The run of k that is multiplied at a time. A panel of B is then 32 or 64 KiB, which is fetched ahead of its use; shorter
// runs spend too much time on beginning and ending sums.
const RUN: usize = 512;
// Panels that take their turn together, so that the part of C that they sum up in stays in the second.
const PANELS: usize = 16;
// Panels that each thread should have where only columns are shared out.
const PANELS_A_THREAD: usize = 4;
// Tasks at most that share the columns of some rows, on few threads.
const COLUMN_TASKS: usize = 8;
// What one task should at least be worth, in multiply-adds; below that a thread costs more than it brings.
const TASK_WORK: usize = 1 << 18;

/// `C = A B` with B packed before.
pub fn gemm_packed(isa: Isa, a: Matrix, b: &PackedB, out: Product) {
    let k = a.columns;
    assert!(k == b.k(), "gemm: A has {k} columns, B has {} rows", b.k());
    gemm_packed_rows(isa, a, b, 0, out);
}

/// `C = A B'`, where `B'` is as many rows of a packed B as A has columns, from row `first` on. So a weight that reads
/// two inputs side by side can be packed once and multiplied with each of them alone.
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
    let _timer = profile::time("gemm", sizes, 2.0 * (m * k * n) as f64);
    assert!(
        out.stride >= n && (m - 1) * out.stride + n <= out.c.len(),
        "gemm: C is too short"
    );
    let c = SharedMut::new(out.c);
    let (tile_rows, tile_columns) = tile_shape(isa);

    // Cut by rows first; by columns too where that leaves too few tasks, as in a decoder's single step.
    let panels = b.panels();
    let rows = rows_of_a_task(m, tile_rows, panels);
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
            for first in panels.clone().step_by(PANELS) {
                let some = first..(first + PANELS).min(panels.end);
                transposed_block(isa, a, block.clone(), b, used.start, some, out);
            }
        }
    });
}

/// How many of `m` rows of A one task takes. A task takes all rows where they are few and the columns suffice to keep every
/// thread busy: B is the larger operand then, and each part of B is read once.
fn rows_of_a_task(m: usize, tile_rows: usize, panels: usize) -> usize {
    if m <= TASK_ROWS && panels >= PANELS_A_THREAD * threads::count() {
        m
    } else {
        threads::strips(m, tile_rows, TASK_ROWS)
    }
}

/// Rows times panels, some panels and a run of `k` at a time. `used` are the rows of B that meet the columns of A.
fn multiply_rows(
    isa: Isa,
    rows: &Rows,
    b: &PackedB,
    used: Range<usize>,
    panels: Range<usize>,
    mut out: Output,
) {
    let (k, after) = (used.len(), out.after);
    let (run, accumulate) = (threads::even(k, RUN), out.accumulate);
    for first in panels.clone().step_by(PANELS) {
        let some = first..(first + PANELS).min(panels.end);
        for k_first in (0..k.max(1)).step_by(run) {
            let len = run.min(k - k_first);
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
            unsafe { multiply_block(isa, &a, b, used.start + k_first, some.clone(), out) };
        }
    }
}

/// Rows of A as the kernel reads them.
struct Rows<'a> {
    data: Cow<'a, [f32]>,
    offsets: Vec<usize>,
}

/// The rows `block` of an A whose rows are contiguous: where they lie, or copied a little further apart where so many
/// begin at the same place of a 4096-byte page that they would push each other out of the first-level cache.
fn contiguous_rows(a: Matrix<'_>, block: Range<usize>) -> Rows<'_> {
    if !a.row_stride.is_multiple_of(512) || block.len() < 8 {
        let offsets = block.map(|i| i * a.row_stride).collect();
        return Rows {
            data: Cow::Borrowed(a.data),
            offsets,
        };
    }
    let apart = a.columns.next_multiple_of(16) + 16;
    let mut data = Vec::with_capacity(block.len() * apart);
    for i in block.clone() {
        data.extend_from_slice(&a.data[i * a.row_stride..][..a.columns]);
        data.resize((i + 1 - block.start) * apart, 0.0);
    }
    Rows {
        data: Cow::Owned(data),
        offsets: (0..block.len()).map(|i| i * apart).collect(),
    }
}

/// The rows `block` of an A whose columns are contiguous, copied as strips of a tile's height: `[strip, k, row]`. The
/// columns meet the rows of B from `first_used` on.
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
    let (height, run) = (tile_shape(isa).0, threads::even(k, RUN));
    let strip = height * run;
    let offsets: Vec<usize> = (0..block.len())
        .map(|i| i / height * strip + i % height)
        .collect();
    with_scratch(block.len().div_ceil(height) * strip, |strips| {
        for k_first in (0..k.max(1)).step_by(run) {
            let len = run.min(k - k_first);
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
    fn yardstick(a: Matrix, b: Matrix) -> Vec<f32> {
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
        let want = yardstick(a, b);
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
