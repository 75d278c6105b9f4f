use crate::error::{Error, Result};
use crate::ops;
use crate::tensor::Tensor;

/// The results of teacher forcing.
#[derive(Clone, Debug)]
pub struct Forced {
    /// `[S, T, V]`: the logits of the next word after each of the `T` words of each sentence.
    pub logits: Tensor,
    /// `[S, T, P]`, where the decoder attends: how much of the `P` places of the image it looked at before each of
    /// these predictions; the weights of a step add up to 1.
    pub attention: Option<Tensor>,
}

/// `h` and `c` of each LSTM layer, `[S, H]`; the last layer's are last.
pub(super) type Cells = Vec<(Tensor, Tensor)>;

/// The state of `S` sentences between two words.
///
/// It is made by [`Decoder::start`](super::Decoder::start) and [`Decoder::step`](super::Decoder::step), and is good
/// for the decoder that made it.
#[derive(Clone, Debug)]
pub struct DecoderState {
    pub(super) cells: Cells,
    /// Tensors that the decoder computed of the images once, `[N, ..]` each: shared by all sentences, and by all states that
    /// come of one start.
    pub(super) images: Vec<Tensor>,
    /// For each sentence, the row of its image in `images`.
    pub(super) image_of: Vec<usize>,
    /// `[S, P]`, where the decoder attends and has taken a step.
    pub(super) attention: Option<Tensor>,
}

impl DecoderState {
    /// The state of these sentences, in this order; a sentence may occur more than once. The attention is left behind:
    /// it belongs to the step that made it.
    ///
    /// # Errors
    /// Where one does not exist.
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

    /// The `at`th tensor that was computed of the images, with a row for each sentence: `[N, D]` to `[S, D]`.
    pub(super) fn image(&self, at: usize) -> Result<Tensor> {
        ops::embedding(&self.images[at], &self.image_of)
    }

    /// Where the decoder looked in the step that made this state: weights `[S, P]` over the `P` places of each
    /// sentence's image, row by row of its map, which add up to 1. `None` before the first step, after
    /// [`DecoderState::select`], and where the decoder does not attend.
    pub fn attention(&self) -> Option<&Tensor> {
        self.attention.as_ref()
    }
}
