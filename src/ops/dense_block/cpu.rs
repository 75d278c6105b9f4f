//! The block in one buffer: a layer reads the first channels of every pixel and writes the next. Gradients have a buffer of
//! the same shape.

use super::{
    CONV1, CONV2, Conv, DenseLayerWeights, Job, LayerMoments, PARAMETERS, Saved, SavedLayer, X,
    input,
};
use crate::cpu::after::After;
use crate::cpu::conv;
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::{Isa, Precision, memory, threads};
use crate::ops::batch_norm::{self, Folded, Moments, Norm};
use crate::ops::conv2d::packed_weight;
use crate::ops::norm_relu_conv::cpu::{Gradient, convolve};
use crate::tensor::{Tensor, Wanted};

// Pixels that one task copies into or out of a block's buffer.
const PIXELS_PER_TASK: usize = 512;

/// Every layer writes its channels behind those that it read.
pub(super) fn forward(
    isa: Isa,
    job: &Job,
    x: &Tensor,
    layers: &[DenseLayerWeights],
) -> (Tensor, Saved, Vec<LayerMoments>) {
    let mut buffer = Buffer::new(isa, job, x.data());
    let mut moments = Vec::with_capacity(layers.len());
    let mut saved = Vec::new();
    for (layer, convs) in layers.iter().zip(&job.layers) {
        let folded1 = buffer.fold(&layer.norm1, convs[0].shape.channels);
        if !job.tracked && !layer.norm2.is_batch() {
            buffer.infer(&folded1, &layer.norm2, convs);
            moments.push(None);
            continue;
        }
        let (bottleneck, folded2, second) = buffer.extend(&folded1, &layer.norm2, convs);
        moments.push(match layer.norm1.is_batch() {
            true => second.map(|second| [buffer.moments.clone().into(), second]),
            false => None,
        });
        if job.tracked {
            saved.push(SavedLayer {
                bottleneck,
                folded: [folded1, folded2],
            });
        }
    }
    let y = Tensor::computed(buffer.data, &job.map_dims(job.total));
    let saved = Saved {
        buffer: y.clone(),
        layers: saved,
    };
    (y, saved, moments)
}

/// The block's buffer during the forward pass.
struct Buffer {
    isa: Isa,
    pixels: usize,
    /// `[N, H, W, total]`
    data: Vec<f32>,
    total: usize,
    /// Mean and variance of the first channels of the buffer: of those that a norm has needed so far.
    moments: [Vec<f32>; 2],
    precision: Precision,
}

impl Buffer {
    /// Copies `x` to the first channels.
    fn new(isa: Isa, job: &Job, x: &[f32]) -> Buffer {
        let (total, first) = (job.total, job.dims[3]);
        let mut data = memory::unset(job.pixels() * total);
        threads::for_each_chunk(&mut data, PIXELS_PER_TASK * total.max(1), |i, pixels| {
            let x = x[i * PIXELS_PER_TASK * first..].chunks_exact(first.max(1));
            for (to, from) in pixels.chunks_exact_mut(total).zip(x) {
                to[..first].copy_from_slice(from);
            }
        });
        Buffer {
            isa,
            pixels: job.pixels(),
            data,
            total,
            moments: [Vec::new(), Vec::new()],
            precision: job.precision,
        }
    }

    /// The map from channel `first` on.
    fn channels_from(&self, first: usize) -> Pixels<'_> {
        Pixels::new(&self.data[first.min(self.data.len())..], self.total)
    }

    /// Folds the norm of the first `channels` channels. The moments of those that earlier layers read are known already.
    fn fold(&mut self, norm: &Norm, channels: usize) -> Folded {
        if !norm.is_batch() {
            let x = self.channels_from(0);
            return batch_norm::cpu::fold_for(self.isa, norm, x, self.pixels).0;
        }
        let known = self.moments[0].len();
        let fresh = self.channels_from(known);
        let fresh = batch_norm::cpu::moments(self.isa, fresh, self.pixels, channels - known);
        for (all, fresh) in self.moments.iter_mut().zip(fresh) {
            all.extend(fresh);
        }
        norm.fold(self.moments.each_ref().map(|all| &all[..]))
    }

    /// Computes one layer. Returns the result of the first convolution, and the second norm.
    fn extend(
        &mut self,
        folded1: &Folded,
        norm2: &Norm,
        [one, three]: &[Conv; 2],
    ) -> (Tensor, Folded, Option<Moments>) {
        let (isa, stride) = (self.isa, one.shape.out_channels);
        let mut bottleneck = memory::unset(self.pixels * stride);
        let out = PixelsMut::new(&mut bottleneck, stride);
        let (x, weight) = (self.channels_from(0), (&one.weight, self.precision));
        convolve(isa, &one.shape, x, folded1, weight, After::Nothing, out);

        let x = Pixels::new(&bottleneck, stride);
        let (folded2, moments) = batch_norm::cpu::fold_for(isa, norm2, x, self.pixels);
        let weight = (&three.weight, self.precision);
        let out = self.next(one);
        convolve(isa, &three.shape, x, &folded2, weight, After::Nothing, out);
        let bottleneck = Tensor::computed(bottleneck, &one.shape.out_dims());
        (bottleneck, folded2, moments)
    }

    /// Computes one layer in inference. The statistics of the second norm are known beforehand. So the first convolution
    /// applies that norm and its ReLU to its sums before it writes them.
    fn infer(&mut self, folded1: &Folded, norm2: &Norm, [one, three]: &[Conv; 2]) {
        let (isa, stride) = (self.isa, one.shape.out_channels);
        let x = self.channels_from(0);
        // Running statistics do not depend on the pixels.
        let (folded2, _) = batch_norm::cpu::fold_for(isa, norm2, x, self.pixels);
        let mut bottleneck = memory::unset(self.pixels * stride);
        let out = PixelsMut::new(&mut bottleneck, stride);
        let after = After::AffineRelu(folded2.affine());
        let weight = (&one.weight, self.precision);
        convolve(isa, &one.shape, x, folded1, weight, after, out);

        let packed = packed_weight(isa, &three.shape, self.precision, &three.weight);
        let z = Pixels::new(&bottleneck, stride);
        let out = self.next(one);
        conv::forward(isa, &three.shape, z, None, &packed, After::Nothing, out);
        memory::recycle(bottleneck);
    }

    /// The map behind the channels that convolution `one` reads.
    fn next(&mut self, one: &Conv) -> PixelsMut<'_> {
        let first = one.shape.channels.min(self.data.len());
        PixelsMut::new(&mut self.data[first..], self.total)
    }
}

/// The gradients with respect to `x` and all parameters, from the last layer to the first. The intermediate results of
/// a layer are freed before the next one.
pub(super) fn backward(
    isa: Isa,
    job: &Job,
    saved: Saved,
    dy: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let total = job.total;
    let mut dbuffer = memory::unset(dy.len());
    threads::for_each_chunk(&mut dbuffer, PIXELS_PER_TASK * total.max(1), |i, to| {
        to.copy_from_slice(&dy.data()[i * PIXELS_PER_TASK * total..][..to.len()]);
    });
    let mut of_layers = Vec::with_capacity(job.layers.len());
    for (l, layer) in saved.layers.into_iter().enumerate().rev() {
        let pass = LayerBackward {
            isa,
            convs: &job.layers[l],
            buffer: Pixels::new(saved.buffer.data(), total),
            conv_wanted: [CONV1, CONV2].map(|conv| wanted.has(input(l, conv))),
        };
        of_layers.push(pass.run(layer, &mut dbuffer));
    }
    let dx = wanted.has(X).then(|| first_channels(job, &dbuffer));
    memory::recycle(dbuffer);
    let of_layers = of_layers.into_iter().rev().flatten();
    std::iter::once(dx).chain(of_layers).collect()
}

/// The backward pass of one layer.
struct LayerBackward<'a> {
    isa: Isa,
    convs: &'a [Conv; 2],
    buffer: Pixels<'a>,
    /// Whether the gradients with respect to the weights of the convolutions are wanted.
    conv_wanted: [bool; 2],
}

impl LayerBackward<'_> {
    /// Adds the layer's part to the gradients of the channels that it read; those of the channels that it wrote are complete.
    fn run(&self, layer: SavedLayer, dbuffer: &mut [f32]) -> [Option<Tensor>; PARAMETERS] {
        let (isa, [one, three], total) = (self.isa, self.convs, self.buffer.stride);
        let SavedLayer {
            bottleneck,
            folded: [folded1, folded2],
        } = layer;
        let stride = one.shape.out_channels;
        let mut dbottleneck = memory::zeros(bottleneck.len());
        let gradient = Gradient {
            shape: &three.shape,
            folded: &folded2,
            weight: &three.weight,
            x: Pixels::new(bottleneck.data(), stride),
            dy: Pixels::new(&dbuffer[one.shape.channels.min(dbuffer.len())..], total),
        };
        let dw2 = self.conv_wanted[1].then(|| gradient.weight(isa));
        let out = PixelsMut::new(&mut dbottleneck, stride);
        let [dgamma2, dbeta2] = gradient.norm(isa, Some(out));
        drop(bottleneck);

        let gradient = Gradient {
            shape: &one.shape,
            folded: &folded1,
            weight: &one.weight,
            x: self.buffer,
            dy: Pixels::new(&dbottleneck, stride),
        };
        let dw1 = self.conv_wanted[0].then(|| gradient.weight(isa));
        let out = PixelsMut::new(dbuffer, total);
        let [dgamma1, dbeta1] = gradient.norm(isa, Some(out));
        memory::recycle(dbottleneck);
        let [dgamma1, dbeta1, dgamma2, dbeta2] = [dgamma1, dbeta1, dgamma2, dbeta2].map(Some);
        [dgamma1, dbeta1, dw1, dgamma2, dbeta2, dw2]
    }
}

/// The first channels of the gradients: `dx`.
fn first_channels(job: &Job, dbuffer: &[f32]) -> Tensor {
    let (total, first) = (job.total, job.dims[3]);
    let mut dx = memory::unset(job.pixels() * first);
    threads::for_each_chunk(&mut dx, PIXELS_PER_TASK * first.max(1), |i, pixels| {
        let dbuffer = dbuffer[i * PIXELS_PER_TASK * total..].chunks_exact(total);
        for (to, from) in pixels.chunks_exact_mut(first).zip(dbuffer) {
            to.copy_from_slice(&from[..first]);
        }
    });
    Tensor::computed(dx, &job.dims)
}
