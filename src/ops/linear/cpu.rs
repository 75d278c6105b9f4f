//! Three matrix products and a sum over rows. A transposition only swaps strides.

use super::Sizes;
use crate::cpu::gemm::{Matrix, Product, gemm, gemm_packed};
use crate::cpu::packed::Layout;
use crate::cpu::pixels::Pixels;
use crate::cpu::rows::sum_rows;
use crate::cpu::{Isa, memory};
use crate::tensor::Tensor;

/// `y = x W^T + b`. A weight that is not trained is packed once and kept.
pub(crate) fn forward(
    isa: Isa,
    sizes: Sizes,
    x: &[f32],
    weight: &Tensor,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let Sizes {
        rows,
        inputs,
        outputs,
    } = sizes;
    let packed = weight.packed(isa, Layout::Linear, |w| {
        Matrix::new(w, outputs, inputs).t().pack(isa)
    });
    let mut y = memory::unset(rows * outputs);
    let out = Product::into(&mut y, outputs).bias(bias);
    gemm_packed(isa, Matrix::new(x, rows, inputs), &packed, out);
    y
}

/// `dx = dy W`
pub(crate) fn grad_input(isa: Isa, sizes: Sizes, dy: &[f32], weight: &[f32]) -> Vec<f32> {
    let Sizes {
        rows,
        inputs,
        outputs,
    } = sizes;
    let mut dx = memory::unset(rows * inputs);
    let (dy, weight) = (
        Matrix::new(dy, rows, outputs),
        Matrix::new(weight, outputs, inputs),
    );
    gemm(isa, dy, weight, Product::into(&mut dx, inputs));
    dx
}

/// `dW = dy^T x`
pub(crate) fn grad_weight(isa: Isa, sizes: Sizes, dy: &[f32], x: &[f32]) -> Vec<f32> {
    let Sizes {
        rows,
        inputs,
        outputs,
    } = sizes;
    let mut dw = memory::unset(outputs * inputs);
    let (dy, x) = (Matrix::new(dy, rows, outputs), Matrix::new(x, rows, inputs));
    gemm(isa, dy.t(), x, Product::into(&mut dw, inputs));
    dw
}

/// `db`: the sum over rows of `dy`.
pub(crate) fn grad_bias(isa: Isa, sizes: Sizes, dy: &[f32]) -> Vec<f32> {
    let dy = Pixels {
        data: dy,
        stride: sizes.outputs,
    };
    sum_rows(isa, dy, sizes.rows, sizes.outputs)
}
