//! The inputs of the operation, their sizes, and the results that its backward pass reads.

use super::{AttentionLstmWeights, Memory};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

// The inputs, as the tape numbers them.
pub(super) const X: usize = 0;
pub(super) const KEYS: usize = 1;
pub(super) const VALUES: usize = 2;
pub(super) const H0: usize = 3;
pub(super) const C0: usize = 4;
pub(super) const W_IH: usize = 5;
pub(super) const W_HH: usize = 6;
pub(super) const BIAS: usize = 7;
pub(super) const SCORE: usize = 8;

/// The sizes of all arrays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// `S`
    pub(crate) sentences: usize,
    /// `T`
    pub(crate) steps: usize,
    /// `N`
    pub(crate) images: usize,
    /// `P`
    pub(crate) positions: usize,
    /// `E`
    pub(crate) inputs: usize,
    /// `A`
    pub(crate) key: usize,
    /// `V`
    pub(crate) value: usize,
    /// `H`
    pub(crate) hidden: usize,
}

impl Sizes {
    /// Rows of a matrix that has one row for each step of each sentence.
    pub(super) fn rows(&self) -> usize {
        self.sentences * self.steps
    }

    /// Rows of `W_hh`: those of the query, of the context's gate, and of the LSTM's gates.
    pub(super) fn recurrent(&self) -> usize {
        self.key + self.value + 4 * self.hidden
    }

    /// The first row of the LSTM's gates in `W_hh`.
    pub(super) fn gates(&self) -> usize {
        self.key + self.value
    }

    /// Elements of an output row: `h'` and `z`.
    pub(super) fn output(&self) -> usize {
        self.hidden + self.value
    }

    /// Offsets in the buffer of the results: of the output, of the weights `alpha`, of `c'` of the last step, and the end.
    pub(super) fn parts(&self) -> [usize; 4] {
        let weights = self.rows() * self.output();
        let cells = weights + self.rows() * self.positions;
        [0, weights, cells, cells + self.sentences * self.hidden]
    }
}

/// The inputs, whose shapes fit, and their sizes.
pub(crate) struct Job {
    pub(crate) sizes: Sizes,
    /// `[S, T, E]`
    pub(crate) x: Tensor,
    /// `[N, P, A]`
    pub(crate) keys: Tensor,
    /// `[N, P, V]`
    pub(crate) values: Tensor,
    /// The image of each sentence.
    pub(crate) image_of: Vec<usize>,
    /// `[S, H]`
    pub(crate) h0: Tensor,
    /// `[S, H]`
    pub(crate) c0: Tensor,
    pub(crate) weights: AttentionLstmWeights,
}

/// Results of a forward pass, and those of its intermediate results that the backward pass reads.
pub(crate) struct Saved {
    /// The output, the weights `alpha`, and `c'` of the last step, one after the other, as [`Sizes::parts`] says.
    pub(super) results: Tensor,
    /// `[S, T, A + V + 4H]`: `q`, `beta`, and the gates i, f, g, o of every step. Overwritten by `dq`, `dr`, `da`.
    pub(super) rows: Tensor,
    /// `[S, T, V]`: `m` of every step. Overwritten by `dm`. On the GPU its buffer has room for more, see `gpu.rs`.
    pub(super) means: Tensor,
    /// `[S, T, H]`: `c'` of every step, for the backward pass on the CPU. On the GPU it is empty: the cells follow the results in
    /// their buffer.
    pub(super) cells: Tensor,
}

impl Job {
    pub(super) fn check(
        x: &Tensor,
        memory: &Memory,
        [h0, c0]: [&Tensor; 2],
        weights: &AttentionLstmWeights,
    ) -> Result<Job> {
        let sizes = weights.sizes(x, memory)?;
        let state = [sizes.sentences, sizes.hidden];
        if h0.dims() != state || c0.dims() != state {
            return Err(Error::shape(
                "attention_lstm",
                format_args!("h0 and c0 [{}, {}]", state[0], state[1]),
                format_args!("{} and {}", h0.shape(), c0.shape()),
            ));
        }
        if let Some(image) = memory.image_of.iter().find(|&&n| n >= sizes.images) {
            let what = format_args!(
                "there is no image {image} among {} (from 0 on)",
                sizes.images
            );
            return Err(Error::value("attention_lstm", what));
        }
        Ok(Job {
            sizes,
            x: x.clone(),
            keys: memory.keys.clone(),
            values: memory.values.clone(),
            image_of: memory.image_of.to_vec(),
            h0: h0.clone(),
            c0: c0.clone(),
            weights: weights.clone(),
        })
    }

    /// Whether a gradient is wanted.
    pub(super) fn is_tracked(&self) -> bool {
        let AttentionLstmWeights {
            w_ih,
            w_hh,
            bias,
            score,
        } = &self.weights;
        let weights = [w_ih, w_hh, bias, score];
        let others = [&self.x, &self.keys, &self.values, &self.h0, &self.c0];
        others.iter().chain(&weights).any(|t| t.is_tracked())
    }
}

impl AttentionLstmWeights {
    /// The sizes; an error where the shapes do not fit together or one is empty.
    pub(super) fn sizes(&self, x: &Tensor, memory: &Memory) -> Result<Sizes> {
        let [x_dims, keys, values] = [x, memory.keys, memory.values].map(Tensor::dims);
        let sentences = memory.image_of.len();
        let (&[s, steps, inputs], &[images, positions, key], &[n, p, value]) =
            (x_dims, keys, values)
        else {
            return Err(self.shape_error(x, memory));
        };
        let &[_, hidden] = self.w_hh.dims() else {
            return Err(self.shape_error(x, memory));
        };
        let sizes = Sizes {
            sentences,
            steps,
            images,
            positions,
            inputs,
            key,
            value,
            hidden,
        };
        let fits = s == sentences
            && [n, p] == [images, positions]
            && self.w_ih.dims() == [4 * hidden, inputs + value]
            && self.w_hh.dims() == [sizes.recurrent(), hidden]
            && self.bias.dims() == [value + 4 * hidden]
            && self.score.dims() == [key];
        let all = [s, steps, images, positions, inputs, key, value, hidden];
        if !fits || all.contains(&0) {
            return Err(self.shape_error(x, memory));
        }
        Ok(sizes)
    }

    fn shape_error(&self, x: &Tensor, memory: &Memory) -> Error {
        Error::shape(
            "attention_lstm",
            "x [S, T, E], keys [N, P, A], values [N, P, V], S images, w_ih [4H, E + V], w_hh [A + V + 4H, H], \
             bias [V + 4H] and score [A], none of them empty",
            format_args!(
                "{}, {}, {}, {}, {}, {}, {} and {}",
                x.shape(),
                memory.keys.shape(),
                memory.values.shape(),
                memory.image_of.len(),
                self.w_ih.shape(),
                self.w_hh.shape(),
                self.bias.shape(),
                self.score.shape()
            ),
        )
    }
}
