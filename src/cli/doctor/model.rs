//! Examines a model on the dataset: its captions of some pictures, and whether the pictures suit its preprocessing.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;

use serde::Serialize;

use super::captions::{MANY_UNKNOWN, Unknown};
use super::finding::{Finding, percent};
use super::pictures::Picture;
use crate::caption::Search;
use crate::cli::images::Images;
use crate::cli::options::is_bundled;
use crate::cli::output;
use crate::cli::pipeline::{encoded, likeliest};
use crate::data::Split;
use crate::data::dataset::Listed;
use crate::data::preprocess::Method;
use crate::error::Result;
use crate::metrics::diversity::Training;
use crate::model::Captioner;
use crate::nn::Module;
use crate::tensor::Device;

/// Maximum number of pictures that are captioned.
const SAMPLE: usize = 200;

/// Share of pictures with the same caption, in percent, from which it is reported.
const MANY_ALIKE: f64 = 10.0;

/// Share of copied captions, in percent, from which it is reported.
const MANY_COPIED: f64 = 30.0;

/// Ratio of the sides from which a square shows too little of the picture.
const LONG_SIDE: u32 = 2;

/// Results about a model's captions. Shares are in percent.
#[derive(Clone, Debug, Serialize)]
pub struct CaptionReport {
    /// Pictures that were captioned.
    captioned: usize,
    split: String,
    /// Number of distinct captions.
    distinct: usize,
    /// The share of captions that equal a training caption word by word.
    copied: f64,
    /// The share of the words in the split's human captions that the model does not know.
    unknown_words: f64,
    /// The preprocessing of pictures for the encoder.
    preprocessing: String,
}

impl fmt::Display for CaptionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the model: {} different captions of {} {} pictures, {:.1}% of them copied from training; {:.1}% of people's words \
             there are unknown to it; pictures are prepared by {}",
            self.distinct,
            self.captioned,
            self.split,
            self.copied,
            self.unknown_words,
            self.preprocessing
        )
    }
}

/// Loads the model in the file, or the bundled one.
///
/// # Errors
/// If the file is no model.
pub fn load(path: &Path, device: &Device) -> Result<Captioner> {
    let mut captioner = match is_bundled(path) {
        true => Captioner::bundled()?,
        false => Captioner::load(path)?,
    };
    captioner.to(device)?;
    Ok(captioner)
}

/// Captions some pictures and examines the captions. `seen` holds the data of each picture that could be read.
///
/// # Errors
/// If the device fails.
pub fn examine(
    captioner: &Captioner,
    listed: &[Listed],
    seen: &[Option<Picture>],
    findings: &mut Vec<Finding>,
) -> Result<CaptionReport> {
    preprocessing(captioner, seen, findings);
    let is_readable = |split: Split| {
        let pairs = listed
            .iter()
            .zip(seen)
            .filter(move |(one, picture)| one.split == split && picture.is_some());
        pairs.map(|(one, _)| one).collect::<Vec<&Listed>>()
    };
    let (mut split, mut pictures) = (Split::Dev, is_readable(Split::Dev));
    if pictures.is_empty() {
        (split, pictures) = (Split::Train, is_readable(Split::Train));
    }
    let of = |split| {
        let of_split = listed.iter().filter(move |one| one.split == split);
        of_split.flat_map(|one| one.captions)
    };
    let unknown = Unknown::of(of(split), &captioner.vocabulary);
    if unknown.percent() >= MANY_UNKNOWN {
        let what = format!(
            "{:.1}% of the words in the {split} captions ({} different ones) are unknown to the model",
            unknown.percent(),
            unknown.words.len()
        );
        let advice =
            "train on captions like these: the model cannot say words that it does not know.";
        findings.push(Finding::new(
            "model_unknown_words",
            unknown.words.clone(),
            what,
            advice,
        ));
    }
    let sample = spread(&pictures);
    let texts = captions(captioner, &sample)?;
    let distinct = alike(&texts, split, findings);
    let copied = copied(&texts, of(Split::Train), split, findings);
    Ok(CaptionReport {
        captioned: texts.len(),
        split: split.to_string(),
        distinct,
        copied,
        unknown_words: unknown.percent(),
        preprocessing: captioner.recipe.to_string(),
    })
}

/// Chooses at most [`SAMPLE`] pictures, spread evenly.
fn spread<'a>(pictures: &[&'a Listed<'a>]) -> Vec<PathBuf> {
    let count = pictures.len().min(SAMPLE);
    let chosen = (0..count).map(|i| pictures[i * pictures.len() / count]);
    chosen
        .filter_map(|one| Some(one.file?.to_path_buf()))
        .collect()
}

/// The most probable caption of each picture that can still be read.
fn captions(captioner: &Captioner, paths: &[PathBuf]) -> Result<Vec<String>> {
    let bar = output::progress(
        "{bar:30} {pos}/{len} captions  {eta} left",
        paths.len() as u64,
    );
    let images = Images::new(paths.iter().cloned(), captioner.recipe);
    let mut texts = Vec::with_capacity(paths.len());
    thread::scope(|scope| {
        for chunk in encoded(scope, images, captioner)? {
            let Some(features) = chunk?.features else {
                continue;
            };
            let found = likeliest(captioner, &features, &Search::default())?;
            bar.inc(found.len() as u64);
            texts.extend(found);
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(texts)
}

/// Reports captions that several pictures share. Returns the number of distinct captions.
fn alike(texts: &[String], split: Split, findings: &mut Vec<Finding>) -> usize {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let distinct = counts.len();
    let mut counts: Vec<(usize, &str)> = counts
        .into_iter()
        .map(|(text, count)| (count, text))
        .collect();
    counts.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let Some((most, _)) = counts.first().filter(|(most, _)| *most > 1) else {
        return distinct;
    };
    if percent(*most, texts.len()) >= MANY_ALIKE {
        let repeated = counts.iter().filter(|(count, _)| *count > 1);
        let examples: Vec<String> = repeated
            .map(|(count, text)| format!("{count} times: {text}"))
            .collect();
        let what = format!(
            "the model says the same of {most} of {} {split} pictures; {distinct} of its captions are different",
            texts.len()
        );
        let advice = "train it longer or on more pictures; where nearly all captions are alike, it has not learnt to look.";
        let finding = Finding::new("model_identical_captions", examples, what, advice);
        findings.push(Finding {
            count: texts.len() - distinct,
            ..finding
        });
    }
    distinct
}

/// Returns the share of captions, in percent, that equal a training caption, and reports a large share.
fn copied<'a>(
    texts: &[String],
    training: impl Iterator<Item = &'a String>,
    split: Split,
    findings: &mut Vec<Finding>,
) -> f64 {
    let training = Training::new(training.map(String::as_str));
    let copies: Vec<String> = texts
        .iter()
        .filter(|text| training.has(text))
        .cloned()
        .collect();
    let share = percent(copies.len(), texts.len());
    if share >= MANY_COPIED {
        let what = format!(
            "{} of {} captions of {split} pictures are training captions, word by word",
            copies.len(),
            texts.len()
        );
        let advice = "compare with the pictures: a model that repeats what it learnt by heart needs more pictures, more dropout or \
                      fewer epochs.";
        findings.push(Finding::new("model_copied_captions", copies, what, advice));
    }
    share
}

/// Reports pictures that do not suit the model's preprocessing.
fn preprocessing(captioner: &Captioner, seen: &[Option<Picture>], findings: &mut Vec<Finding>) {
    let recipe = captioner.recipe;
    let sizes: Vec<(u32, u32)> = seen.iter().flatten().map(|p| (p.width, p.height)).collect();
    let as_text = |sizes: Vec<(u32, u32)>| -> Vec<String> {
        sizes
            .iter()
            .map(|(width, height)| format!("{width} x {height} pixels"))
            .collect()
    };
    let those = |fine: &dyn Fn(u32, u32) -> bool| -> Vec<(u32, u32)> {
        sizes
            .iter()
            .copied()
            .filter(|(width, height)| fine(*width, *height))
            .collect()
    };
    let small = those(&|width, height| width.min(height) < recipe.size());
    if !small.is_empty() {
        let what = format!(
            "{} of {} pictures are smaller than the {} pixels that the model sees, and are blown up",
            small.len(),
            sizes.len(),
            recipe.size()
        );
        let advice = "use larger ones if there are any; a model for smaller ones has a smaller [image] size.";
        findings.push(Finding::new(
            "model_small_pictures",
            as_text(small),
            what,
            advice,
        ));
    }
    let long = those(&|width, height| width.max(height) > LONG_SIDE * width.min(height));
    let does = match recipe.method() {
        Method::Torchvision => "cuts off",
        Method::Squash | Method::KerasNearest => "squeezes",
    };
    if !long.is_empty() {
        let what = format!(
            "{} of {} pictures are more than twice as long as wide, and the model {does} what is beyond a square",
            long.len(),
            sizes.len()
        );
        let advice = "cut them to what the captions speak of.";
        findings.push(Finding::new(
            "model_long_pictures",
            as_text(long),
            what,
            advice,
        ));
    }
    let square = those(&|width, height| width == height);
    let is_squashed = sizes.len() > 1
        && square.len() == sizes.len()
        && square.iter().all(|size| *size == square[0]);
    if is_squashed && recipe.method() == Method::Torchvision {
        let what = format!(
            "all pictures are squares of one size, as if squeezed or cut already, and the model's preparation ({recipe}) cuts off \
             their edges once more"
        );
        let advice = "use the pictures as they were, or a model whose preparation is squash.";
        findings.push(Finding::new(
            "model_preprocessing",
            as_text(square),
            what,
            advice,
        ));
    }
}
