//! The definition as plain loops.

use super::{BIAS, Job, WEIGHT, X};
use crate::cpu::Precision;
use crate::sizes::ConvShape;
use crate::tensor::{Tensor, Wanted};

/// Position of element `[i, j, k, l]` of an array with these dimensions.
fn at([_, b, c, d]: [usize; 4], [i, j, k, l]: [usize; 4]) -> usize {
    ((i * b + j) * c + k) * d + l
}

/// The input pixel `(i s + ky - p, j s + kx - p)`, or `None` where it is one of the zeros outside the image.
fn source(shape: &ConvShape, [i, j]: [usize; 2], [ky, kx]: [usize; 2]) -> Option<[usize; 2]> {
    let u = (i * shape.stride[0] + ky).checked_sub(shape.padding[0])?;
    let v = (j * shape.stride[1] + kx).checked_sub(shape.padding[1])?;
    (u < shape.height && v < shape.width).then_some([u, v])
}

/// `y[n, i, j, o] = sum over ky, kx, c of x[n, u, v, c] w[o, c, ky, kx]`, where `u = i s + ky - p` and `v = j s + kx - p`
pub(crate) fn convolve(shape: &ConvShape, x: &[f32], w: &[f32], precision: Precision) -> Vec<f64> {
    let (x_dims, w_dims, y_dims) = (shape.dims(), shape.weight_dims(), shape.out_dims());
    let ([batch, out_height, out_width, outputs], [_, channels, kh, kw]) = (y_dims, w_dims);
    let mut y = vec![0.0; y_dims.iter().product()];
    for n in 0..batch {
        for i in 0..out_height {
            for j in 0..out_width {
                for o in 0..outputs {
                    let mut sum = 0.0;
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let Some([u, v]) = source(shape, [i, j], [ky, kx]) else {
                                continue;
                            };
                            for c in 0..channels {
                                let x = precision.round(x[at(x_dims, [n, u, v, c])]);
                                let w = precision.round(w[at(w_dims, [o, c, ky, kx])]);
                                sum += f64::from(x) * f64::from(w);
                            }
                        }
                    }
                    y[at(y_dims, [n, i, j, o])] = sum;
                }
            }
        }
    }
    y
}

/// `dx` and `dw`: each product `x w` adds `dy w` to the gradient with respect to its `x`, and `dy x` to that with respect
/// to its `w`.
pub(crate) fn gradients(shape: &ConvShape, x: &[f32], w: &[f32], dy: &[f32]) -> [Vec<f32>; 2] {
    let (x_dims, w_dims, y_dims) = (shape.dims(), shape.weight_dims(), shape.out_dims());
    let ([batch, out_height, out_width, outputs], [_, channels, kh, kw]) = (y_dims, w_dims);
    let mut dx = vec![0.0; x_dims.iter().product()];
    let mut dw = vec![0.0; w_dims.iter().product()];
    for n in 0..batch {
        for i in 0..out_height {
            for j in 0..out_width {
                for o in 0..outputs {
                    let dy = f64::from(dy[at(y_dims, [n, i, j, o])]);
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let Some([u, v]) = source(shape, [i, j], [ky, kx]) else {
                                continue;
                            };
                            for c in 0..channels {
                                let (x_at, w_at) =
                                    (at(x_dims, [n, u, v, c]), at(w_dims, [o, c, ky, kx]));
                                dx[x_at] += dy * f64::from(w[w_at]);
                                dw[w_at] += dy * f64::from(x[x_at]);
                            }
                        }
                    }
                }
            }
        }
    }
    [to_f32(dx), to_f32(dw)]
}

fn to_f32(sums: Vec<f64>) -> Vec<f32> {
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// `y = b + sum x w`
pub(crate) fn forward(job: &Job) -> Tensor {
    let shape = &job.shape;
    let mut y = convolve(shape, job.x.data(), job.weight.data(), job.precision);
    if let Some(b) = &job.bias {
        for (i, y) in y.iter_mut().enumerate() {
            *y += f64::from(b.data()[i % shape.out_channels]);
        }
    }
    Tensor::computed(to_f32(y), &shape.out_dims())
}

/// `dx = sum dy w`, `dw = sum dy x`, `db = sum dy`
pub(crate) fn backward(job: &Job, dy: &Tensor, wanted: Wanted) -> Vec<Option<Tensor>> {
    let (x, weight, dy) = (&job.x, &job.weight, dy.data());
    let [dx, dw] = gradients(&job.shape, x.data(), weight.data(), dy);
    let outputs = job.shape.out_channels;
    let mut db = vec![0.0; outputs];
    for (i, &dy) in dy.iter().enumerate() {
        db[i % outputs] += f64::from(dy);
    }
    vec![
        wanted.has(X).then(|| Tensor::computed(dx, x.dims())),
        wanted
            .has(WEIGHT)
            .then(|| Tensor::computed(dw, weight.dims())),
        wanted
            .has(BIAS)
            .then(|| Tensor::computed(to_f32(db), &[outputs])),
    ]
}
