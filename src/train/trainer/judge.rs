//! Warnings of a run that learns nothing, and the outcome of a run.

use std::path::Path;

use super::Trainer;
use crate::error;
use crate::train::checkpoint;
use crate::train::config::{DevScore, Keep, Stage};
use crate::train::dev::Evaluation;
use crate::train::events::Outcome;

/// Number of evaluations without a better score before a warning, and between two warnings.
const STANDSTILL: u64 = 5;

impl Trainer {
    /// Returns the score that selects the best weights.
    pub(super) fn measure(&self) -> DevScore {
        match self.config.stage {
            Stage::Distill => DevScore::Loss,
            _ => self.config.dev.score,
        }
    }

    /// Returns the warnings at this evaluation, which has already been recorded. If the run `ends` with it, there is no
    /// warning about a standstill.
    pub(super) fn warnings(
        &mut self,
        evaluation: &Evaluation,
        ends: bool,
    ) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        self.alike = Some(evaluation.alike);
        if evaluation.alike {
            let Evaluation {
                commonest, images, ..
            } = evaluation;
            let text = format!(
                "{commonest} of {images} dev pictures have the same caption: the model does not tell pictures apart yet"
            );
            found.push(("alike", text));
        }
        let stale = self.progress.stale;
        let stands = stale > 0 && stale.is_multiple_of(STANDSTILL) && !ends;
        if let Some(best) = self.progress.best.filter(|_| stands) {
            let (step, score) = (best.reached, self.measure().spelled(best.score));
            let text = format!(
                "the dev score stands still: none of the last {stale} evaluations was better than {score} of step {step}"
            );
            found.push(("standstill", text));
        }
        found
    }

    /// Returns the outcome of a run whose files are written.
    pub(super) fn outcome(&self, out: &Path) -> Outcome {
        let best = self
            .progress
            .best
            .filter(|_| self.config.dev.keep == Keep::Best);
        Outcome {
            step: best.map_or(self.optimizer.steps(), |best| best.step),
            score: best.map(|best| (self.measure(), best.score)),
            warning: self.failure(out),
        }
    }

    /// Returns why the saved model is of no use; `None` if it is useful.
    fn failure(&self, out: &Path) -> Option<String> {
        let best = self.progress.best?;
        let kept = match self.config.dev.keep {
            Keep::Best => best.alike,
            Keep::Last => self.alike.unwrap_or(best.alike),
        };
        if kept {
            let epochs = self.config.epochs * 2;
            let advice = match (self.starts_trained, checkpoint::path_beside(out)) {
                (true, _) => "train with a lower --lr or on more captions".to_string(),
                (false, path) if path.exists() => format!(
                    "train longer (--resume {} --epochs {epochs}), or start from a model that can caption (--init bundled)",
                    error::name(&path)
                ),
                (false, _) => format!(
                    "train longer (--epochs {epochs}), or start from a model that can caption (--init bundled)"
                ),
            };
            return Some(format!(
                "the model says nearly the same of every dev picture, so it is of no use yet; {advice}"
            ));
        }
        let is_start = self.starts_trained && best.step == 0 && self.optimizer.steps() > 0;
        (is_start && self.config.dev.keep == Keep::Best && self.config.stage != Stage::Distill).then(|| {
            "no step made the dev score better, so the model is the one that the run started from; try more captions, or \
             another --lr"
                .to_string()
        })
    }
}
