//! `glimpse caption`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::Args;

use super::images::{self, Paths, ms_since, report_failure};
use super::options::{ModelArgs, SearchArgs, count, number};
use super::pipeline::{Encoded, encoded};
use super::tally::Tally;
use super::{Ended, attention, output};
use crate::caption::{
    Answer, Caption, NOT_SURE, Sampling, Search, Times, image_name, sample, search,
};
use crate::cpu::threads;
use crate::data::store;
use crate::error::{Error, Result, name};
use crate::model::{Captioner, Tag};
use crate::tensor::{Device, Tensor};

/// Describe images in sentences
///
/// Prints PATH, a tab and the caption for each image, or only the caption if one image was given. An image that
/// cannot be read is reported, the others are still captioned, and the exit status is 1 at the end. For many images
/// the last line on standard error says how many were captioned, how many failed, and how many files in folders were
/// passed over although they seem to be pictures. In PATH, control characters, backslashes and bytes that are not
/// UTF-8 are escaped (\n, \t, \033, \\, \377); JSON has the name unescaped, and its bytes as `image_bytes` in base64
/// if it is not UTF-8.
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
    /// Draw where the model looked for each word of its best caption, for one image and a model with attention: a PNG
    /// with the photo and a panel for each word, bright where the weight is high
    #[arg(long, value_name = "OUT.png")]
    attention: Option<PathBuf>,
    /// Leave out captions whose confidence is below P, 0 to 1: `not sure` is printed in their place, in JSON a text
    /// of null. For calibrated models, such as the bundled one
    #[arg(long, value_name = "P", value_parser = number("must be 0 to 1", |p| (0.0..=1.0).contains(&p)))]
    min_confidence: Option<f64>,
    /// Print a JSON object for each image, with log-probabilities and times in milliseconds
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SamplingArgs {
    /// Draw captions at random instead of looking for the likeliest
    #[arg(long, conflicts_with_all = SearchArgs::NOT_FOR_SAMPLES)]
    sample: bool,
    /// Below 1 likely words become likelier, above 1 less likely; above 0
    #[arg(long, value_name = "T", default_value_t = Sampling::default().temperature, requires = "sample",
          value_parser = number("must be above 0", |t| t > 0.0))]
    temperature: f64,
    /// Draw from the likeliest words that together have this probability, above 0 and at most 1
    #[arg(long, value_name = "P", default_value_t = Sampling::default().top_p, requires = "sample",
          value_parser = number("must be above 0 and at most 1", |p| p > 0.0 && p <= 1.0))]
    top_p: f64,
    /// The seed; with the same seed an image gets the same captions, whichever others are captioned with it
    #[arg(long, value_name = "S", default_value_t = Sampling::default().seed, requires = "sample")]
    seed: u64,
}

pub fn run(args: &CaptionArgs, device: &Device) -> Result<Ended> {
    args.paths.reading.apply();
    if !args.sampling.sample
        && let Some(what) = args.search.contradiction(args.n_best)
    {
        return Ok(output::misused(what).into());
    }
    if let Some(out) = &args.attention {
        if let Some(what) = attention::objection(out, args.paths.is_single()) {
            return Ok(output::misused(what).into());
        }
        store::check(out)?;
    }
    let captioner = args.model.load(device)?;
    if args.min_confidence.is_some() && captioner.recognition.is_none() {
        return Err(Error::usage(
            "--min-confidence needs a model that knows how sure it is; make one of this with `glimpse calibrate`",
        ));
    }
    if let (Some(out), [path]) = (&args.attention, &*args.paths.paths) {
        return draw(args, &captioner, path, out);
    }
    let (images, passed_over) = args.paths.images(captioner.recipe);
    let mut tally = Tally::new("captioned", !args.paths.is_single(), passed_over);
    thread::scope(|scope| {
        for chunk in encoded(scope, images, &captioner)? {
            answer(args, &captioner, &chunk?, &mut tally)?;
        }
        Ok(tally.end())
    })
}

/// Captions the image at `path`, draws to `out` where the model looked, and prints the answer.
fn draw(args: &CaptionArgs, captioner: &Captioner, path: &Path, out: &Path) -> Result<Ended> {
    let grid = attention::grid(captioner)?;
    let started = Instant::now();
    let image = match images::read(path) {
        Ok(image) => image,
        Err(error) => {
            report_failure(path, &error, args.json)?;
            return Ok(ExitCode::FAILURE.into());
        }
    };
    let input = captioner.recipe.tensor(std::slice::from_ref(&image))?;
    let decode = ms_since(started);
    let started = Instant::now();
    let map = captioner.encode(&input)?;
    let encode = ms_since(started);
    let started = Instant::now();
    let captions = threads::run(|| generate(args, captioner, &map))?.pop();
    let captions = captions.unwrap_or_default();
    let generate = ms_since(started);
    let tags = captioner.tags(&map)?.pop().unwrap_or_default();
    if let Some(best) = captions.first() {
        attention::write(out, captioner, &image, best)?;
    }
    let (image_name, image_bytes) = image_name(path);
    let answer = Answer {
        image: image_name,
        image_bytes,
        captions,
        tags,
        attention_grid: Some(grid),
        attention_region: Some(captioner.recipe.region(&image).shares(&image)),
        warnings: image.warnings().to_vec(),
        ms: Times {
            decode,
            encode,
            generate,
        },
    };
    print(args, path, &answer)?;
    Ok(ExitCode::SUCCESS.into())
}

/// Prints the captions of each image, and counts it.
fn answer(
    args: &CaptionArgs,
    captioner: &Captioner,
    chunk: &Encoded,
    tally: &mut Tally,
) -> Result<()> {
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
    for entry in &chunk.entries {
        if let Some(error) = &entry.error {
            report_failure(&entry.path, error, args.json)?;
            tally.failed();
        } else if let Some((captions, tags)) = captions.next() {
            let times = Times {
                decode: entry.ms,
                encode: chunk.ms,
                generate,
            };
            let (image, image_bytes) = image_name(&entry.path);
            let answer = Answer {
                image,
                image_bytes,
                captions,
                tags,
                attention_grid: None,
                attention_region: None,
                warnings: entry.warnings.clone(),
                ms: times,
            };
            print(args, &entry.path, &answer)?;
            tally.done();
        }
    }
    Ok(())
}

fn generate(
    args: &CaptionArgs,
    captioner: &Captioner,
    features: &Tensor,
) -> Result<Vec<Vec<Caption>>> {
    let attention = args.attention.is_some();
    let SamplingArgs {
        sample: draws,
        temperature,
        top_p,
        seed,
    } = args.sampling;
    if !draws {
        let how = Search {
            attention,
            ..args.search.search(args.n_best)
        };
        return search(captioner, features, &how);
    }
    let how = Sampling {
        temperature,
        top_p,
        seed,
        count: args.n_best,
        max_words: args.search.max_words,
        attention,
    };
    sample(captioner, features, &how)
}

fn print(args: &CaptionArgs, path: &Path, answer: &Answer) -> Result<()> {
    let is_sure = |caption: &Caption| caption.is_sure(args.min_confidence);
    if args.json && answer.captions.iter().all(is_sure) {
        return output::json(answer);
    }
    if args.json {
        let mut value = output::json_value(answer)?;
        for (i, _) in answer
            .captions
            .iter()
            .enumerate()
            .filter(|(_, c)| !is_sure(c))
        {
            // The tokens would reveal the caption that is left out.
            value["captions"][i]["text"] = serde_json::Value::Null;
            value["captions"][i]["tokens"] = serde_json::json!([]);
        }
        return output::json(&value);
    }
    let tags = match args.tags {
        true => format!("\t{}", listed(&answer.tags)),
        false => String::new(),
    };
    for caption in &answer.captions {
        let text = if is_sure(caption) {
            &caption.text
        } else {
            NOT_SURE
        };
        match args.paths.is_single() {
            true => output::line(format_args!("{text}{tags}"))?,
            false => output::line(format_args!("{}\t{text}{tags}", name(path)))?,
        }
    }
    Ok(())
}

/// Formats tags as `golden retriever 0.83, dog 0.31`.
fn listed(tags: &[Tag]) -> String {
    let tags = tags.iter().map(|Tag { name, p }| format!("{name} {p:.2}"));
    tags.collect::<Vec<_>>().join(", ")
}
