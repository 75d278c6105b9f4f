//! Soft attention and an LSTM over a whole sequence, as one operation (Xu et al. 2015, arXiv 1502.03044).
//!
//! Attention lets the decoder read the image again before each word. The state after the last word gives a query. The query
//! is compared with a key of every position of the feature map, which gives a weight for each position. The weighted mean
//! of the positions' values is the context, which the LSTM reads together with the word.
//!
//! # One step
//!
//! For a sentence whose image has the keys `k_p` `[A]` and the values `v_p` `[V]` at its `P` positions, with the vector `x`
//! `[E]` of the word, and the state `h`, `c` `[H]` before the step:
//!
//! ```text
//! [q, r, a] = W_hh h + [0, b]            query [A], the context's gate [V], the LSTM's gates [4H]
//! u_p = tanh(k_p + q)                    additive attention
//! e_p = s . u_p                          s [A]
//! alpha = softmax(e)                     over the positions
//! m = sum over p of alpha_p v_p          the mean of the values
//! beta = sigmoid(r)
//! z = beta m                             the context, gated element by element
//! a' = a + W_ih [x, z]                   W_ih = [W_ix, W_iz]
//! i, f, o = sigmoid(a')    g = tanh(a')  each H of the 4H elements, in the order i, f, g, o
//! c' = f c + i g
//! h' = o tanh(c')
//! ```
//!
//! A prime means "after". The code writes `score` for `s` and `mean` for `m`. It has no name for `a'`, which overwrites
//! `a` and is overwritten by the gates. The query needs no bias, because the linear layer that computes the keys has one,
//! and query and key are only used as their sum. The scores need none either, because the softmax does not change when
//! the same number is added to every `e_p`.
//!
//! # The gradient
//!
//! The backward pass goes from the last step to the first. The tape gives the gradients `dy` with respect to the outputs
//! `h'`, `z`, `alpha`, and `c'` of the last step. `dh'` is the `dy` of this step's `h'`, plus the `dh` of the step after.
//! `dc'` is the `dc` of the step after, and at the last step the `dy` of `c'`. [`lstm`](mod@super::lstm)
//! derives the gradient of the gates:
//!
//! ```text
//! dc' += dh' o (1 - tanh(c')^2)          dc = dc' f
//! da = [dc' g i (1 - i),  dc' c f (1 - f),  dc' i (1 - g^2),  dh' tanh(c') o (1 - o)]
//! ```
//!
//! `da` is the gradient with respect to `a'`, and also that with respect to `a`, because `a'` is a sum with the summand
//! `a`.
//!
//! The context `z` is an output and is also read through `W_iz`, so its gradient has two terms. It is a product, so the
//! gradient with respect to each factor is `dz` times the other factor. The derivative of the sigmoid is `beta (1 - beta)`:
//!
//! ```text
//! dz = dy of z + W_iz^T da               dm = dz beta            dr = dz m beta (1 - beta)
//! ```
//!
//! The mean is linear in the weights and in the values. The derivative of `alpha_p` with respect to `e_j` is
//! `alpha_p ([p = j] - alpha_j)`, where `[p = j]` is 1 for equal indices and 0 otherwise. The sum over `p` of `dalpha_p`
//! times this derivative is `de_j`:
//!
//! ```text
//! dalpha_p = dy of alpha_p + dm . v_p    dv_p += alpha_p dm
//! de_p = alpha_p (dalpha_p - sum over j of alpha_j dalpha_j)
//! ```
//!
//! The score is linear in `s` and in `u_p`, so `du_p = de_p s`. The derivative of tanh is `1 - u_p^2`. Its argument is a
//! sum, and both summands receive the gradient of the sum:
//!
//! ```text
//! ds += sum over p of de_p u_p
//! dk_p += de_p s (1 - u_p^2)             dq = sum over p of de_p s (1 - u_p^2)
//! dh = W_hh^T [dq, dr, da]               passed to the step before
//! ```
//!
//! The `dh` and `dc` of the first step are the gradients with respect to `h0` and `c0`. The remaining gradients are
//! computed after all steps: `db` as a sum, the others as matrix products. Those with respect to the weights and the bias
//! are sums over all steps and sentences:
//!
//! ```text
//! dx = W_ix^T da      dW_ih += da [x, z]^T      dW_hh += [dq, dr, da] h^T      db += [dr, da]
//! ```
//!
//! `u` has `P A` elements in each step, usually more than all other results together. It is computed again in the
//! backward pass instead of stored. The gradients with respect to the keys and values of an image are sums over all steps
//! of all its sentences. They are computed after all steps, position by position, in the order of the sentences. So each
//! element is written by one thread, and the result has the same bits for any number of threads.

mod cpu;
mod gpu;
mod job;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::Result;
use crate::tensor::{Place, Tensor};
use job::{BIAS, C0, H0, Job, KEYS, SCORE, Saved, Sizes, VALUES, W_HH, W_IH, X};

/// The weights, for words of `E` elements, keys of `A`, values of `V`, and `H` cells.
#[derive(Clone, Debug)]
pub struct AttentionLstmWeights {
    /// `[4H, E + V]`: the rows of the gates i, f, g, o; the columns of the word, then those of the context.
    pub w_ih: Tensor,
    /// `[A + V + 4H, H]`: the rows of the query, then of the context's gate, then of the gates i, f, g, o. All of them read
    /// the state, so they are one matrix and computed by one product.
    pub w_hh: Tensor,
    /// `[V + 4H]`: the bias of the context's gate, then that of the gates i, f, g, o.
    pub bias: Tensor,
    /// `[A]`: `s`, whose dot product with a position's `tanh(key + query)` is its score.
    pub score: Tensor,
}

/// The images' keys and values, and the image of each sentence.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    /// `[N, P, A]`: a key for each of the `P` positions of each of the `N` images.
    pub keys: &'a Tensor,
    /// `[N, P, V]`: a value for each position of each image.
    pub values: &'a Tensor,
    /// The image of each of the `S` sentences, by its index. Several sentences may have the same image.
    pub image_of: &'a [usize],
}

/// The results of [`attention_lstm`].
#[derive(Clone, Debug)]
pub struct Attended {
    /// `[S, T, H + V]`: the new state `h'` of every step, followed by the gated context `z`. They share a row because the
    /// output layer of a decoder reads both.
    pub output: Tensor,
    /// `[S, T, P]`: the weights `alpha` of the positions, which sum to 1.
    pub weights: Tensor,
    /// `[S, H]`: `c'` of the last step.
    pub c: Tensor,
}

/// Soft attention and an LSTM over sequences `x` `[S, T, E]`, from the state `h0`, `c0` `[S, H]`. Each sentence attends to
/// its image in `memory.image_of`.
///
/// All results are views of one buffer, which is one node on the tape: a loss may depend on any of them.
///
/// ```
/// use glimpse::ops::{AttentionLstmWeights, Memory, attention_lstm};
/// use glimpse::tensor::Tensor;
/// // One sentence of two words that looks at an image with two positions. E = 1, A = 1, V = 1, H = 1.
/// let weights = AttentionLstmWeights {
///     w_ih: Tensor::zeros(&[4, 2]),
///     w_hh: Tensor::zeros(&[6, 1]),
///     bias: Tensor::zeros(&[5]),
///     score: Tensor::zeros(&[1]),
/// };
/// let (keys, values) = (Tensor::zeros(&[1, 2, 1]), Tensor::from_vec(vec![1.0, 3.0], &[1, 2, 1])?);
/// let memory = Memory { keys: &keys, values: &values, image_of: &[0] };
/// let (x, state) = (Tensor::zeros(&[1, 2, 1]), Tensor::zeros(&[1, 1]));
/// let attended = attention_lstm(&x, &memory, &state, &state, &weights)?;
/// assert_eq!(attended.weights.data(), &[0.5, 0.5, 0.5, 0.5]);
/// // The state stays zero; the context is half of the mean of 1 and 3.
/// assert_eq!(attended.output.data(), &[0.0, 1.0, 0.0, 1.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes do not fit, one of the sizes is 0, or an image does not exist.
pub fn attention_lstm(
    x: &Tensor,
    memory: &Memory,
    h0: &Tensor,
    c0: &Tensor,
    weights: &AttentionLstmWeights,
) -> Result<Attended> {
    let sizes = format_args!("{} at {}", x.shape(), memory.keys.shape());
    let _timer = profile::time("attention_lstm", sizes);
    let job = Job::check(x, memory, [h0, c0], weights)?;
    let AttentionLstmWeights {
        w_ih,
        w_hh,
        bias,
        score,
    } = weights;
    let Memory { keys, values, .. } = *memory;
    let inputs = [x, keys, values, h0, c0, w_ih, w_hh, bias, score];
    let place = Place::of(&inputs);
    let saved = match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    };
    let (results, sizes) = (saved.results.clone(), job.sizes);
    let results = results.record(&inputs, move |dy, wanted| match &place {
        Place::Naive => Ok(naive::backward(&job, saved, dy, wanted)),
        Place::Cpu(isa) => Ok(cpu::backward(*isa, &job, saved, dy, wanted)),
        Place::Gpu(gpu) => gpu::backward(gpu, &job, saved, dy, wanted),
    })?;
    Attended::from(&results, sizes)
}

impl Attended {
    /// The results as views of the buffer that holds them.
    fn from(results: &Tensor, sizes: Sizes) -> Result<Self> {
        let Sizes {
            sentences,
            steps,
            positions,
            hidden,
            ..
        } = sizes;
        let [output, weights, c, end] = sizes.parts();
        let view = |start, end, dims: &[usize]| results.narrow(start, end - start)?.reshape(dims);
        Ok(Attended {
            output: view(output, weights, &[sentences, steps, sizes.output()])?,
            weights: view(weights, c, &[sentences, steps, positions])?,
            c: view(c, end, &[sentences, hidden])?,
        })
    }
}

#[cfg(test)]
mod tests;
