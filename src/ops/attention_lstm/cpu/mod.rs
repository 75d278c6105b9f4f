//! The CPU version: SIMD kernels on all cores.
//!
//! The words' part of the gates is one matrix product over all steps. Then the steps follow in order, each for all
//! sentences: one product of the state with `W_hh`, the attention of every sentence, one product of the contexts with
//! `W_iz`, and the gates. The rows of one sentence are contiguous (`[S, T, ..]`), so the rows of one step are a matrix
//! whose row stride is `T` rows. The products read and write such a matrix in place.
//!
//! In the backward pass a step computes only what the step before needs. The gradients with respect to the weights, the
//! words, the keys and the values are computed over all steps at the end.

mod attend;
mod sums;

use super::{Grads, Inputs, Saved, Sizes, Wanted};
use crate::cpu::gates::{self, BackwardRow, ForwardRow};
use crate::cpu::gemm::{Matrix, Product, gemm, gemm_packed, gemm_packed_rows};
use crate::cpu::packed::{Layout, PackedB};
use crate::cpu::pixels::Pixels;
use crate::cpu::rows::sum_rows;
use crate::cpu::{Isa, memory};
use crate::tensor::Tensor;
use attend::{BackwardSentence, ForwardSentence};

/// Output, weights and last cells in one buffer and, with `keep`, the intermediate results for the backward pass.
pub(crate) fn forward(isa: Isa, inputs: &Inputs, keep: bool) -> (Vec<f32>, Saved) {
    let s = inputs.sizes;
    let weights = &inputs.weights;
    let (width, stride) = (s.recurrent(), s.steps * s.recurrent());
    let [_, alphas_at, cells_at, end] = s.parts();
    let mut results = memory::unset(end);
    let (output, rest) = results.split_at_mut(alphas_at);
    let (alphas, c) = rest.split_at_mut(cells_at - alphas_at);
    c.copy_from_slice(inputs.c0.data());
    let mut saved = Saved {
        rows: memory::unset(s.rows() * width),
        means: memory::unset(s.rows() * s.value),
        cells: memory::unset(if keep { s.rows() * s.hidden } else { 0 }),
    };
    let w_ih = weights.w_ih.packed(isa, Layout::Linear, |w| {
        let inputs = s.inputs + s.value;
        Matrix::new(w, 4 * s.hidden, inputs).t().pack(isa)
    });
    let w_hh = weights.w_hh.packed(isa, Layout::Linear, |w| {
        Matrix::new(w, width, s.hidden).t().pack(isa)
    });

    let rows = &mut saved.rows;
    let (gate_bias, lstm_bias) = weights.bias.data().split_at(s.value);
    for row in rows.chunks_exact_mut(width) {
        row[..s.key].fill(0.0);
        row[s.key..s.gates()].copy_from_slice(gate_bias);
    }
    let gates = Product {
        c: &mut rows[s.gates()..],
        stride: width,
        accumulate: false,
        bias: Some(lstm_bias),
    };
    let x = Matrix::new(inputs.x.data(), s.rows(), s.inputs);
    gemm_packed_rows(isa, x, &w_ih, 0, gates);

    for t in 0..s.steps {
        let h = match t {
            0 => Matrix::new(inputs.h0.data(), s.sentences, s.hidden),
            _ => step_of(&output[(t - 1) * s.output()..], s, s.hidden, s.output()),
        };
        let state_product = Product {
            c: &mut rows[t * width..],
            stride,
            accumulate: true,
            bias: None,
        };
        gemm_packed(isa, h, &w_hh, state_product);

        let all = rows
            .chunks_exact_mut(stride)
            .zip(output.chunks_exact_mut(s.steps * s.output()))
            .zip(alphas.chunks_exact_mut(s.steps * s.positions))
            .zip(saved.means.chunks_exact_mut(s.steps * s.value))
            .zip(&inputs.image_of);
        let mut all: Vec<ForwardSentence> = all
            .map(|((((rows, output), alphas), means), &image)| {
                let (q, rest) = rows[t * width..].split_at_mut(s.key);
                ForwardSentence {
                    q,
                    beta: &mut rest[..s.value],
                    z: &mut output[t * s.output() + s.hidden..][..s.value],
                    alpha: &mut alphas[t * s.positions..][..s.positions],
                    mean: &mut means[t * s.value..][..s.value],
                    keys: image_of(&inputs.keys, image, s.positions * s.key),
                    values: image_of(&inputs.values, image, s.positions * s.value),
                }
            })
            .collect();
        attend::forward(isa, weights.score.data(), &mut all);

        let z = step_of(&output[t * s.output() + s.hidden..], s, s.value, s.output());
        let gates = Product {
            c: &mut rows[t * width + s.gates()..],
            stride,
            accumulate: true,
            bias: None,
        };
        gemm_packed_rows(isa, z, &w_ih, s.inputs, gates);

        let mut cells = saved.cells.chunks_exact_mut(s.steps * s.hidden);
        let all = rows
            .chunks_exact_mut(stride)
            .zip(output.chunks_exact_mut(s.steps * s.output()))
            .zip(c.chunks_exact_mut(s.hidden));
        let mut all: Vec<ForwardRow> = all
            .map(|((rows, output), c)| ForwardRow {
                gates: &mut rows[t * width + s.gates()..][..4 * s.hidden],
                h: &mut output[t * s.output()..][..s.hidden],
                c,
                cell: cells
                    .next()
                    .map(|cells| &mut cells[t * s.hidden..][..s.hidden]),
            })
            .collect();
        gates::forward(isa, &mut all);
    }
    (results, saved)
}

/// The rows of one step, from a matrix with a row for each step of each sentence. `data` begins with the first of them.
/// They have `columns` elements, and the rows of successive steps are `width` elements apart.
fn step_of(data: &[f32], s: Sizes, columns: usize, width: usize) -> Matrix<'_> {
    Matrix::strided(data, s.sentences, columns, s.steps * width)
}

/// The `len` elements of one image.
fn image_of(all: &Tensor, image: usize, len: usize) -> &[f32] {
    &all.data()[image * len..][..len]
}

/// Results of the steps of the backward pass, which the sums over all steps read.
struct Steps {
    /// `[S, T, A + V + 4H]`: `dq`, `dr`, `da`.
    rows: Vec<f32>,
    /// `[S, T, V]`: `dm`.
    dm: Vec<f32>,
    /// `[S, T, A]`: `q`.
    queries: Vec<f32>,
    /// `[S, T, P]`: `de`.
    de: Vec<f32>,
    /// `[S, H]`: the gradient with respect to `h` before the first step.
    dh: Vec<f32>,
    /// `[S, H]`: the gradient with respect to `c` before the first step.
    dc: Vec<f32>,
}

/// The wanted gradients. `results` is what the forward pass returned; `above` is laid out like it.
pub(crate) fn backward(
    isa: Isa,
    inputs: &Inputs,
    results: &[f32],
    saved: Saved,
    above: &[f32],
    wanted: Wanted,
) -> Grads {
    let s = inputs.sizes;
    let weights = &inputs.weights;
    let steps = walk_back(isa, inputs, results, saved, above, wanted.h0);
    let Steps {
        rows,
        dm,
        queries,
        de,
        dh,
        dc,
    } = steps;
    let (rows_count, words) = (s.rows(), s.inputs + s.value);
    let all = Matrix::new(&rows, rows_count, s.recurrent());
    let da = Matrix::strided(&rows[s.gates()..], rows_count, 4 * s.hidden, s.recurrent());
    let grad = |data: Vec<f32>, of: &Tensor| Tensor::computed(data, of.dims());

    let key_grads = (wanted.keys || wanted.score).then(|| {
        let steps = sums::KeySteps {
            queries: &queries,
            de: &de,
        };
        sums::keys(isa, inputs, &steps)
    });
    let (dkeys, dscore) = key_grads.unzip();
    let values = wanted.values.then(|| {
        let [_, alphas_at, cells_at, _] = s.parts();
        let dvalues = sums::values(isa, inputs, &results[alphas_at..cells_at], &dm);
        grad(dvalues, &inputs.values)
    });
    let x = wanted.x.then(|| {
        let mut dx = memory::unset(rows_count * s.inputs);
        let w_ix = Matrix::strided(weights.w_ih.data(), 4 * s.hidden, s.inputs, words);
        gemm(isa, da, w_ix, Product::into(&mut dx, s.inputs));
        grad(dx, &inputs.x)
    });
    let w_ih = wanted.w_ih.then(|| {
        let mut dw = memory::unset(4 * s.hidden * words);
        let read = words_and_contexts(isa, inputs, results);
        gemm_packed(isa, da.t(), &read, Product::into(&mut dw, words));
        grad(dw, &weights.w_ih)
    });
    let w_hh = wanted.w_hh.then(|| {
        let mut dw = memory::unset(s.recurrent() * s.hidden);
        let read = states_before(isa, inputs, results);
        gemm_packed(isa, all.t(), &read, Product::into(&mut dw, s.hidden));
        grad(dw, &weights.w_hh)
    });
    let bias = wanted.bias.then(|| {
        let biased = Pixels {
            data: &rows[s.key..],
            stride: s.recurrent(),
        };
        let db = sum_rows(isa, biased, rows_count, s.value + 4 * s.hidden);
        grad(db, &weights.bias)
    });
    let all = [rows, dm, queries, de];
    all.into_iter().for_each(memory::recycle);
    Grads {
        x,
        keys: dkeys.map(|d| grad(d, &inputs.keys)),
        values,
        h0: wanted.h0.then(|| grad(dh, &inputs.h0)),
        c0: wanted.c0.then(|| grad(dc, &inputs.c0)),
        w_ih,
        w_hh,
        bias,
        score: dscore.map(|d| grad(d, &weights.score)),
    }
}

/// `[x, z]` of every step, packed as the right-hand operand `[S T, E + V]`.
fn words_and_contexts(isa: Isa, inputs: &Inputs, results: &[f32]) -> PackedB {
    let s = inputs.sizes;
    let x = inputs.x.data();
    PackedB::new(isa, s.rows(), s.inputs + s.value, |row, first, to| {
        let (x, z) = (
            &x[row * s.inputs..][..s.inputs],
            &results[row * s.output() + s.hidden..],
        );
        let from_x = x.get(first..).unwrap_or(&[]);
        let from_x = &from_x[..from_x.len().min(to.len())];
        let (to_x, to_z) = to.split_at_mut(from_x.len());
        to_x.copy_from_slice(from_x);
        if !to_z.is_empty() {
            let first = (first + from_x.len()) - s.inputs;
            to_z.copy_from_slice(&z[first..first + to_z.len()]);
        }
    })
}

/// `h` before every step, packed as the right-hand operand `[S T, H]`.
fn states_before(isa: Isa, inputs: &Inputs, results: &[f32]) -> PackedB {
    let s = inputs.sizes;
    let h0 = inputs.h0.data();
    PackedB::new(isa, s.rows(), s.hidden, |row, first, to| {
        let h = match row % s.steps {
            0 => &h0[row / s.steps * s.hidden..],
            _ => &results[(row - 1) * s.output()..],
        };
        to.copy_from_slice(&h[first..first + to.len()]);
    })
}

/// Goes from the last step to the first.
fn walk_back(
    isa: Isa,
    inputs: &Inputs,
    results: &[f32],
    saved: Saved,
    above: &[f32],
    h0_wanted: bool,
) -> Steps {
    let s = inputs.sizes;
    let weights = &inputs.weights;
    let (width, stride) = (s.recurrent(), s.steps * s.recurrent());
    let [_, alphas_at, cells_at, _] = s.parts();
    let Saved {
        mut rows,
        means,
        cells,
    } = saved;
    // Holds `m`, overwritten by `dm`.
    let mut dm = means;
    let mut queries = memory::unset(s.rows() * s.key);
    let mut de = memory::unset(s.rows() * s.positions);
    let mut dc = above[cells_at..].to_vec();
    let mut dh = vec![0.0; s.sentences * s.hidden];
    let mut dz = memory::unset(s.sentences * s.value);
    let w_iz = &weights.w_ih.data()[s.inputs..];
    let w_iz = Matrix::strided(w_iz, 4 * s.hidden, s.value, s.inputs + s.value).pack(isa);
    let w_hh = Matrix::new(weights.w_hh.data(), width, s.hidden);
    let w_hh = (s.steps > 1 || h0_wanted).then(|| w_hh.pack(isa));
    for t in (0..s.steps).rev() {
        let all = rows
            .chunks_exact_mut(stride)
            .zip(dc.chunks_exact_mut(s.hidden))
            .zip(dh.chunks_exact(s.hidden))
            .enumerate();
        let mut all: Vec<BackwardRow> = all
            .map(|(n, ((rows, dc), dh))| {
                let row = n * s.steps + t;
                BackwardRow {
                    gates: &mut rows[t * width + s.gates()..][..4 * s.hidden],
                    dc,
                    dh: [&above[row * s.output()..][..s.hidden], dh],
                    cell: &cells[row * s.hidden..][..s.hidden],
                    before: Some(match t {
                        0 => &inputs.c0.data()[n * s.hidden..][..s.hidden],
                        _ => &cells[(row - 1) * s.hidden..][..s.hidden],
                    }),
                }
            })
            .collect();
        gates::backward(isa, &mut all);

        let da = step_of(&rows[t * width + s.gates()..], s, 4 * s.hidden, width);
        gemm_packed(isa, da, &w_iz, Product::into(&mut dz, s.value));

        let all = rows
            .chunks_exact_mut(stride)
            .zip(dm.chunks_exact_mut(s.steps * s.value))
            .zip(queries.chunks_exact_mut(s.steps * s.key))
            .zip(de.chunks_exact_mut(s.steps * s.positions))
            .zip(&inputs.image_of)
            .enumerate();
        let mut all: Vec<BackwardSentence> = all
            .map(|(n, ((((rows, dm), queries), de), &image))| {
                let row = n * s.steps + t;
                let (q, rest) = rows[t * width..].split_at_mut(s.key);
                let alphas = alphas_at + row * s.positions..alphas_at + (row + 1) * s.positions;
                BackwardSentence {
                    q,
                    beta: &mut rest[..s.value],
                    mean: &mut dm[t * s.value..][..s.value],
                    query: &mut queries[t * s.key..][..s.key],
                    de: &mut de[t * s.positions..][..s.positions],
                    dz: [
                        &above[row * s.output() + s.hidden..][..s.value],
                        &dz[n * s.value..][..s.value],
                    ],
                    alpha: &results[alphas.clone()],
                    dalpha: &above[alphas],
                    keys: image_of(&inputs.keys, image, s.positions * s.key),
                    values: image_of(&inputs.values, image, s.positions * s.value),
                }
            })
            .collect();
        attend::backward(isa, weights.score.data(), &mut all);

        if let Some(w_hh) = w_hh.as_ref().filter(|_| t > 0 || h0_wanted) {
            let all = step_of(&rows[t * width..], s, width, width);
            gemm_packed(isa, all, w_hh, Product::into(&mut dh, s.hidden));
        }
    }
    [dz, cells].into_iter().for_each(memory::recycle);
    Steps {
        rows,
        dm,
        queries,
        de,
        dh,
        dc,
    }
}
