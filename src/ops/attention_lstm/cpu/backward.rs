//! The gradients: the steps from the last to the first, then one sum over all steps for each wanted gradient.

use super::sums;
use super::walk::{Steps, Walk};
use crate::cpu::gemm::{Matrix, Product, gemm, gemm_packed};
use crate::cpu::packed::PackedB;
use crate::cpu::pixels::Pixels;
use crate::cpu::rows::sum_rows;
use crate::cpu::{Isa, memory};
use crate::ops::attention_lstm::{BIAS, C0, H0, Job, KEYS, SCORE, Saved, VALUES, W_HH, W_IH, X};
use crate::tensor::{Tensor, Wanted};

/// The wanted gradients. `dy` is laid out like the results. The function is long because it has a paragraph for each of
/// nine gradients.
pub(crate) fn backward(
    isa: Isa,
    job: &Job,
    saved: Saved,
    dy: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let (s, weights) = (job.sizes, &job.weights);
    let results = saved.results.clone();
    let results = results.data();
    let Steps {
        rows,
        dm,
        queries,
        de,
        dh,
        dc,
    } = Walk::new(job, saved, dy).back(isa, wanted.has(H0));
    let words = s.inputs + s.value;
    let all = Matrix::new(rows.data(), s.rows(), s.recurrent());
    let da = &rows.data()[s.gates()..];
    let da = Matrix::strided(da, s.rows(), 4 * s.hidden, s.recurrent());
    let gradient = |data: Vec<f32>, of: &Tensor| Tensor::computed(data, of.dims());

    let key_gradients = (wanted.has(KEYS) || wanted.has(SCORE)).then(|| {
        let steps = sums::KeySteps {
            queries: &queries,
            de: &de,
        };
        sums::keys(isa, job, &steps)
    });
    let (dkeys, dscore) = key_gradients.unzip();
    let dvalues = wanted.has(VALUES).then(|| {
        let [_, alphas_at, cells_at, _] = s.parts();
        let dvalues = sums::values(isa, job, &results[alphas_at..cells_at], dm.data());
        gradient(dvalues, &job.values)
    });
    let dx = wanted.has(X).then(|| {
        let mut dx = memory::unset(s.rows() * s.inputs);
        let w_ix = Matrix::strided(weights.w_ih.data(), 4 * s.hidden, s.inputs, words);
        gemm(isa, da, w_ix, Product::into(&mut dx, s.inputs));
        gradient(dx, &job.x)
    });
    let dw_ih = wanted.has(W_IH).then(|| {
        let mut dw = memory::unset(4 * s.hidden * words);
        let read = words_and_contexts(isa, job, results);
        gemm_packed(isa, da.t(), &read, Product::into(&mut dw, words));
        gradient(dw, &weights.w_ih)
    });
    let dw_hh = wanted.has(W_HH).then(|| {
        let mut dw = memory::unset(s.recurrent() * s.hidden);
        let read = states_before(isa, job, results);
        gemm_packed(isa, all.t(), &read, Product::into(&mut dw, s.hidden));
        gradient(dw, &weights.w_hh)
    });
    let db = wanted.has(BIAS).then(|| {
        let biased = Pixels::new(&rows.data()[s.key..], s.recurrent());
        let db = sum_rows(isa, biased, s.rows(), s.value + 4 * s.hidden);
        gradient(db, &weights.bias)
    });
    [queries, de].into_iter().for_each(memory::recycle);
    vec![
        dx,
        dkeys
            .filter(|_| wanted.has(KEYS))
            .map(|d| gradient(d, &job.keys)),
        dvalues,
        wanted.has(H0).then(|| gradient(dh, &job.h0)),
        wanted.has(C0).then(|| gradient(dc, &job.c0)),
        dw_ih,
        dw_hh,
        db,
        dscore
            .filter(|_| wanted.has(SCORE))
            .map(|d| gradient(d, &weights.score)),
    ]
}

/// `[x, z]` of every step, packed as the right-hand operand `[S T, E + V]`.
fn words_and_contexts(isa: Isa, job: &Job, results: &[f32]) -> PackedB {
    let s = job.sizes;
    let x = job.x.data();
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
fn states_before(isa: Isa, job: &Job, results: &[f32]) -> PackedB {
    let s = job.sizes;
    let h0 = job.h0.data();
    PackedB::new(isa, s.rows(), s.hidden, |row, first, to| {
        let h = match row % s.steps {
            0 => &h0[row / s.steps * s.hidden..],
            _ => &results[(row - 1) * s.output()..],
        };
        to.copy_from_slice(&h[first..first + to.len()]);
    })
}
