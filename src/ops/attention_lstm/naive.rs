//! The definition as plain loops, sentence by sentence and step by step.

use super::{
    AttentionLstmWeights, BIAS, C0, H0, Job, KEYS, SCORE, Saved, Sizes, VALUES, W_HH, W_IH, X,
};
use crate::cpu::gates::{CELL, FORGET, INPUT, OUTPUT};
use crate::tensor::{Tensor, Wanted};

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `y += W x`; the rows of `W` are `stride` elements apart.
fn add_product(y: &mut [f32], w: &[f32], stride: usize, x: &[f32]) {
    for (y, row) in y.iter_mut().zip(w.chunks(stride)) {
        *y += dot(&row[..x.len()], x);
    }
}

/// `x += W^T y`
fn add_transposed_product(x: &mut [f32], w: &[f32], stride: usize, y: &[f32]) {
    for (y, row) in y.iter().zip(w.chunks(stride)) {
        x.iter_mut().zip(row).for_each(|(x, w)| *x += w * y);
    }
}

/// `W += y x^T`
fn add_outer_product(w: &mut [f32], stride: usize, y: &[f32], x: &[f32]) {
    for (y, row) in y.iter().zip(w.chunks_mut(stride)) {
        row.iter_mut().zip(x).for_each(|(w, x)| *w += y * x);
    }
}

/// `alpha = softmax(e)`, in place.
fn softmax(e: &mut [f32]) {
    let largest = e.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    e.iter_mut().for_each(|e| *e = (*e - largest).exp());
    let sum: f32 = e.iter().sum();
    e.iter_mut().for_each(|e| *e /= sum);
}

/// Activates the pre-activations `a` of one row, and computes its new state.
fn activate(a: &mut [f32], h: &mut [f32], c: &mut [f32]) {
    let hidden = h.len();
    for (j, a) in a.iter_mut().enumerate() {
        let is_candidate = j / hidden == CELL;
        *a = if is_candidate { a.tanh() } else { sigmoid(*a) };
    }
    for k in 0..hidden {
        let [i, f, g, o] = [INPUT, FORGET, CELL, OUTPUT].map(|gate| a[gate * hidden + k]);
        c[k] = f * c[k] + i * g;
        h[k] = o * c[k].tanh();
    }
}

/// All results, and the intermediate ones for the backward pass. One function, so that it reads like the equation.
pub(crate) fn forward(job: &Job) -> Saved {
    let s = job.sizes;
    let Sizes {
        steps,
        positions,
        inputs: words,
        key,
        value,
        hidden,
        ..
    } = s;
    let AttentionLstmWeights {
        w_ih,
        w_hh,
        bias,
        score,
    } = &job.weights;
    let [_, alphas_at, cells_at, end] = s.parts();
    let mut results = vec![0.0; end];
    let (output, rest) = results.split_at_mut(alphas_at);
    let (alphas, last_c) = rest.split_at_mut(cells_at - alphas_at);
    let mut rows = vec![0.0; s.rows() * s.recurrent()];
    let mut means = vec![0.0; s.rows() * value];
    let mut cells = vec![0.0; s.rows() * hidden];
    for (sentence, &image) in job.image_of.iter().enumerate() {
        let keys = &job.keys.data()[image * positions * key..][..positions * key];
        let values = &job.values.data()[image * positions * value..][..positions * value];
        let mut h = job.h0.data()[sentence * hidden..][..hidden].to_vec();
        let mut c = job.c0.data()[sentence * hidden..][..hidden].to_vec();
        for row in sentence * steps..(sentence + 1) * steps {
            // [q, r, a] = W_hh h + [0, b]
            let reads = &mut rows[row * s.recurrent()..][..s.recurrent()];
            reads[key..].copy_from_slice(bias.data());
            add_product(reads, w_hh.data(), hidden, &h);
            let (q, rest) = reads.split_at_mut(key);
            let (beta, gates) = rest.split_at_mut(value);

            let alpha = &mut alphas[row * positions..][..positions];
            for (e, key) in alpha.iter_mut().zip(keys.chunks(key)) {
                let u: Vec<f32> = key.iter().zip(&*q).map(|(k, q)| (k + q).tanh()).collect();
                *e = dot(score.data(), &u);
            }
            softmax(alpha);

            // m, then z = beta m
            let mean = &mut means[row * value..][..value];
            add_transposed_product(mean, values, value, alpha);
            let (h_new, z) = output[row * s.output()..][..s.output()].split_at_mut(hidden);
            for j in 0..value {
                beta[j] = sigmoid(beta[j]);
                z[j] = beta[j] * mean[j];
            }

            let x = &job.x.data()[row * words..][..words];
            add_product(gates, w_ih.data(), words + value, x);
            add_product(gates, &w_ih.data()[words..], words + value, z);
            activate(gates, &mut h, &mut c);
            h_new.copy_from_slice(&h);
            cells[row * hidden..][..hidden].copy_from_slice(&c);
        }
        last_c[sentence * hidden..][..hidden].copy_from_slice(&c);
    }
    Saved {
        results: Tensor::computed(results, &[end]),
        rows: Tensor::computed(rows, &[s.rows(), s.recurrent()]),
        means: Tensor::computed(means, &[s.rows(), value]),
        cells: Tensor::computed(cells, &[s.rows(), hidden]),
    }
}

/// The gradients so far.
struct Sums {
    dx: Vec<f32>,
    dkeys: Vec<f32>,
    dvalues: Vec<f32>,
    dw_ih: Vec<f32>,
    dw_hh: Vec<f32>,
    db: Vec<f32>,
    dscore: Vec<f32>,
    /// `[S, H]`: `dh` of step `t + 1` while step `t` is computed; in the end that of the first step.
    dh: Vec<f32>,
    /// `[S, H]`: `dc` of the same step.
    dc: Vec<f32>,
}

/// The gradients, from the last step of each sentence to its first. `dy` is laid out like the results.
pub(crate) fn backward(
    job: &Job,
    saved: Saved,
    dy: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let s = job.sizes;
    let [_, _, cells_at, _] = s.parts();
    let zeros = |t: &Tensor| vec![0.0; t.len()];
    let mut sums = Sums {
        dx: zeros(&job.x),
        dkeys: zeros(&job.keys),
        dvalues: zeros(&job.values),
        dw_ih: zeros(&job.weights.w_ih),
        dw_hh: zeros(&job.weights.w_hh),
        db: zeros(&job.weights.bias),
        dscore: zeros(&job.weights.score),
        dh: zeros(&job.h0),
        dc: dy.data()[cells_at..].to_vec(),
    };
    for sentence in 0..s.sentences {
        for t in (0..s.steps).rev() {
            backward_step(job, &saved, dy.data(), [sentence, t], &mut sums);
        }
    }
    let gradient = |input: usize, data: Vec<f32>, of: &Tensor| {
        wanted.has(input).then(|| Tensor::computed(data, of.dims()))
    };
    let weights = &job.weights;
    vec![
        gradient(X, sums.dx, &job.x),
        gradient(KEYS, sums.dkeys, &job.keys),
        gradient(VALUES, sums.dvalues, &job.values),
        gradient(H0, sums.dh, &job.h0),
        gradient(C0, sums.dc, &job.c0),
        gradient(W_IH, sums.dw_ih, &weights.w_ih),
        gradient(W_HH, sums.dw_hh, &weights.w_hh),
        gradient(BIAS, sums.db, &weights.bias),
        gradient(SCORE, sums.dscore, &weights.score),
    ]
}

/// Adds one step's part to the gradients. It is long because it has the whole gradient of a step, in the order of `mod.rs`.
fn backward_step(job: &Job, saved: &Saved, dy: &[f32], [sentence, t]: [usize; 2], sums: &mut Sums) {
    let s = job.sizes;
    let Sizes {
        steps,
        positions,
        inputs: words,
        key,
        value,
        hidden,
        ..
    } = s;
    let AttentionLstmWeights {
        w_ih, w_hh, score, ..
    } = &job.weights;
    let (results, cells) = (saved.results.data(), saved.cells.data());
    let [_, alphas_at, _, _] = s.parts();
    let (image, row) = (job.image_of[sentence], sentence * steps + t);
    let keys = &job.keys.data()[image * positions * key..][..positions * key];
    let values = &job.values.data()[image * positions * value..][..positions * value];
    let dkeys = &mut sums.dkeys[image * positions * key..][..positions * key];
    let dvalues = &mut sums.dvalues[image * positions * value..][..positions * value];
    let dh = &mut sums.dh[sentence * hidden..][..hidden];
    let dc = &mut sums.dc[sentence * hidden..][..hidden];
    let (h, c) = match t {
        0 => (
            &job.h0.data()[sentence * hidden..][..hidden],
            &job.c0.data()[sentence * hidden..][..hidden],
        ),
        _ => (
            &results[(row - 1) * s.output()..][..hidden],
            &cells[(row - 1) * hidden..][..hidden],
        ),
    };
    let now = &saved.rows.data()[row * s.recurrent()..][..s.recurrent()];
    let (q, beta, gates) = (&now[..key], &now[key..s.gates()], &now[s.gates()..]);
    let (dy_h, dy_z) = dy[row * s.output()..][..s.output()].split_at(hidden);

    // [dq, dr, da]
    let mut d = vec![0.0; s.recurrent()];
    let (dq, rest) = d.split_at_mut(key);
    let (dr, da) = rest.split_at_mut(value);
    for k in 0..hidden {
        let [i, f, g, o] = [INPUT, FORGET, CELL, OUTPUT].map(|gate| gates[gate * hidden + k]);
        let tanh_c = cells[row * hidden + k].tanh();
        let dh_new = dy_h[k] + dh[k];
        let dc_new = dc[k] + dh_new * o * (1.0 - tanh_c * tanh_c);
        da[INPUT * hidden + k] = dc_new * g * i * (1.0 - i);
        da[FORGET * hidden + k] = dc_new * c[k] * f * (1.0 - f);
        da[CELL * hidden + k] = dc_new * i * (1.0 - g * g);
        da[OUTPUT * hidden + k] = dh_new * tanh_c * o * (1.0 - o);
        dc[k] = dc_new * f;
    }

    let mut dz = dy_z.to_vec();
    add_transposed_product(&mut dz, &w_ih.data()[words..], words + value, da);
    let mean = &saved.means.data()[row * value..][..value];
    let mut dm = vec![0.0; value];
    for j in 0..value {
        dm[j] = dz[j] * beta[j];
        dr[j] = dz[j] * mean[j] * beta[j] * (1.0 - beta[j]);
    }

    let alpha = &results[alphas_at + row * positions..][..positions];
    let mut dalpha = dy[alphas_at + row * positions..][..positions].to_vec();
    add_product(&mut dalpha, values, value, &dm);
    add_outer_product(dvalues, value, alpha, &dm);
    let mean_dalpha = dot(alpha, &dalpha);
    for p in 0..positions {
        let de = alpha[p] * (dalpha[p] - mean_dalpha);
        for a in 0..key {
            let u = (keys[p * key + a] + q[a]).tanh();
            let d = de * score.data()[a] * (1.0 - u * u);
            dkeys[p * key + a] += d;
            dq[a] += d;
            sums.dscore[a] += de * u;
        }
    }

    let da = &d[s.gates()..];
    let x = &job.x.data()[row * words..][..words];
    let z = &results[row * s.output() + hidden..][..value];
    let dx = &mut sums.dx[row * words..][..words];
    add_transposed_product(dx, w_ih.data(), words + value, da);
    add_outer_product(&mut sums.dw_ih, words + value, da, x);
    add_outer_product(&mut sums.dw_ih[words..], words + value, da, z);
    add_outer_product(&mut sums.dw_hh, hidden, &d, h);
    sums.db.iter_mut().zip(&d[key..]).for_each(|(b, d)| *b += d);
    dh.fill(0.0);
    add_transposed_product(dh, w_hh.data(), hidden, &d);
}
