//! `glimpse score`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output;
use crate::data::{Dataset, Example, Split};
use crate::error::{Error, Result};
use crate::metrics::{self, References, Scores};

/// Score captions against what people wrote
#[derive(Args)]
pub struct ScoreArgs {
    /// The captions: lines {"image": "a.jpg", "text": "a dog runs"}, one for each image of the split
    #[arg(value_name = "HYPOTHESES.jsonl")]
    hypotheses: PathBuf,
    /// The dataset's folder: Flickr8k, Flickr30k, Kaggle's captions.txt, Karpathy's JSON, or COCO
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which of its images: train, dev (or val), test
    #[arg(long, value_name = "SPLIT")]
    split: Split,
    /// Print the scores as a JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ScoreArgs) -> Result<ExitCode> {
    let hypotheses = metrics::read_hypotheses(&args.hypotheses)?;
    let examples = Dataset::open(&args.data)?.split(args.split)?;
    let scores = metrics::score(&hypotheses, &references(examples))
        .map_err(|e| Error::file(&args.hypotheses, e))?;
    print_scores(&scores, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// What people wrote, by image.
pub fn references(examples: Vec<Example>) -> References {
    examples
        .into_iter()
        .map(|example| (example.name, example.captions))
        .collect()
}

/// Prints scores (times 100) as a table, or as a JSON object.
///
/// # Errors
/// Where standard output cannot take them.
pub fn print_scores(scores: &Scores, json: bool) -> Result<()> {
    if json {
        return output::json(scores);
    }
    let table = serde_json::to_value(scores).unwrap_or_default();
    for (name, value) in table.as_object().into_iter().flatten() {
        match value.as_f64() {
            Some(score) if value.is_f64() => output::line(format_args!("{name:<8}{score:8.2}"))?,
            _ => output::line(format_args!("{name:<8}{:>8}", value.to_string()))?,
        }
    }
    Ok(())
}
