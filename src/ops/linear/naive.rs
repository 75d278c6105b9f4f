//! The definition as plain loops.

use super::Sizes;
use crate::cpu::Isa;
use crate::tensor::Tensor;

/// `y[r][o] = b[o] + sum_i x[r][i] W[o][i]`
pub(crate) fn forward(
    _: Isa,
    sizes: Sizes,
    x: &[f32],
    weight: &Tensor,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let weight = weight.data();
    let mut y = vec![0.0; sizes.rows * sizes.outputs];
    for r in 0..sizes.rows {
        for o in 0..sizes.outputs {
            let mut sum = bias.map_or(0.0, |b| b[o]);
            for i in 0..sizes.inputs {
                sum += x[r * sizes.inputs + i] * weight[o * sizes.inputs + i];
            }
            y[r * sizes.outputs + o] = sum;
        }
    }
    y
}

/// `dx[r][i] = sum_o dy[r][o] W[o][i]`
pub(crate) fn grad_input(_: Isa, sizes: Sizes, dy: &[f32], weight: &[f32]) -> Vec<f32> {
    let mut dx = vec![0.0; sizes.rows * sizes.inputs];
    for r in 0..sizes.rows {
        for o in 0..sizes.outputs {
            for i in 0..sizes.inputs {
                dx[r * sizes.inputs + i] +=
                    dy[r * sizes.outputs + o] * weight[o * sizes.inputs + i];
            }
        }
    }
    dx
}

/// `dW[o][i] = sum_r dy[r][o] x[r][i]`
pub(crate) fn grad_weight(_: Isa, sizes: Sizes, dy: &[f32], x: &[f32]) -> Vec<f32> {
    let mut dw = vec![0.0; sizes.outputs * sizes.inputs];
    for r in 0..sizes.rows {
        for o in 0..sizes.outputs {
            for i in 0..sizes.inputs {
                dw[o * sizes.inputs + i] += dy[r * sizes.outputs + o] * x[r * sizes.inputs + i];
            }
        }
    }
    dw
}

/// `db[o] = sum_r dy[r][o]`
pub(crate) fn grad_bias(_: Isa, sizes: Sizes, dy: &[f32]) -> Vec<f32> {
    let mut db = vec![0.0; sizes.outputs];
    for r in 0..sizes.rows {
        for o in 0..sizes.outputs {
            db[o] += dy[r * sizes.outputs + o];
        }
    }
    db
}
