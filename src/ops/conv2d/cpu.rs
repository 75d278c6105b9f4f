//! The implicit matrix product of [`crate::cpu::conv`].

use super::{BIAS, Job, WEIGHT, X, packed_weight};
use crate::cpu::conv;
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::{Isa, memory, rows};
use crate::tensor::{Tensor, Wanted};

/// `y = b + sum x w`
pub(crate) fn forward(isa: Isa, job: &Job) -> Tensor {
    let shape = &job.shape;
    let packed = packed_weight(isa, shape, job.precision, &job.weight);
    let x = Pixels::new(job.x.data(), shape.channels);
    let after = job.bias.as_ref().map(Tensor::data).into();
    let mut y = memory::unset(shape.out_pixels() * shape.out_channels);
    let out = PixelsMut::new(&mut y, shape.out_channels);
    conv::forward(isa, shape, x, None, &packed, after, out);
    Tensor::computed(y, &shape.out_dims())
}

/// `dx = sum dy w`, `dw = sum dy x`, `db = sum dy`
pub(crate) fn backward(isa: Isa, job: &Job, dy: &Tensor, wanted: Wanted) -> Vec<Option<Tensor>> {
    let (shape, weight) = (&job.shape, &job.weight);
    let dy = Pixels::new(dy.data(), shape.out_channels);
    let dx = || {
        let mut dx = memory::unset(job.x.len());
        let out = PixelsMut::new(&mut dx, shape.channels);
        conv::grad_input(isa, shape, dy, weight.data(), out);
        Tensor::computed(dx, job.x.dims())
    };
    let dw = || {
        let x = Pixels::new(job.x.data(), shape.channels);
        let mut dw = memory::unset(weight.len());
        conv::grad_weight(isa, shape, x, None, dy, &mut dw);
        Tensor::computed(dw, weight.dims())
    };
    let db = || {
        let db = rows::sum_rows(isa, dy, shape.out_pixels(), shape.out_channels);
        Tensor::computed(db, &[shape.out_channels])
    };
    vec![
        wanted.has(X).then(dx),
        wanted.has(WEIGHT).then(dw),
        wanted.has(BIAS).then(db),
    ]
}
