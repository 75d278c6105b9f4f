//! `glimpse doctor`: reports all problems of a dataset at once, with advice for each.

mod captions;
mod finding;
mod likeness;
mod model;
mod pictures;
mod remarks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use self::finding::{Finding, Severity};
use super::dataset::{DataArgs, LAYOUTS};
use super::device::DeviceArgs;
use super::options::ReadingArgs;
use super::output;
use crate::data::dataset::Listed;
use crate::data::{Dataset, Given, Split};
use crate::error::{self, Result};

/// Report all problems of a dataset, with advice
///
/// Every picture is read and every caption examined. A problem that keeps `glimpse train` from training on DIR is an
/// error, and the exit status is then 1: pictures that are missing or cannot be read, pictures without a caption,
/// broken lines, pictures in two splits, no training split, no word that is frequent enough. All else is advice:
/// duplicate pictures, odd files, captions that are too long or one long word, unknown words, texts that are not
/// UTF-8, items that were left out. With --model it also says how the model fits the dataset: up to 200 pictures,
/// spread evenly over the dev split (or train, if there is none), are captioned.
#[derive(Args)]
#[command(after_long_help = LAYOUTS)]
pub struct DoctorArgs {
    #[command(flatten)]
    data: DataArgs,
    /// A model, whose captions of some of the pictures are examined too; `bundled` is the bundled one, `./bundled` a
    /// file of that name
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
    /// Print a JSON object for each finding, and finally one with a summary
    #[arg(long)]
    json: bool,
}

/// The end of the report.
#[derive(Debug, Default, Serialize)]
struct Summary {
    dataset: &'static str,
    pictures: usize,
    train: usize,
    dev: usize,
    test: usize,
    captions: usize,
    /// Number of words that occur often enough in the training captions.
    words: usize,
    /// The share of the dev captions' words that are not among these, in percent.
    unknown_dev_words: f64,
    /// The results about the model's captions.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<model::CaptionReport>,
    errors: usize,
    advice: usize,
}

pub fn run(args: &DoctorArgs, device: &DeviceArgs) -> Result<ExitCode> {
    args.reading.apply();
    // A file that is no model is reported before minutes of reading.
    let captioner = match &args.model {
        Some(path) => {
            let device = device.open()?;
            Some(model::load(path, &device)?)
        }
        None => None,
    };
    let given = Given {
        examine: true,
        ..args.data.given()
    };
    let dataset = Dataset::read(&given)?;
    let listed: Vec<Listed> = dataset.listed().collect();
    let used: Vec<Listed> = listed.iter().copied().filter(|l| !l.is_left_out).collect();
    let mut findings = remarks::findings(&dataset);
    let seen = pictures::examine(&used, given.skip_bad, &mut findings);
    let mut summary = summary(&dataset, &used);
    if dataset.has_captions() {
        (summary.words, summary.unknown_dev_words) =
            captions::examine(&used, given.skip_bad, &mut findings);
    } else {
        let hint = dataset
            .hint()
            .map_or(String::new(), |hint| format!("; {hint}"));
        let what = format!("the folder holds pictures and no captions{hint}");
        let advice = "write captions, in one of the forms that --help shows; a distillation alone takes pictures without.";
        findings.push(Finding::new("no_captions", Vec::new(), what, advice).stopping(true));
    }
    if let Some(captioner) = &captioner {
        summary.model = Some(model::examine(captioner, &used, &seen, &mut findings)?);
    }
    findings.sort_by_key(|finding| finding.severity == Severity::Advice);
    let is_error = |finding: &&Finding| finding.severity == Severity::Error;
    summary.errors = findings.iter().filter(is_error).count();
    summary.advice = findings.len() - summary.errors;
    print(args, &findings, &summary)?;
    if summary.errors == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    output::complain(format_args!(
        "{}: {} of the findings keep it from being trained on; the errors above say what to do",
        error::name(dataset.root()),
        summary.errors
    ));
    Ok(ExitCode::FAILURE)
}

fn summary(dataset: &Dataset, used: &[Listed]) -> Summary {
    let count = |split| used.iter().filter(|listed| listed.split == split).count();
    Summary {
        dataset: dataset.name(),
        pictures: used.len(),
        train: count(Split::Train),
        dev: count(Split::Dev),
        test: count(Split::Test),
        captions: used.iter().map(|listed| listed.captions.len()).sum(),
        ..Summary::default()
    }
}

fn print(args: &DoctorArgs, findings: &[Finding], summary: &Summary) -> Result<()> {
    if args.json {
        findings.iter().try_for_each(output::json)?;
        return output::json(&serde_json::json!({ "summary": output::json_value(summary)? }));
    }
    findings.iter().try_for_each(Finding::print)?;
    output::line(format_args!(
        "{}: {} pictures ({} train, {} dev, {} test), {} captions; {} words are frequent enough to be learnt, and {:.1}% of the \
         dev captions' words are none of them",
        summary.dataset,
        summary.pictures,
        summary.train,
        summary.dev,
        summary.test,
        summary.captions,
        summary.words,
        summary.unknown_dev_words
    ))?;
    if let Some(seen) = &summary.model {
        output::line(seen)?;
    }
    output::line(match (summary.errors, summary.advice) {
        (0, 0) => "nothing is wrong with it".to_string(),
        (0, advice) => format!("nothing stops a training; advice: {advice}"),
        (errors, advice) => format!("errors: {errors}, advice: {advice}"),
    })
}

/// The name of a picture in messages: with its split.
fn called(listed: &Listed) -> String {
    format!("{} ({})", listed.name, listed.split)
}
