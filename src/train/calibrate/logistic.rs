//! Logistic regression: the log-odds of a label as a linear function of features.
//!
//! With log-odds `d = w x + b` and `p = sigmoid(d)`, the loss of labels `y` in {0, 1} and its gradients are
//!
//! ```text
//! loss = mean over n of  -(y ln p + (1 - y) ln(1 - p))  + decay / 2 |w|^2
//! d loss / d d = (p - y) / N        d loss / d w = sum over n of (p - y) / N x + decay w
//! ```
//!
//! [`fit`] solves it for many labels at once, some of which may be unknown, by full-batch gradient descent with Adam
//! (Kingma and Ba, 2015, arXiv 1412.6980). [`newton`] solves it for one label and few features by Newton's method,
//! which converges in a handful of steps.

use ndarray::{Array1, Array2, ArrayView2, Axis, s};

/// Value of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Yes,
    No,
    Unknown,
}

/// Hyperparameters of [`fit`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Descent {
    /// Steps of gradient descent.
    pub(super) steps: usize,
    /// Learning rate.
    pub(super) rate: f32,
    /// Weight decay.
    pub(super) decay: f32,
}

/// Returns weights `[K, D]` and biases `[K]` for rows `x [N, D]` with `labels [N, K]`. Unknown labels do not contribute
/// to the loss; the mean of a label is over the rows where it is known. Each row is weighted by its `importance`.
pub(super) fn fit(
    x: ArrayView2<f32>,
    labels: &Array2<Label>,
    importance: &[f32],
    how: Descent,
) -> (Array2<f32>, Array1<f32>) {
    let (features, count) = (x.ncols(), labels.ncols());
    let mut counts = labels.map(|label| f32::from(u8::from(*label != Label::Unknown)));
    for (mut row, weight) in counts.axis_iter_mut(Axis(0)).zip(importance) {
        row *= *weight;
    }
    let totals = counts.sum_axis(Axis(0)).mapv(|n| n.max(1.0));
    let share = &counts / &totals;
    let y = labels.map(|label| f32::from(u8::from(*label == Label::Yes)));
    let base = (&y * &share).sum_axis(Axis(0));
    let mut bias =
        base.mapv(|p| (p.clamp(1e-4, 1.0 - 1e-4) / (1.0 - p.clamp(1e-4, 1.0 - 1e-4))).ln());
    let mut weight = Array2::<f32>::zeros((count, features));
    let (mut adam_w, mut adam_b) = (Adam::new(count * features), Adam::new(count));
    for step in 1..=how.steps {
        let odds = x.dot(&weight.t()) + &bias;
        let error = (odds.mapv(|d| 1.0 / (1.0 + (-d).exp())) - &y) * &share;
        let gradient = error.t().dot(&x) + how.decay * &weight;
        // The learning rate falls linearly to zero, so that the last steps converge.
        let rate = how.rate * (1.0 - (step - 1) as f32 / how.steps as f32);
        adam_w.step(weight.iter_mut(), gradient.iter(), rate, step);
        adam_b.step(bias.iter_mut(), error.sum_axis(Axis(0)).iter(), rate, step);
    }
    (weight, bias)
}

/// Running means of gradients and of their squares.
struct Adam(Vec<[f32; 2]>);

impl Adam {
    fn new(len: usize) -> Self {
        Adam(vec![[0.0; 2]; len])
    }

    fn step<'a>(
        &mut self,
        values: impl Iterator<Item = &'a mut f32>,
        gradients: impl Iterator<Item = &'a f32>,
        rate: f32,
        step: usize,
    ) {
        let correction = [0.9f32, 0.99].map(|beta| 1.0 - beta.powi(step.min(10_000) as i32));
        for ((value, g), [mean, square]) in values.zip(gradients).zip(&mut self.0) {
            *mean = 0.9 * *mean + 0.1 * g;
            *square = 0.99 * *square + 0.01 * g * g;
            *value -= rate * (*mean / correction[0]) / ((*square / correction[1]).sqrt() + 1e-8);
        }
    }
}

/// Returns offset and weights of a logistic regression on rows of few features. The regression is computed on features
/// scaled to a mean of 0 and a variance of 1, and `decay` applies to the weights of these.
pub(super) fn newton(rows: &[Vec<f64>], labels: &[bool], decay: f64) -> (f64, Vec<f64>) {
    let Some(width) = rows.first().map(Vec::len) else {
        return (0.0, Vec::new());
    };
    let scales: Vec<(f64, f64)> = (0..width)
        .map(|c| mean_and_deviation(rows.iter().map(|r| r[c])))
        .collect();
    let n = rows.len() as f64;
    let x = Array2::from_shape_fn((rows.len(), width + 1), |(i, c)| match c {
        0 => 1.0,
        c => (rows[i][c - 1] - scales[c - 1].0) / scales[c - 1].1,
    });
    let y = Array1::from_iter(labels.iter().map(|&label| f64::from(u8::from(label))));
    let mut w = Array1::<f64>::zeros(width + 1);
    for _ in 0..50 {
        let p = x.dot(&w).mapv(crate::model::recognition::sigmoid);
        let mut pull = decay * &w;
        pull[0] = 0.0;
        let gradient = x.t().dot(&(&p - &y)) / n + pull;
        let curvature = p.mapv(|p| (p * (1.0 - p)).max(1e-9));
        let mut hessian = x.t().dot(&(&x * &curvature.insert_axis(Axis(1)))) / n;
        hessian
            .diag_mut()
            .slice_mut(s![1..])
            .mapv_inplace(|d| d + decay);
        let step = solve(hessian, gradient);
        w -= &step;
        if step.iter().all(|d| d.abs() < 1e-10) {
            break;
        }
    }
    let weights: Vec<f64> = w
        .iter()
        .skip(1)
        .zip(&scales)
        .map(|(w, (_, s))| w / s)
        .collect();
    let shift: f64 = weights
        .iter()
        .zip(&scales)
        .map(|(w, (mean, _))| w * mean)
        .sum();
    (w[0] - shift, weights)
}

/// Returns mean and standard deviation; the deviation of constant values is 1.
fn mean_and_deviation(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / n;
    let variance = values.map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (
        mean,
        if variance > 1e-12 {
            variance.sqrt()
        } else {
            1.0
        },
    )
}

/// Solves `a x = b` for a symmetric positive definite matrix by elimination without pivoting.
fn solve(mut a: Array2<f64>, mut b: Array1<f64>) -> Array1<f64> {
    let n = b.len();
    for i in 0..n {
        for j in i + 1..n {
            let factor = a[[j, i]] / a[[i, i]];
            for k in i..n {
                a[[j, k]] -= factor * a[[i, k]];
            }
            b[j] -= factor * b[i];
        }
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            b[i] -= a[[i, k]] * b[k];
        }
        b[i] /= a[[i, i]];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    /// Rows whose labels follow known weights.
    fn problem(seed: u64) -> (Array2<f32>, Vec<bool>) {
        let x = random(&[3000, 2], seed);
        let chance = random(&[3000], seed + 1);
        let labels = x.data().chunks(2).zip(chance.data()).map(|(x, u)| {
            let p = 1.0 / (1.0 + (-(2.0 * x[0] - x[1] + 0.5)).exp());
            // Random tensors are uniform in [-1, 1).
            (u + 1.0) / 2.0 < p
        });
        let labels = labels.collect();
        (
            Array2::from_shape_vec((3000, 2), x.data().to_vec()).unwrap(),
            labels,
        )
    }

    #[test]
    fn both_methods_find_the_weights_that_made_the_labels() {
        let (x, labels) = problem(1);
        let rows: Vec<Vec<f64>> = x
            .rows()
            .into_iter()
            .map(|r| r.iter().map(|&v| v.into()).collect())
            .collect();
        let (offset, weights) = newton(&rows, &labels, 0.0);
        for (got, want) in [offset, weights[0], weights[1]]
            .into_iter()
            .zip([0.5, 2.0, -1.0])
        {
            assert!((got - want).abs() < 0.25, "{got} {want}");
        }
        let label = |yes: bool| if yes { Label::Yes } else { Label::No };
        let column = Array2::from_shape_fn((labels.len(), 1), |(i, _)| label(labels[i]));
        let how = Descent {
            steps: 400,
            rate: 0.05,
            decay: 0.0,
        };
        let (w, b) = fit(x.view(), &column, &vec![1.0; labels.len()], how);
        assert!((f64::from(b[0]) - offset).abs() < 0.02, "{b} {offset}");
        assert!(
            (f64::from(w[[0, 0]]) - weights[0]).abs() < 0.02,
            "{w} {weights:?}"
        );
        assert!(
            (f64::from(w[[0, 1]]) - weights[1]).abs() < 0.02,
            "{w} {weights:?}"
        );
        // Decay shrinks the weights.
        let (_, small) = newton(&rows, &labels, 1.0);
        assert!(small[0] > 0.0 && small[0] < weights[0] / 2.0);
    }

    #[test]
    fn what_is_unknown_or_unimportant_changes_nothing() {
        let (x, labels) = problem(5);
        let how = Descent {
            steps: 100,
            rate: 0.05,
            decay: 0.01,
        };
        let half = 1500;
        let label = |i: usize, k: usize| match (k, i < half, labels[i]) {
            (_, true, true) => Label::Yes,
            (_, true, false) => Label::No,
            // The second label is unknown in the second half. The first label is wrong there, with importance 0.
            (1, false, _) => Label::Unknown,
            (_, false, right) => {
                if right {
                    Label::No
                } else {
                    Label::Yes
                }
            }
        };
        let all = Array2::from_shape_fn((3000, 2), |(i, k)| label(i, k));
        let importance: Vec<f32> = (0..3000).map(|i| f32::from(u8::from(i < half))).collect();
        let (w, b) = fit(x.view(), &all, &importance, how);
        let (want_w, want_b) = fit(
            x.slice(s![..half, ..]),
            &all.slice(s![..half, ..]).to_owned(),
            &vec![1.0; half],
            how,
        );
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-3, "{a} {b}");
        w.iter().zip(&want_w).for_each(|(a, b)| close(*a, *b));
        b.iter().zip(&want_b).for_each(|(a, b)| close(*a, *b));
    }

    #[test]
    fn equal_numbers_do_no_harm() {
        let rows = vec![vec![1.0, 3.0]; 4];
        let (offset, weights) = newton(&rows, &[true, false, true, true], 0.01);
        let odds = offset + weights[0] + 3.0 * weights[1];
        assert!((odds - 3f64.ln()).abs() < 1e-6, "{odds}");
        assert_eq!(newton(&[], &[], 0.1), (0.0, Vec::new()));
    }
}
