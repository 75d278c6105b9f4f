//! `glimpse score`, and the report that `glimpse evaluate` prints too.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::dataset::{self, DataArgs};
use super::output;
use crate::data::store::{self, write_atomically};
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::metrics::diversity::{Diversity, Training};
use crate::metrics::{self, Hypothesis, Options, Report, Scores, hypotheses, meteor};

/// Score captions against what people wrote
///
/// BLEU, ROUGE-L and CIDEr are computed as in the COCO evaluation; `cider` is the score that papers call CIDEr, by
/// the formula of CIDEr-D. The full METEOR 1.5 needs its own files (`--meteor-data`); `meteor_stem` does not. The
/// images of DIR are not needed.
#[derive(Args)]
pub struct ScoreArgs {
    /// The captions, one for each image of the split: lines {"image": "a.jpg", "text": "a dog runs"} (or "caption"),
    /// the lines of `glimpse caption --json`, or COCO results [{"image_id": 1, "caption": "a dog runs"}]
    #[arg(value_name = "HYPOTHESES")]
    hypotheses: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// The split: train, dev (or val), test
    #[arg(long, value_name = "SPLIT")]
    split: Split,
    #[command(flatten)]
    scoring: ScoringArgs,
}

/// How captions are scored, and how the scores are reported.
#[derive(Args)]
pub struct ScoringArgs {
    /// METEOR 1.5's own files, for all its stages: the folder of meteor-1.5.jar and data/paraphrase-en.gz, as the
    /// folder `meteor` of the Python package pycocoevalcap [default: exact and stem matches alone, printed as
    /// meteor_stem]
    #[arg(long, value_name = "DIR")]
    meteor_data: Option<PathBuf>,
    /// Write the scores of each image to this file, a JSON object {"image", "text", "bleu1", ...} a line
    #[arg(long, value_name = "OUT.jsonl")]
    per_image: Option<PathBuf>,
    /// Print the scores as a JSON object
    #[arg(long)]
    json: bool,
}

/// The checked inputs of scoring.
pub struct Scoring<'a> {
    args: &'a ScoringArgs,
    meteor: Option<meteor::Data>,
}

pub fn run(args: &ScoreArgs) -> Result<ExitCode> {
    let scoring = args.scoring.open()?;
    let hypotheses = metrics::read_hypotheses(&args.hypotheses)?;
    let dataset = args.data.open(args.split)?;
    let references = dataset.captions(args.split)?;
    let in_file = |e: Error| match e {
        Error::Value { .. } => Error::file(&args.hypotheses, e),
        other => other,
    };
    let hypotheses = hypotheses::named_as(hypotheses, &references, &dataset.numbers());
    scoring
        .print(&hypotheses.map_err(in_file)?, &dataset, args.split)
        .map_err(in_file)?;
    dataset::tell(&dataset);
    Ok(ExitCode::SUCCESS)
}

impl ScoringArgs {
    /// Checks everything that could be wrong before hours of captioning.
    ///
    /// # Errors
    /// If METEOR's files are invalid, or a file could not be written.
    pub fn open(&self) -> Result<Scoring<'_>> {
        if let Some(path) = &self.per_image {
            store::check(path)?;
        }
        let folder = self.meteor_data.as_deref();
        Ok(Scoring {
            args: self,
            meteor: folder.map(meteor::Data::open).transpose()?,
        })
    }
}

impl Scoring<'_> {
    /// Scores captions of a dataset's split, and prints the report.
    ///
    /// # Errors
    /// If captions and images do not match, or a file cannot be read or written.
    pub fn print(&self, hypotheses: &[Hypothesis], dataset: &Dataset, split: Split) -> Result<()> {
        let training = match split {
            Split::Train => None,
            _ => dataset.captions(Split::Train).ok(),
        };
        let training =
            training.map(|images| Training::new(images.values().flatten().map(String::as_str)));
        let options = Options {
            meteor: self.meteor.as_ref(),
            training: training.as_ref(),
        };
        let report = metrics::evaluate(hypotheses, &dataset.captions(split)?, options)?;
        if let Some(path) = &self.args.per_image {
            let images = hypotheses.iter().zip(&report.images);
            let lines = images.map(|(hypothesis, scores)| line(hypothesis, scores));
            write_atomically(path, lines.collect::<Result<String>>()?.as_bytes())?;
        }
        match self.args.json {
            true => output::json(&report),
            false => table(&report),
        }
    }
}

/// An image's caption and scores as a line of JSON.
fn line(hypothesis: &Hypothesis, scores: &Scores) -> Result<String> {
    let mut object = serde_json::Map::new();
    object.insert("image".into(), hypothesis.image.as_str().into());
    object.insert("text".into(), hypothesis.text.as_str().into());
    let scores = scores.named();
    object.extend(scores.map(|(name, score)| (name.to_owned(), score.into())));
    Ok(output::json_text(&object)? + "\n")
}

/// Prints a report for people.
fn table(report: &Report) -> Result<()> {
    // `cider_d` is equal to `cider`.
    for (name, score) in report.scores.named().filter(|(name, _)| *name != "cider_d") {
        let [low, high] = report.intervals.get(name).copied().unwrap_or([score; 2]);
        output::line(format_args!(
            "{name:<12}{score:8.2}   {low:.2} to {high:.2}"
        ))?;
    }
    output::line(format_args!("{:<12}{:>8}", "images", report.scores.images))?;
    output::line(format_args!(
        "{:<12}{:7.1}% of the captions have at least half of their content words from people's captions",
        "right", report.mostly_right
    ))?;
    let Diversity {
        distinct_captions,
        distinct_1grams,
        distinct_2grams,
        vocabulary,
        words,
        copied,
        unfinished,
    } = report.diversity;
    output::line(format_args!(
        "{:<12}{distinct_captions:7.1}% of the captions, {distinct_1grams:.1}% of the words, {distinct_2grams:.1}% of the word pairs",
        "distinct"
    ))?;
    output::line(format_args!(
        "{:<12}{vocabulary:>8} different words, {words:.1} words a caption",
        "vocabulary"
    ))?;
    if let Some(copied) = copied {
        output::line(format_args!(
            "{:<12}{copied:7.1}% of the captions are training captions, word by word",
            "copied"
        ))?;
    }
    output::line(format_args!(
        "{:<12}{unfinished:7.1}% of the captions end in an article or a preposition",
        "unfinished"
    ))?;
    output::line(
        "Scores are times 100. Beside each is its 95% confidence interval, from 1,000 bootstrap samples of the images.",
    )
}
