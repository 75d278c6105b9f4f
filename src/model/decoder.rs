use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::{Embedding, Init, Linear, Lstm, Mode, Module, Role};
use crate::ops;
use crate::tensor::Tensor;

/// The sizes of a decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// Elements of the image's feature vector.
    pub features: usize,
    /// Elements of a word's vector.
    pub embedding: usize,
    /// Cells of the LSTM.
    pub hidden: usize,
    /// Words, the specials included.
    pub vocabulary: usize,
    /// The share of word vectors' and cells' elements that training drops, in `[0, 1)`.
    pub dropout: f32,
}

impl DecoderConfig {
    /// Refuses sizes that are no decoder.
    ///
    /// # Errors
    /// Where a size is zero or absurd.
    pub fn check(&self) -> Result<()> {
        let sizes = [self.features, self.embedding, self.hidden, self.vocabulary];
        if sizes.iter().all(|s| (1..=1 << 24).contains(s)) && (0.0..1.0).contains(&self.dropout) {
            return Ok(());
        }
        Err(Error::value(
            "decoder",
            format_args!("{self:?} is not a network"),
        ))
    }
}

/// The decoder: a feature vector to words, after Vinyals et al. (2015, arXiv 1411.4555).
///
/// The image is the first word: its features, brought to a word vector's size, are the LSTM's first input. The
/// second is the start mark, then come the words, and after each of these the LSTM says which word is next.
pub struct Decoder {
    config: DecoderConfig,
    image: Linear,
    embedding: Embedding,
    lstm: Lstm,
    output: Linear,
}

/// What the decoder remembers between two words, for `N` sentences.
#[derive(Clone, Debug)]
pub struct DecoderState {
    /// `[N, H]`
    pub h: Tensor,
    /// `[N, H]`
    pub c: Tensor,
}

impl DecoderState {
    /// The states of these sentences, in this order; a sentence may occur more than once.
    ///
    /// # Errors
    /// Where one does not exist.
    pub fn select(&self, sentences: &[usize]) -> Result<Self> {
        Ok(DecoderState {
            h: ops::embedding(&self.h, sentences)?,
            c: ops::embedding(&self.c, sentences)?,
        })
    }
}

impl Decoder {
    /// With random weights.
    ///
    /// # Errors
    /// Those of [`DecoderConfig::check`].
    pub fn new(config: &DecoderConfig, init: &mut Init) -> Result<Self> {
        config.check()?;
        let DecoderConfig {
            features,
            embedding,
            hidden,
            vocabulary,
            ..
        } = *config;
        Ok(Decoder {
            config: config.clone(),
            image: Linear::new(init, features, embedding),
            embedding: Embedding::new(init, vocabulary, embedding, 0.1),
            lstm: Lstm::new(init, embedding, hidden),
            output: Linear::new(init, hidden, vocabulary),
        })
    }

    /// The sizes.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Teacher forcing: the logits `[N, T, V]` of the next word after each of the `steps` words of each
    /// sentence.
    ///
    /// `words` is `[N, T]`, row by row, each beginning with the start mark. `features` is `[M, F]`, and
    /// `image_of` gives each sentence's row in it, so that several captions of an image share its features.
    ///
    /// # Errors
    /// Where sizes do not fit or a word is not in the vocabulary.
    pub fn forward(
        &self,
        features: &Tensor,
        image_of: &[usize],
        words: &[usize],
        mode: Mode,
    ) -> Result<Tensor> {
        let sentences = image_of.len();
        if sentences == 0 || words.is_empty() || !words.len().is_multiple_of(sentences) {
            return Err(Error::shape(
                "decoder",
                format_args!("as many words for each of {sentences} sentences"),
                format_args!("{} words", words.len()),
            ));
        }
        let steps = words.len() / sentences;
        let size = self.config.embedding;
        let image = ops::embedding(&self.image.forward(features)?, image_of)?;
        let words = self.drop(&self.embedding.forward(words)?, mode, 0)?;
        let inputs = ops::concat(&[&image, &words.reshape(&[sentences, steps * size])?])?;
        let h = self
            .lstm
            .forward(&inputs.reshape(&[sentences, steps + 1, size])?)?;
        // What the LSTM makes of the image alone is not asked for: the first word follows the start mark.
        let hidden = self.config.hidden;
        let h = ops::narrow(&h, 1, 1, steps)?.reshape(&[sentences * steps, hidden])?;
        let logits = self.output.forward(&self.drop(&h, mode, 1)?)?;
        logits.reshape(&[sentences, steps, self.config.vocabulary])
    }

    fn drop(&self, x: &Tensor, mode: Mode, place: u64) -> Result<Tensor> {
        match mode {
            Mode::Inference => Ok(x.clone()),
            Mode::Training { seed } => ops::dropout(x, self.config.dropout, seed ^ (place << 63)),
        }
    }

    /// What the decoder remembers after seeing images `[N, F]`, before any word.
    ///
    /// # Errors
    /// Where `features` is not `[N, F]`.
    pub fn start(&self, features: &Tensor) -> Result<DecoderState> {
        let image = self.image.forward(features)?;
        let zero = Tensor::zeros(&[image.dims()[0], self.config.hidden]);
        let (h, c) = self.lstm.step(&image, &zero, &zero)?;
        Ok(DecoderState { h, c })
    }

    /// One word further in each of `N` sentences: the new state and the logits `[N, V]` of the next word.
    ///
    /// # Errors
    /// Where their numbers differ or a word is not in the vocabulary.
    pub fn step(&self, state: &DecoderState, words: &[usize]) -> Result<(DecoderState, Tensor)> {
        let x = self.embedding.forward(words)?;
        let (h, c) = self.lstm.step(&x, &state.h, &state.c)?;
        let logits = self.output.forward(&h)?;
        Ok((DecoderState { h, c }, logits))
    }
}

impl Module for Decoder {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.image.visit(&format!("{prefix}image."), f);
        self.embedding.visit(&format!("{prefix}embedding."), f);
        self.lstm.visit(&format!("{prefix}lstm."), f);
        self.output.visit(&format!("{prefix}output."), f);
    }
}
