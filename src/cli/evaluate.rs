//! `glimpse evaluate`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use clap::Args;
use indicatif::ProgressBar;

use super::dataset::{self, DataArgs};
use super::images::Images;
use super::options::{ModelArgs, ReadingArgs, SearchArgs};
use super::output;
use super::pipeline::{encoded, likeliest};
use super::score::ScoringArgs;
use crate::data::dataset::{refusal, unreadable};
use crate::data::store::{self, write_atomically};
use crate::data::{Example, Split};
use crate::error::Result;
use crate::metrics::Hypothesis;
use crate::model::Captioner;
use crate::tensor::Device;

/// Caption a dataset and score the captions against what people wrote
#[derive(Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    data: DataArgs,
    /// The split: train, dev (or val), test
    #[arg(long, value_name = "SPLIT")]
    split: Split,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    search: SearchArgs,
    /// Write the captions to this file, a JSON object {"image", "text"} a line, as `glimpse score` reads them
    #[arg(long, value_name = "OUT.jsonl")]
    captions: Option<PathBuf>,
    #[command(flatten)]
    scoring: ScoringArgs,
    #[command(flatten)]
    reading: ReadingArgs,
}

pub fn run(args: &EvaluateArgs, device: &Device) -> Result<ExitCode> {
    args.reading.apply();
    if let Some(what) = args.search.contradiction(1) {
        return Ok(output::misused(what));
    }
    args.captions.as_deref().map_or(Ok(()), store::check)?;
    let scoring = args.scoring.open()?;
    let captioner = args.model.load(device)?;
    let dataset = args.data.open(args.split)?;
    let examples = dataset.split(args.split)?;
    dataset.glance(&[args.split])?;
    dataset::tell(&dataset);
    let hypotheses = hypotheses(args, &captioner, &examples)?;
    if let Some(path) = &args.captions {
        let lines = hypotheses.iter().map(|h| Ok(output::json_text(h)? + "\n"));
        write_atomically(path, lines.collect::<Result<String>>()?.as_bytes())?;
    }
    scoring.print(&hypotheses, &dataset, args.split)?;
    Ok(ExitCode::SUCCESS)
}

/// The most probable caption of each image.
fn hypotheses(
    args: &EvaluateArgs,
    captioner: &Captioner,
    examples: &[Example],
) -> Result<Vec<Hypothesis>> {
    let bar = output::progress(
        "{bar:30} {pos}/{len} images  {eta} left",
        examples.len() as u64,
    );
    let texts = texts(args, captioner, examples, &bar);
    bar.finish_and_clear();
    let pairs = examples.iter().zip(texts?);
    Ok(pairs
        .map(|(example, text)| Hypothesis {
            image: example.name.clone(),
            text,
        })
        .collect())
}

fn texts(
    args: &EvaluateArgs,
    captioner: &Captioner,
    examples: &[Example],
    bar: &ProgressBar,
) -> Result<Vec<String>> {
    let images = Images::new(examples.iter().map(|e| e.image.clone()), captioner.recipe);
    let how = args.search.search(1);
    let mut texts = Vec::with_capacity(examples.len());
    thread::scope(|scope| {
        for chunk in encoded(scope, images, captioner)? {
            let chunk = chunk?;
            // A score over only some of the images is not comparable. An image that cannot be read ends the
            // evaluation.
            if let Some(error) = chunk.entries.into_iter().find_map(|entry| entry.error) {
                let paths: Vec<&Path> = examples.iter().map(|e| e.image.as_path()).collect();
                return Err(refusal(&unreadable(&paths), paths.len()).unwrap_or(error));
            }
            let Some(features) = chunk.features else {
                continue;
            };
            let found = likeliest(captioner, &features, &how)?;
            bar.inc(found.len() as u64);
            texts.extend(found);
        }
        Ok(texts)
    })
}
