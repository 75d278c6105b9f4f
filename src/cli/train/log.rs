//! Shows the progress of a training run: a progress bar on a terminal, plain lines elsewhere, JSON if asked for.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::cli::output;
use crate::error;
use crate::tensor::Device;
use crate::train::dev::Evaluation;
use crate::train::summary::Summary;
use crate::train::{Event, Outcome, Report};

/// Interval of the lines about training steps, in steps.
const EVERY: u64 = 50;

/// The meaning of the numbers in the lines.
const LEGEND: &str = "loss: how badly the next word of a training caption is foreseen, in nats a word, smoothed over about \
                      20 steps; dropout and label smoothing make it higher than the dev loss. dev loss: that of the dev \
                      split, without both. CIDEr and BLEU-4 judge captions that the model writes of dev pictures; higher \
                      is better";

/// A progress bar on a terminal, plain lines elsewhere, JSON if asked for.
pub struct Display {
    json: bool,
    bar: Option<ProgressBar>,
    /// The mean loss of the last steps. It is smoothed because the loss of single steps jumps.
    loss: Option<f64>,
    /// The time when the first step began, and its number.
    started: Option<(Instant, u64)>,
    /// Total steps and epochs of the run.
    steps: u64,
    epochs: u64,
    /// The name of the device.
    device: String,
    /// The settings that are not the defaults, as TOML spells them.
    settings: Vec<String>,
}

impl Display {
    pub fn new(json: bool, device: &Device, settings: Vec<String>) -> Self {
        Display {
            json,
            bar: None,
            loss: None,
            started: None,
            steps: 0,
            epochs: 0,
            device: device.name().to_string(),
            settings,
        }
    }

    /// Shows an event. `lines` are the JSON objects for it.
    pub fn show(&mut self, event: &Event, lines: &[Value]) {
        if self.json {
            print_json(lines);
        }
        match event {
            Event::Start {
                done,
                steps,
                images,
                parameters,
                epochs,
            } => {
                (self.steps, self.epochs) = (*steps, *epochs);
                if !self.json || std::io::stderr().is_terminal() {
                    output::note(format_args!(
                        "{images} images, {parameters} parameters, {} steps to go on {}",
                        steps.saturating_sub(*done),
                        self.device
                    ));
                }
                if !self.settings.is_empty() {
                    self.line(&format!("settings: {}", self.settings.join("; ")));
                }
                if std::io::stderr().is_terminal() {
                    let style = "{bar:30} step {pos}/{len}  {msg}  {eta} left";
                    self.bar = Some(output::progress(style, *steps).with_position(*done));
                }
            }
            Event::Data(summary) => {
                for line in summary.lines() {
                    self.line(&line);
                }
                self.line(LEGEND);
            }
            Event::Features { done, images } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("features of {done}/{images} images"));
                } else if !self.json && done == images {
                    output::note(format_args!("features of {images} images computed"));
                }
            }
            Event::Step(report) => self.step(report),
            Event::Notice(text) => self.line(text),
            Event::Warning { text, .. } => self.line(&format!("warning: {text}")),
            Event::Evaluated {
                step,
                epoch,
                evaluation,
                best,
            } => {
                self.line(&evaluated(*step, *epoch, evaluation, *best));
                for line in shown(evaluation) {
                    self.line(&line);
                }
            }
            Event::EarlyStop {
                step,
                best_step,
                best_score,
                measure,
            } => self.line(&format!(
                "stopped early after step {step}: the last evaluations were no better than {} of step {best_step}",
                measure.spelled(*best_score)
            )),
            Event::Saved { path } => self.line(&format!("checkpoint: {}", error::name(path))),
        }
    }

    fn step(&mut self, report: &Report) {
        let loss = f64::from(report.loss);
        let mean = self.loss.map_or(loss, |mean| mean + 0.05 * (loss - mean));
        self.loss = Some(mean);
        let (began, first) = *self.started.get_or_insert((Instant::now(), report.step));
        let text = format!(
            "loss {mean:.4}, rate {:.1e}, {:.1} images/s",
            report.lr, report.images_per_s
        );
        let epoch = format!("epoch {} of {}", report.epoch, self.epochs);
        match &self.bar {
            Some(bar) => {
                bar.set_position(report.step);
                bar.set_message(format!("{epoch}  {text}"));
            }
            None if !self.json && report.step.is_multiple_of(EVERY) => {
                // The first step began before the clock started.
                let taken = report.step - first;
                let left = match taken {
                    0 => String::new(),
                    _ => {
                        let ahead = self.steps.saturating_sub(report.step);
                        let each = began.elapsed().as_secs_f64() / taken as f64;
                        let left = Duration::from_secs_f64(each * ahead as f64);
                        format!(", {} left", spoken(left))
                    }
                };
                let steps = self.steps;
                output::note(format_args!(
                    "{epoch}, step {} of {steps}: {text}{left}",
                    report.step
                ));
            }
            None => {}
        }
    }

    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) if !bar.is_finished() => bar.println(text),
            _ if !self.json => output::note(text),
            _ => {}
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A duration in words.
fn spoken(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=89 => format!("{seconds} s"),
        seconds @ 90..=5399 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The line about the end of a run.
pub fn ended(outcome: &Outcome, out: &Path) -> String {
    let step = outcome.step;
    let out = error::name(out);
    match outcome.score {
        Some((measure, score)) => format!(
            "{out} is the model after step {step}, the best on the dev split: {}",
            measure.spelled(score)
        ),
        None => format!("{out} is the model after step {step}"),
    }
}

/// The line about an evaluation on the dev split.
fn evaluated(step: u64, epoch: Option<u64>, evaluation: &Evaluation, best: bool) -> String {
    let mut line = match (step, epoch) {
        (0, _) => "before the first step: ".to_string(),
        (_, Some(epoch)) => format!("step {step} (epoch {epoch}): "),
        (_, None) => format!("step {step}: "),
    };
    match (evaluation.cider, evaluation.bleu4) {
        (Some(cider), Some(bleu4)) => {
            line += &format!(
                "dev loss {:.4} nats a word, CIDEr {cider:.2}, BLEU-4 {bleu4:.2}, {} of {} captions distinct",
                evaluation.loss, evaluation.distinct, evaluation.images
            );
        }
        _ => {
            line += &format!(
                "loss {:.4} on {} held-out views",
                evaluation.loss, evaluation.images
            );
            for (name, value) in &evaluation.parts {
                line += &format!(", {name} {value:.4}");
            }
        }
    }
    if best {
        line += ", the best so far";
    }
    line
}

/// The lines about a few captions, beside the human captions.
fn shown(evaluation: &Evaluation) -> Vec<String> {
    let line = |shown: &crate::train::dev::Shown| {
        let people = shown.people.first().map_or("", String::as_str);
        format!(
            "  {}: {} (people: {})",
            error::name(&shown.image),
            error::name(&shown.text),
            error::name(people.trim())
        )
    };
    // The log and the report show all captions; every second one is shown here.
    evaluation.shown.iter().step_by(2).map(line).collect()
}

fn print_json(lines: &[Value]) {
    for object in lines {
        if let Ok(text) = output::json_text(object) {
            // A failed write is ignored: it must not end hours of training.
            let _ = output::try_line(text);
        }
    }
}

/// The JSON objects for an event. Only training steps have the key `loss`.
pub fn objects(event: &Event) -> Vec<Value> {
    let object = match event {
        Event::Step(report) => step(report),
        Event::Start {
            done,
            steps,
            images,
            parameters,
            epochs,
        } => json!({
            "event": "start", "done": done, "steps": steps, "images": images, "parameters": parameters,
            "epochs": epochs,
        }),
        Event::Data(summary) => data(summary),
        Event::Features { done, images } => {
            json!({ "event": "features", "done": done, "images": images })
        }
        Event::Notice(text) => json!({ "event": "notice", "text": text }),
        Event::Warning { step, kind, text } => {
            json!({ "event": "warning", "kind": kind, "step": step, "text": text })
        }
        Event::Evaluated {
            step,
            epoch,
            evaluation,
            best,
        } => return validation(*step, *epoch, evaluation, *best),
        Event::EarlyStop {
            step,
            best_step,
            best_score,
            measure,
        } => json!({
            "event": "early_stop", "step": step, "best_step": best_step, "best_score": best_score,
            "measure": measure.name(),
        }),
        Event::Saved { path } => json!({ "event": "checkpoint", "path": path.to_string_lossy() }),
    };
    vec![object]
}

fn step(report: &Report) -> Value {
    let mut object = json!({
        "step": report.step, "loss": report.loss, "lr": report.lr, "grad_norm": report.grad_norm,
        "images_per_s": report.images_per_s, "epoch": report.epoch,
    });
    for (name, value) in &report.parts {
        object[name.as_str()] = (*value).into();
    }
    if let Some(lr) = report.encoder_lr {
        object["encoder_lr"] = lr.into();
    }
    object
}

fn data(summary: &Summary) -> Value {
    let split = |s: &crate::train::summary::SplitSize| json!({ "split": s.split.to_string(), "images": s.images, "captions": s.captions });
    let splits: Vec<Value> = summary.splits.iter().map(split).collect();
    let coverage = summary.coverage;
    json!({
        "event": "data", "dataset": summary.dataset, "splits": splits, "rule": summary.rule(),
        "vocabulary": summary.vocabulary, "words": coverage.words, "words_kept": coverage.known,
        "words_dropped": coverage.words - coverage.known, "min_count": summary.min_count,
        "said_kept": coverage.known_occurrences as f64 / coverage.occurrences.max(1) as f64,
    })
}

/// The scores, and a few of the captions.
fn validation(step: u64, epoch: Option<u64>, evaluation: &Evaluation, best: bool) -> Vec<Value> {
    let parts = evaluation.parts.iter();
    let parts: serde_json::Map<_, _> = parts
        .map(|(name, value)| (name.clone(), (*value).into()))
        .collect();
    let scores = json!({
        "event": "validation", "step": step, "epoch": epoch, "dev_loss": evaluation.loss,
        "cider": evaluation.cider, "bleu4": evaluation.bleu4, "distinct": evaluation.distinct,
        "images": evaluation.images, "parts": parts, "best": best,
    });
    if evaluation.shown.is_empty() {
        return vec![scores];
    }
    let shown = evaluation
        .shown
        .iter()
        .map(|s| json!({ "image": s.image, "text": s.text, "people": s.people }));
    let shown: Vec<Value> = shown.collect();
    let captions = json!({
        "event": "captions", "step": step, "captions": shown, "distinct": evaluation.distinct,
        "commonest": evaluation.commonest, "images": evaluation.images, "alike": evaluation.alike,
    });
    vec![scores, captions]
}
