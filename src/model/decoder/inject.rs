//! The inject decoder: the image is the LSTM's first input, in place of a word.
//!
//! ```text
//! x[-1] = W_image f + b_image                 f [F]: the image's features
//! x[t] = E[word[t]]                           word[0] is the start mark
//! h[t], c[t] = LSTM(x[t], h[t - 1], c[t - 1])
//! logits[t] = output(h[t])                    of the word after word[t]
//! ```
//!
//! Vinyals et al. (2015, arXiv 1411.4555), equations 10 to 12: the LSTM reads the image only once, because with the image
//! at every step it overfits and fits noise. As Vinyals et al., training applies dropout where Zaremba et al. (2014, arXiv
//! 1409.2329) do: to the word vectors, to `h` between two layers, and to `h` before the output layer.

use super::config::DecoderConfig;
use super::dropout::{BEFORE_OUTPUT, WORDS, drop};
use super::layers::{self, Layers};
use super::output::{self, OutputLayer};
use super::state::{DecoderState, Forced};
use crate::error::Result;
use crate::nn::{Embedding, Init, Linear, Mode, Module, Role};
use crate::ops;
use crate::tensor::Tensor;

/// The decoder of [`DecoderKind::Inject`](super::DecoderKind::Inject).
#[derive(Clone)]
pub(super) struct Inject {
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
        + layers::elements(config, config.embedding)
        + output::elements(config, config.hidden)
}

impl Inject {
    pub(super) fn new(config: &DecoderConfig, init: &mut Init) -> Self {
        Inject {
            image: Linear::new(init, config.features, config.embedding),
            words: Embedding::new(init, config.vocabulary, config.embedding, 0.1),
            lstm: Layers::new(config, config.embedding, init),
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
        let image = ops::embedding(&self.image.forward(image)?, image_of)?;
        let size = image.dims()[1];
        let words = drop(&self.words.forward(words)?, self.dropout, mode, WORDS)?;
        let inputs = ops::concat(&[&image, &words.reshape(&[sentences, steps * size])?])?;
        let inputs = inputs.reshape(&[sentences, steps + 1, size])?;
        // The output after the image is not used: the first word is predicted after the start mark.
        let h = ops::narrow(&self.lstm.forward(&inputs, mode)?, 1, 1, steps)?;
        let h = drop(&h, self.dropout, mode, BEFORE_OUTPUT)?;
        Ok(Forced {
            logits: self.output.forward(&h, &self.words)?,
            attention: None,
        })
    }

    pub(super) fn start(&self, image: &Tensor) -> Result<DecoderState> {
        let x = self.image.forward(image)?;
        let images = image.dims()[0];
        Ok(DecoderState {
            cells: self.lstm.step(&x, &self.lstm.start(images))?,
            images: Vec::new(),
            image_of: (0..images).collect(),
            attention: None,
        })
    }

    pub(super) fn step(
        &self,
        state: &DecoderState,
        words: &[usize],
    ) -> Result<(DecoderState, Tensor)> {
        let x = self.words.forward(words)?;
        let after = state.after(self.lstm.step(&x, &state.cells)?, None);
        let logits = self.output.forward(after.top(), &self.words)?;
        Ok((after, logits))
    }
}

impl Module for Inject {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.image.visit(&format!("{prefix}image."), f);
        self.words.visit(&format!("{prefix}embedding."), f);
        self.lstm.visit(prefix, f);
        self.output.visit(&format!("{prefix}output."), f);
    }
}
