//! The definition as plain loops.

use crate::cpu::Isa;
use crate::cpu::gemm::Matrix;

/// `c[i][j] = sum_k a[i][k] b[k][j]`
pub(crate) fn multiply(_: Isa, a: Matrix, b: Matrix) -> Vec<f32> {
    let at = |m: &Matrix, i: usize, j: usize| m.data[i * m.row_stride + j * m.column_stride];
    let mut c = vec![0.0; a.rows * b.columns];
    for i in 0..a.rows {
        for j in 0..b.columns {
            for k in 0..a.columns {
                c[i * b.columns + j] += at(&a, i, k) * at(&b, k, j);
            }
        }
    }
    c
}
