//! The progress of a run over its evaluations: the best score, and the number of evaluations since then.

use serde::{Deserialize, Serialize};

use super::config::{DevScore, OptimizerConfig};
use super::dev::Evaluation;
use super::schedule::Plateau;

/// The best evaluation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps taken at that evaluation.
    pub step: u64,
    /// Steps taken when the score was reached for the first time.
    #[serde(default)]
    pub reached: u64,
    /// Score: CIDEr or BLEU-4 times 100, or the loss.
    pub score: f64,
    /// Loss, which decides between equal scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f32>,
    /// Whether the captions were all alike.
    #[serde(default, skip_serializing_if = "is_false")]
    pub alike: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes references
fn is_false(x: &bool) -> bool {
    !*x
}

/// The part of a run's state that evaluations change; stored in checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Number of evaluations since then.
    pub stale: u64,
    /// The learning rate's factor under the schedule `plateau`.
    pub plateau: Plateau,
}

impl Progress {
    /// Records the evaluation after `step` steps. Returns whether it is the best so far.
    ///
    /// By CIDEr or BLEU-4, a model with nearly the same caption for all pictures is worse than any other, whatever its
    /// score: on few pictures one common sentence can score more than captions that begin to distinguish pictures. Of
    /// two equal scores, such as the zeros at the beginning, the lower loss is better. Only a better score resets the
    /// counts of early stopping and of the schedule `plateau`.
    pub fn observe(
        &mut self,
        score: DevScore,
        optimizer: &OptimizerConfig,
        step: u64,
        evaluation: &Evaluation,
    ) -> bool {
        let value = evaluation.score(score);
        let alike = evaluation.alike;
        let rises = |best: Best| {
            if alike != best.alike && score != DevScore::Loss {
                return best.alike;
            }
            match score {
                DevScore::Loss => value < best.score,
                DevScore::Cider | DevScore::Bleu4 => value > best.score,
            }
        };
        let equals = |best: Best| {
            let is_lower = best.loss.is_some_and(|loss| evaluation.loss < loss);
            alike == best.alike && value == best.score && is_lower
        };
        let risen = value.is_finite() && self.best.is_none_or(rises);
        let better = risen || self.best.is_some_and(equals);
        if better {
            let loss = Some(evaluation.loss).filter(|loss| loss.is_finite());
            let before = self.best.filter(|_| !risen);
            self.best = Some(Best {
                step,
                reached: before.map_or(step, |best| best.reached),
                score: value,
                loss,
                alike,
            });
        }
        self.stale = if risen { 0 } else { self.stale + 1 };
        self.plateau.observe(optimizer, risen);
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
            (DevScore::Cider, [true, true, true, false, false]),
            (DevScore::Loss, [true, false, true, false, false]),
        ] {
            let mut progress = Progress::default();
            // The third evaluation has the score of the second with a lower loss.
            let seen = [
                (3.0, 10.0),
                (3.5, 12.0),
                (2.0, 12.0),
                (2.0, 12.0),
                (2.0, f64::NAN),
            ];
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
    fn equal_scores_are_no_progress() {
        let mut progress = Progress::default();
        let optimizer = OptimizerConfig::default();
        for (step, loss) in [(1, 3.0), (2, 2.5), (3, 2.0)] {
            let is_kept =
                progress.observe(DevScore::Cider, &optimizer, step, &evaluation(loss, 0.0));
            assert!(is_kept);
        }
        let best = progress.best.unwrap();
        assert_eq!((best.step, best.reached, progress.stale), (3, 1, 2));
    }

    #[test]
    fn captions_that_are_all_alike_are_worse_than_any_others() {
        let mut progress = Progress::default();
        let optimizer = OptimizerConfig::default();
        let seen = [
            (1, 20.0, true),
            (2, 21.0, true),
            (3, 4.0, false),
            (4, 30.0, true),
            (5, 5.0, false),
        ];
        let kept = seen.map(|(step, cider, alike)| {
            let evaluation = Evaluation {
                alike,
                ..evaluation(2.0, cider)
            };
            progress.observe(DevScore::Cider, &optimizer, step, &evaluation)
        });
        assert_eq!(kept, [true, true, true, false, true]);
        // With the loss as the score, nothing else decides.
        let mut progress = Progress::default();
        for (step, loss, alike) in [(1, 3.0, false), (2, 2.0, true)] {
            let evaluation = Evaluation {
                alike,
                ..evaluation(loss, 0.0)
            };
            assert!(progress.observe(DevScore::Loss, &optimizer, step, &evaluation));
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
