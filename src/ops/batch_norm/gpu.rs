//! Dispatches `shaders/batch_norm.wgsl`.

use super::{Folded, FoldedOn, Moments, Norm, Statistics};
use crate::error::Result;
use crate::gpu::copy::Rows;
use crate::gpu::norm::{self, Backward, Parts};
use crate::gpu::{Gpu, Slice};
use crate::tensor::Tensor;

/// Splits `[2, C]` into two tensors `[C]`.
pub(crate) fn halves(both: &Slice, channels: usize) -> Result<[Tensor; 2]> {
    let both = Tensor::from_gpu(both.buffer.clone(), &[2, channels]);
    Ok([both.index(0)?, both.index(1)?])
}

impl Norm<'_> {
    /// Folds this norm for the rows `x` into a state `[4, C]`: scale, shift, mean, `1 / sqrt(var + eps)`. Also returns the
    /// moments of the mini-batch if the norm uses them.
    pub(crate) fn state(
        &self,
        gpu: &Gpu,
        x: &Rows,
        sizes: [usize; 2],
    ) -> Result<(Slice, Option<Moments>)> {
        if let Some(state) = self.running_state(gpu)? {
            return Ok((state, None));
        }
        let channels = sizes[1];
        let mean = Slice::from(gpu.unset(2 * channels)?);
        let var = mean.after(channels);
        norm::moments(gpu, x, sizes, &mean, &var)?;
        let state = self.fold_on(gpu, &mean, &var)?;
        let [mean, var] = halves(&mean, channels)?;
        Ok((state, Some(Moments { mean, var })))
    }

    /// Folds this norm if it has running statistics, which do not depend on the input.
    pub(crate) fn running_state(&self, gpu: &Gpu) -> Result<Option<Slice>> {
        match self.statistics {
            Statistics::Batch => Ok(None),
            Statistics::Running { mean, var } => {
                self.fold_on(gpu, &mean.on(gpu)?, &var.on(gpu)?).map(Some)
            }
            Statistics::Folded(Folded(FoldedOn::Gpu(state, _))) => Ok(Some(state.clone())),
            Statistics::Folded(Folded(FoldedOn::Cpu(f))) => {
                let all = [&f.scale[..], &f.shift, &f.mean, &f.inv_std].concat();
                Ok(Some(gpu.upload(&all)?.into()))
            }
        }
    }

    /// Folds this norm with these statistics.
    pub(crate) fn fold_on(&self, gpu: &Gpu, mean: &Slice, var: &Slice) -> Result<Slice> {
        let (gamma, beta) = (self.weight.on(gpu)?, self.bias.on(gpu)?);
        let parts = Parts {
            gamma: &gamma,
            beta: &beta,
            mean,
            var,
            eps: self.eps,
        };
        norm::fold(gpu, &parts, self.weight.len())
    }
}

/// `y = scale x + shift`, or `y = max(0, scale x + shift)` with `relu`. [`Backward`] computes its gradient.
pub(crate) fn normalise(
    gpu: Gpu,
    x: &Tensor,
    norm: &Norm,
    relu: bool,
) -> Result<(Tensor, Option<Moments>)> {
    let channels = norm.weight.len();
    let sizes = [x.len() / channels.max(1), channels];
    let rows = move |data| Rows {
        data,
        stride: channels,
    };
    let from = rows(x.on(&gpu)?);
    let (state, moments) = norm.state(&gpu, &from, sizes)?;
    let to = rows(gpu.unset(x.len())?.into());
    norm::forward(&gpu, &from, &state, relu, &to, sizes)?;
    let (dims, batch) = (x.dims().to_vec(), norm.is_batch());
    let y = Tensor::from_gpu(to.data.buffer, x.dims());
    let y = y.record(&[x, norm.weight, norm.bias], move |dy, _| {
        let back = Backward {
            x: &from,
            state: &state,
            relu,
            batch,
            sizes,
        };
        let dy = rows(dy.on(&gpu)?);
        let sums = back.sums(&gpu, &dy)?;
        let to = rows(gpu.unset(sizes[0] * channels)?.into());
        back.input(&gpu, &dy, &sums, &to, false)?;
        let [dbeta, dgamma] = halves(&sums, channels)?;
        Ok(vec![
            Some(Tensor::from_gpu(to.data.buffer, &dims)),
            Some(dgamma),
            Some(dbeta),
        ])
    })?;
    Ok((y, moments))
}

/// `running = (1 - momentum) running + momentum batch`, with the variance of the batch times `unbiased`.
pub(crate) fn update_running(
    gpu: &Gpu,
    running: [&mut Tensor; 2],
    batch: &Moments,
    momentum: f32,
    unbiased: f32,
) -> Result<()> {
    let channels = batch.mean.len();
    let [mean, var] = running;
    let old = [mean.on(gpu)?, var.on(gpu)?];
    let new = [batch.mean.on(gpu)?, batch.var.on(gpu)?];
    let updated = norm::update_running(
        gpu,
        [&old[0], &old[1]],
        [&new[0], &new[1]],
        [momentum, unbiased],
        channels,
    )?;
    [*mean, *var] = halves(&updated.into(), channels)?;
    Ok(())
}
