//! The convolution of [`crate::cpu::conv`] applies the norm and the ReLU while it copies its input.

use super::{BETA, GAMMA, Job, WEIGHT, X};
use crate::cpu::after::After;
use crate::cpu::conv;
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::{Isa, Precision, memory};
use crate::ops::batch_norm::{self, Folded, Moments, Norm};
use crate::ops::conv2d::packed_weight;
use crate::sizes::ConvShape;
use crate::tensor::{Tensor, Wanted};

/// `y = conv(max(0, scale x + shift), w)`
pub(crate) fn forward(isa: Isa, job: &Job, norm: &Norm) -> (Tensor, Folded, Option<Moments>) {
    let shape = &job.shape;
    let x = Pixels::new(job.x.data(), shape.channels);
    let (folded, moments) = batch_norm::cpu::fold_for(isa, norm, x, shape.pixels());
    let mut y = memory::unset(shape.out_pixels() * shape.out_channels);
    let out = PixelsMut::new(&mut y, shape.out_channels);
    let weight = (&job.weight, job.precision);
    convolve(isa, shape, x, &folded, weight, After::Nothing, out);
    (Tensor::computed(y, &shape.out_dims()), folded, moments)
}

/// `y = after(conv(max(0, scale x + shift), w))` of maps whose pixels may be further apart than their channels.
pub(crate) fn convolve(
    isa: Isa,
    shape: &ConvShape,
    x: Pixels,
    folded: &Folded,
    (weight, precision): (&Tensor, Precision),
    after: After,
    y: PixelsMut,
) {
    let packed = packed_weight(isa, shape, precision, weight);
    conv::forward(isa, shape, x, Some(folded.affine()), &packed, after, y);
}

/// `dx`, `dgamma`, `dbeta` and `dw`
pub(crate) fn backward(
    isa: Isa,
    job: &Job,
    folded: &Folded,
    dy: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let shape = &job.shape;
    let gradient = Gradient {
        shape,
        folded,
        weight: &job.weight,
        x: Pixels::new(job.x.data(), shape.channels),
        dy: Pixels::new(dy.data(), shape.out_channels),
    };
    let dw = wanted.has(WEIGHT).then(|| gradient.weight(isa));
    let mut dx = wanted.has(X).then(|| memory::zeros(job.x.len()));
    let out = dx.as_mut().map(|data| PixelsMut::new(data, shape.channels));
    let of_norm = [X, GAMMA, BETA].iter().any(|&input| wanted.has(input));
    let [dgamma, dbeta] = match of_norm {
        true => gradient.norm(isa, out).map(Some),
        false => [None, None],
    };
    vec![
        dx.map(|dx| Tensor::computed(dx, job.x.dims())),
        dgamma,
        dbeta,
        dw,
    ]
}

/// The backward pass, on maps whose pixels may be further apart than their channels.
pub(crate) struct Gradient<'a> {
    pub(crate) shape: &'a ConvShape,
    pub(crate) folded: &'a Folded,
    pub(crate) weight: &'a Tensor,
    pub(crate) x: Pixels<'a>,
    pub(crate) dy: Pixels<'a>,
}

impl Gradient<'_> {
    /// `dw`
    pub(crate) fn weight(&self, isa: Isa) -> Tensor {
        let mut dw = memory::unset(self.weight.len());
        let before = Some(self.folded.affine());
        conv::grad_weight(isa, self.shape, self.x, before, self.dy, &mut dw);
        Tensor::computed(dw, self.weight.dims())
    }

    /// `dgamma` and `dbeta`, by way of `dz`. The gradient with respect to `x` is added to `dx`.
    pub(crate) fn norm(&self, isa: Isa, dx: Option<PixelsMut>) -> [Tensor; 2] {
        let &Gradient {
            shape,
            folded,
            weight,
            x,
            dy,
        } = self;
        let stride = shape.channels;
        let mut dz = memory::unset(shape.pixels() * stride);
        let out = PixelsMut::new(&mut dz, stride);
        conv::grad_input(isa, shape, dy, weight.data(), out);
        let x_and_dz = [x, Pixels::new(&dz, stride)];
        let of_norm = batch_norm::cpu::grads(isa, x_and_dz, folded, true, shape.pixels(), dx);
        memory::recycle(dz);
        of_norm
    }
}
