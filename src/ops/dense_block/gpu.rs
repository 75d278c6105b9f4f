//! The block in one buffer, from which every layer reads the first channels of every pixel and into which it writes the
//! next. Gradients have a buffer of the same shape.

use super::{
    CONV1, CONV2, Conv, DenseLayerWeights, Job, LayerMoments, PARAMETERS, Saved, SavedLayer, X,
    input,
};
use crate::cpu::Precision;
use crate::error::Result;
use crate::gpu::conv::After;
use crate::gpu::copy::{self, Rows};
use crate::gpu::{Gpu, Slice};
use crate::ops::batch_norm::{self, Folded, Moments, Norm};
use crate::ops::conv2d::gpu::convolve;
use crate::ops::norm_relu_conv::gpu::Gradient;
use crate::tensor::{Tensor, Wanted};

/// Every layer writes its channels behind those that it read.
pub(super) fn forward(
    gpu: &Gpu,
    job: &Job,
    x: &Tensor,
    layers: &[DenseLayerWeights],
) -> Result<(Tensor, Saved, Vec<LayerMoments>)> {
    let mut buffer = Buffer::new(gpu, job, x)?;
    let (mut moments, mut saved) = (Vec::with_capacity(layers.len()), Vec::new());
    for (layer, convs) in layers.iter().zip(&job.layers) {
        let channels = convs[0].shape.channels;
        let (folded1, first) = buffer.fold(&layer.norm1, channels)?;
        if !job.tracked && !layer.norm2.is_batch() {
            buffer.infer(&folded1, &layer.norm2, convs)?;
            moments.push(None);
            continue;
        }
        let (bottleneck, folded2, second) = buffer.extend(&folded1, &layer.norm2, convs)?;
        moments.push(first.zip(second).map(|(first, second)| [first, second]));
        if job.tracked {
            saved.push(SavedLayer {
                bottleneck,
                folded: [folded1, folded2],
            });
        }
    }
    let y = Tensor::from_gpu(buffer.map.data.buffer, &job.map_dims(job.total));
    let saved = Saved {
        buffer: y.clone(),
        layers: saved,
    };
    Ok((y, saved, moments))
}

/// The block's buffer during the forward pass.
struct Buffer<'a> {
    gpu: &'a Gpu,
    pixels: usize,
    /// `[N, H, W, total]`
    map: Rows,
    moments: ChannelMoments,
    precision: Precision,
}

impl<'a> Buffer<'a> {
    /// Copies `x` to the first channels.
    fn new(gpu: &'a Gpu, job: &Job, x: &Tensor) -> Result<Buffer<'a>> {
        let (pixels, total, first) = (job.pixels(), job.total, job.dims[3]);
        let buffer = Rows::new(gpu.unset(pixels * total)?, total);
        copy::columns(gpu, &Rows::new(x.on(gpu)?, first), &buffer, [pixels, first])?;
        Ok(Buffer {
            gpu,
            pixels,
            map: buffer,
            moments: ChannelMoments::new(gpu, total)?,
            precision: job.precision,
        })
    }

    /// Folds the norm of the first `channels` channels; also returns their moments if the norm uses them.
    fn fold(&mut self, norm: &Norm, channels: usize) -> Result<(Folded, Option<Moments>)> {
        if !norm.is_batch() {
            return batch_norm::gpu::fold_for(self.gpu, norm, &self.map, self.pixels);
        }
        let moments = &mut self.moments;
        moments.extend(self.gpu, &self.map, self.pixels, channels)?;
        let folded = batch_norm::gpu::fold(self.gpu, norm, [&moments.mean, &moments.var])?;
        Ok((folded, Some(moments.first(self.map.stride, channels)?)))
    }

    /// Computes one layer. Returns the result of the first convolution, and the second norm.
    fn extend(
        &self,
        folded1: &Folded,
        norm2: &Norm,
        [one, three]: &[Conv; 2],
    ) -> Result<(Tensor, Folded, Option<Moments>)> {
        let bottleneck = self.bottleneck(folded1, one, After::Nothing)?;
        let (folded2, moments) =
            batch_norm::gpu::fold_for(self.gpu, norm2, &bottleneck, self.pixels)?;
        self.write_next(
            &bottleneck,
            Some(&folded2.on(self.gpu)?),
            three,
            one.shape.channels,
        )?;
        let bottleneck = Tensor::from_gpu(bottleneck.data.buffer, &one.shape.out_dims());
        Ok((bottleneck, folded2, moments))
    }

    /// Computes one layer in inference. The statistics of the second norm are known beforehand. So the first convolution
    /// applies that norm and its ReLU to its sums before it writes them.
    fn infer(&self, folded1: &Folded, norm2: &Norm, [one, three]: &[Conv; 2]) -> Result<()> {
        // Running statistics do not depend on the pixels.
        let (folded2, _) = batch_norm::gpu::fold_for(self.gpu, norm2, &self.map, self.pixels)?;
        let after = folded2.on(self.gpu)?;
        let bottleneck = self.bottleneck(folded1, one, After::NormRelu(&after))?;
        self.write_next(&bottleneck, None, three, one.shape.channels)
    }

    /// The result of the first convolution of a layer.
    fn bottleneck(&self, folded1: &Folded, one: &Conv, after: After) -> Result<Rows> {
        let (gpu, channels) = (self.gpu, one.shape.out_channels);
        let bottleneck = Rows::new(gpu.unset(self.pixels * channels)?, channels);
        let (maps, before) = ([&self.map, &bottleneck], folded1.on(gpu)?);
        let weight = (&one.weight, self.precision);
        convolve(gpu, &one.shape, maps, Some(&before), weight, after)?;
        Ok(bottleneck)
    }

    /// The second convolution of a layer writes the channels from `first` on, behind those that the layer read.
    fn write_next(
        &self,
        bottleneck: &Rows,
        norm: Option<&Slice>,
        three: &Conv,
        first: usize,
    ) -> Result<()> {
        let next = self.map.from_column(first);
        let (maps, weight) = ([bottleneck, &next], (&three.weight, self.precision));
        convolve(self.gpu, &three.shape, maps, norm, weight, After::Nothing)
    }
}

/// The moments of the first `channels` channels of the block's buffer. Both slices have room for all of its channels.
struct ChannelMoments {
    mean: Slice,
    var: Slice,
    channels: usize,
}

impl ChannelMoments {
    fn new(gpu: &Gpu, total: usize) -> Result<Self> {
        let mean = Slice::from(gpu.unset(2 * total)?);
        let var = mean.after(total);
        Ok(ChannelMoments {
            mean,
            var,
            channels: 0,
        })
    }

    /// Computes the moments of the channels written since the last call, up to `channels`.
    fn extend(&mut self, gpu: &Gpu, buffer: &Rows, rows: usize, channels: usize) -> Result<()> {
        let fresh = channels - self.channels;
        if fresh > 0 {
            let (mean, var) = (
                self.mean.after(self.channels),
                self.var.after(self.channels),
            );
            let from = buffer.from_column(self.channels);
            batch_norm::gpu::moments(gpu, &from, [rows, fresh], &mean, &var)?;
        }
        self.channels = channels;
        Ok(())
    }

    /// The moments of the first `channels` of `total` channels.
    fn first(&self, total: usize, channels: usize) -> Result<Moments> {
        let all = Tensor::from_gpu(self.mean.buffer.clone(), &[2 * total]);
        Ok(Moments {
            mean: all.narrow(0, channels)?,
            var: all.narrow(total, channels)?,
        })
    }
}

/// The gradients with respect to `x` and all parameters, from the last layer to the first. The intermediate results of a
/// layer are freed before the next one.
pub(super) fn backward(
    gpu: &Gpu,
    job: &Job,
    saved: Saved,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Vec<Option<Tensor>>> {
    let (pixels, total, first) = (job.pixels(), job.total, job.dims[3]);
    let buffer = Rows::new(saved.buffer.on(gpu)?, total);
    let dbuffer = Rows::new(gpu.unset(pixels * total)?, total);
    gpu.copy(&dy.on(gpu)?, &dbuffer.data, pixels * total)?;
    let mut of_layers = Vec::with_capacity(job.layers.len());
    for (l, layer) in saved.layers.into_iter().enumerate().rev() {
        let conv_wanted = [CONV1, CONV2].map(|conv| wanted.has(input(l, conv)));
        let maps = [&buffer, &dbuffer];
        of_layers.push(layer_backward(
            gpu,
            &job.layers[l],
            layer,
            maps,
            conv_wanted,
        )?);
    }
    let dx = wanted.then(X, || {
        let dx = Rows::new(gpu.unset(pixels * first)?, first);
        copy::columns(gpu, &dbuffer, &dx, [pixels, first])?;
        Ok(Tensor::from_gpu(dx.data.buffer, &job.dims))
    })?;
    let of_layers = of_layers.into_iter().rev().flatten();
    Ok(std::iter::once(dx).chain(of_layers).collect())
}

/// Adds the part of one layer to the gradients of the channels that it read; those of the channels that it wrote are
/// complete. The gradients with respect to the weights of the convolutions are computed where they are wanted.
fn layer_backward(
    gpu: &Gpu,
    [one, three]: &[Conv; 2],
    layer: SavedLayer,
    [buffer, dbuffer]: [&Rows; 2],
    [dw1_wanted, dw2_wanted]: [bool; 2],
) -> Result<[Option<Tensor>; PARAMETERS]> {
    let SavedLayer {
        bottleneck,
        folded: [folded1, folded2],
    } = layer;
    let channels = one.shape.out_channels;
    let dbottleneck = Rows::new(gpu.unset(bottleneck.len())?, channels);
    let (dw2, [dgamma2, dbeta2]) = {
        let gradient = Gradient {
            shape: &three.shape,
            folded: &folded2,
            weight: &three.weight,
            x: &Rows::new(bottleneck.on(gpu)?, channels),
            dy: &dbuffer.from_column(one.shape.channels),
        };
        let dw2 = dw2_wanted.then(|| gradient.weight(gpu)).transpose()?;
        (dw2, gradient.norm(gpu, Some(&dbottleneck), false)?)
    };
    drop(bottleneck);

    let gradient = Gradient {
        shape: &one.shape,
        folded: &folded1,
        weight: &one.weight,
        x: buffer,
        dy: &dbottleneck,
    };
    let dw1 = dw1_wanted.then(|| gradient.weight(gpu)).transpose()?;
    let [dgamma1, dbeta1] = gradient.norm(gpu, Some(dbuffer), true)?;
    let [dgamma1, dbeta1, dgamma2, dbeta2] = [dgamma1, dbeta1, dgamma2, dbeta2].map(Some);
    Ok([dgamma1, dbeta1, dw1, dgamma2, dbeta2, dw2])
}
