//! The definition as plain loops.

use super::{BIAS, C0, H0, Job, LstmWeights, Saved, W_HH, W_IH, X};
use crate::cpu::gates::{CELL, FORGET, INPUT, OUTPUT};
use crate::tensor::{Tensor, Wanted};

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// `h'`, `c'` and the gates of every step.
pub(crate) fn forward(job: &Job) -> Saved {
    let &Job {
        batch,
        steps,
        inputs,
        hidden,
        ..
    } = job;
    let x = job.x.data();
    let LstmWeights { w_ih, w_hh, bias } = &job.weights;
    let (w_ih, w_hh, bias) = (w_ih.data(), w_hh.data(), bias.data());
    let mut gates = vec![0.0; job.rows() * 4 * hidden];
    let (mut h_new, mut c_new) = (
        vec![0.0; job.rows() * hidden],
        vec![0.0; job.rows() * hidden],
    );
    for n in 0..batch {
        for t in 0..steps {
            let row = n * steps + t;
            for j in 0..4 * hidden {
                let mut a = bias[j];
                for e in 0..inputs {
                    a += x[row * inputs + e] * w_ih[j * inputs + e];
                }
                for k in 0..hidden {
                    a += before(job, job.h0(), &h_new, [n, t, k]) * w_hh[j * hidden + k];
                }
                let is_candidate = j / hidden == CELL;
                gates[row * 4 * hidden + j] = if is_candidate { a.tanh() } else { sigmoid(a) };
            }
            for k in 0..hidden {
                let gate = |which: usize| gates[(row * 4 + which) * hidden + k];
                let c = before(job, job.c0(), &c_new, [n, t, k]);
                c_new[row * hidden + k] = gate(FORGET) * c + gate(INPUT) * gate(CELL);
                h_new[row * hidden + k] = gate(OUTPUT) * c_new[row * hidden + k].tanh();
            }
        }
    }
    if job.with_cells {
        h_new.extend(c_new);
    }
    job.computed(h_new, gates)
}

/// Element `k` of `h` or `c` of sequence `n` before step `t`: that of `new` after step `t - 1`; at step 0 that of
/// `first`, or zero if it is `None`.
fn before(job: &Job, first: Option<&Tensor>, new: &[f32], [n, t, k]: [usize; 3]) -> f32 {
    match first {
        Some(first) if t == 0 => first.data()[n * job.hidden + k],
        None if t == 0 => 0.0,
        _ => new[(n * job.steps + t - 1) * job.hidden + k],
    }
}

/// The gradients, from the last step of each sequence to its first. One function, because all of them are sums over the
/// same loops.
pub(crate) fn backward(
    job: &Job,
    saved: Saved,
    d_output: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let &Job {
        batch,
        steps,
        inputs,
        hidden,
        ..
    } = job;
    let x = job.x.data();
    let (w_ih, w_hh) = (job.weights.w_ih.data(), job.weights.w_hh.data());
    let (h_new, c_new) = saved.states.data().split_at(job.rows() * hidden);
    let (dy, mut dc) = job.split_gradient(d_output);
    let mut dx = vec![0.0; x.len()];
    // dh of step t + 1 while step t is computed; in the end dh of the first step.
    let mut dh = vec![0.0; batch * hidden];
    let (mut dw_ih, mut dw_hh) = (vec![0.0; w_ih.len()], vec![0.0; w_hh.len()]);
    let mut db = vec![0.0; 4 * hidden];
    for n in 0..batch {
        let (dh, dc) = (
            &mut dh[n * hidden..][..hidden],
            &mut dc[n * hidden..][..hidden],
        );
        for t in (0..steps).rev() {
            let row = n * steps + t;
            let gates = &saved.gates.data()[row * 4 * hidden..][..4 * hidden];
            let mut da = vec![0.0; 4 * hidden];
            for k in 0..hidden {
                let c = before(job, job.c0(), c_new, [n, t, k]);
                let dh_new = dy[row * hidden + k] + dh[k];
                let (da_k, dc_k) = cell(gates, k, [c, c_new[row * hidden + k]], dh_new, dc[k]);
                for (gate, d) in da_k.into_iter().enumerate() {
                    da[gate * hidden + k] = d;
                }
                dc[k] = dc_k;
            }
            dh.fill(0.0);
            for (j, da) in da.into_iter().enumerate() {
                for e in 0..inputs {
                    dx[row * inputs + e] += da * w_ih[j * inputs + e];
                    dw_ih[j * inputs + e] += da * x[row * inputs + e];
                }
                for k in 0..hidden {
                    dh[k] += da * w_hh[j * hidden + k];
                    dw_hh[j * hidden + k] += da * before(job, job.h0(), h_new, [n, t, k]);
                }
                db[j] += da;
            }
        }
    }
    let state = [batch, hidden];
    let gradient = |input: usize, data: Vec<f32>, dims: &[usize]| {
        wanted.has(input).then(|| Tensor::computed(data, dims))
    };
    vec![
        gradient(X, dx, job.x.dims()),
        gradient(W_IH, dw_ih, job.weights.w_ih.dims()),
        gradient(W_HH, dw_hh, job.weights.w_hh.dims()),
        gradient(BIAS, db, job.weights.bias.dims()),
        gradient(H0, dh, &state),
        gradient(C0, dc, &state),
    ]
}

/// `da` of the four gates of cell `k`, and its `dc`. The argument `dc` is the gradient with respect to `c'` without the
/// term through `h'`.
fn cell(gates: &[f32], k: usize, [c, c_new]: [f32; 2], dh_new: f32, dc: f32) -> ([f32; 4], f32) {
    let hidden = gates.len() / 4;
    let [i, f, g, o] = [INPUT, FORGET, CELL, OUTPUT].map(|gate| gates[gate * hidden + k]);
    let tanh_c = c_new.tanh();
    let dc_new = dc + dh_new * o * (1.0 - tanh_c * tanh_c);
    let mut da = [0.0; 4];
    da[INPUT] = dc_new * g * i * (1.0 - i);
    da[FORGET] = dc_new * c * f * (1.0 - f);
    da[CELL] = dc_new * i * (1.0 - g * g);
    da[OUTPUT] = dh_new * tanh_c * o * (1.0 - o);
    (da, dc_new * f)
}
