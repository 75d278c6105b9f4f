//! The packed matrix product of [`crate::cpu::gemm`].

use crate::cpu::gemm::{Matrix, Product, gemm};
use crate::cpu::{Isa, memory};

/// `C = A B`
pub(crate) fn multiply(isa: Isa, a: Matrix, b: Matrix) -> Vec<f32> {
    let mut c = memory::unset(a.rows * b.columns);
    gemm(isa, a, b, Product::into(&mut c, b.columns));
    c
}
