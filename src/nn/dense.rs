use super::{BatchNorm, Conv2d, Init, Mode, Module, Role};
use crate::cpu::Precision;
use crate::error::Result;
use crate::ops::{self, Window};
use crate::tensor::Tensor;

/// One layer of a dense block: 1x1 to the bottleneck, 3x3 to `growth` channels, batch norm and ReLU before each.
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
    /// `layers` layers that start from `channels` channels; `bottleneck` times `growth` channels lie between the
    /// two convolutions of each.
    pub fn new(
        init: &mut Init,
        layers: usize,
        channels: usize,
        growth: usize,
        bottleneck: usize,
        eps: f32,
    ) -> Self {
        let middle = bottleneck * growth;
        let layers = (0..layers).map(|l| {
            let c = channels + l * growth;
            DenseLayer {
                norm1: BatchNorm::new(c, eps),
                conv1: Conv2d::new(init, c, middle, 1, Window::square(1, 0)),
                norm2: BatchNorm::new(middle, eps),
                conv2: Conv2d::new(init, middle, growth, 3, Window::square(1, 1)),
            }
        });
        DenseBlock {
            layers: layers.collect(),
        }
    }

    /// `[N, H, W, C]` to `[N, H, W, C + L growth]`.
    ///
    /// # Errors
    /// Those of [`ops::dense_block()`].
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
            .map(|(layer, [norm1, norm2])| ops::DenseLayer {
                norm1: norm1.norm(),
                conv1: &layer.conv1.weight,
                norm2: norm2.norm(),
                conv2: &layer.conv2.weight,
            })
            .collect();
        let (y, moments) = ops::dense_block(x, &layers)?;
        let rows = x.len() / x.dims().last().copied().unwrap_or(1).max(1);
        for (layer, moments) in self.layers.iter().zip(&moments) {
            layer.norm1.learn(moments.as_ref().map(|m| &m[0]), rows)?;
            layer.norm2.learn(moments.as_ref().map(|m| &m[1]), rows)?;
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

/// Between two blocks: batch norm, ReLU, 1x1 to half the channels, 2x2 average; the average is taken before the
/// convolution, which comes to the same and is less work.
pub struct Transition {
    norm: BatchNorm,
    conv: Conv2d,
}

impl Transition {
    /// From `channels` channels to `out`.
    pub fn new(init: &mut Init, channels: usize, out: usize, eps: f32) -> Self {
        Transition {
            norm: BatchNorm::new(channels, eps),
            conv: Conv2d::new(init, channels, out, 1, Window::square(1, 0)),
        }
    }

    /// `[N, H, W, C]` to `[N, H / 2, W / 2, C / 2]`.
    ///
    /// # Errors
    /// Those of [`ops::norm_relu_pool()`] and [`ops::conv2d()`].
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let prepared = self.norm.prepare(mode)?;
        let (pooled, moments) = ops::norm_relu_pool(x, &prepared.norm(), 2)?;
        let rows = x.len() / x.dims().last().copied().unwrap_or(1).max(1);
        self.norm.learn(moments.as_ref(), rows)?;
        // Everything after reads this map: what is rounded here is not made up for by other layers.
        Precision::F32.scope(|| self.conv.forward(&pooled))
    }
}

impl Module for Transition {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.norm.visit(&format!("{prefix}norm."), f);
        self.conv.visit(&format!("{prefix}conv."), f);
    }
}
