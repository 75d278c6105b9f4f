//! The block on the GPU: one buffer from which every layer reads the first channels and into which it writes the next.

use super::{DenseLayer, LayerMoments};
use crate::cpu::conv::ConvShape;
use crate::error::Result;
use crate::gpu::conv::{After, Operands, Shape};
use crate::gpu::copy::{self, Rows};
use crate::gpu::{Gpu, Slice, norm};
use crate::ops::batch_norm::{self, Moments};
use crate::ops::conv2d::gpu::{map, sizes};
use crate::ops::conv2d::operands;
use crate::ops::norm_relu_conv::gpu::{Composite, forward};
use crate::tensor::{Place, Tensor};

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
            norm::moments(gpu, &from, [rows, fresh], &mean, &var)?;
        }
        self.channels = channels;
        Ok(())
    }

    /// The moments of the first `channels`.
    fn moments(&self, total: usize, channels: usize) -> Result<Moments> {
        let all = Tensor::from_gpu(self.mean.buffer.clone(), &[2 * total]);
        Ok(Moments {
            mean: all.narrow(0, channels)?,
            var: all.narrow(total, channels)?,
        })
    }
}

/// [`dense_block`](super::dense_block()) on the GPU; `inputs` are `x` and the parameters, layer by layer.
pub(super) fn dense_block(
    gpu: Gpu,
    x: &Tensor,
    layers: &[DenseLayer],
    shapes: &[[ConvShape; 2]],
    inputs: &[&Tensor],
) -> Result<(Tensor, Vec<LayerMoments>)> {
    let first = x.dims()[3];
    let total = first
        + shapes
            .iter()
            .map(|[_, three]| three.out_channels)
            .sum::<usize>();
    let rows = x.dims()[..3].iter().product::<usize>();
    let tracked = inputs.iter().any(|t| t.is_tracked());
    let operands = operands(&gpu, inputs);
    let buffer = map(gpu.unset(rows * total)?, total);
    copy::columns(&gpu, &map(x.on(&gpu)?, first), &buffer, [rows, first])?;

    let place = Place::Gpu(gpu.clone());
    let mut channel_moments = ChannelMoments::new(&gpu, total)?;
    let (mut moments, mut saved) = (Vec::new(), Vec::new());
    for (layer, shape) in layers.iter().zip(shapes) {
        let [one, three] = [0, 1].map(|i| sizes(&shape[i]));
        let (c, b) = (one.channels, one.out_channels);
        let mut first_moments = None;
        let folded1 = if layer.norm1.is_batch() {
            channel_moments.extend(&gpu, &buffer, rows, c)?;
            first_moments = Some(channel_moments.moments(total, c)?);
            let statistics = [&channel_moments.mean, &channel_moments.var];
            batch_norm::gpu::fold(&gpu, &layer.norm1, statistics)?
        } else {
            batch_norm::gpu::fold_for(&gpu, &layer.norm1, &buffer, rows)?.0
        };
        let bottleneck = map(gpu.unset(rows * b)?, b);
        let out = buffer.from_column(c);
        if let (false, Some(folded2)) = (tracked, layer.norm2.running(&place)?) {
            // The first convolution applies the second norm and its ReLU to its sums before it writes them.
            let folded2 = folded2.on(&gpu)?;
            let after = After::NormRelu(&folded2);
            forward(
                &gpu,
                &one,
                [&buffer, &bottleneck],
                &folded1.on(&gpu)?,
                layer.conv1,
                operands,
                after,
            )?;
            plain(&gpu, &three, [&bottleneck, &out], layer.conv2, operands)?;
            moments.push(None);
            continue;
        }
        forward(
            &gpu,
            &one,
            [&buffer, &bottleneck],
            &folded1.on(&gpu)?,
            layer.conv1,
            operands,
            After::Nothing,
        )?;
        let (folded2, second_moments) =
            batch_norm::gpu::fold_for(&gpu, &layer.norm2, &bottleneck, rows)?;
        forward(
            &gpu,
            &three,
            [&bottleneck, &out],
            &folded2.on(&gpu)?,
            layer.conv2,
            operands,
            After::Nothing,
        )?;
        moments.push(
            first_moments
                .zip(second_moments)
                .map(|(first, second)| [first, second]),
        );
        if tracked {
            let composite = |shape, x: &Rows, folded, weight: &Tensor| Composite {
                shape,
                x: x.clone(),
                folded,
                weight: weight.detach(),
            };
            saved.push([
                composite(one, &buffer, folded1, layer.conv1),
                composite(three, &bottleneck, folded2, layer.conv2),
            ]);
        }
    }
    let dims = [&x.dims()[..3], &[total]].concat();
    let x_dims = x.dims().to_vec();
    let y = Tensor::from_gpu(buffer.data.buffer, &dims);
    let y = y.record(inputs, move |dy, _| backward(&gpu, saved, dy, &x_dims))?;
    Ok((y, moments))
}

/// `y = conv(x, w)`, without a norm.
fn plain(
    gpu: &Gpu,
    shape: &Shape,
    [x, y]: [&Rows; 2],
    weight: &Tensor,
    operands: Operands,
) -> Result<()> {
    use crate::gpu::conv::{Product, forward};
    let packed = crate::ops::conv2d::gpu::packed(gpu, shape, operands, weight, false)?;
    let product = Product {
        source: x,
        norm: None,
        packed: &packed,
        operands,
        after: After::Nothing,
        result: y,
    };
    forward(gpu, shape, &product)
}

/// The gradients with respect to `x` and all parameters, in the order of the operation's inputs.
fn backward(
    gpu: &Gpu,
    mut saved: Vec<[Composite; 2]>,
    dy: &Tensor,
    dims: &[usize],
) -> Result<Vec<Option<Tensor>>> {
    let (total, first) = (dy.dims()[3], dims[3]);
    let rows = dims[..3].iter().product::<usize>();
    let dbuffer = map(gpu.unset(rows * total)?, total);
    gpu.copy(&dy.on(gpu)?, &dbuffer.data, rows * total)?;
    let mut grads = Vec::with_capacity(1 + 6 * saved.len());
    while let Some([one, three]) = saved.pop() {
        let (c, b) = (one.shape.channels, one.shape.out_channels);
        let dbottleneck = map(gpu.unset(rows * b)?, b);
        let second = three.backward(gpu, &dbuffer.from_column(c), &dbottleneck, false)?;
        drop(three);
        let first = one.backward(gpu, &dbottleneck, &dbuffer, true)?;
        // In reverse, because the whole list is reversed at the end.
        grads.extend([second.weight, second.beta, second.gamma].map(Some));
        grads.extend([first.weight, first.beta, first.gamma].map(Some));
    }
    let dx = map(gpu.unset(rows * first)?, first);
    copy::columns(gpu, &dbuffer, &dx, [rows, first])?;
    grads.push(Some(Tensor::from_gpu(dx.data.buffer, dims)));
    grads.reverse();
    Ok(grads)
}
