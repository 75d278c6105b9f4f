use super::{BatchNorm, Conv2d, Init, Mode, Module, Role};
use crate::cpu::Precision;
use crate::error::Result;
use crate::ops::{self, Window};
use crate::tensor::Tensor;

/// One layer of a dense block: a 1x1 convolution to the bottleneck, then a 3x3 convolution to `growth` channels, with batch
/// norm and ReLU before each.
pub struct DenseLayer {
    norm1: BatchNorm,
    conv1: Conv2d,
    norm2: BatchNorm,
    conv2: Conv2d,
}

/// A dense block; see [`ops::dense_block()`].
pub struct DenseBlock {
    layers: Vec<DenseLayer>,
}

impl DenseBlock {
    /// A block of `layers` layers on `channels` input channels. Between the two convolutions of a layer there are
    /// `bottleneck` times `growth` channels. `eps` is that of all norms.
    pub fn new(
        init: &mut Init,
        layers: usize,
        channels: usize,
        growth: usize,
        bottleneck: usize,
        eps: f32,
    ) -> Self {
        let bottleneck = bottleneck * growth;
        let layers = (0..layers).map(|l| {
            let c = channels + l * growth;
            DenseLayer {
                norm1: BatchNorm::new(c, eps),
                conv1: Conv2d::new(init, c, bottleneck, 1, Window::square(1, 0)),
                norm2: BatchNorm::new(bottleneck, eps),
                conv2: Conv2d::new(init, bottleneck, growth, 3, Window::square(1, 1)),
            }
        });
        DenseBlock {
            layers: layers.collect(),
        }
    }

    /// Runs `L` layers on `x` `[N, H, W, C]`: `[N, H, W, C + L growth]`. In training it updates the running statistics.
    ///
    /// # Errors
    /// The errors of [`ops::dense_block()`].
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let norms: Vec<_> = self
            .layers
            .iter()
            .map(|l| Ok([l.norm1.prepare(mode)?, l.norm2.prepare(mode)?]))
            .collect::<Result<_>>()?;
        let layers: Vec<_> = self
            .layers
            .iter()
            .zip(&norms)
            .map(|(layer, [norm1, norm2])| ops::DenseLayerWeights {
                norm1: norm1.norm(),
                conv1: &layer.conv1.weight,
                norm2: norm2.norm(),
                conv2: &layer.conv2.weight,
            })
            .collect();
        let (y, moments) = ops::dense_block(x, &layers)?;
        let rows = x.len() / x.dims().last().copied().unwrap_or(1).max(1);
        for (layer, moments) in self.layers.iter().zip(&moments) {
            layer
                .norm1
                .update_running(moments.as_ref().map(|m| &m[0]), rows)?;
            layer
                .norm2
                .update_running(moments.as_ref().map(|m| &m[1]), rows)?;
        }
        Ok(y)
    }
}

impl Module for DenseBlock {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        for (l, layer) in self.layers.iter_mut().enumerate() {
            let prefix = format!("{prefix}denselayer{}.", l + 1);
            layer.norm1.visit(&format!("{prefix}norm1."), f);
            layer.conv1.visit(&format!("{prefix}conv1."), f);
            layer.norm2.visit(&format!("{prefix}norm2."), f);
            layer.conv2.visit(&format!("{prefix}conv2."), f);
        }
    }
}

/// The transition between two dense blocks: batch norm, ReLU, a 1x1 convolution to fewer channels and 2x2 average pooling.
///
/// The pooling comes before the convolution. Both are linear and commute, and the convolution then has a quarter of the
/// pixels.
pub struct Transition {
    norm: BatchNorm,
    conv: Conv2d,
}

impl Transition {
    /// A transition from `channels` to `out` channels.
    pub fn new(init: &mut Init, channels: usize, out: usize, eps: f32) -> Self {
        Transition {
            norm: BatchNorm::new(channels, eps),
            conv: Conv2d::new(init, channels, out, 1, Window::square(1, 0)),
        }
    }

    /// Runs the transition on `x` `[N, H, W, C]`: `[N, H / 2, W / 2, out]`. In training it updates the running statistics.
    ///
    /// # Errors
    /// The errors of [`ops::norm_relu_pool()`] and [`ops::conv2d()`].
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let prepared = self.norm.prepare(mode)?;
        let (pooled, moments) = ops::norm_relu_pool(x, &prepared.norm(), 2)?;
        let rows = x.len() / x.dims().last().copied().unwrap_or(1).max(1);
        self.norm.update_running(moments.as_ref(), rows)?;
        // In f32 even where other layers use bf16: all later layers read this map, so its rounding error would be in all of
        // them.
        Precision::F32.scope(|| self.conv.forward(&pooled))
    }
}

impl Module for Transition {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.norm.visit(&format!("{prefix}norm."), f);
        self.conv.visit(&format!("{prefix}conv."), f);
    }
}
