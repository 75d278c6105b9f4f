//! The merge decoder: the image is merged with the LSTM's output, and the LSTM reads words only.
//!
//! ```text
//! v = relu(W_image f + b_image)               f [F]: the image's features, v [H]
//! h[t], c[t] = LSTM(E[word[t]], h[t - 1], c[t - 1])
//! m[t] = relu(W_merge (h[t] + v) + b_merge)   [H]
//! logits[t] = output(m[t])                    of the word after word[t]
//! ```
//!
//! Tanti et al. (2017, arXiv 1708.02043): the LSTM is a language model that never reads the image, so its whole state is
//! about words. These are the layers of the tutorials for Keras: `Dropout(0.5)` and `Dense(256, relu)` for the image;
//! `Embedding(256)`, `Dropout(0.5)` and `LSTM(256)` for the words; `add`, `Dense(256, relu)`, and a `Dense` of the
//! vocabulary's size. As there, training applies dropout to the image's features and the word vectors; with two LSTM layers
//! also to `h` between them (Zaremba et al., 2014, arXiv 1409.2329).

use super::config::DecoderConfig;
use super::dropout::{IMAGE, WORDS, drop};
use super::layers::{self, Layers};
use super::output::{self, OutputLayer};
use super::state::{DecoderState, Forced};
use crate::error::Result;
use crate::nn::{Embedding, Init, Linear, Mode, Module, Role};
use crate::ops;
use crate::tensor::Tensor;

/// The decoder of [`DecoderKind::Merge`](super::DecoderKind::Merge).
#[derive(Clone)]
pub(super) struct Merge {
    image: Linear,
    words: Embedding,
    lstm: Layers,
    merge: Linear,
    output: OutputLayer,
    dropout: f32,
}

/// The number of elements of the parameters.
pub(super) fn elements(config: &DecoderConfig) -> u128 {
    let DecoderConfig {
        features,
        embedding,
        hidden,
        vocabulary,
        ..
    } = *config;
    let [f, e, h, v] = [features, embedding, hidden, vocabulary].map(|n| n as u128);
    (f + 1) * h
        + v * e
        + layers::elements(config, embedding)
        + (h + 1) * h
        + output::elements(config, hidden)
}

impl Merge {
    pub(super) fn new(config: &DecoderConfig, init: &mut Init) -> Self {
        let hidden = config.hidden;
        Merge {
            image: Linear::new(init, config.features, hidden),
            words: Embedding::new(init, config.vocabulary, config.embedding, 0.1),
            lstm: Layers::new(config, config.embedding, init),
            merge: Linear::new(init, hidden, hidden),
            output: OutputLayer::new(config, hidden, init),
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
        let image = self.project(&drop(image, self.dropout, mode, IMAGE)?)?;
        let x = drop(&self.words.forward(words)?, self.dropout, mode, WORDS)?;
        let x = x.reshape(&[sentences, steps, x.dims()[1]])?;
        let h = self.lstm.forward(&x, mode)?;
        let row_of = image_of.iter().flat_map(|&i| std::iter::repeat_n(i, steps));
        let image = ops::embedding(&image, &row_of.collect::<Vec<_>>())?.reshape(h.dims())?;
        Ok(Forced {
            logits: self.logits(&h, &image)?,
            attention: None,
        })
    }

    /// `v` of images `[N, F]`: `[N, H]`.
    fn project(&self, image: &Tensor) -> Result<Tensor> {
        ops::relu(&self.image.forward(image)?)
    }

    /// The logits of `h` and `v` `[.., H]`.
    fn logits(&self, h: &Tensor, image: &Tensor) -> Result<Tensor> {
        let merged = ops::relu(&self.merge.forward(&ops::add(h, image)?)?)?;
        self.output.forward(&merged, &self.words)
    }

    pub(super) fn start(&self, image: &Tensor) -> Result<DecoderState> {
        let images = image.dims()[0];
        Ok(DecoderState {
            cells: self.lstm.start(images),
            images: vec![self.project(image)?],
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
        let logits = self.logits(after.top(), &state.image(0)?)?;
        Ok((after, logits))
    }
}

impl Module for Merge {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.image.visit(&format!("{prefix}image."), f);
        self.words.visit(&format!("{prefix}embedding."), f);
        self.lstm.visit(prefix, f);
        self.merge.visit(&format!("{prefix}merge."), f);
        self.output.visit(&format!("{prefix}output."), f);
    }
}
