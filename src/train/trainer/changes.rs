//! Settings that were changed when a run was resumed, and their record.

use serde_json::{Value, json};

use super::Trainer;
use crate::error::{Error, Result};
use crate::model::Description;
use crate::train::TrainConfig;
use crate::train::config::change::{differences, rounded, shown};

/// Key of the note in a model's description that lists the changes.
const NOTE: &str = "changes";

/// Returns the changes listed in `description`, followed by those from `before` to `after`, made after `steps` steps.
pub(super) fn of(
    description: &Description,
    before: &TrainConfig,
    after: &TrainConfig,
    steps: u64,
) -> Vec<Value> {
    let earlier = description.training.get(NOTE).and_then(Value::as_array);
    let mut all = earlier.cloned().unwrap_or_default();
    for (key, from, to) in differences(&before.value(), &after.value()) {
        let [from, to] = [from, to].map(|value| value.map(rounded));
        all.push(json!({ "step": steps, "setting": key, "from": from, "to": to }));
    }
    all
}

impl Trainer {
    /// Records the changes of a run resumed after `steps` steps, and notifies the user of the new ones.
    ///
    /// # Errors
    /// Fails if the run would already have ended.
    pub(super) fn adopt_changes(
        &mut self,
        all: Vec<Value>,
        before: &TrainConfig,
        steps: u64,
    ) -> Result<()> {
        let total = self.total_steps();
        if self.config.epochs < before.epochs && total <= steps {
            return Err(Error::usage(format_args!(
                "epochs = {}: that is {total} steps, and the checkpoint has taken {steps}; ask for more epochs",
                self.config.epochs
            )));
        }
        let found = differences(&before.value(), &self.config.value());
        if !found.is_empty() {
            // The change is meant to improve the score, so early stopping counts anew.
            self.progress.stale = 0;
        }
        for (key, from, to) in found {
            let spelled = |value: Option<Value>| {
                value.map_or_else(|| "left out".to_string(), |value| shown(&value))
            };
            self.notices.push(format!(
                "{key} was {} and is {} from step {} on",
                spelled(from),
                spelled(to),
                steps + 1
            ));
        }
        if !all.is_empty() {
            self.work.training().insert(NOTE.into(), all.into());
        }
        Ok(())
    }
}
