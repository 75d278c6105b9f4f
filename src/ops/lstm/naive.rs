//! The definition.

use super::{Backward, Forward, Grads, Sizes};
use crate::cpu::Isa;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// `h'` and `c'` of every step; returns the gates.
pub(crate) fn forward(_: Isa, sizes: Sizes, job: Forward) -> Vec<f32> {
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
        h,
        c,
        mut cells,
    } = job;
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
                for i in 0..inputs {
                    z += x[row * inputs + i] * w_ih[j * inputs + i];
                }
                for k in 0..hidden {
                    let before = match h0 {
                        Some(h0) if t == 0 => h0[n * hidden + k],
                        None if t == 0 => 0.0,
                        _ => h[(row - 1) * hidden + k],
                    };
                    z += before * w_hh[j * hidden + k];
                }
                let is_candidate = j / hidden == 2;
                gates[row * 4 * hidden + j] = if is_candidate { z.tanh() } else { sigmoid(z) };
            }
            for k in 0..hidden {
                let [i, f, g, o] = [0, 1, 2, 3].map(|q| gates[(row * 4 + q) * hidden + k]);
                let new = f * c[n * hidden + k] + i * g;
                c[n * hidden + k] = new;
                h[row * hidden + k] = o * new.tanh();
                if let Some(cells) = &mut cells {
                    cells[row * hidden + k] = new;
                }
            }
        }
    }
    gates
}

/// Every gradient, wanted or not.
pub(crate) fn backward(_: Isa, sizes: Sizes, job: Backward) -> Grads {
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
        h,
        cells,
        gates,
        dh,
        mut dc,
        wanted: _,
    } = job;
    let (w_ih, w_hh) = (weights.w_ih.data(), weights.w_hh.data());
    let mut dx = vec![0.0; x.len()];
    let mut dh0 = vec![0.0; batch * hidden];
    let (mut dw_ih, mut dw_hh) = (vec![0.0; w_ih.len()], vec![0.0; w_hh.len()]);
    let mut db = vec![0.0; 4 * hidden];
    for n in 0..batch {
        // What arrives at h of the step before through the recurrent product.
        let mut through = vec![0.0; hidden];
        for t in (0..steps).rev() {
            let row = n * steps + t;
            let before = |now: &[f32], first: Option<&[f32]>, k: usize| match first {
                Some(first) if t == 0 => first[n * hidden + k],
                None if t == 0 => 0.0,
                _ => now[(row - 1) * hidden + k],
            };
            let mut dz = vec![0.0; 4 * hidden];
            for k in 0..hidden {
                let [i, f, g, o] = [0, 1, 2, 3].map(|q| gates[(row * 4 + q) * hidden + k]);
                let tanh_c = cells[row * hidden + k].tanh();
                let dh = dh[row * hidden + k] + through[k];
                let dcell = dc[n * hidden + k] + dh * o * (1.0 - tanh_c * tanh_c);
                dz[k] = dcell * g * i * (1.0 - i);
                dz[hidden + k] = dcell * before(cells, c0, k) * f * (1.0 - f);
                dz[2 * hidden + k] = dcell * i * (1.0 - g * g);
                dz[3 * hidden + k] = dh * tanh_c * o * (1.0 - o);
                dc[n * hidden + k] = dcell * f;
            }
            through.fill(0.0);
            for (j, dz) in dz.into_iter().enumerate() {
                for i in 0..inputs {
                    dx[row * inputs + i] += dz * w_ih[j * inputs + i];
                    dw_ih[j * inputs + i] += dz * x[row * inputs + i];
                }
                for k in 0..hidden {
                    through[k] += dz * w_hh[j * hidden + k];
                    dw_hh[j * hidden + k] += dz * before(h, h0, k);
                }
                db[j] += dz;
            }
        }
        dh0[n * hidden..][..hidden].copy_from_slice(&through);
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
