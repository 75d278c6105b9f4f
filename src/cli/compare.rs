//! `glimpse compare`

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::output;
use crate::data::weights::WeightFile;
use crate::error::{Error, Result, name};
use crate::model::Description;
use crate::train::checkpoint;
use crate::train::config::change::{flat, shown};
use crate::train::config::fields::FIELDS;
use crate::train::record::{Scores, log, log_beside};

/// Put the settings and scores of several runs side by side
///
/// Only settings that differ are shown. The scores of a model are those of its weights on the dev split, the scores
/// of a log are the best ones in it. If a model or a checkpoint holds no scores, they are the best ones up to its
/// step in the log beside it.
#[derive(Args)]
pub struct CompareArgs {
    /// Models or checkpoints, or the logs (a.log.jsonl) beside them; two or more
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// The data of a run that are compared.
#[derive(Default)]
struct Run {
    config: Value,
    steps: Option<u64>,
    program: Option<String>,
    dataset: Option<String>,
    images: Option<u64>,
    scores: Option<Scores>,
}

pub fn run(args: &CompareArgs) -> Result<ExitCode> {
    if args.runs.len() < 2 {
        return Ok(output::misused(
            "one run is nothing to compare; name two models or more, or the logs beside them",
        ));
    }
    let runs: Vec<Run> = args
        .runs
        .iter()
        .map(|p| Run::read(p))
        .collect::<Result<_>>()?;
    let rows = rows(&runs);
    if args.json {
        output::json(&object(&args.runs, &runs, &rows))?;
    } else {
        print(&args.runs, &rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Run {
    fn read(path: &Path) -> Result<Self> {
        match is_log(path)? {
            true => Self::of_log(path),
            false => Self::of_model(path),
        }
    }

    fn of_log(path: &Path) -> Result<Self> {
        let lines = log::read(path)?;
        let run = lines.iter().rev().find(|line| line["event"] == "run");
        let run = run.ok_or_else(|| {
            Error::file(
                path,
                "tells of no run; name the .log.jsonl that `glimpse train` writes beside a model",
            )
        })?;
        let scores = lines.iter().filter(|line| line["event"] == "validation");
        let scores: Vec<Scores> = scores.map(Scores::of).collect();
        let best = scores.iter().rev().find(|s| s.best).or(scores.last());
        let start = lines.iter().rev().find(|line| line["event"] == "start");
        Ok(Run {
            config: run["config"].clone(),
            // The last line of a finished run names the step of the best weights.
            steps: lines.iter().filter_map(|line| line["step"].as_u64()).max(),
            program: run["program"].as_str().map(version),
            dataset: run["facts"]["data"].as_str().map(String::from),
            images: start.and_then(|start| start["images"].as_u64()),
            scores: best.cloned(),
        })
    }

    fn of_model(path: &Path) -> Result<Self> {
        let description = Description::read(&WeightFile::open(path)?)?;
        let training = description.map(|d| d.training).unwrap_or_default();
        let Some(config) = training.get("config").cloned() else {
            return Err(Error::file(
                path,
                "does not say how it was trained; name models of `glimpse train`, or the logs beside them",
            ));
        };
        let note = |key: &str| training.get(key);
        let steps = note("steps").and_then(Value::as_u64);
        let stored = note("dev").filter(|dev| dev["step"].as_u64() == steps);
        let stored = stored.map(|dev| {
            let line = json!({
                "step": dev["step"], "dev_loss": dev["loss"], "cider": dev["cider"], "bleu4": dev["bleu4"],
                "images": dev["images"],
            });
            Scores::of(&line)
        });
        let out = checkpoint::output_of(path).unwrap_or_else(|| path.to_path_buf());
        let beside = || until(&log_beside(&out), steps);
        let scores = stored.or_else(beside);
        Ok(Run {
            scores,
            steps,
            program: note("program").and_then(Value::as_str).map(version),
            dataset: note("dataset").and_then(Value::as_str).map(String::from),
            images: note("images").and_then(Value::as_u64),
            config,
        })
    }
}

/// The best scores of the first `steps` steps in the log at `path`.
fn until(path: &Path, steps: Option<u64>) -> Option<Scores> {
    let lines = log::read(path).ok()?;
    let scores = lines.iter().filter(|line| line["event"] == "validation");
    let mut scores = scores.map(Scores::of).filter(|s| Some(s.step) <= steps);
    scores.rfind(|s| s.best)
}

/// The program without its commit. Models do not name the commit: builds of two commits may write the same bytes.
fn version(program: &str) -> String {
    program.split(',').next().unwrap_or(program).to_string()
}

/// Whether the file at `path` is a log and not a model: by its name, or because it begins like JSON.
fn is_log(path: &Path) -> Result<bool> {
    if path
        .extension()
        .is_some_and(|extension| extension == "jsonl")
    {
        return Ok(true);
    }
    let mut first = [0];
    let read = fs::File::open(path).and_then(|mut file| file.read(&mut first));
    read.map_err(|e| Error::unread(path, &e))?;
    Ok(first == *b"{")
}

/// A row of the table.
struct Row {
    name: String,
    kind: Kind,
    values: Vec<Option<Value>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Setting,
    Fact,
    Score,
}

fn rows(runs: &[Run]) -> Vec<Row> {
    let mut rows = Vec::new();
    let settings: Vec<BTreeMap<String, Value>> = runs
        .iter()
        .map(|run| flat(&run.config).into_iter().collect())
        .collect();
    let mut keys: Vec<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
    let place = |key: &str| FIELDS.iter().position(|field| field.key == key);
    keys.sort_by_key(|key| (place(key).unwrap_or(FIELDS.len()), *key));
    keys.dedup();
    for key in keys {
        let values: Vec<Option<Value>> = settings.iter().map(|s| s.get(key).cloned()).collect();
        if values.windows(2).any(|pair| pair[0] != pair[1]) {
            rows.push(Row {
                name: key.clone(),
                kind: Kind::Setting,
                values,
            });
        }
    }
    let mut fact = |kind, name: &str, of: &dyn Fn(&Run) -> Option<Value>| {
        let values: Vec<Option<Value>> = runs.iter().map(of).collect();
        let differs = values.windows(2).any(|pair| pair[0] != pair[1]);
        let is_shown = match kind {
            Kind::Fact => differs,
            _ => values.iter().any(Option::is_some),
        };
        if is_shown {
            rows.push(Row {
                name: name.into(),
                kind,
                values,
            });
        }
    };
    fact(Kind::Fact, "data", &|run| {
        run.dataset.clone().map(Value::from)
    });
    fact(Kind::Fact, "training images", &|run| {
        run.images.map(Value::from)
    });
    fact(Kind::Fact, "program", &|run| {
        run.program.clone().map(Value::from)
    });
    fact(Kind::Score, "steps", &|run| run.steps.map(Value::from));
    let mut score = |name: &str, of: fn(&Scores) -> Option<f64>| {
        fact(Kind::Score, name, &|run| {
            Some(of(run.scores.as_ref()?)?.into())
        });
    };
    score("CIDEr", |s| s.cider);
    score("BLEU-4", |s| s.bleu4);
    score("dev loss", |s| s.loss);
    score("scored at step", |s| Some(s.step as f64));
    score("dev images", |s| s.images.map(|n| n as f64));
    score("different captions", |s| s.distinct.map(|n| n as f64));
    rows
}

fn object(paths: &[PathBuf], runs: &[Run], rows: &[Row]) -> Value {
    let settings = rows.iter().filter(|row| row.kind == Kind::Setting);
    let settings: serde_json::Map<String, Value> = settings
        .map(|row| (row.name.clone(), json!(row.values)))
        .collect();
    let all = paths.iter().zip(runs).map(|(path, run)| {
        let scores = run.scores.as_ref().map(|s| {
            json!({
                "step": s.step, "dev_loss": s.loss, "cider": s.cider, "bleu4": s.bleu4, "distinct": s.distinct,
                "images": s.images,
            })
        });
        json!({
            "run": path.to_string_lossy(), "steps": run.steps, "program": run.program, "dataset": run.dataset,
            "images": run.images, "scores": scores, "config": run.config,
        })
    });
    json!({ "runs": all.collect::<Vec<_>>(), "differs": settings })
}

/// Prints the table, with a column for each run.
fn print(paths: &[PathBuf], rows: &[Row]) -> Result<()> {
    let mut table: Vec<Vec<String>> = Vec::new();
    let mut head = vec![String::new()];
    head.extend(paths.iter().map(|path| name(path).to_string()));
    table.push(head);
    for row in rows {
        let mut line = vec![row.name.clone()];
        line.extend(row.values.iter().map(|value| cell(row, value.as_ref())));
        table.push(line);
    }
    if !rows.iter().any(|row| row.kind == Kind::Setting) {
        output::line("the settings of all runs are the same")?;
    }
    let columns = paths.len() + 1;
    let width = |column: usize| {
        let cells = table.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in &table {
        let cells = line.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        output::line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// A value in the table; a dash if the run has no such value.
fn cell(row: &Row, value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "-".into();
    };
    let text = match (row.kind, value) {
        (Kind::Score, Value::Number(number)) if number.is_f64() => {
            let x = number.as_f64().unwrap_or(f64::NAN);
            match row.name.as_str() {
                "dev loss" => format!("{x:.4}"),
                "CIDEr" | "BLEU-4" => format!("{x:.2}"),
                _ => format!("{x:.0}"),
            }
        }
        (Kind::Fact, Value::String(text)) => text.clone(),
        _ => shown(value),
    };
    name(Path::new(&text)).to_string()
}
