//! The definition as plain loops.

use super::{Backward, Forward, Grads, Sizes};
use crate::cpu::Isa;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// `h'` and `c'` of every step; returns the gates.
pub(crate) fn forward(_: Isa, sizes: Sizes, pass: Forward) -> Vec<f32> {
    let Sizes {
        batch,
        steps,
        inputs,
        hidden,
    } = sizes;
    let Forward {
        x,
        weights,
        h0,
        h_new,
        c,
        mut c_new,
    } = pass;
    let (w_ih, w_hh, bias) = (
        weights.w_ih.data(),
        weights.w_hh.data(),
        weights.bias.data(),
    );
    let mut gates = vec![0.0; batch * steps * 4 * hidden];
    for n in 0..batch {
        for t in 0..steps {
            let row = n * steps + t;
            for j in 0..4 * hidden {
                let mut z = bias[j];
                for e in 0..inputs {
                    z += x[row * inputs + e] * w_ih[j * inputs + e];
                }
                for k in 0..hidden {
                    let h = match h0 {
                        Some(h0) if t == 0 => h0[n * hidden + k],
                        None if t == 0 => 0.0,
                        _ => h_new[(row - 1) * hidden + k],
                    };
                    z += h * w_hh[j * hidden + k];
                }
                let is_candidate = j / hidden == 2;
                gates[row * 4 * hidden + j] = if is_candidate { z.tanh() } else { sigmoid(z) };
            }
            for k in 0..hidden {
                let [i, f, g, o] = [0, 1, 2, 3].map(|q| gates[(row * 4 + q) * hidden + k]);
                c[n * hidden + k] = f * c[n * hidden + k] + i * g;
                h_new[row * hidden + k] = o * c[n * hidden + k].tanh();
                if let Some(c_new) = &mut c_new {
                    c_new[row * hidden + k] = c[n * hidden + k];
                }
            }
        }
    }
    gates
}

/// Every gradient, wanted or not.
pub(crate) fn backward(_: Isa, sizes: Sizes, pass: Backward) -> Grads {
    let Sizes {
        batch,
        steps,
        inputs,
        hidden,
    } = sizes;
    let Backward {
        x,
        weights,
        h0,
        c0,
        h_new,
        c_new,
        gates,
        above,
        mut dc,
        wanted: _,
    } = pass;
    let (w_ih, w_hh) = (weights.w_ih.data(), weights.w_hh.data());
    let mut dx = vec![0.0; x.len()];
    let mut dh0 = vec![0.0; batch * hidden];
    let (mut dw_ih, mut dw_hh) = (vec![0.0; w_ih.len()], vec![0.0; w_hh.len()]);
    let mut db = vec![0.0; 4 * hidden];
    for n in 0..batch {
        // dh of the step after this one.
        let mut dh = vec![0.0; hidden];
        for t in (0..steps).rev() {
            let row = n * steps + t;
            // h or c before this step.
            let before = |after: &[f32], first: Option<&[f32]>, k: usize| match first {
                Some(first) if t == 0 => first[n * hidden + k],
                None if t == 0 => 0.0,
                _ => after[(row - 1) * hidden + k],
            };
            let mut dz = vec![0.0; 4 * hidden];
            for k in 0..hidden {
                let [i, f, g, o] = [0, 1, 2, 3].map(|q| gates[(row * 4 + q) * hidden + k]);
                let tanh_c = c_new[row * hidden + k].tanh();
                let dh_new = above[row * hidden + k] + dh[k];
                let dc_new = dc[n * hidden + k] + dh_new * o * (1.0 - tanh_c * tanh_c);
                dz[k] = dc_new * g * i * (1.0 - i);
                dz[hidden + k] = dc_new * before(c_new, c0, k) * f * (1.0 - f);
                dz[2 * hidden + k] = dc_new * i * (1.0 - g * g);
                dz[3 * hidden + k] = dh_new * tanh_c * o * (1.0 - o);
                dc[n * hidden + k] = dc_new * f;
            }
            dh.fill(0.0);
            for (j, dz) in dz.into_iter().enumerate() {
                for e in 0..inputs {
                    dx[row * inputs + e] += dz * w_ih[j * inputs + e];
                    dw_ih[j * inputs + e] += dz * x[row * inputs + e];
                }
                for k in 0..hidden {
                    dh[k] += dz * w_hh[j * hidden + k];
                    dw_hh[j * hidden + k] += dz * before(h_new, h0, k);
                }
                db[j] += dz;
            }
        }
        dh0[n * hidden..][..hidden].copy_from_slice(&dh);
    }
    Grads {
        x: Some(dx),
        h0: Some(dh0),
        c0: dc,
        w_ih: Some(dw_ih),
        w_hh: Some(dw_hh),
        bias: Some(db),
    }
}
