use super::config::DecoderConfig;
use super::dropout::{BETWEEN_LAYERS, drop};
use super::state::Cells;
use crate::error::Result;
use crate::nn::{Init, Lstm, Mode, Module, Role};
use crate::tensor::Tensor;

/// One or two LSTM layers, each of which reads the `h` of the layer before it.
///
/// Dropout is applied between the layers, but not between time steps: Zaremba et al. (2014, arXiv 1409.2329). The caller
/// applies it before the first layer and after the last.
#[derive(Clone)]
pub(super) struct Layers {
    all: Vec<Lstm>,
    hidden: usize,
    dropout: f32,
}

/// The number of elements of the parameters of [`Layers`] with inputs of `inputs` elements.
pub(super) fn elements(config: &DecoderConfig, inputs: usize) -> u128 {
    let lstm = |inputs: u128, hidden: u128| 4 * hidden * (inputs + hidden + 1);
    let hidden = config.hidden as u128;
    lstm(inputs as u128, hidden) + (config.layers as u128 - 1) * lstm(hidden, hidden)
}

impl Layers {
    /// Random layers for inputs of `inputs` elements.
    pub(super) fn new(config: &DecoderConfig, inputs: usize, init: &mut Init) -> Self {
        let hidden = config.hidden;
        let inputs = |layer| if layer == 0 { inputs } else { hidden };
        Layers {
            all: (0..config.layers)
                .map(|layer| Lstm::new(init, inputs(layer), hidden))
                .collect(),
            hidden,
            dropout: config.dropout,
        }
    }

    /// `h'` of the last layer at every step, `[S, T, H]`, for `x` `[S, T, I]`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, layer) in self.all.iter().enumerate() {
            if i > 0 {
                x = drop(&x, self.dropout, mode, BETWEEN_LAYERS)?;
            }
            x = layer.forward(&x)?;
        }
        Ok(x)
    }

    /// The zero state of `sentences` sentences.
    pub(super) fn start(&self, sentences: usize) -> Cells {
        let zero = Tensor::zeros(&[sentences, self.hidden]);
        vec![(zero.clone(), zero); self.all.len()]
    }

    /// The state after one step of inference for `x` `[S, I]`.
    pub(super) fn step(&self, x: &Tensor, cells: &Cells) -> Result<Cells> {
        let mut after = Cells::new();
        for (layer, (h, c)) in self.all.iter().zip(cells) {
            let x = after.last().map_or(x, |(h, _)| h);
            after.push(layer.step(x, h, c)?);
        }
        Ok(after)
    }
}

impl Module for Layers {
    /// The first layer's parameters are named `lstm.`, the second's `lstm2.`.
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        for (i, layer) in self.all.iter_mut().enumerate() {
            let name = if i == 0 { "lstm" } else { "lstm2" };
            layer.visit(&format!("{prefix}{name}."), f);
        }
    }
}
