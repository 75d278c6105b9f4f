//! A curve with a bounded number of points, for any number of steps.

/// Maximum number of points.
const MOST: usize = 600;

/// A curve over the steps of a run. In a long run, each point is the mean of several steps.
#[derive(Clone, Debug, Default)]
pub struct Curve {
    /// Steps per point; 0 before the first.
    every: usize,
    points: Vec<(f64, f64)>,
    /// Sums of step and value of the incomplete point, and its number of steps.
    open: (f64, f64, usize),
}

impl Curve {
    /// Adds the value `y` of step `x`; values that are not finite are ignored.
    pub fn push(&mut self, x: f64, y: f64) {
        if !y.is_finite() {
            return;
        }
        self.every = self.every.max(1);
        let (sum_x, sum_y, count) = self.open;
        self.open = (sum_x + x, sum_y + y, count + 1);
        if self.open.2 < self.every {
            return;
        }
        self.points.extend(self.unfinished());
        self.open = Default::default();
        if self.points.len() >= MOST {
            let mean = |pair: &[(f64, f64)]| {
                let n = pair.len() as f64;
                let x = pair.iter().map(|p| p.0).sum::<f64>();
                (x / n, pair.iter().map(|p| p.1).sum::<f64>() / n)
            };
            self.points = self.points.chunks(2).map(mean).collect();
            self.every *= 2;
        }
    }

    fn unfinished(&self) -> Option<(f64, f64)> {
        let (x, y, count) = self.open;
        (count > 0).then(|| (x / count as f64, y / count as f64))
    }

    /// Returns the points, from the first step to the last.
    pub fn points(&self) -> Vec<(f64, f64)> {
        self.points
            .iter()
            .copied()
            .chain(self.unfinished())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_few_points_of_the_same_mean() {
        let mut curve = Curve::default();
        assert!(curve.points().is_empty());
        curve.push(1.0, f64::NAN);
        for step in 1..=10_000 {
            curve.push(f64::from(step), f64::from(step % 10));
            assert!(curve.points().len() <= MOST);
        }
        let points = curve.points();
        assert!(points.len() > MOST / 4, "{}", points.len());
        assert!(points.windows(2).all(|p| p[0].0 < p[1].0));
        assert!(points.iter().all(|p| (p.1 - 4.5).abs() < 2.0));
        let mut short = Curve::default();
        short.push(1.0, 5.0);
        short.push(2.0, 6.0);
        assert_eq!(short.points(), [(1.0, 5.0), (2.0, 6.0)]);
    }
}
