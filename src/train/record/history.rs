//! The history of a run, from which its report is drawn. It is collected from all lines of the log, also from those
//! that were written before the run was resumed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::curve::Curve;

/// Weight of a new loss in its exponential moving average.
const SMOOTHING: f64 = 0.05;
/// Maximum number of other curves, and of kinds of warnings.
const MOST_PARTS: usize = 16;
/// Maximum number of sets of captions.
const MOST_CAPTIONS: usize = 64;

/// An evaluation on the dev split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Steps taken at that evaluation.
    pub step: u64,
    /// The dev loss.
    pub loss: Option<f64>,
    /// CIDEr, times 100.
    pub cider: Option<f64>,
    /// BLEU-4, times 100.
    pub bleu4: Option<f64>,
    /// Number of distinct captions.
    pub distinct: Option<u64>,
    /// Number of images that were captioned.
    pub images: Option<u64>,
    /// Whether the score was the best so far.
    pub best: bool,
}

impl Scores {
    /// Reads the scores from a line of the log.
    pub fn of(line: &Value) -> Self {
        let number = |name: &str| line[name].as_f64();
        Scores {
            step: line["step"].as_u64().unwrap_or(0),
            loss: number("dev_loss"),
            cider: number("cider"),
            bleu4: number("bleu4"),
            distinct: line["distinct"].as_u64(),
            images: line["images"].as_u64(),
            best: line["best"] == true,
        }
    }
}

/// Captions of the followed images after a step, as pairs of name and text.
pub type Captions = (u64, Vec<(String, String)>);

/// All data that the report shows.
#[derive(Default)]
pub struct History {
    /// Loss of each step.
    pub loss: Curve,
    /// Loss, smoothed.
    pub smoothed: Curve,
    mean: Option<f64>,
    /// Learning rate.
    pub lr: Curve,
    /// Learning rate of the encoder.
    pub encoder_lr: Curve,
    /// Images per second.
    pub rate: Curve,
    /// Norm of the gradients.
    pub norm: Curve,
    /// Other numbers of the steps by name.
    pub parts: BTreeMap<String, Curve>,
    /// The evaluations.
    pub scores: Vec<Scores>,
    /// Captions of the followed images.
    pub captions: Vec<Captions>,
    /// Notices of the run.
    pub notices: Vec<String>,
    /// The newest warning of each kind.
    pub warnings: BTreeMap<String, String>,
    /// The step with the best score, if the run ended because its score stopped improving.
    pub stopped_early: Option<u64>,
    /// The last step.
    pub step: u64,
    /// Steps of the whole run.
    pub total: u64,
}

impl History {
    /// Adds a line of the log.
    pub fn take(&mut self, line: &Value) {
        match line["event"].as_str() {
            None => self.step(line),
            Some("start") => {
                self.total = line["steps"].as_u64().unwrap_or(self.total);
            }
            Some("validation") => self.scores.push(Scores::of(line)),
            Some("captions") => self.captions(line),
            Some("notice") => {
                let text = line["text"].as_str().unwrap_or_default().to_string();
                if !text.is_empty() && !self.notices.contains(&text) {
                    self.notices.push(text);
                }
            }
            Some("warning") => self.warning(line),
            Some("early_stop") => self.stopped_early = line["best_step"].as_u64(),
            Some(_) => {}
        }
    }

    fn step(&mut self, line: &Value) {
        let Some(fields) = line.as_object() else {
            return;
        };
        let Some(step) = line["step"].as_u64() else {
            return;
        };
        self.step = step;
        let x = step as f64;
        for (name, value) in fields {
            let Some(value) = value.as_f64() else {
                continue;
            };
            match name.as_str() {
                "step" | "epoch" => {}
                "loss" => {
                    let mean = self
                        .mean
                        .map_or(value, |mean| mean + SMOOTHING * (value - mean));
                    self.mean = Some(mean);
                    self.loss.push(x, value);
                    self.smoothed.push(x, mean);
                }
                "lr" => self.lr.push(x, value),
                "encoder_lr" => self.encoder_lr.push(x, value),
                "images_per_s" => self.rate.push(x, value),
                "grad_norm" => self.norm.push(x, value),
                // A log from elsewhere may have any number of names.
                name if self.parts.contains_key(name) || self.parts.len() < MOST_PARTS => {
                    self.parts.entry(name.into()).or_default().push(x, value);
                }
                _ => {}
            }
        }
    }

    fn warning(&mut self, line: &Value) {
        let kind = line["kind"].as_str().unwrap_or_default().to_string();
        let text = line["text"].as_str().unwrap_or_default().to_string();
        let is_known = self.warnings.contains_key(&kind);
        if !text.is_empty() && (is_known || self.warnings.len() < MOST_PARTS) {
            self.warnings.insert(kind, text);
        }
    }

    fn captions(&mut self, line: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let all = line["captions"].as_array().into_iter().flatten();
        let all = all.map(|c| (text(&c["image"]), text(&c["text"]))).collect();
        self.captions
            .push((line["step"].as_u64().unwrap_or(0), all));
        // In a long run every second set is kept, and the first and the last.
        if self.captions.len() > MOST_CAPTIONS {
            let last = self.captions.len() - 1;
            let mut at = 0;
            self.captions.retain(|_| {
                at += 1;
                (at - 1usize).is_multiple_of(2) || at - 1 == last
            });
        }
    }

    /// Returns the smoothed loss of the last step.
    pub fn mean_loss(&self) -> Option<f64> {
        self.mean
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_become_curves_and_scores() {
        let mut history = History::default();
        history.take(&json!({ "event": "start", "steps": 9 }));
        history.take(
            &json!({ "step": 1, "loss": 4.0, "lr": 0.1, "caption_loss": 3.5, "images_per_s": 8.0, "epoch": 1 }),
        );
        history.take(&json!({ "step": 2, "loss": 2.0, "lr": 0.2, "caption_loss": 3.0, "images_per_s": null }));
        history.take(&json!({ "event": "validation", "step": 2, "dev_loss": 3.0, "cider": 1.5, "best": true }));
        history.take(&json!({ "event": "notice", "text": "a" }));
        history.take(&json!({ "event": "notice", "text": "a" }));
        for text in ["b", "c"] {
            history.take(
                &json!({ "event": "warning", "kind": "standstill", "step": 2, "text": text }),
            );
        }
        history.take(&json!({ "event": "early_stop", "step": 2, "best_step": 1 }));
        assert_eq!(history.warnings.values().collect::<Vec<_>>(), ["c"]);
        assert_eq!(history.stopped_early, Some(1));
        history.take(&json!(["no", "object"]));
        assert_eq!((history.step, history.total), (2, 9));
        assert_eq!(history.loss.points(), [(1.0, 4.0), (2.0, 2.0)]);
        assert_eq!(history.smoothed.points(), [(1.0, 4.0), (2.0, 3.9)]);
        assert_eq!(history.rate.points(), [(1.0, 8.0)]);
        assert_eq!(
            history.parts["caption_loss"].points(),
            [(1.0, 3.5), (2.0, 3.0)]
        );
        assert!(!history.parts.contains_key("epoch"));
        assert!(history.scores[0].best && history.scores[0].cider == Some(1.5));
        assert_eq!(history.notices, ["a"]);
        for step in 0..200 {
            history.take(&json!({ "event": "captions", "step": step, "captions": [{ "image": "a", "text": "b" }] }));
        }
        assert!(history.captions.len() <= MOST_CAPTIONS);
        assert_eq!(history.captions[0].0, 0);
        assert_eq!(history.captions.last().unwrap().0, 199);
    }
}
