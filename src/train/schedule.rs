//! The learning rate schedule: a warm-up, then one of four courses.
//!
//! With `n` steps in all, of which `w = floor(warmup n)` are warm-up, the factor of the learning rate in step `k`
//! (from 0) is
//!
//! ```text
//! (k + 1) / w                                       while k < w
//! (1 + cos(pi (k - w) / (n - w))) / 2               cosine
//! decay^floor((k - w) / (decay_every n))            step
//! 1                                                 constant; plateau, which multiplies it by a factor of its own
//! ```
//!
//! [`Plateau`] holds the factor of `plateau`, which falls when the dev score stops improving.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::config::{OptimizerConfig, ScheduleKind};

/// Returns the factor of the learning rate in step `step` (from 0) of `total`.
pub fn schedule(config: &OptimizerConfig, step: u64, total: u64) -> f64 {
    let total = total as f64;
    let warm = (config.warmup * total).floor();
    let step = step as f64;
    if step < warm {
        return (step + 1.0) / warm;
    }
    let since = step - warm;
    match config.schedule {
        ScheduleKind::Cosine => {
            let gone = since / (total - warm).max(1.0);
            0.5 * (1.0 + (PI * gone.min(1.0)).cos())
        }
        ScheduleKind::Step => {
            let falls = since / (config.decay_every * total).max(1.0);
            config.decay.powf(falls.floor())
        }
        ScheduleKind::Plateau | ScheduleKind::Constant => 1.0,
    }
}

/// Multiplies `lr` by this `share`.
pub fn learning_rate(lr: f32, share: f64) -> f32 {
    (f64::from(lr) * share) as f32
}

/// The factor by which `plateau` has lowered the learning rate so far; stored in checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// Multiplies the learning rate.
    pub factor: f64,
    /// Number of evaluations since the score last improved or the rate last fell.
    stale: u64,
}

impl Default for Plateau {
    fn default() -> Self {
        Plateau {
            factor: 1.0,
            stale: 0,
        }
    }
}

impl Plateau {
    /// Records an evaluation; `better` says whether its score was the best so far.
    pub fn observe(&mut self, config: &OptimizerConfig, better: bool) {
        if config.schedule != ScheduleKind::Plateau {
            return;
        }
        self.stale = if better { 0 } else { self.stale + 1 };
        if self.stale >= config.plateau_patience {
            self.factor *= config.decay;
            self.stale = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(schedule: ScheduleKind) -> OptimizerConfig {
        OptimizerConfig {
            schedule,
            warmup: 0.1,
            decay_every: 0.3,
            decay: 0.5,
            ..Default::default()
        }
    }

    #[test]
    fn a_cosine_rises_and_falls() {
        let at = |step| schedule(&config(ScheduleKind::Cosine), step, 100);
        assert!((at(0) - 0.1).abs() < 1e-6);
        assert!((at(9) - 1.0).abs() < 1e-6);
        assert!((at(55) - 0.5).abs() < 1e-6);
        assert!(at(99) < 1e-3 && at(99) > 0.0);
        assert!((10..99).all(|s| at(s) > at(s + 1)));
        let cold = OptimizerConfig {
            warmup: 0.0,
            ..config(ScheduleKind::Cosine)
        };
        assert_eq!(schedule(&cold, 0, 10), 1.0);
        assert_eq!(learning_rate(0.5, 0.25), 0.125);
    }

    #[test]
    fn steps_halve_the_rate_and_a_constant_stays() {
        let at = |step| schedule(&config(ScheduleKind::Step), step, 100);
        assert_eq!(
            [at(10), at(39), at(40), at(69), at(70)],
            [1.0, 1.0, 0.5, 0.5, 0.25]
        );
        assert!((at(4) - 0.5).abs() < 1e-6, "the warm-up comes first");
        let at = |step| schedule(&config(ScheduleKind::Constant), step, 100);
        assert_eq!([at(10), at(99)], [1.0, 1.0]);
    }

    #[test]
    fn a_plateau_falls_when_the_score_stands_still() {
        let mut plateau = Plateau::default();
        let mut factor = |better| {
            plateau.observe(&config(ScheduleKind::Plateau), better);
            plateau.factor
        };
        let seen: Vec<f64> = [true, false, true, false, false, false, false]
            .into_iter()
            .map(&mut factor)
            .collect();
        assert_eq!(seen, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25]);
        let mut other = Plateau::default();
        other.observe(&config(ScheduleKind::Cosine), false);
        assert_eq!(other, Plateau::default());
    }
}
