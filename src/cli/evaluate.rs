//! `glimpse evaluate`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::images::Images;
use super::options::{ModelArgs, SearchArgs};
use super::output;
use super::score::{print_scores, references};
use crate::caption::search;
use crate::data::weights::write_atomically;
use crate::data::{Dataset, Example, Split};
use crate::error::Result;
use crate::metrics::{self, Hypothesis};
use crate::model::Captioner;

/// Caption a dataset and score the captions against what people wrote
#[derive(Args)]
pub struct EvaluateArgs {
    /// The dataset's folder: Flickr8k, Flickr30k, Kaggle's captions.txt, Karpathy's JSON, or COCO
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which of its images: train, dev (or val), test
    #[arg(long, value_name = "SPLIT")]
    split: Split,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    search: SearchArgs,
    /// Write the captions to this file, a JSON object {"image", "text"} a line, as `glimpse score` reads them
    #[arg(long, value_name = "OUT.jsonl")]
    captions: Option<PathBuf>,
    /// Print the scores as a JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &EvaluateArgs) -> Result<ExitCode> {
    args.captions
        .as_deref()
        .map_or(Ok(()), output::check_target)?;
    let captioner = args.model.load()?;
    let examples = Dataset::open(&args.data)?.split(args.split)?;
    let hypotheses = hypotheses(args, &captioner, &examples)?;
    if let Some(path) = &args.captions {
        let lines = hypotheses.iter().map(|h| Ok(output::json_text(h)? + "\n"));
        write_atomically(path, lines.collect::<Result<String>>()?.as_bytes())?;
    }
    print_scores(
        &metrics::score(&hypotheses, &references(examples))?,
        args.json,
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The likeliest caption of each image.
fn hypotheses(
    args: &EvaluateArgs,
    captioner: &Captioner,
    examples: &[Example],
) -> Result<Vec<Hypothesis>> {
    let bar = output::progress(
        "{bar:30} {pos}/{len} images  {eta} left",
        examples.len() as u64,
    );
    let mut texts = Vec::with_capacity(examples.len());
    for chunk in Images::new(examples.iter().map(|e| e.image.clone()), captioner.recipe) {
        let images = chunk.tensor()?;
        // A score over some of the images is comparable to nothing, so one that cannot be read ends it all.
        if let Some(error) = chunk.entries.into_iter().find_map(|entry| entry.error) {
            bar.finish_and_clear();
            return Err(error);
        }
        let Some(images) = images else { continue };
        for captions in search(
            captioner,
            &captioner.encode(&images)?,
            &args.search.search(1),
        )? {
            texts.push(
                captions
                    .into_iter()
                    .next()
                    .map(|c| c.text)
                    .unwrap_or_default(),
            );
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let pairs = examples.iter().zip(texts);
    Ok(pairs
        .map(|(example, text)| Hypothesis {
            image: example.name.clone(),
            text,
        })
        .collect())
}
