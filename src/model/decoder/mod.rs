//! Decoders: networks that generate a caption word by word from an image's features.
//!
//! All of them have a table of word vectors, an LSTM of one or two layers, and an output layer that computes the logits of
//! the next word. They differ in where they read the image ([`DecoderKind`]). Each kind has its own file, which opens with
//! its equations and its paper:
//!
//! | kind | use of the image | file |
//! |---|---|---|
//! | inject | the LSTM's first input | `inject.rs` |
//! | par-inject | concatenated with every word | `par_inject.rs` |
//! | merge | merged with the LSTM's output | `merge.rs` |
//! | attention | read again before every word | `attention.rs` |
//!
//! They share the LSTM layers of `layers.rs`, the output layer of `output.rs` and the dropout of `dropout.rs`. `state.rs`
//! has the state between two words, and `grow.rs` adds words to a trained decoder.

mod attention;
mod config;
mod dropout;
mod grow;
mod inject;
mod layers;
mod merge;
mod output;
mod par_inject;
mod state;

pub use config::{DecoderConfig, DecoderKind};
pub use state::{DecoderState, Forced};

use self::attention::Attention;
use self::inject::Inject;
use self::merge::Merge;
use self::par_inject::ParInject;
use crate::cpu::threads;
use crate::error::{Error, Result};
use crate::nn::{Init, Mode, Module, Role};
use crate::tensor::Tensor;

impl DecoderConfig {
    /// The number of elements of all parameters. It cannot overflow for sizes that pass [`DecoderConfig::check`].
    pub fn elements(&self) -> u128 {
        match self.kind {
            DecoderKind::Inject => inject::elements(self),
            DecoderKind::ParInject => par_inject::elements(self),
            DecoderKind::Merge => merge::elements(self),
            DecoderKind::Attention => attention::elements(self),
        }
    }
}

/// A decoder of one of the kinds of [`DecoderKind`].
///
/// In training, [`Decoder::forward`] takes the words of a caption and predicts each from those before it (teacher forcing).
/// In inference, [`Decoder::start`] and [`Decoder::step`] take one word at a time and compute the same logits.
#[derive(Clone)]
pub struct Decoder {
    config: DecoderConfig,
    network: Network,
}

#[derive(Clone)]
enum Network {
    Inject(Inject),
    ParInject(ParInject),
    Merge(Merge),
    Attention(Box<Attention>),
}

impl Decoder {
    /// A decoder with random weights.
    ///
    /// # Errors
    /// The errors of [`DecoderConfig::check`].
    pub fn new(config: &DecoderConfig, init: &mut Init) -> Result<Self> {
        config.check()?;
        let network = match config.kind {
            DecoderKind::Inject => Network::Inject(Inject::new(config, init)),
            DecoderKind::ParInject => Network::ParInject(ParInject::new(config, init)),
            DecoderKind::Merge => Network::Merge(Merge::new(config, init)),
            DecoderKind::Attention => Network::Attention(Box::new(Attention::new(config, init))),
        };
        Ok(Decoder {
            config: config.clone(),
            network,
        })
    }

    /// The decoder with the same weights and another dropout probability.
    ///
    /// # Errors
    /// If `dropout` is not in `[0, 1)`.
    pub fn with_dropout(mut self, dropout: f32) -> Result<Self> {
        let config = DecoderConfig {
            dropout,
            ..self.config.clone()
        };
        self.rebuilt(&config, |weight, _| weight)
    }

    /// A decoder of `config`, which has the tensors of this one in the same order. `adapt` makes each new tensor of the old
    /// one and the new shape.
    fn rebuilt(
        &mut self,
        config: &DecoderConfig,
        mut adapt: impl FnMut(Tensor, &[usize]) -> Tensor,
    ) -> Result<Self> {
        let mut weights = Vec::new();
        self.visit("", &mut |_, _, tensor| weights.push(tensor.clone()));
        let mut weights = weights.into_iter();
        let mut decoder = Decoder::new(config, &mut Init::blank())?;
        decoder.visit("", &mut |_, _, tensor| {
            if let Some(weight) = weights.next() {
                *tensor = adapt(weight, tensor.dims());
            }
        });
        Ok(decoder)
    }

    /// The sizes.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Whether an image is given as the positions of the encoder's map, `[N, P, C]`, and the decoder returns attention
    /// weights. Otherwise it is given as the average over them, `[N, C]`.
    pub fn takes_map(&self) -> bool {
        self.config.takes_map()
    }

    /// Teacher forcing: the logits of the next word after each of the `T` words of each of `S` sentences.
    ///
    /// `words` is `[S, T]` in row-major order; each row begins with the start mark. `image` is `[N, C]`, or `[N, P, C]` if
    /// the decoder [takes the map](Decoder::takes_map). `image_of` has each sentence's row in `image`, so several captions
    /// of an image share its computations.
    ///
    /// # Errors
    /// If sizes do not fit or a word is not in the vocabulary.
    pub fn forward(
        &self,
        image: &Tensor,
        image_of: &[usize],
        words: &[usize],
        mode: Mode,
    ) -> Result<Forced> {
        self.check_image(image)?;
        let sentences = image_of.len();
        if sentences == 0 || words.is_empty() || !words.len().is_multiple_of(sentences) {
            return Err(Error::shape(
                "decoder",
                format_args!("as many words for each of {sentences} sentences"),
                format_args!("{} words", words.len()),
            ));
        }
        threads::run(|| match &self.network {
            Network::Inject(d) => d.forward(image, image_of, words, mode),
            Network::ParInject(d) => d.forward(image, image_of, words, mode),
            Network::Merge(d) => d.forward(image, image_of, words, mode),
            Network::Attention(d) => d.forward(image, image_of, words, mode),
        })
    }

    /// The state before the first word, one sentence for each image of `image` `[N, C]`, or `[N, P, C]` if the decoder
    /// [takes the map](Decoder::takes_map).
    ///
    /// # Errors
    /// If `image` has another shape.
    pub fn start(&self, image: &Tensor) -> Result<DecoderState> {
        self.check_image(image)?;
        match &self.network {
            Network::Inject(d) => d.start(image),
            Network::ParInject(d) => d.start(image),
            Network::Merge(d) => d.start(image),
            Network::Attention(d) => d.start(image),
        }
    }

    /// Adds one word to each of `S` sentences; returns the new state and the logits `[S, V]` of the next word.
    ///
    /// # Errors
    /// If their numbers differ or a word is not in the vocabulary.
    pub fn step(&self, state: &DecoderState, words: &[usize]) -> Result<(DecoderState, Tensor)> {
        match &self.network {
            Network::Inject(d) => d.step(state, words),
            Network::ParInject(d) => d.step(state, words),
            Network::Merge(d) => d.step(state, words),
            Network::Attention(d) => d.step(state, words),
        }
    }

    /// Checks the shape of `image`.
    fn check_image(&self, image: &Tensor) -> Result<()> {
        let features = self.config.features;
        let (fits, expected) = match (self.takes_map(), image.dims()) {
            (true, &[_, positions, channels]) => (positions > 0 && channels == features, "[N, P, "),
            (true, _) => (false, "[N, P, "),
            (false, dims) => (dims.len() == 2 && dims[1] == features, "[N, "),
        };
        if fits {
            return Ok(());
        }
        let kind = self.config.kind.name();
        let expected = format_args!("an image {expected}{features}] for the kind {kind}");
        Err(Error::shape("decoder", expected, image.shape()))
    }
}

impl Module for Decoder {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        match &mut self.network {
            Network::Inject(d) => d.visit(prefix, f),
            Network::ParInject(d) => d.visit(prefix, f),
            Network::Merge(d) => d.visit(prefix, f),
            Network::Attention(d) => d.visit(prefix, f),
        }
    }
}

#[cfg(test)]
mod tests;
