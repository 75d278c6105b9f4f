//! A dense block: every layer reads the channels of all layers before it (Huang et al., 2017, arXiv 1608.06993).
//!
//! ```text
//! x_0 = x        x_l = [x_{l-1}, H_l(x_{l-1})]        H_l = composite 3x3 of composite 1x1
//! ```
//!
//! where `composite` is [`norm_relu_conv`](mod@crate::ops::norm_relu_conv). With concatenations, the early channels would
//! be copied once for every later layer. Here the whole block is one buffer `[N, H, W, C + L growth]`. Layer `l` reads its
//! first `C + (l - 1) growth` channels and writes the next `growth`. The mean and variance of a channel are computed once
//! and serve every layer that reads it.
//!
//! `x_{l-1}` occurs twice in `x_l`: as its first channels, and as the input of `H_l`. So its gradient is a sum:
//!
//! ```text
//! dx_{l-1} = dx_l[first C + (l - 1) growth channels] + (gradient of H_l, applied to dx_l[next growth channels])
//! ```
//!
//! The backward pass has one buffer of the same shape for these gradients. It starts as `dy` and is updated from the last
//! layer to the first. When layer `l` is reached, all later layers have added their parts, so the gradient with respect to
//! the channels that `l` wrote is complete. Layer `l` then adds its part to the channels that it read.

mod cpu;
mod gpu;

use crate::cpu::Isa;
use crate::cpu::conv::ConvShape;
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::{memory, profile, threads};
use crate::error::{Error, Result};
use crate::ops::batch_norm::{self, Folded, Moments, Norm};
use crate::ops::conv2d::precision;
use crate::ops::norm_relu_conv::{self, Composite};
use crate::tensor::{Device, Place, Tensor};

/// The parameters of one layer that reads `C` channels: batch norm, ReLU and a 1x1 convolution to the `B` channels of the
/// bottleneck; then batch norm, ReLU and a 3x3 convolution to `growth` channels.
#[derive(Clone, Copy)]
pub struct DenseLayer<'a> {
    /// Over `C` channels.
    pub norm1: Norm<'a>,
    /// `[B, C, 1, 1]`
    pub conv1: &'a Tensor,
    /// Over `B` channels.
    pub norm2: Norm<'a>,
    /// `[growth, B, 3, 3]`
    pub conv2: &'a Tensor,
}

/// The sizes of the two convolutions of layer `index`; an error where they do not fit.
fn layer_shapes(
    x: &Tensor,
    channels: usize,
    index: usize,
    layer: &DenseLayer,
) -> Result<[ConvShape; 2]> {
    let (&[batch, height, width, _], &[b, c, 1, 1], &[growth, b2, 3, 3]) =
        (x.dims(), layer.conv1.dims(), layer.conv2.dims())
    else {
        return Err(Error::shape(
            "dense_block",
            "x [N, H, W, C], conv1 [B, C, 1, 1] and conv2 [growth, B, 3, 3]",
            format_args!(
                "x {}, conv1 {} and conv2 {} in layer {index}",
                x.shape(),
                layer.conv1.shape(),
                layer.conv2.shape()
            ),
        ));
    };
    if c != channels || b2 != b {
        return Err(Error::shape(
            "dense_block",
            format_args!(
                "conv1 [B, {channels}, 1, 1] and conv2 [growth, B, 3, 3] in layer {index}"
            ),
            format_args!("{} and {}", layer.conv1.shape(), layer.conv2.shape()),
        ));
    }
    layer.norm1.check("dense_block", c)?;
    layer.norm2.check("dense_block", b)?;
    let one = ConvShape {
        batch,
        height,
        width,
        channels: c,
        out_channels: b,
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0, 0],
    };
    let three = ConvShape {
        channels: b,
        out_channels: growth,
        kernel: [3, 3],
        padding: [1, 1],
        ..one
    };
    Ok([one, three])
}

// Pixels that one task copies into or out of a block's buffer.
const PIXELS_PER_TASK: usize = 512;

/// Intermediate results of one layer that the backward pass reads.
struct SavedLayer {
    shapes: [ConvShape; 2],
    folded: [Folded; 2],
    bottleneck: Vec<f32>,
    weights: [Tensor; 2],
}

/// The moments of a layer's two norms, in training.
pub type LayerMoments = Option<[Moments; 2]>;

/// A dense block over `x` `[N, H, W, C]`: `[N, H, W, C + L growth]`. In training it also returns the mini-batch's moments
/// for each layer's two norms, for the running statistics.
///
/// ```
/// use glimpse::{ops::{dense_block, DenseLayer, Norm, Statistics}, tensor::Tensor};
/// let x = Tensor::full(&[1, 4, 4, 2], 1.0);
/// let (one, zero) = (Tensor::full(&[2], 1.0), Tensor::zeros(&[2]));
/// let statistics = Statistics::Running { mean: &zero, var: &one };
/// let norm = Norm { gamma: &one, beta: &zero, eps: 0.0, statistics };
/// let (conv1, conv2) = (Tensor::full(&[2, 2, 1, 1], 0.5), Tensor::full(&[3, 2, 3, 3], 0.5));
/// let layer = DenseLayer { norm1: norm, conv1: &conv1, norm2: norm, conv2: &conv2 };
/// let (y, _) = dense_block(&x, &[layer])?;
/// assert_eq!(y.dims(), &[1, 4, 4, 5]);
/// assert_eq!(&y.data()[..5], &[1.0, 1.0, 4.0, 4.0, 4.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where a layer's parameters do not fit the channels that it reads.
pub fn dense_block(x: &Tensor, layers: &[DenseLayer]) -> Result<(Tensor, Vec<LayerMoments>)> {
    let _timer = profile::time("dense_block", x.shape());
    let &[batch, height, width, first] = x.dims() else {
        return Err(Error::shape("dense_block", "x [N, H, W, C]", x.shape()));
    };
    let mut shapes = Vec::with_capacity(layers.len());
    let mut total = first;
    for (i, layer) in layers.iter().enumerate() {
        shapes.push(layer_shapes(x, total, i, layer)?);
        total += layer.conv2.dims()[0];
    }
    let inputs: Vec<&Tensor> = std::iter::once(x)
        .chain(layers.iter().flat_map(|l| {
            [
                l.norm1.gamma,
                l.norm1.beta,
                l.conv1,
                l.norm2.gamma,
                l.norm2.beta,
                l.conv2,
            ]
        }))
        .collect();
    if let Device::Gpu(gpu) = Device::of(&inputs) {
        return gpu::dense_block(gpu, x, layers, &shapes, &inputs);
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        norm_relu_conv::naive::forward
    } else {
        norm_relu_conv::cpu::forward
    };
    let rows = batch * height * width;
    let tracked = inputs.iter().any(|t| t.is_tracked());
    let precision = precision(&inputs);

    let mut buffer = memory::unset(rows * total);
    let source = x.data();
    threads::for_each_chunk(&mut buffer, PIXELS_PER_TASK * total.max(1), |i, pixels| {
        let source = source[i * PIXELS_PER_TASK * first..].chunks_exact(first.max(1));
        for (to, from) in pixels.chunks_exact_mut(total).zip(source) {
            to[..first].copy_from_slice(from);
        }
    });
    let place = Place::of(&inputs);
    let mut channel_moments = [Vec::new(), Vec::new()];
    let mut moments = Vec::with_capacity(layers.len());
    let mut saved = Vec::new();
    for (layer, &[one, three]) in layers.iter().zip(&shapes) {
        let (c, b) = (one.channels, one.out_channels);
        let folded1 = if layer.norm1.is_batch() {
            let fresh = Pixels {
                data: &buffer[channel_moments[0].len()..],
                stride: total,
            };
            let norm = layer.norm1;
            extend_moments(isa, &mut channel_moments, fresh, rows, c);
            batch_norm::naive::fold(&norm, channel_moments.each_ref().map(|all| &all[..]))
        } else {
            let pixels = Pixels {
                data: &buffer,
                stride: total,
            };
            fold_for(isa, &layer.norm1, pixels, rows).0
        };
        let mut bottleneck = memory::unset(rows * b);
        if let (false, false, Some(folded2)) =
            (tracked, isa.is_naive(), layer.norm2.running(&place)?)
        {
            let layer = cpu::Layer {
                shapes: [one, three],
                folded: [&folded1, &folded2],
                weights: [layer.conv1, layer.conv2],
                precision,
            };
            layer.forward(isa, &mut buffer, total, &mut bottleneck);
            memory::recycle(bottleneck);
            moments.push(None);
            continue;
        }
        let pixels = Pixels {
            data: &buffer,
            stride: total,
        };
        let out = PixelsMut {
            data: &mut bottleneck,
            stride: b,
        };
        forward(isa, &one, pixels, &folded1, layer.conv1, precision, out);

        let pixels = Pixels {
            data: &bottleneck,
            stride: b,
        };
        let (folded2, moments2) = fold_for(isa, &layer.norm2, pixels, rows);
        let out = PixelsMut {
            data: &mut buffer[c.min(rows * total)..],
            stride: total,
        };
        forward(isa, &three, pixels, &folded2, layer.conv2, precision, out);

        moments.push(
            moments2
                .filter(|_| layer.norm1.is_batch())
                .map(|second| [channel_moments.clone().into(), second]),
        );
        if tracked {
            saved.push(SavedLayer {
                shapes: [one, three],
                folded: [folded1, folded2],
                bottleneck,
                weights: [layer.conv1.detach(), layer.conv2.detach()],
            });
        } else {
            memory::recycle(bottleneck);
        }
    }
    let y = Tensor::computed(buffer, &[batch, height, width, total]);
    let (buffer, dims) = (y.clone(), x.dims().to_vec());
    let y = y.record(&inputs, move |dy, _| {
        backward(isa, &buffer, saved, dy, &dims)
    })?;
    Ok((y, moments))
}

/// Folds `norm` for the pixels `x`; also returns the moments of the mini-batch if the norm uses them.
fn fold_for(isa: Isa, norm: &Norm, x: Pixels, rows: usize) -> (Folded, Option<Moments>) {
    match isa.is_naive() {
        true => batch_norm::naive::fold_for(norm, x, rows),
        false => batch_norm::cpu::fold_for(isa, norm, x, rows),
    }
}

/// Appends the moments of the channels written since the last call, up to `channels`; `fresh` begins with the first of
/// them.
fn extend_moments(
    isa: Isa,
    [mean, var]: &mut [Vec<f32>; 2],
    fresh: Pixels,
    rows: usize,
    channels: usize,
) {
    let fresh_channels = channels - mean.len();
    let new = match isa.is_naive() {
        true => batch_norm::naive::moments(fresh, rows, fresh_channels),
        false => crate::cpu::rows::moments(isa, fresh, rows, fresh_channels),
    };
    mean.extend(&new[0]);
    var.extend(&new[1]);
}

/// The gradients with respect to `x` and all parameters, in the order of the operation's inputs.
fn backward(
    isa: Isa,
    buffer: &Tensor,
    mut saved: Vec<SavedLayer>,
    dy: &Tensor,
    dims: &[usize],
) -> Result<Vec<Option<Tensor>>> {
    let backward = if isa.is_naive() {
        norm_relu_conv::naive::backward
    } else {
        norm_relu_conv::cpu::backward
    };
    let (total, first) = (buffer.dims()[3], dims[3]);
    let mut dbuffer = memory::unset(dy.len());
    threads::for_each_chunk(&mut dbuffer, PIXELS_PER_TASK * total.max(1), |i, to| {
        to.copy_from_slice(&dy.data()[i * PIXELS_PER_TASK * total..][..to.len()]);
    });
    let mut grads = Vec::with_capacity(1 + 6 * saved.len());
    while let Some(layer) = saved.pop() {
        let [one, three] = layer.shapes;
        let (c, b) = (one.channels, one.out_channels);
        let mut dbottleneck = memory::zeros(layer.bottleneck.len());
        let second = backward(
            isa,
            &Composite {
                shape: three,
                x: Pixels {
                    data: &layer.bottleneck,
                    stride: b,
                },
                folded: &layer.folded[1],
                weight: layer.weights[1].data(),
            },
            Pixels {
                data: &dbuffer[c.min(dbuffer.len())..],
                stride: total,
            },
            PixelsMut {
                data: &mut dbottleneck,
                stride: b,
            },
        );
        memory::recycle(layer.bottleneck);
        let first = backward(
            isa,
            &Composite {
                shape: one,
                x: Pixels {
                    data: buffer.data(),
                    stride: total,
                },
                folded: &layer.folded[0],
                weight: layer.weights[0].data(),
            },
            Pixels {
                data: &dbottleneck,
                stride: b,
            },
            PixelsMut {
                data: &mut dbuffer,
                stride: total,
            },
        );
        memory::recycle(dbottleneck);
        // In reverse, because the whole list is reversed at the end.
        grads.extend([
            Some(Tensor::computed(second.weight, layer.weights[1].dims())),
            Some(second.beta),
            Some(second.gamma),
            Some(Tensor::computed(first.weight, layer.weights[0].dims())),
            Some(first.beta),
            Some(first.gamma),
        ]);
    }
    let mut dx = memory::unset(dims.iter().product());
    threads::for_each_chunk(&mut dx, PIXELS_PER_TASK * first.max(1), |i, pixels| {
        let source = dbuffer[i * PIXELS_PER_TASK * total..].chunks_exact(total);
        for (to, from) in pixels.chunks_exact_mut(first).zip(source) {
            to.copy_from_slice(&from[..first]);
        }
    });
    memory::recycle(dbuffer);
    grads.push(Some(Tensor::computed(dx, dims)));
    grads.reverse();
    Ok(grads)
}

#[cfg(test)]
mod tests;
