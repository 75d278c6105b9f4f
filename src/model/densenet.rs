//! The encoder: DenseNet-BC (Huang et al., 2017, arXiv 1608.06993).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::cpu::{Precision, threads};
use crate::error::{Error, Result};
use crate::nn::{
    BatchNorm, Conv2d, DenseBlock, Init, Mode, Module, Role, Transition, conv_norm_relu,
};
use crate::ops::{self, Window};
use crate::tensor::{Device, Tensor};

/// The sizes of a DenseNet-BC (Huang et al., 2017, arXiv 1608.06993).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseNetConfig {
    /// Channels that each layer adds.
    pub growth: usize,
    /// Layers of each block.
    pub blocks: Vec<usize>,
    /// Channels of the first convolution.
    pub stem: usize,
    /// Channels between a layer's two convolutions, in units of `growth`.
    #[serde(default = "four")]
    pub bottleneck: usize,
    /// The number added to the variances in batch norm: 1e-5 in torchvision, 1.001e-5 in Keras.
    #[serde(default = "torchvision_eps")]
    pub eps: f32,
}

fn four() -> usize {
    4
}

fn torchvision_eps() -> f32 {
    1e-5
}

// Limits far above any useful network, and low enough that a malicious file cannot make sizes overflow.
const MAX_CHANNELS: usize = 1 << 16;
const MAX_LAYERS: usize = 1 << 10;

impl DenseNetConfig {
    /// The published networks: `densenet121`, `densenet161`, `densenet169`, `densenet201`.
    pub fn named(name: &str) -> Option<Self> {
        let (growth, blocks, stem) = match name {
            "densenet121" => (32, [6, 12, 24, 16], 64),
            "densenet161" => (48, [6, 12, 36, 24], 96),
            "densenet169" => (32, [6, 12, 32, 32], 64),
            "densenet201" => (32, [6, 12, 48, 32], 64),
            _ => return None,
        };
        let (bottleneck, eps) = (four(), torchvision_eps());
        Some(DenseNetConfig {
            growth,
            blocks: blocks.to_vec(),
            stem,
            bottleneck,
            eps,
        })
    }

    /// The names that [`DenseNetConfig::named`] accepts.
    pub const NAMES: [&str; 4] = ["densenet121", "densenet161", "densenet169", "densenet201"];

    /// The name of the published network with these sizes, if there is one.
    pub fn name(&self) -> Option<&'static str> {
        Self::NAMES.into_iter().find(|name| {
            Self::named(name).is_some_and(|c| DenseNetConfig { eps: self.eps, ..c } == *self)
        })
    }

    /// Infers the sizes of a network from the shapes of its tensors; `shape` returns the shape of a tensor by its name in
    /// torchvision.
    ///
    /// # Errors
    /// A message about the first tensor that is missing or has a shape that no DenseNet has.
    pub fn infer(eps: f32, shape: impl Fn(&str) -> Option<Vec<usize>>) -> Result<Self, String> {
        let conv = |block: usize, layer: usize, conv: usize| {
            let name = format!("features.denseblock{block}.denselayer{layer}.conv{conv}.weight");
            (shape(&name), name)
        };
        let need = |(found, name): (Option<Vec<usize>>, String), like: &str| match found {
            Some(shape) => Ok((name, shape)),
            None => Err(format!("holds no DenseNet: `{name}` {like} is missing")),
        };
        let wrong = |(name, shape): (String, Vec<usize>), like: &str| {
            Err(format!(
                "is another network: `{name}` is {shape:?}, a DenseNet for images of ImageNet's size has {like}"
            ))
        };
        let first = "features.conv0.weight".to_string();
        let first = need((shape(&first), first), "[stem, 3, 7, 7]")?;
        let &[stem, 3, 7, 7] = &first.1[..] else {
            return wrong(first, "[stem, 3, 7, 7]");
        };
        let one = need(conv(1, 1, 1), "[bottleneck, stem, 1, 1]")?;
        let &[bottleneck, _, 1, 1] = &one.1[..] else {
            return wrong(one, "[bottleneck, stem, 1, 1]");
        };
        let three = need(conv(1, 1, 2), "[growth, bottleneck, 3, 3]")?;
        let &[growth, _, 3, 3] = &three.1[..] else {
            return wrong(three, "[growth, bottleneck, 3, 3]");
        };
        if growth == 0 || bottleneck % growth != 0 {
            return wrong(one, "a multiple of the growth first");
        }
        let layers = |block: usize| (1..).take_while(|&l| conv(block, l, 1).0.is_some()).count();
        let config = DenseNetConfig {
            growth,
            blocks: (1..).map(layers).take_while(|&n| n > 0).collect(),
            stem,
            bottleneck: bottleneck / growth,
            eps,
        };
        config.check().map_err(|e| e.to_string())?;
        Ok(config)
    }

    /// Height and width of the last feature map, for images of `size` by `size` pixels: 7 for 224 and four blocks; 0 if the
    /// images are too small.
    pub fn map_side(&self, size: usize) -> usize {
        // The first convolution and the pool after it have a stride of 2 and round up; the transitions' pools round down.
        let stem = size.div_ceil(2).div_ceil(2);
        (1..self.blocks.len()).fold(stem, |side, _| side / 2)
    }

    /// Number of channels of the features.
    pub fn features(&self) -> usize {
        let mut channels = self.stem;
        for (i, layers) in self.blocks.iter().enumerate() {
            channels += layers * self.growth;
            if i + 1 < self.blocks.len() {
                channels /= 2;
            }
        }
        channels
    }

    /// Lower bound of the number of elements that training keeps for the backward pass of an image of `size` by `size`
    /// pixels: the maps of the trained blocks, and where all is trained the input and the map of the first convolution.
    pub fn kept_elements(&self, trained: Trained, size: usize) -> u128 {
        let map = |side: usize, channels: usize| (side as u128).pow(2) * channels as u128;
        let half = size.div_ceil(2);
        let mut sum = match trained {
            Trained::All => map(size, 3) + map(half, self.stem),
            Trained::AfterFirstBlock | Trained::LastBlock => 0,
        };
        let (mut side, mut channels) = (half.div_ceil(2), self.stem);
        for (block, layers) in self.blocks.iter().enumerate() {
            channels += layers * self.growth;
            if block >= trained.frozen_blocks(self.blocks.len()) {
                sum += map(side, channels);
            }
            (side, channels) = (side / 2, channels / 2);
        }
        sum
    }

    /// Number of elements of all parameters and running statistics. It cannot overflow for sizes that pass
    /// [`DenseNetConfig::check`].
    pub fn elements(&self) -> u128 {
        self.trained_elements(Trained::All)
    }

    /// Number of elements of the parameters and running statistics of the trained part.
    pub fn trained_elements(&self, trained: Trained) -> u128 {
        let norm = |channels: usize| 4 * channels as u128;
        let conv =
            |channels: usize, out: usize, taps: usize| (channels as u128) * (out * taps) as u128;
        let bottleneck = self.bottleneck * self.growth;
        let frozen = trained.frozen_blocks(self.blocks.len());
        let mut channels = self.stem;
        let mut sum = match trained {
            Trained::All => conv(3, channels, 49) + norm(channels),
            Trained::AfterFirstBlock | Trained::LastBlock => 0,
        };
        for (i, &layers) in self.blocks.iter().enumerate() {
            // The block and the transition after it.
            let mut part = 0;
            for _ in 0..layers {
                part += norm(channels) + conv(channels, bottleneck, 1);
                part += norm(bottleneck) + conv(bottleneck, self.growth, 9);
                channels += self.growth;
            }
            if i + 1 < self.blocks.len() {
                part += norm(channels) + conv(channels, channels / 2, 1);
                channels /= 2;
            }
            if i >= frozen {
                sum += part;
            }
        }
        sum + norm(channels)
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// If a size is zero or absurdly large.
    pub fn check(&self) -> Result<()> {
        let sizes = [self.growth, self.stem, self.bottleneck];
        let layers = self
            .blocks
            .iter()
            .try_fold(0usize, |n, &l| n.checked_add(l));
        let sane = sizes.iter().all(|s| (1..=MAX_CHANNELS).contains(s))
            && layers.is_some_and(|n| (1..=MAX_LAYERS).contains(&n))
            && self.blocks.len() <= 16
            && self
                .bottleneck
                .checked_mul(self.growth)
                .is_some_and(|b| b <= MAX_CHANNELS)
            && self.eps.is_finite()
            && self.eps > 0.0;
        if sane && self.features() <= 4 * MAX_CHANNELS {
            return Ok(());
        }
        Err(Error::value(
            "densenet",
            format_args!(
                "growth {}, blocks {:?}, stem {}, bottleneck {} and eps {} are not a network: all have to be above 0 and there \
                 has to be a block",
                self.growth, self.blocks, self.stem, self.bottleneck, self.eps
            ),
        ))
    }
}

/// The part of a [`DenseNet`] that is trained. All parts before it are frozen: they run as in inference, keep their running
/// statistics, and receive no gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trained {
    /// All of it.
    #[default]
    All,
    /// Everything after the first block and its transition, or the last batch norm alone where there is a single block. The
    /// first convolution and the first block work on the largest maps and cost about half of the arithmetic.
    AfterFirstBlock,
    /// The last block and the last batch norm.
    LastBlock,
}

impl Trained {
    /// The number of frozen blocks, from the first on, of `blocks`.
    fn frozen_blocks(self, blocks: usize) -> usize {
        match self {
            Trained::All => 0,
            Trained::AfterFirstBlock => 1,
            Trained::LastBlock => blocks.saturating_sub(1),
        }
    }
}

/// How training treats a [`DenseNet`]. By default all of it is trained, with the statistics of each mini-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// The part that is trained.
    pub trained: Trained,
    /// Whether the trained parts normalise by their running statistics, and do not update them, instead of by the
    /// statistics of the mini-batch. Gradients flow to scales and shifts either way.
    pub frozen_statistics: bool,
}

// Number of parts with by far the largest maps: the first convolution and the first block.
const EARLY_PARTS: usize = 2;

// Inference runs this many times as many images together through the later parts: their maps are smaller, and their
// weights, which are loaded once for all images of a group, are larger.
const LATER_GROUP_FACTOR: usize = 8;

/// The encoder, which computes a feature map and a feature vector of an image.
///
/// Parameters have their names in torchvision, `features.denseblock1.denselayer1.norm1.weight` and so on.
pub struct DenseNet {
    config: DenseNetConfig,
    conv0: Conv2d,
    norm0: BatchNorm,
    blocks: Vec<DenseBlock>,
    transitions: Vec<Transition>,
    norm5: BatchNorm,
    precision: Precision,
    tuning: Tuning,
}

impl DenseNet {
    /// A network with random weights.
    ///
    /// # Errors
    /// The errors of [`DenseNetConfig::check`].
    pub fn new(config: &DenseNetConfig, init: &mut Init) -> Result<Self> {
        config.check()?;
        let DenseNetConfig {
            growth,
            ref blocks,
            stem,
            bottleneck,
            eps,
        } = *config;
        let conv0 = Conv2d::new(init, 3, stem, 7, Window::square(2, 3));
        let mut channels = stem;
        let mut dense = Vec::new();
        let mut transitions = Vec::new();
        for (i, &layers) in blocks.iter().enumerate() {
            dense.push(DenseBlock::new(
                init, layers, channels, growth, bottleneck, eps,
            ));
            channels += layers * growth;
            if i + 1 < blocks.len() {
                transitions.push(Transition::new(init, channels, channels / 2, eps));
                channels /= 2;
            }
        }
        Ok(DenseNet {
            config: config.clone(),
            conv0,
            norm0: BatchNorm::new(stem, eps),
            blocks: dense,
            transitions,
            norm5: BatchNorm::new(channels, eps),
            precision: Precision::default(),
            tuning: Tuning::default(),
        })
    }

    /// Sets the precision of the operands in the dense blocks in inference. With bf16 the features differ by up to a
    /// hundredth. The first convolution, the transitions and all training stay in `f32`.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// Sets how training treats the network. Leaves of the tape stay leaves until [`DenseNet::track_tuned`] is called.
    pub fn set_tuning(&mut self, tuning: Tuning) {
        self.tuning = tuning;
    }

    /// Makes the parameters that training updates leaves of the tape, and no others.
    pub fn track_tuned(&mut self) {
        self.track(false);
        for part in self.frozen_parts()..self.parts() {
            self.visit_part(part, "", &mut |_, role, tensor| {
                if role.is_trained() {
                    *tensor = tensor.tracked();
                }
            });
        }
    }

    /// The sizes.
    pub fn config(&self) -> &DenseNetConfig {
        &self.config
    }

    /// The last feature map, before the global average: `[N, H, W, 3]` to `[N, H / 32, W / 32, C]` (7x7 at 224 for four
    /// blocks).
    ///
    /// # Errors
    /// If `x` is not such a tensor or too small for the pools.
    pub fn spatial(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let precision = match mode.is_training() {
            true => Precision::F32,
            false => self.precision,
        };
        precision.scope(|| threads::run(|| self.layers(x, mode)))
    }

    fn layers(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let all = self.parts();
        if !mode.is_training() {
            return self.infer(x, all);
        }
        let frozen = self.frozen_parts();
        let x = match frozen {
            0 => x.clone(),
            _ => self.infer(&x.detach(), frozen)?.detach(),
        };
        // DenseNet has no dropout, so with running statistics training and inference are the same pass.
        let mode = match self.tuning.frozen_statistics {
            true => Mode::Inference,
            false => mode,
        };
        self.run(frozen..all, x, mode)
    }

    /// Runs the first `end` parts in inference, a few images at a time.
    fn infer(&self, x: &Tensor, end: usize) -> Result<Tensor> {
        let together = self.images_together(x);
        let run = |parts, x: &Tensor| self.run(parts, x.clone(), Mode::Inference);
        in_groups(x, LATER_GROUP_FACTOR * together, |x| {
            let x = in_groups(x, together, |x| run(0..end.min(EARLY_PARTS), x))?;
            run(EARLY_PARTS..end, &x)
        })
    }

    /// Runs these parts one after the other.
    fn run(&self, mut parts: Range<usize>, x: Tensor, mode: Mode) -> Result<Tensor> {
        parts.try_fold(x, |x, part| self.part(part, &x, mode))
    }

    /// The number of parts. The first is the first convolution with the pool, then each block with the transition after it,
    /// if there is one, and the last batch norm.
    fn parts(&self) -> usize {
        self.blocks.len() + 2
    }

    /// The number of parts, from the first on, that training does not update.
    fn frozen_parts(&self) -> usize {
        match self.tuning.trained {
            Trained::All => 0,
            // The first part is the first convolution.
            trained => 1 + trained.frozen_blocks(self.blocks.len()),
        }
    }

    /// Runs one part.
    fn part(&self, part: usize, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let Some(block) = part.checked_sub(1) else {
            let x = Precision::F32.scope(|| conv_norm_relu(&self.conv0, &self.norm0, x, mode))?;
            return ops::max_pool2d(&x, [3, 3], [2, 2], [1, 1]);
        };
        if block == self.blocks.len() {
            return ops::relu(&self.norm5.forward(x, mode)?);
        }
        let x = self.blocks[block].forward(x, mode)?;
        match self.transitions.get(block) {
            Some(transition) => transition.forward(&x, mode),
            None => Ok(x),
        }
    }

    /// Calls `f` for each parameter of one part.
    fn visit_part(
        &mut self,
        part: usize,
        prefix: &str,
        f: &mut dyn FnMut(&str, Role, &mut Tensor),
    ) {
        let prefix = format!("{prefix}features.");
        let Some(block) = part.checked_sub(1) else {
            self.conv0.visit(&format!("{prefix}conv0."), f);
            return self.norm0.visit(&format!("{prefix}norm0."), f);
        };
        if block == self.blocks.len() {
            return self.norm5.visit(&format!("{prefix}norm5."), f);
        }
        self.blocks[block].visit(&format!("{prefix}denseblock{part}."), f);
        if let Some(transition) = self.transitions.get_mut(block) {
            transition.visit(&format!("{prefix}transition{part}."), f);
        }
    }

    /// The number of images to run together through the early parts.
    fn images_together(&self, x: &Tensor) -> usize {
        let pixels = x.dims().iter().skip(1).take(2).product::<usize>();
        let block = self.config.stem + self.config.blocks[0] * self.config.growth;
        let maps = [
            pixels * 3,
            pixels / 4 * self.config.stem,
            pixels / 16 * block,
        ];
        let largest = maps.into_iter().max().unwrap_or(0);
        Device::of(&[x, &self.conv0.weight]).images_together(largest)
    }

    /// The features, or activations of the penultimate layer: the mean of [`DenseNet::spatial`] over its pixels, `[N, C]`.
    ///
    /// # Errors
    /// The errors of [`DenseNet::spatial`].
    pub fn features(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        ops::global_avg_pool(&self.spatial(x, mode)?)
    }
}

/// Applies `run` to `x` `[N, ..]`, `together` images at a time. In inference no image's result depends on the others.
fn in_groups(
    x: &Tensor,
    together: usize,
    run: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let batch = x.dims().first().copied().unwrap_or(0);
    if batch <= together {
        return run(x);
    }
    let groups = (0..batch).step_by(together).map(|first| {
        let y = run(&x.narrow(first, together.min(batch - first))?)?;
        Ok((y.reshape(&[y.len()])?, y.dims()[1..].to_vec()))
    });
    let (groups, dims): (Vec<_>, Vec<_>) = groups.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    ops::concat(&groups.iter().collect::<Vec<_>>())?.reshape(&[&[batch], &dims[0][..]].concat())
}

impl Module for DenseNet {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        (0..self.parts()).for_each(|part| self.visit_part(part, prefix, f));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_networks_have_their_published_sizes() {
        // Parameters of torchvision's models without their classifiers, and the features' channels.
        let published = [
            ("densenet121", 6_953_856, 1024),
            ("densenet161", 26_472_000, 2208),
            ("densenet169", 12_484_480, 1664),
            ("densenet201", 18_092_928, 1920),
        ];
        for (name, parameters, features) in published {
            let config = DenseNetConfig::named(name).unwrap();
            assert_eq!(config.features(), features);
            assert_eq!(config.name(), Some(name));
            let mut net = DenseNet::new(&config, &mut Init::new(1)).unwrap();
            assert_eq!(net.parameter_count(), parameters, "{name}");
            let mut elements = 0;
            net.visit("", &mut |_, _, t| elements += t.len() as u128);
            assert_eq!(config.elements(), elements, "{name}");
        }
    }

    #[test]
    fn sizes_that_are_no_network_are_refused() {
        let fine = DenseNetConfig::named("densenet121").unwrap();
        for broken in [
            DenseNetConfig {
                growth: 0,
                ..fine.clone()
            },
            DenseNetConfig {
                blocks: vec![],
                ..fine.clone()
            },
            DenseNetConfig {
                blocks: vec![usize::MAX, 2],
                ..fine.clone()
            },
            DenseNetConfig {
                stem: usize::MAX,
                ..fine.clone()
            },
            DenseNetConfig {
                bottleneck: usize::MAX,
                ..fine.clone()
            },
            DenseNetConfig {
                eps: f32::NAN,
                ..fine.clone()
            },
        ] {
            assert!(broken.check().is_err(), "{broken:?}");
        }
    }
}
