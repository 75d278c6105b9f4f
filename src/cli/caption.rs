//! `glimpse caption`

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::Args;

use super::images::{Paths, ms_since, report_failure};
use super::options::{ModelArgs, SearchArgs, count, number};
use super::output;
use super::pipeline::{Encoded, encoded};
use crate::caption::{Answer, Caption, Sampling, Times, sample, search};
use crate::cpu::threads;
use crate::error::Result;
use crate::model::{Captioner, Tag};
use crate::tensor::{Device, Tensor};

/// Say what is to be seen in images
///
/// Prints PATH, a tab and the caption for each image, or the caption alone where one image was given. An image
/// that cannot be read is reported, the others are captioned all the same, and the exit status is 1 at the end.
#[derive(Args)]
pub struct CaptionArgs {
    #[command(flatten)]
    paths: Paths,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    search: SearchArgs,
    /// Captions of each image, at most as many as the beam is wide
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(1000))]
    n_best: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Print after each caption a tab and the classes that the encoder recognises, with their probabilities; a model
    /// without that knowledge recognises none. JSON always has them
    #[arg(long)]
    tags: bool,
    /// Print a JSON object for each image, with log-probabilities and times in milliseconds
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SamplingArgs {
    /// Draw captions at random instead of looking for the likeliest
    #[arg(long, conflicts_with_all = SearchArgs::NOT_FOR_SAMPLES)]
    sample: bool,
    /// Below 1 likely words become likelier, above 1 less so; above 0
    #[arg(long, value_name = "T", default_value_t = Sampling::default().temperature, requires = "sample",
          value_parser = number("must be above 0", |t| t > 0.0))]
    temperature: f64,
    /// Draw from the likeliest words that together have this probability, above 0 and at most 1
    #[arg(long, value_name = "P", default_value_t = Sampling::default().top_p, requires = "sample",
          value_parser = number("must be above 0 and at most 1", |p| p > 0.0 && p <= 1.0))]
    top_p: f64,
    /// The same seed draws the same captions of an image, whichever others are captioned with it
    #[arg(long, value_name = "S", default_value_t = Sampling::default().seed, requires = "sample")]
    seed: u64,
}

pub fn run(args: &CaptionArgs, device: &Device) -> Result<ExitCode> {
    if !args.sampling.sample
        && let Some(what) = args.search.contradiction(args.n_best)
    {
        return Ok(output::misused(what));
    }
    let captioner = args.model.load(device)?;
    thread::scope(|scope| {
        let mut code = ExitCode::SUCCESS;
        for chunk in encoded(scope, args.paths.images(captioner.recipe), &captioner)? {
            if !answer(args, &captioner, &chunk?)? {
                code = ExitCode::FAILURE;
            }
        }
        Ok(code)
    })
}

/// Prints what there is to say of each image, and returns whether all could be read.
fn answer(args: &CaptionArgs, captioner: &Captioner, chunk: &Encoded) -> Result<bool> {
    let started = Instant::now();
    let captions = match &chunk.features {
        Some(features) => threads::run(|| generate(args, captioner, features))?,
        None => Vec::new(),
    };
    let generate = ms_since(started) / captions.len().max(1) as f64;
    let tags = match &chunk.features {
        Some(features) if args.json || args.tags => captioner.tags(features)?,
        _ => vec![Vec::new(); captions.len()],
    };
    let mut captions = captions.into_iter().zip(tags);
    let mut all_read = true;
    for entry in &chunk.entries {
        if let Some(error) = &entry.error {
            report_failure(&entry.name, error, args.json)?;
            all_read = false;
        } else if let Some((captions, tags)) = captions.next() {
            let times = Times {
                decode: entry.ms,
                encode: chunk.ms,
                generate,
            };
            let answer = Answer {
                image: entry.name.clone(),
                captions,
                tags,
                ms: times,
            };
            print(args, &answer)?;
        }
    }
    Ok(all_read)
}

fn generate(
    args: &CaptionArgs,
    captioner: &Captioner,
    features: &Tensor,
) -> Result<Vec<Vec<Caption>>> {
    let SamplingArgs {
        sample: draws,
        temperature,
        top_p,
        seed,
    } = args.sampling;
    if !draws {
        return search(captioner, features, &args.search.search(args.n_best));
    }
    let how = Sampling {
        temperature,
        top_p,
        seed,
        count: args.n_best,
        max_words: args.search.max_words,
        attention: false,
    };
    sample(captioner, features, &how)
}

fn print(args: &CaptionArgs, answer: &Answer) -> Result<()> {
    if args.json {
        return output::json(answer);
    }
    let tags = match args.tags {
        true => format!("\t{}", listed(&answer.tags)),
        false => String::new(),
    };
    for Caption { text, .. } in &answer.captions {
        match args.paths.is_single() {
            true => output::line(format_args!("{text}{tags}"))?,
            false => output::line(format_args!("{}\t{text}{tags}", answer.image))?,
        }
    }
    Ok(())
}

/// `golden retriever 0.83, dog 0.31`
fn listed(tags: &[Tag]) -> String {
    let tags = tags.iter().map(|Tag { name, p }| format!("{name} {p:.2}"));
    tags.collect::<Vec<_>>().join(", ")
}
