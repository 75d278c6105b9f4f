//! A dense block: every layer reads the channels of all layers before it (Huang et al., 2017, arXiv 1608.06993).
//!
//! ```text
//! x_0 = x        x_l = [x_{l-1}, H_l(x_{l-1})]        H_l = composite 3x3 of composite 1x1
//! ```
//!
//! where `composite` is [`norm_relu_conv`](mod@crate::ops::norm_relu_conv). `naive.rs` concatenates, which copies the early
//! channels once for every later layer. The kernels keep the whole block in one buffer `[N, H, W, C + L growth]`. Layer `l`
//! reads its first `C + (l - 1) growth` channels and writes the next `growth`. The mean and variance of a channel are
//! computed once and serve every layer that reads it.
//!
//! `x_{l-1}` occurs twice in `x_l`: as its first channels, and as the input of `H_l`. So its gradient is a sum:
//!
//! ```text
//! dx_{l-1} = dx_l[first C + (l - 1) growth channels] + (gradient of H_l, applied to dx_l[next growth channels])
//! ```
//!
//! The backward pass of the kernels has one buffer of the same shape for these gradients. It starts as `dy` and is updated
//! from the last layer to the first. When layer `l` is reached, all later layers have added their parts, so the gradient
//! with respect to the channels that `l` wrote is complete. Layer `l` then adds its part to the channels that it read.

mod cpu;
mod gpu;
mod naive;

use crate::cpu::{Precision, profile};
use crate::error::{Error, Result};
use crate::ops::batch_norm::{Folded, Moments, Norm};
use crate::ops::conv2d::precision;
use crate::sizes::ConvShape;
use crate::tensor::{Place, Tensor};

/// The parameters of one layer that reads `C` channels: batch norm, ReLU and a 1x1 convolution to the `B` channels of the
/// bottleneck; then batch norm, ReLU and a 3x3 convolution to `growth` channels.
#[derive(Clone, Copy)]
pub struct DenseLayerWeights<'a> {
    /// Over `C` channels.
    pub norm1: Norm<'a>,
    /// `[B, C, 1, 1]`
    pub conv1: &'a Tensor,
    /// Over `B` channels.
    pub norm2: Norm<'a>,
    /// `[growth, B, 3, 3]`
    pub conv2: &'a Tensor,
}

// The inputs, as the tape numbers them: `x`, and then the parameters of each layer, in the order of `DenseLayerWeights::inputs`.
const X: usize = 0;
const PARAMETERS: usize = 6;
const CONV1: usize = 2;
const CONV2: usize = 5;

impl<'a> DenseLayerWeights<'a> {
    fn inputs(&self) -> [&'a Tensor; PARAMETERS] {
        let DenseLayerWeights {
            norm1,
            conv1,
            norm2,
            conv2,
        } = *self;
        [
            norm1.gamma,
            norm1.beta,
            conv1,
            norm2.gamma,
            norm2.beta,
            conv2,
        ]
    }
}

/// The number of `parameter` of layer `index` among the inputs.
fn input(index: usize, parameter: usize) -> usize {
    1 + index * PARAMETERS + parameter
}

/// The weights of the layers, whose shapes fit, and the sizes. The input is not kept: the block's buffer has a copy of it.
struct Job {
    /// N, H, W and C of the input.
    dims: [usize; 4],
    /// The convolutions of each layer: 1x1 and 3x3.
    layers: Vec<[Conv; 2]>,
    /// Channels of the block's buffer: `C + L growth`.
    total: usize,
    /// Whether a gradient is wanted.
    tracked: bool,
    precision: Precision,
}

/// One convolution of a layer.
struct Conv {
    shape: ConvShape,
    weight: Tensor,
}

/// Intermediate results that the backward pass reads.
struct Saved {
    /// The block's buffer, which is also its output: `[N, H, W, C + L growth]`.
    buffer: Tensor,
    layers: Vec<SavedLayer>,
}

/// Intermediate results of one layer.
struct SavedLayer {
    /// The result of the first convolution, `[N, H, W, B]`.
    bottleneck: Tensor,
    /// Both norms.
    folded: [Folded; 2],
}

impl Job {
    /// Checks that the shapes fit, and keeps the weights for the backward pass.
    fn check(x: &Tensor, layers: &[DenseLayerWeights], inputs: &[&Tensor]) -> Result<Job> {
        let &[batch, height, width, channels] = x.dims() else {
            return Err(Error::shape("dense_block", "x [N, H, W, C]", x.shape()));
        };
        let mut job = Job {
            dims: [batch, height, width, channels],
            layers: Vec::with_capacity(layers.len()),
            total: channels,
            tracked: inputs.iter().any(|t| t.is_tracked()),
            precision: precision(inputs),
        };
        for (index, layer) in layers.iter().enumerate() {
            let [one, three] = layer_shapes(x, job.total, index, layer)?;
            job.total += three.out_channels;
            job.layers.push([
                Conv {
                    shape: one,
                    weight: layer.conv1.clone(),
                },
                Conv {
                    shape: three,
                    weight: layer.conv2.clone(),
                },
            ]);
        }
        Ok(job)
    }

    /// The number of pixels.
    fn pixels(&self) -> usize {
        self.dims[..3].iter().product()
    }

    /// `[N, H, W, channels]`
    fn map_dims(&self, channels: usize) -> [usize; 4] {
        let [batch, height, width, _] = self.dims;
        [batch, height, width, channels]
    }
}

/// The sizes of the two convolutions of layer `index`; an error where they do not fit.
fn layer_shapes(
    x: &Tensor,
    channels: usize,
    index: usize,
    layer: &DenseLayerWeights,
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

/// The moments of a layer's two norms, in training.
pub type LayerMoments = Option<[Moments; 2]>;

/// A dense block over `x` `[N, H, W, C]`: `[N, H, W, C + L growth]`. In training it also returns the mini-batch's moments
/// for each layer's two norms, for the running statistics.
///
/// ```
/// use glimpse::{ops::{dense_block, DenseLayerWeights, Norm, Statistics}, tensor::Tensor};
/// let x = Tensor::full(&[1, 4, 4, 2], 1.0);
/// let (one, zero) = (Tensor::full(&[2], 1.0), Tensor::zeros(&[2]));
/// let statistics = Statistics::Running { mean: &zero, var: &one };
/// let norm = Norm { gamma: &one, beta: &zero, eps: 0.0, statistics };
/// let (conv1, conv2) = (Tensor::full(&[2, 2, 1, 1], 0.5), Tensor::full(&[3, 2, 3, 3], 0.5));
/// let layer = DenseLayerWeights { norm1: norm, conv1: &conv1, norm2: norm, conv2: &conv2 };
/// let (y, _) = dense_block(&x, &[layer])?;
/// assert_eq!(y.dims(), &[1, 4, 4, 5]);
/// assert_eq!(&y.data()[..5], &[1.0, 1.0, 4.0, 4.0, 4.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where a layer's parameters do not fit the channels that it reads.
pub fn dense_block(
    x: &Tensor,
    layers: &[DenseLayerWeights],
) -> Result<(Tensor, Vec<LayerMoments>)> {
    let _timer = profile::time("dense_block", x.shape());
    let inputs: Vec<&Tensor> = [x]
        .into_iter()
        .chain(layers.iter().flat_map(DenseLayerWeights::inputs))
        .collect();
    let job = Job::check(x, layers, &inputs)?;
    let place = Place::of(&inputs);
    let (y, saved, moments) = match &place {
        Place::Naive => naive::forward(&job, x, layers),
        Place::Cpu(isa) => cpu::forward(*isa, &job, x, layers),
        Place::Gpu(gpu) => gpu::forward(gpu, &job, x, layers)?,
    };
    let y = y.record(&inputs, move |dy, wanted| match &place {
        Place::Naive => Ok(naive::backward(&job, saved, dy, wanted)),
        Place::Cpu(isa) => Ok(cpu::backward(*isa, &job, saved, dy, wanted)),
        Place::Gpu(gpu) => gpu::backward(gpu, &job, saved, dy, wanted),
    })?;
    Ok((y, moments))
}

#[cfg(test)]
mod tests;
