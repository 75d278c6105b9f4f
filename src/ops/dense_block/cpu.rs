//! One layer in inference. No intermediate results are kept, and the second norm's statistics are known beforehand. So the
//! first convolution applies that norm and its ReLU to its sums before it writes them.

use crate::cpu::after::After;
use crate::cpu::conv::{self, ConvShape};
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::{Isa, Precision};
use crate::ops::batch_norm::Folded;
use crate::ops::conv2d::packed_weight;
use crate::tensor::Tensor;

/// The two convolutions of a layer. The first reads the first channels of the block's buffer, the second writes the next.
pub(super) struct Layer<'a> {
    pub(super) shapes: [ConvShape; 2],
    pub(super) folded: [&'a Folded; 2],
    pub(super) weights: [&'a Tensor; 2],
    pub(super) precision: Precision,
}

impl Layer<'_> {
    /// Computes the layer. `buffer` is `[N, H, W, total]`; `bottleneck` `[N, H, W, B]` is overwritten.
    pub(super) fn forward(
        &self,
        isa: Isa,
        buffer: &mut [f32],
        total: usize,
        bottleneck: &mut [f32],
    ) {
        let [one, three] = &self.shapes;
        let [first, second] = self.folded;
        let bottleneck_channels = one.out_channels;
        let [w1, w2] =
            [0, 1].map(|i| packed_weight(isa, &self.shapes[i], self.precision, self.weights[i]));
        let x = Pixels {
            data: buffer,
            stride: total,
        };
        let out = PixelsMut {
            data: &mut *bottleneck,
            stride: bottleneck_channels,
        };
        let after = After::AffineRelu(second.affine());
        conv::forward(isa, one, x, Some(first.affine()), &w1, after, out);

        let z = Pixels {
            data: bottleneck,
            stride: bottleneck_channels,
        };
        let written = one.channels.min(buffer.len());
        let out = PixelsMut {
            data: &mut buffer[written..],
            stride: total,
        };
        conv::forward(isa, three, z, None, &w2, After::Nothing, out);
    }
}
