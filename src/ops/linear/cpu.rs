//! Three matrix products and a sum over rows. A transposition only swaps strides.

use super::{BIAS, Job, WEIGHT, X};
use crate::cpu::gemm::{Matrix, Product, gemm, gemm_packed};
use crate::cpu::packed::Layout;
use crate::cpu::pixels::Pixels;
use crate::cpu::rows::sum_rows;
use crate::cpu::{Isa, memory};
use crate::tensor::{Tensor, Wanted};

/// `y = x W^T + b`. A weight that is not trained is packed once and kept.
pub(crate) fn forward(isa: Isa, job: &Job) -> Tensor {
    let &Job {
        rows,
        inputs,
        outputs,
        ..
    } = job;
    let packed = job.weight.packed(isa, Layout::Linear, |w| {
        Matrix::new(w, outputs, inputs).t().pack(isa)
    });
    let mut y = memory::unset(rows * outputs);
    let out = Product::into(&mut y, outputs).bias(job.bias.as_ref().map(Tensor::data));
    gemm_packed(isa, Matrix::new(job.x.data(), rows, inputs), &packed, out);
    Tensor::computed(y, &job.out_dims())
}

/// `dx = dy W`, `dW = dy^T x`, and `db`: the sum over rows of `dy`.
pub(crate) fn backward(isa: Isa, job: &Job, dy: &Tensor, wanted: Wanted) -> Vec<Option<Tensor>> {
    let &Job {
        rows,
        inputs,
        outputs,
        ..
    } = job;
    let x = Matrix::new(job.x.data(), rows, inputs);
    let weight = Matrix::new(job.weight.data(), outputs, inputs);
    let dy_rows = Matrix::new(dy.data(), rows, outputs);
    let dx = || {
        let mut dx = memory::unset(rows * inputs);
        gemm(isa, dy_rows, weight, Product::into(&mut dx, inputs));
        Tensor::computed(dx, job.x.dims())
    };
    let dw = || {
        let mut dw = memory::unset(outputs * inputs);
        gemm(isa, dy_rows.t(), x, Product::into(&mut dw, inputs));
        Tensor::computed(dw, job.weight.dims())
    };
    let db = || {
        let dy = Pixels::new(dy.data(), outputs);
        Tensor::computed(sum_rows(isa, dy, rows, outputs), &[outputs])
    };
    vec![
        wanted.has(X).then(dx),
        wanted.has(WEIGHT).then(dw),
        wanted.has(BIAS).then(db),
    ]
}
