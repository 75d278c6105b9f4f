use serde::{Deserialize, Serialize};

use crate::cpu::threads;
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
    /// Elements of all parameters.
    pub fn elements(&self) -> u128 {
        let [f, e, h, v] =
            [self.features, self.embedding, self.hidden, self.vocabulary].map(|n| n as u128);
        (f + 1) * e + v * e + 4 * h * (e + h + 1) + (h + 1) * v
    }

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
        threads::run(|| self.layers(features, image_of, words, mode))
    }

    fn layers(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, on_every_device, random};

    fn small() -> Decoder {
        let config = DecoderConfig {
            features: 5,
            embedding: 6,
            hidden: 7,
            vocabulary: 11,
            dropout: 0.5,
        };
        let mut decoder = Decoder::new(&config, &mut Init::new(3)).unwrap();
        let mut elements = 0;
        decoder.visit("", &mut |_, _, t| elements += t.len() as u128);
        assert_eq!(config.elements(), elements);
        decoder
    }

    #[test]
    fn teacher_forcing_and_single_steps_say_the_same() {
        on_every_device(|| {
            let decoder = small();
            let features = random(&[2, 5], 1);
            // Two captions of the first image, one of the second.
            let image_of = [0, 0, 1];
            let words = [[1, 4, 5, 6], [1, 7, 8, 9], [1, 10, 4, 4]];
            let flat = words.concat();
            let forced = decoder
                .forward(&features, &image_of, &flat, Mode::Inference)
                .unwrap();
            assert_eq!(forced.dims(), &[3, 4, 11]);
            let mut state = decoder.start(&features).unwrap().select(&image_of).unwrap();
            for step in 0..4 {
                let (next, logits) = decoder.step(&state, &words.map(|w| w[step])).unwrap();
                state = next;
                for sentence in 0..3 {
                    let all = &forced.data()[(sentence * 4 + step) * 11..][..11];
                    let one = &logits.data()[sentence * 11..][..11];
                    assert_close("logits", one, all, 1e-5);
                }
            }
        });
    }

    #[test]
    fn dropout_is_for_training_and_follows_its_seed() {
        let decoder = small();
        let features = random(&[1, 5], 1);
        let run = |mode| {
            decoder
                .forward(&features, &[0], &[1, 4, 5], mode)
                .unwrap()
                .into_vec()
        };
        assert_eq!(run(Mode::Inference), run(Mode::Inference));
        assert_eq!(
            run(Mode::Training { seed: 1 }),
            run(Mode::Training { seed: 1 })
        );
        assert_ne!(
            run(Mode::Training { seed: 1 }),
            run(Mode::Training { seed: 2 })
        );
        assert_ne!(run(Mode::Training { seed: 1 }), run(Mode::Inference));
    }

    #[test]
    fn mistakes_are_errors() {
        let decoder = small();
        let features = random(&[1, 5], 1);
        let run = |f: &Tensor, images: &[usize], words: &[usize]| {
            decoder.forward(f, images, words, Mode::Inference).is_err()
        };
        assert!(run(&features, &[0], &[11]), "a word that does not exist");
        assert!(run(&features, &[1], &[1]), "an image that does not exist");
        assert!(run(&features, &[0, 0], &[1, 2, 3]), "a sentence cut off");
        assert!(run(&features, &[], &[]), "nothing");
        assert!(
            run(&random(&[1, 4], 1), &[0], &[1]),
            "features of another network"
        );
    }
}
