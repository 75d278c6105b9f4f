//! Dispatches `shaders/batch_norm.wgsl`.

use super::{BETA, Folded, GAMMA, Job, Moments, Norm, X};
use crate::error::Result;
use crate::gpu::copy::Rows;
use crate::gpu::norm::{self, NormGrad};
use crate::gpu::{Gpu, Slice};
use crate::tensor::{Place, Tensor, Wanted};

/// Splits `[2, C]` into two tensors `[C]`.
fn halves(both: Slice, channels: usize) -> Result<[Tensor; 2]> {
    let both = Tensor::from_gpu(both.buffer, &[2, channels]);
    Ok([both.index(0)?, both.index(1)?])
}

/// `scale = gamma / sqrt(var + eps)` and `shift = beta - mean scale`, and the values that the gradient needs.
pub(crate) fn fold(gpu: &Gpu, norm: &Norm, mean_and_var: [&Slice; 2]) -> Result<Folded> {
    let (gamma, beta) = (norm.gamma.on(gpu)?, norm.beta.on(gpu)?);
    let channels = norm.gamma.len();
    let folded = norm::fold(gpu, [&gamma, &beta], mean_and_var, norm.eps, channels)?;
    Ok(Folded {
        values: Tensor::from_gpu(folded.buffer, &[4, channels]),
        batch: norm.is_batch(),
    })
}

/// Folds `norm` for the pixels `x`; also returns the moments of the mini-batch if the norm uses them.
pub(crate) fn fold_for(
    gpu: &Gpu,
    norm: &Norm,
    x: &Rows,
    rows: usize,
) -> Result<(Folded, Option<Moments>)> {
    if let Some(folded) = norm.running(&Place::Gpu(gpu.clone()))? {
        return Ok((folded, None));
    }
    let channels = norm.gamma.len();
    let mean = Slice::from(gpu.unset(2 * channels)?);
    let var = mean.after(channels);
    norm::moments(gpu, x, [rows, channels], &mean, &var)?;
    let folded = fold(gpu, norm, [&mean, &var])?;
    let [mean, var] = halves(mean, channels)?;
    Ok((folded, Some(Moments { mean, var })))
}

impl Folded {
    /// Scale, shift, mean and `1 / sqrt(var + eps)`: `[4, C]`.
    pub(crate) fn on(&self, gpu: &Gpu) -> Result<Slice> {
        self.values.on(gpu)
    }
}

/// `y = scale x + shift`, or with ReLU `y = max(0, scale x + shift)`
pub(crate) fn forward(
    gpu: &Gpu,
    job: &Job,
    norm: &Norm,
) -> Result<(Tensor, Folded, Option<Moments>)> {
    let x = job.rows_of(job.x.on(gpu)?);
    let (folded, moments) = fold_for(gpu, norm, &x, job.rows)?;
    let y = job.rows_of(gpu.unset(job.x.len())?.into());
    let sizes = [job.rows, job.channels];
    norm::forward(gpu, &x, &folded.on(gpu)?, job.relu, &y, sizes)?;
    let y = Tensor::from_gpu(y.data.buffer, job.x.dims());
    Ok((y, folded, moments))
}

/// `dx`, `dgamma` and `dbeta`
pub(crate) fn backward(
    gpu: &Gpu,
    job: &Job,
    folded: &Folded,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Vec<Option<Tensor>>> {
    let unset = || gpu.unset(job.x.len());
    let dx = wanted.has(X).then(unset).transpose()?;
    let dx = dx.map(|dx| job.rows_of(dx.into()));
    let (x, dy) = (job.rows_of(job.x.on(gpu)?), job.rows_of(dy.on(gpu)?));
    let sums = grads(
        gpu,
        [&x, &dy],
        folded,
        job.relu,
        job.rows,
        dx.as_ref(),
        false,
    )?;
    let [dgamma, dbeta] = sums;
    Ok(vec![
        dx.map(|dx| Tensor::from_gpu(dx.data.buffer, job.x.dims())),
        wanted.has(GAMMA).then_some(dgamma),
        wanted.has(BETA).then_some(dbeta),
    ])
}

/// `dgamma = sum dz xhat` and `dbeta = sum dz`. Writes `scale (dz - dbeta / M - xhat dgamma / M)` to `dx`, or with running
/// statistics `scale dz`; with `add` it is added to the contents.
pub(crate) fn grads(
    gpu: &Gpu,
    [x, dy]: [&Rows; 2],
    folded: &Folded,
    relu: bool,
    rows: usize,
    dx: Option<&Rows>,
    add: bool,
) -> Result<[Tensor; 2]> {
    let channels = folded.channels();
    let grad = NormGrad {
        x,
        dy,
        sizes: [rows, channels],
        folded: &folded.on(gpu)?,
        relu,
    };
    let sums = grad.sums(gpu)?;
    if let Some(dx) = dx {
        grad.input(gpu, folded.batch.then_some(&sums), dx, add)?;
    }
    halves(sums, channels)
}

/// `running = (1 - momentum) running + momentum batch`, with the variance of the batch times `unbiased`
pub(super) fn update_running(
    gpu: &Gpu,
    batch: &Moments,
    [mean, var]: [&mut Tensor; 2],
    momentum: f32,
    unbiased: f32,
) -> Result<()> {
    let running = [mean.on(gpu)?, var.on(gpu)?];
    let new = [batch.mean.on(gpu)?, batch.var.on(gpu)?];
    let updated = norm::update_running(
        gpu,
        running.each_ref(),
        new.each_ref(),
        [momentum, unbiased],
        batch.mean.len(),
    )?;
    [*mean, *var] = halves(updated, batch.mean.len())?;
    Ok(())
}

impl Job {
    /// The rows of a tensor of the shape of `x`.
    fn rows_of(&self, data: Slice) -> Rows {
        Rows {
            data,
            stride: self.channels,
        }
    }
}
