//! The definition as plain loops.

use super::Job;
use crate::tensor::Tensor;

/// `y[n][p][q][c] = max_{u, v} x[n][p S - P + u][q S - P + v][c]`
pub(crate) fn forward(job: &Job) -> Tensor {
    let x = job.x.data();
    let mut y = vec![0.0; job.out_dims().iter().product()];
    for_each_maximum(job, |xi, yi| y[yi] = x[xi]);
    Tensor::computed(y, &job.out_dims())
}

/// `dx[n][i][j][c] = sum dy[n][p][q][c]`, over the windows whose maximum is at `(i, j)`
pub(crate) fn backward(job: &Job, dy: &Tensor) -> Tensor {
    let dy = dy.data();
    let mut dx = vec![0.0; job.x.len()];
    for_each_maximum(job, |xi, yi| dx[xi] += dy[yi]);
    Tensor::computed(dx, job.x.dims())
}

/// Calls `body(xi, yi)` with the index of each element of `y` and that of the largest element of `x` under its window.
fn for_each_maximum(job: &Job, mut body: impl FnMut(usize, usize)) {
    let &Job {
        input: [height, width],
        output: [out_height, out_width],
        channels,
        ..
    } = job;
    let x = job.x.data();
    let mut yi = 0;
    for n in 0..job.batch {
        for p in 0..out_height {
            for q in 0..out_width {
                let [rows, columns] = job.window([p, q]);
                for c in 0..channels {
                    let index = |i: usize, j: usize| ((n * height + i) * width + j) * channels + c;
                    let mut largest = index(rows.start, columns.start);
                    for i in rows.clone() {
                        for j in columns.clone() {
                            let xi = index(i, j);
                            if x[xi] > x[largest] || x[xi].is_nan() {
                                largest = xi;
                            }
                        }
                    }
                    body(largest, yi);
                    yi += 1;
                }
            }
        }
    }
}
