//! Going on with other settings than a run began with.

use serde_json::{Value, json};

use super::Trainer;
use crate::error::{Error, Result};
use crate::train::config::{OptimizerConfig, TrainConfig};

/// The note of a model's training that holds the settings that were changed while it was trained.
pub(super) const CHANGES: &str = "changes";

/// The settings of a resumed run after `change`.
///
/// # Errors
/// Where they make no sense, or differ in something that a run cannot change on its way.
pub(super) fn changed(
    before: &TrainConfig,
    change: impl FnOnce(&mut TrainConfig) -> Result<()>,
) -> Result<TrainConfig> {
    let mut after = before.clone();
    change(&mut after)?;
    after.check()?;
    // With all that may change taken from `after`, the settings before must be those after.
    let kept = TrainConfig {
        epochs: after.epochs,
        validate_every: after.validate_every,
        optimizer: OptimizerConfig {
            kind: before.optimizer.kind,
            average: match (before.optimizer.average, after.optimizer.average) {
                // The checkpoint holds an average, or it does not.
                (b, a) if b > 0.0 && a > 0.0 => a,
                (b, _) => b,
            },
            ..after.optimizer.clone()
        },
        loss: after.loss.clone(),
        self_critical: after.self_critical.clone(),
        dev: after.dev.clone(),
        output: after.output.clone(),
        ..before.clone()
    };
    if kept == after {
        return Ok(after);
    }
    let wrong = differences(&to_value(&kept)?, &to_value(&after)?);
    let field = wrong.into_iter().next().map_or_else(String::new, |d| d.0);
    Err(Error::usage(format!(
        "{field}: a run that goes on keeps its networks, its data and their order, so this cannot change; start a new \
         run for it, with --init where the weights are to stay"
    )))
}

fn to_value(config: &TrainConfig) -> Result<Value> {
    serde_json::to_value(config).map_err(|_| {
        Error::usage("the configuration cannot be stored; this is a mistake in Glimpse")
    })
}

/// Each setting that differs, by its name, with its value before and after.
fn differences(before: &Value, after: &Value) -> Vec<(String, Value, Value)> {
    let mut found = Vec::new();
    collect("", before, after, &mut found);
    let short = |(name, from, to)| (name, shortened(from), shortened(to));
    found.into_iter().map(short).collect()
}

/// A number as it was written: 0.02 rather than the 0.0199999995 that is nearest to it in 32 bits.
fn shortened(value: Value) -> Value {
    let Some(x) = value.as_f64().filter(|_| value.is_f64()) else {
        return value;
    };
    let single = x as f32;
    match format!("{single}").parse::<f64>() {
        Ok(short) if f64::from(single) == x => short.into(),
        _ => value,
    }
}

fn collect(name: &str, before: &Value, after: &Value, found: &mut Vec<(String, Value, Value)>) {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let name = match name {
                    "" => key.clone(),
                    _ => format!("{name}.{key}"),
                };
                let get = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
                let [a, b] = [get(a), get(b)].map(Option::unwrap_or_default);
                collect(&name, &a, &b, found);
            }
        }
        _ if before != after => found.push((name.into(), before.clone(), after.clone())),
        _ => {}
    }
}

impl Trainer {
    /// Takes over changed settings, and writes them down for the checkpoint and the model.
    ///
    /// # Errors
    /// Where the run is already further than the new settings go.
    pub(super) fn change_to(&mut self, after: TrainConfig) -> Result<()> {
        let done = self.optimizer.steps();
        let found = differences(&to_value(&self.config)?, &to_value(&after)?);
        if found.is_empty() {
            return Ok(());
        }
        let total = after.epochs * self.steps_per_epoch();
        if total < done {
            return Err(Error::usage(format!(
                "epochs = {}: are {total} steps, and the run that goes on has taken {done}; give it more, or leave them as \
                 they are",
                after.epochs
            )));
        }
        let notes = found.iter().map(|(field, from, to)| {
            json!({ "after_step": done, "field": field, "from": from, "to": to })
        });
        let notes: Vec<Value> = notes.collect();
        let list = self.work.training().entry(CHANGES.into());
        match list.or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(list) => list.extend(notes),
            other => *other = Value::Array(notes),
        }
        for (field, from, to) in found {
            self.notices
                .push(format!("{field} is {to} from here on, it was {from}"));
        }
        self.config = after;
        // The change is there to make the score move again.
        self.progress.stale = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_is_made_of_cannot_change() {
        let before = TrainConfig::default();
        let after = changed(&before, |c| {
            c.epochs = 50;
            c.optimizer.lr = 1e-4;
            c.dev.patience = 3;
            Ok(())
        });
        let after = after.unwrap();
        assert_eq!((after.epochs, after.dev.patience), (50, 3));
        type Change = fn(&mut TrainConfig);
        let wrong: [(Change, &str); 5] = [
            (|c| c.batch = 8, "batch"),
            (|c| c.decoder.hidden = 8, "decoder.hidden"),
            (|c| c.optimizer.average = 0.9, "optimizer.average"),
            (|c| c.seed = 3, "seed"),
            (|c| c.epochs = 0, "epochs"),
        ];
        for (change, part) in wrong {
            let message = changed(&before, |c| {
                change(c);
                Ok(())
            });
            let message = message.unwrap_err().to_string();
            assert!(message.starts_with(part), "{message}");
        }
    }
}
