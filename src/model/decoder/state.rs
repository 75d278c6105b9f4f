use crate::error::{Error, Result};
use crate::ops;
use crate::tensor::Tensor;

/// The results of teacher forcing.
#[derive(Clone, Debug)]
pub struct Forced {
    /// `[S, T, V]`: the logits of the next word after each of the `T` words of each sentence.
    pub logits: Tensor,
    /// `[S, T, P]`, if the decoder has attention: the weights of the image's `P` positions for each of these predictions.
    /// The weights of a step sum to 1.
    pub attention: Option<Tensor>,
}

/// `h` and `c` of each LSTM layer, `[S, H]`; the last layer's are last.
pub(super) type Cells = Vec<(Tensor, Tensor)>;

/// The state of `S` sentences between two words.
///
/// [`Decoder::start`](super::Decoder::start) and [`Decoder::step`](super::Decoder::step) create it. It is only valid for
/// the decoder that created it.
#[derive(Clone, Debug)]
pub struct DecoderState {
    pub(super) cells: Cells,
    /// Tensors `[N, ..]` that the decoder computed once from the images. All sentences, and all states from one start,
    /// share them.
    pub(super) images: Vec<Tensor>,
    /// For each sentence, the row of its image in `images`.
    pub(super) image_of: Vec<usize>,
    /// `[S, P]`, if the decoder has attention and has taken a step.
    pub(super) attention: Option<Tensor>,
}

impl DecoderState {
    /// The state of these sentences, in this order; a sentence may occur more than once. The result has no attention
    /// weights, because they belong to the step that computed them.
    ///
    /// # Errors
    /// If a sentence does not exist.
    pub fn select(&self, sentences: &[usize]) -> Result<Self> {
        let image_of = sentences.iter().map(|&s| self.image_of.get(s).copied());
        let Some(image_of) = image_of.collect() else {
            return Err(Error::value(
                "decoder",
                format_args!(
                    "a sentence in {sentences:?} does not exist; there are {}",
                    self.image_of.len()
                ),
            ));
        };
        let select = |(h, c): &(Tensor, Tensor)| {
            Ok((ops::embedding(h, sentences)?, ops::embedding(c, sentences)?))
        };
        Ok(DecoderState {
            cells: self.cells.iter().map(select).collect::<Result<_>>()?,
            images: self.images.clone(),
            image_of,
            attention: None,
        })
    }

    /// The state after one more word, with the same images.
    pub(super) fn after(&self, cells: Cells, attention: Option<Tensor>) -> Self {
        DecoderState {
            cells,
            images: self.images.clone(),
            image_of: self.image_of.clone(),
            attention,
        }
    }

    /// `h` of the last LSTM layer, `[S, H]`.
    pub(super) fn top(&self) -> &Tensor {
        // A decoder has at least one layer.
        &self.cells[self.cells.len() - 1].0
    }

    /// Tensor `index` of those computed from the images, with a row for each sentence: `[N, D]` to `[S, D]`.
    pub(super) fn image(&self, index: usize) -> Result<Tensor> {
        ops::embedding(&self.images[index], &self.image_of)
    }

    /// The attention weights `[S, P]` of the step that computed this state, over the `P` positions of each sentence's
    /// image, row by row of its map; they sum to 1. `None` before the first step, after [`DecoderState::select`], and for
    /// decoders without attention.
    pub fn attention(&self) -> Option<&Tensor> {
        self.attention.as_ref()
    }
}
