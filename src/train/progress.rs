//! The memory of a run between two evaluations: the best score so far, and for how long there was no better one.

use serde::{Deserialize, Serialize};

use super::config::{DevScore, OptimizerConfig};
use super::dev::Evaluation;
use super::schedule::Plateau;

/// The best evaluation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps that had been taken.
    pub step: u64,
    /// Its score: CIDEr or BLEU-4 times 100, or the loss.
    pub score: f64,
}

/// The part of a run's state that evaluations change. It is part of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Evaluations since then.
    pub stale: u64,
    /// How far the learning rate has fallen because of that.
    pub plateau: Plateau,
}

impl Progress {
    /// Takes note of the evaluation after `step` steps. Returns whether it is the best so far.
    pub fn observe(
        &mut self,
        score: DevScore,
        optimizer: &OptimizerConfig,
        step: u64,
        evaluation: &Evaluation,
    ) -> bool {
        let value = evaluation.score(score);
        let is_better = |best: Best| match score {
            DevScore::Loss => value < best.score,
            DevScore::Cider | DevScore::Bleu4 => value > best.score,
        };
        let better = value.is_finite() && self.best.is_none_or(is_better);
        if better {
            self.best = Some(Best { step, score: value });
            self.stale = 0;
        } else {
            self.stale += 1;
        }
        self.plateau.observe(optimizer, better);
        better
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(loss: f32, cider: f64) -> Evaluation {
        Evaluation {
            loss,
            cider: Some(cider),
            ..Evaluation::default()
        }
    }

    #[test]
    fn more_cider_is_better_and_less_loss_is_better() {
        let optimizer = OptimizerConfig::default();
        for (score, better) in [
            (DevScore::Cider, [true, true, false, false]),
            (DevScore::Loss, [true, false, true, false]),
        ] {
            let mut progress = Progress::default();
            let seen = [(3.0, 10.0), (3.5, 12.0), (2.0, 12.0), (2.0, f64::NAN)];
            let got: Vec<bool> = (1..)
                .zip(seen)
                .map(|(step, (loss, cider))| {
                    progress.observe(score, &optimizer, step, &evaluation(loss, cider))
                })
                .collect();
            assert_eq!(got, better, "{score:?}");
        }
    }

    #[test]
    fn it_survives_a_checkpoint() {
        let mut progress = Progress::default();
        let optimizer = OptimizerConfig::default();
        progress.observe(DevScore::Cider, &optimizer, 7, &evaluation(1.0, 0.1 + 0.2));
        let text = serde_json::to_string(&progress).unwrap();
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
    }
}
