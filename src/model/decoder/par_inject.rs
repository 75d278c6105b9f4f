//! The par-inject decoder: the LSTM reads the image at every step, concatenated with the word.
//!
//! ```text
//! v = W_image f + b_image                     f [F]: the image's features
//! x[t] = [E[word[t]], v]                      word[0] is the start mark; both have the size of a word's vector
//! h[t], c[t] = LSTM(x[t], h[t - 1], c[t - 1])
//! logits[t] = output(h[t])                    of the word after word[t]
//! ```
//!
//! LRCN, Donahue et al. (2015, arXiv 1411.4389), figure 3; Tanti et al. (2018, arXiv 1703.09137), section 2.3, call it
//! par-inject. The LSTM's state does not need to store the image, but it always mixes image and words. Training applies
//! dropout where Zaremba et al. (2014, arXiv 1409.2329) do: to the LSTM's whole input, to `h` between two layers, and to
//! `h` before the output layer.

use super::config::DecoderConfig;
use super::dropout::{BEFORE_OUTPUT, WORDS, drop};
use super::layers::{self, Layers};
use super::output::{self, OutputLayer};
use super::state::{DecoderState, Forced};
use crate::error::Result;
use crate::nn::{Embedding, Init, Linear, Mode, Module, Role};
use crate::ops;
use crate::tensor::Tensor;

/// The decoder of [`DecoderKind::ParInject`](super::DecoderKind::ParInject).
#[derive(Clone)]
pub(super) struct ParInject {
    image: Linear,
    words: Embedding,
    lstm: Layers,
    output: OutputLayer,
    dropout: f32,
}

/// The number of elements of the parameters.
pub(super) fn elements(config: &DecoderConfig) -> u128 {
    let [f, e, v] = [config.features, config.embedding, config.vocabulary].map(|n| n as u128);
    (f + 1) * e
        + v * e
        + layers::elements(config, 2 * config.embedding)
        + output::elements(config, config.hidden)
}

impl ParInject {
    pub(super) fn new(config: &DecoderConfig, init: &mut Init) -> Self {
        ParInject {
            image: Linear::new(init, config.features, config.embedding),
            words: Embedding::new(init, config.vocabulary, config.embedding, 0.1),
            lstm: Layers::new(config, 2 * config.embedding, init),
            output: OutputLayer::new(config, config.hidden, init),
            dropout: config.dropout,
        }
    }

    pub(super) fn forward(
        &self,
        image: &Tensor,
        image_of: &[usize],
        words: &[usize],
        mode: Mode,
    ) -> Result<Forced> {
        let (sentences, steps) = (image_of.len(), words.len() / image_of.len());
        let row_of = image_of.iter().flat_map(|&i| std::iter::repeat_n(i, steps));
        let image = ops::embedding(&self.image.forward(image)?, &row_of.collect::<Vec<_>>())?;
        let x = ops::concat(&[&self.words.forward(words)?, &image])?;
        let x = drop(&x, self.dropout, mode, WORDS)?;
        let x = x.reshape(&[sentences, steps, x.dims()[1]])?;
        let h = drop(
            &self.lstm.forward(&x, mode)?,
            self.dropout,
            mode,
            BEFORE_OUTPUT,
        )?;
        Ok(Forced {
            logits: self.output.forward(&h, &self.words)?,
            attention: None,
        })
    }

    pub(super) fn start(&self, image: &Tensor) -> Result<DecoderState> {
        let images = image.dims()[0];
        Ok(DecoderState {
            cells: self.lstm.start(images),
            images: vec![self.image.forward(image)?],
            image_of: (0..images).collect(),
            attention: None,
        })
    }

    pub(super) fn step(
        &self,
        state: &DecoderState,
        words: &[usize],
    ) -> Result<(DecoderState, Tensor)> {
        let x = ops::concat(&[&self.words.forward(words)?, &state.image(0)?])?;
        let after = state.after(self.lstm.step(&x, &state.cells)?, None);
        let logits = self.output.forward(after.top(), &self.words)?;
        Ok((after, logits))
    }
}

impl Module for ParInject {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.image.visit(&format!("{prefix}image."), f);
        self.words.visit(&format!("{prefix}embedding."), f);
        self.lstm.visit(prefix, f);
        self.output.visit(&format!("{prefix}output."), f);
    }
}
