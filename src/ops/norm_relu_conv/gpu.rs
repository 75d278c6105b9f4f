//! The convolution of [`crate::gpu::conv`] applies the norm and the ReLU while it loads its input.

use super::{BETA, GAMMA, Job, WEIGHT, X};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::conv::{self, After};
use crate::gpu::copy::Rows;
use crate::ops::batch_norm::{self, Folded, Moments, Norm};
use crate::ops::conv2d::gpu::{convolve, grad_input};
use crate::sizes::ConvShape;
use crate::tensor::{Tensor, Wanted};

/// `y = conv(max(0, scale x + shift), w)`
pub(crate) fn forward(
    gpu: &Gpu,
    job: &Job,
    norm: &Norm,
) -> Result<(Tensor, Folded, Option<Moments>)> {
    let (shape, outputs) = (&job.shape, job.shape.out_channels);
    let x = Rows::new(job.x.on(gpu)?, shape.channels);
    let (folded, moments) = batch_norm::gpu::fold_for(gpu, norm, &x, shape.pixels())?;
    let y = Rows::new(gpu.unset(shape.out_pixels() * outputs)?, outputs);
    let weight = (&job.weight, job.precision);
    let before = folded.on(gpu)?;
    convolve(gpu, shape, [&x, &y], Some(&before), weight, After::Nothing)?;
    let y = Tensor::from_gpu(y.data.buffer, &shape.out_dims());
    Ok((y, folded, moments))
}

/// `dx`, `dgamma`, `dbeta` and `dw`
pub(crate) fn backward(
    gpu: &Gpu,
    job: &Job,
    folded: &Folded,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Vec<Option<Tensor>>> {
    let shape = &job.shape;
    let gradient = Gradient {
        shape,
        folded,
        weight: &job.weight,
        x: &Rows::new(job.x.on(gpu)?, shape.channels),
        dy: &Rows::new(dy.on(gpu)?, shape.out_channels),
    };
    let dw = wanted.then(WEIGHT, || gradient.weight(gpu))?;
    let unset = || gpu.unset(job.x.len());
    let dx = wanted.has(X).then(unset).transpose()?;
    let dx = dx.map(|dx| Rows::new(dx, shape.channels));
    let of_norm = [X, GAMMA, BETA].iter().any(|&input| wanted.has(input));
    let [dgamma, dbeta] = match of_norm {
        true => gradient.norm(gpu, dx.as_ref(), false)?.map(Some),
        false => [None, None],
    };
    Ok(vec![
        dx.map(|dx| Tensor::from_gpu(dx.data.buffer, job.x.dims())),
        dgamma,
        dbeta,
        dw,
    ])
}

/// The backward pass, on maps whose pixels may be further apart than their channels.
pub(crate) struct Gradient<'a> {
    pub(crate) shape: &'a ConvShape,
    pub(crate) folded: &'a Folded,
    pub(crate) weight: &'a Tensor,
    pub(crate) x: &'a Rows,
    pub(crate) dy: &'a Rows,
}

impl Gradient<'_> {
    /// `dw`
    pub(crate) fn weight(&self, gpu: &Gpu) -> Result<Tensor> {
        let before = self.folded.on(gpu)?;
        let dw = conv::grad_weight(gpu, self.shape, self.x, Some(&before), self.dy)?;
        Ok(Tensor::from_gpu(dw, self.weight.dims()))
    }

    /// `dgamma` and `dbeta`, by way of `dz`. The gradient with respect to `x` is written to `dx`, or with `add` added to it.
    pub(crate) fn norm(&self, gpu: &Gpu, dx: Option<&Rows>, add: bool) -> Result<[Tensor; 2]> {
        let (shape, folded) = (self.shape, self.folded);
        let dz = grad_input(gpu, shape, self.dy, self.weight)?;
        batch_norm::gpu::grads(gpu, [self.x, &dz], folded, true, shape.pixels(), dx, add)
    }
}
