//! The packed matrix product of the floor below.

use crate::cpu::Isa;
use crate::cpu::gemm::{Matrix, Product, gemm};

/// `C = A B`
pub(crate) fn multiply(isa: Isa, a: Matrix, b: Matrix) -> Vec<f32> {
    let mut c = vec![0.0; a.rows * b.columns];
    gemm(isa, a, b, Product::into(&mut c, b.columns));
    c
}
