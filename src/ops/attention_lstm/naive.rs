//! The definition as plain loops, sentence by sentence and step by step.

use super::{AttentionLstmWeights, Grads, Inputs, Saved, Sizes, Wanted};
use crate::cpu::Isa;
use crate::tensor::Tensor;

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

/// Output, weights and last cells in one buffer, and the intermediate results for the backward pass.
pub(crate) fn forward(_: Isa, inputs: &Inputs, _keep: bool) -> (Vec<f32>, Saved) {
    let s = inputs.sizes;
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
    } = &inputs.weights;
    let [_, _, _, end] = s.parts();
    let mut results = vec![0.0; end];
    let (output, rest) = results.split_at_mut(s.rows() * s.output());
    let (alphas, last_c) = rest.split_at_mut(s.rows() * positions);
    let mut saved = Saved {
        rows: vec![0.0; s.rows() * s.recurrent()],
        means: vec![0.0; s.rows() * value],
        cells: vec![0.0; s.rows() * hidden],
    };
    for (sentence, &image) in inputs.image_of.iter().enumerate() {
        let keys = &inputs.keys.data()[image * positions * key..][..positions * key];
        let values = &inputs.values.data()[image * positions * value..][..positions * value];
        let mut h = inputs.h0.data()[sentence * hidden..][..hidden].to_vec();
        let mut c = inputs.c0.data()[sentence * hidden..][..hidden].to_vec();
        for row in sentence * steps..(sentence + 1) * steps {
            // [q, r, a] = W_hh h + [0, b]
            let reads = &mut saved.rows[row * s.recurrent()..][..s.recurrent()];
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
            let mean = &mut saved.means[row * value..][..value];
            add_transposed_product(mean, values, value, alpha);
            let (h_new, z) = output[row * s.output()..][..s.output()].split_at_mut(hidden);
            for j in 0..value {
                beta[j] = sigmoid(beta[j]);
                z[j] = beta[j] * mean[j];
            }

            let x = &inputs.x.data()[row * words..][..words];
            add_product(gates, w_ih.data(), words + value, x);
            add_product(gates, &w_ih.data()[words..], words + value, z);
            for k in 0..hidden {
                let [i, f, o] = [0, 1, 3].map(|gate| sigmoid(gates[gate * hidden + k]));
                let g = gates[2 * hidden + k].tanh();
                for (gate, activated) in [i, f, g, o].into_iter().enumerate() {
                    gates[gate * hidden + k] = activated;
                }
                c[k] = f * c[k] + i * g;
                h[k] = o * c[k].tanh();
            }
            h_new.copy_from_slice(&h);
            saved.cells[row * hidden..][..hidden].copy_from_slice(&c);
        }
        last_c[sentence * hidden..][..hidden].copy_from_slice(&c);
    }
    (results, saved)
}

/// Every gradient, wanted or not. `above` is laid out like `results`.
pub(crate) fn backward(
    _: Isa,
    inputs: &Inputs,
    results: &[f32],
    saved: Saved,
    above: &[f32],
    _wanted: Wanted,
) -> Grads {
    let s = inputs.sizes;
    let Sizes {
        sentences,
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
    } = &inputs.weights;
    let [_, alphas_at, cells_at, _] = s.parts();
    let zeros = |t: &Tensor| vec![0.0; t.len()];
    let (mut dx, mut dkeys, mut dvalues) =
        (zeros(&inputs.x), zeros(&inputs.keys), zeros(&inputs.values));
    let (mut dh0, mut dc0) = (zeros(&inputs.h0), zeros(&inputs.c0));
    let (mut dw_ih, mut dw_hh) = (zeros(w_ih), zeros(w_hh));
    let (mut dbias, mut dscore) = (zeros(bias), zeros(score));
    for sentence in 0..sentences {
        let image = inputs.image_of[sentence];
        let keys = &inputs.keys.data()[image * positions * key..][..positions * key];
        let values = &inputs.values.data()[image * positions * value..][..positions * value];
        let dkeys = &mut dkeys[image * positions * key..][..positions * key];
        let dvalues = &mut dvalues[image * positions * value..][..positions * value];
        // dh and dc of the step after.
        let mut dh = vec![0.0; hidden];
        let mut dc = above[cells_at + sentence * hidden..][..hidden].to_vec();
        for row in (sentence * steps..(sentence + 1) * steps).rev() {
            let is_first = row == sentence * steps;
            let (h, c) = if is_first {
                let state = |t: &Tensor| t.data()[sentence * hidden..][..hidden].to_vec();
                (state(&inputs.h0), state(&inputs.c0))
            } else {
                let h = &results[(row - 1) * s.output()..][..hidden];
                let c = &saved.cells[(row - 1) * hidden..][..hidden];
                (h.to_vec(), c.to_vec())
            };
            let now = &saved.rows[row * s.recurrent()..][..s.recurrent()];
            let (q, beta, gates) = (&now[..key], &now[key..s.gates()], &now[s.gates()..]);
            let above_here = &above[row * s.output()..][..s.output()];

            // [dq, dr, da]
            let mut d = vec![0.0; s.recurrent()];
            let (dq, rest) = d.split_at_mut(key);
            let (dr, da) = rest.split_at_mut(value);
            for k in 0..hidden {
                let [i, f, g, o] = [0, 1, 2, 3].map(|gate| gates[gate * hidden + k]);
                let tanh_c = saved.cells[row * hidden + k].tanh();
                let dh_new = above_here[k] + dh[k];
                let dc_new = dc[k] + dh_new * o * (1.0 - tanh_c * tanh_c);
                da[k] = dc_new * g * i * (1.0 - i);
                da[hidden + k] = dc_new * c[k] * f * (1.0 - f);
                da[2 * hidden + k] = dc_new * i * (1.0 - g * g);
                da[3 * hidden + k] = dh_new * tanh_c * o * (1.0 - o);
                dc[k] = dc_new * f;
            }

            let mut dz = above_here[hidden..].to_vec();
            add_transposed_product(&mut dz, &w_ih.data()[words..], words + value, da);
            let mean = &saved.means[row * value..][..value];
            let mut dm = vec![0.0; value];
            for j in 0..value {
                dm[j] = dz[j] * beta[j];
                dr[j] = dz[j] * mean[j] * beta[j] * (1.0 - beta[j]);
            }

            let alpha = &results[alphas_at + row * positions..][..positions];
            let mut dalpha = above[alphas_at + row * positions..][..positions].to_vec();
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
                    dscore[a] += de * u;
                }
            }

            let da = &d[s.gates()..];
            let x = &inputs.x.data()[row * words..][..words];
            let z = &results[row * s.output() + hidden..][..value];
            let dx = &mut dx[row * words..][..words];
            add_transposed_product(dx, w_ih.data(), words + value, da);
            add_outer_product(&mut dw_ih, words + value, da, x);
            add_outer_product(&mut dw_ih[words..], words + value, da, z);
            add_outer_product(&mut dw_hh, hidden, &d, &h);
            dbias.iter_mut().zip(&d[key..]).for_each(|(b, d)| *b += d);
            dh.fill(0.0);
            add_transposed_product(&mut dh, w_hh.data(), hidden, &d);
        }
        dh0[sentence * hidden..][..hidden].copy_from_slice(&dh);
        dc0[sentence * hidden..][..hidden].copy_from_slice(&dc);
    }
    let grad = |data: Vec<f32>, of: &Tensor| Some(Tensor::computed(data, of.dims()));
    Grads {
        x: grad(dx, &inputs.x),
        keys: grad(dkeys, &inputs.keys),
        values: grad(dvalues, &inputs.values),
        h0: grad(dh0, &inputs.h0),
        c0: grad(dc0, &inputs.c0),
        w_ih: grad(dw_ih, w_ih),
        w_hh: grad(dw_hh, w_hh),
        bias: grad(dbias, bias),
        score: grad(dscore, score),
    }
}
