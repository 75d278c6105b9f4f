//! The attention decoder: reads the image's feature map again before every word.
//!
//! ```text
//! v[p] = W_image map[p] + b_image             map [P, F]: the encoder's last map, v [P, H]
//! k[p] = W_keys v[p] + b_keys                 [P, A]
//! m = the mean of v[p] over p
//! h[0] = tanh(W_h m + b_h)      c[0] = tanh(W_c m + b_c)
//! h[t + 1], c[t + 1], z[t] = attention_lstm(E[word[t]], k, v, h[t], c[t])
//! logits[t] = output([h[t + 1], z[t]])        of the word after word[t]; word[0] is the start mark
//! ```
//!
//! Soft attention after "Show, Attend and Tell", Xu et al. (2015, arXiv 1502.03044): section 3.1.2 for the initial state
//! and for the output, which reads the context `z[t]` and the state; 4.2 for the weights; 4.2.1 for the gate on the
//! context. [`crate::ops::attention_lstm`](mod@crate::ops::attention_lstm) has the equations of a step. There are three
//! differences to the paper. The map is first projected to the size of the state, which makes attention ten times cheaper
//! than over 1024 channels. The gate has one element for each element of the context instead of one for all. The output
//! layer reads `[h, z]` directly.
//!
//! Values and keys are computed once for each image and shared by all its sentences. Training applies dropout to the
//! values, the word vectors, and `[h, z]` before the output layer.

use super::config::DecoderConfig;
use super::dropout::{BEFORE_OUTPUT, IMAGE, WORDS, drop};
use super::output::{self, OutputLayer};
use super::state::{DecoderState, Forced};
use crate::error::Result;
use crate::nn::{AttentionLstm, Embedding, Init, Linear, Mode, Module, Role};
use crate::ops::{self, Memory};
use crate::tensor::Tensor;

/// The decoder of [`DecoderKind::Attention`](super::DecoderKind::Attention).
#[derive(Clone)]
pub(super) struct Attention {
    image: Linear,
    keys: Linear,
    h0: Linear,
    c0: Linear,
    words: Embedding,
    lstm: AttentionLstm,
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
        attention,
        ..
    } = *config;
    let [f, e, h, v, a] = [features, embedding, hidden, vocabulary, attention].map(|n| n as u128);
    let lstm = 4 * h * (e + h) + (a + 5 * h) * h + 5 * h + a;
    (f + 1) * h
        + (h + 1) * a
        + 2 * (h + 1) * h
        + v * e
        + lstm
        + output::elements(config, 2 * hidden)
}

/// The tensors that are computed once for each image.
struct ImageState {
    /// `[N, P, A]`
    keys: Tensor,
    /// `[N, P, H]`
    values: Tensor,
    /// `[N, H]`: `h` before the first word.
    h: Tensor,
    /// `[N, H]`: `c` before the first word.
    c: Tensor,
}

impl Attention {
    pub(super) fn new(config: &DecoderConfig, init: &mut Init) -> Self {
        let DecoderConfig {
            hidden, attention, ..
        } = *config;
        Attention {
            image: Linear::new(init, config.features, hidden),
            keys: Linear::new(init, hidden, attention),
            h0: Linear::new(init, hidden, hidden),
            c0: Linear::new(init, hidden, hidden),
            words: Embedding::new(init, config.vocabulary, config.embedding, 0.1),
            lstm: AttentionLstm::new(init, [config.embedding, attention, hidden], hidden),
            output: OutputLayer::new(config, 2 * hidden, init),
            dropout: config.dropout,
        }
    }

    /// Computes keys, values and initial states of the maps `[N, P, F]`.
    fn read_images(&self, map: &Tensor, mode: Mode) -> Result<ImageState> {
        let values = drop(&self.image.forward(map)?, self.dropout, mode, IMAGE)?;
        let &[images, positions, hidden] = values.dims() else {
            unreachable!("a linear layer keeps the first axes of [N, P, F]")
        };
        let as_map = values.reshape(&[images, positions, 1, hidden])?;
        let mean = ops::global_avg_pool(&as_map)?;
        Ok(ImageState {
            keys: self.keys.forward(&values)?,
            h: ops::tanh(&self.h0.forward(&mean)?)?,
            c: ops::tanh(&self.c0.forward(&mean)?)?,
            values,
        })
    }

    pub(super) fn forward(
        &self,
        map: &Tensor,
        image_of: &[usize],
        words: &[usize],
        mode: Mode,
    ) -> Result<Forced> {
        let (sentences, steps) = (image_of.len(), words.len() / image_of.len());
        let images = self.read_images(map, mode)?;
        let x = drop(&self.words.forward(words)?, self.dropout, mode, WORDS)?;
        let x = x.reshape(&[sentences, steps, x.dims()[1]])?;
        let memory = Memory {
            keys: &images.keys,
            values: &images.values,
            image_of,
        };
        let h = ops::embedding(&images.h, image_of)?;
        let c = ops::embedding(&images.c, image_of)?;
        let attended = self.lstm.forward(&x, &memory, &h, &c)?;
        let output = drop(&attended.output, self.dropout, mode, BEFORE_OUTPUT)?;
        Ok(Forced {
            logits: self.output.forward(&output, &self.words)?,
            attention: Some(attended.weights),
        })
    }

    pub(super) fn start(&self, map: &Tensor) -> Result<DecoderState> {
        let ImageState { keys, values, h, c } = self.read_images(map, Mode::Inference)?;
        Ok(DecoderState {
            cells: vec![(h, c)],
            image_of: (0..keys.dims()[0]).collect(),
            images: vec![keys, values],
            attention: None,
        })
    }

    pub(super) fn step(
        &self,
        state: &DecoderState,
        words: &[usize],
    ) -> Result<(DecoderState, Tensor)> {
        let (h, c) = &state.cells[0];
        let memory = Memory {
            keys: &state.images[0],
            values: &state.images[1],
            image_of: &state.image_of,
        };
        let x = self.words.forward(words)?;
        let x = x.reshape(&[words.len(), 1, x.dims()[1]])?;
        let attended = self.lstm.forward(&x, &memory, h, c)?;
        let (sentences, output) = (words.len(), attended.output);
        let h = ops::narrow(&output, 2, 0, h.dims()[1])?.reshape(h.dims())?;
        let weights = attended.weights;
        let weights = weights.reshape(&[sentences, weights.dims()[2]])?;
        let output = output.reshape(&[sentences, output.dims()[2]])?;
        let logits = self.output.forward(&output, &self.words)?;
        Ok((state.after(vec![(h, attended.c)], Some(weights)), logits))
    }
}

impl Module for Attention {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.image.visit(&format!("{prefix}image."), f);
        self.keys.visit(&format!("{prefix}keys."), f);
        self.h0.visit(&format!("{prefix}h0."), f);
        self.c0.visit(&format!("{prefix}c0."), f);
        self.words.visit(&format!("{prefix}embedding."), f);
        self.lstm.visit(&format!("{prefix}lstm."), f);
        self.output.visit(&format!("{prefix}output."), f);
    }
}
