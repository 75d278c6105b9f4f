//! The report on a set of captions: all scores, their confidence intervals and the captions' diversity.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::bleu::Counts;
use super::cider;
use super::diversity::{Diversity, Training};
use super::meteor::{self, Statistics};
use super::precision::is_mostly_right;
use super::{Hypothesis, References, Scores, Segment, rouge, segments};
use crate::error::Result;

/// The number of sets of images that are drawn for the intervals.
pub const RESAMPLES: usize = 1000;

/// The fraction of those sets that an interval covers.
pub const CONFIDENCE: f64 = 0.95;

/// Fixed, so that equal captions always get equal intervals.
const SEED: u64 = 12;

/// Optional data of an evaluation, besides captions and references.
#[derive(Debug, Default, Clone, Copy)]
pub struct Options<'a> {
    /// METEOR's own files, for all its stages.
    pub meteor: Option<&'a meteor::Data>,
    /// The captions that the model was trained on, for counting copies.
    pub training: Option<&'a Training>,
}

/// Scores, their confidence intervals, and measures of diversity.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The scores of all images together, times 100.
    #[serde(flatten)]
    pub scores: Scores,
    /// For each score, the bounds that hold it for 95% of 1,000 sets of equally many images, drawn from these with
    /// replacement. Document frequencies stay those of all images.
    pub intervals: BTreeMap<&'static str, [f64; 2]>,
    /// The percentage of captions at least half of whose content words occur in the references.
    pub mostly_right: f64,
    /// How much the captions differ from each other and from the training captions.
    pub diversity: Diversity,
    /// The scores of each image by itself, in the order of the hypotheses.
    #[serde(skip)]
    pub images: Vec<Scores>,
}

/// Computes the scores of [`score`](super::score) with confidence intervals, diversity and the scores of each image.
///
/// # Errors
/// If an image has no caption, several, or no references, or METEOR's data cannot be read.
pub fn evaluate(
    hypotheses: &[Hypothesis],
    references: &References,
    options: Options,
) -> Result<Report> {
    let segments = segments(hypotheses, references)?;
    let measured = Measures::of(&segments, options.meteor)?;
    let texts: Vec<&str> = hypotheses.iter().map(|h| h.text.as_str()).collect();
    Ok(Report {
        scores: measured.scores(0..segments.len()),
        intervals: measured.intervals(),
        mostly_right: mostly_right(hypotheses, references),
        diversity: Diversity::of(&segments, &texts, options.training),
        images: (0..segments.len())
            .map(|image| measured.scores([image]))
            .collect(),
    })
}

fn mostly_right(hypotheses: &[Hypothesis], references: &References) -> f64 {
    let is_right = |h: &&Hypothesis| {
        let written = references.get(&h.image);
        written.is_some_and(|written| is_mostly_right(&h.text, written))
    };
    100.0 * hypotheses.iter().filter(is_right).count() as f64 / hypotheses.len().max(1) as f64
}

/// The measures of each image, from which the scores of any set of these images follow.
pub(super) struct Measures {
    bleu: Vec<Counts>,
    rouge: Vec<f64>,
    /// CIDEr as published, and plain CIDEr.
    cider: Vec<(f64, f64)>,
    meteor: Vec<Statistics>,
    /// Whether METEOR's data was there, so that all stages are included.
    whole_meteor: bool,
}

impl Measures {
    pub fn of(segments: &[Segment], meteor: Option<&meteor::Data>) -> Result<Self> {
        let rouge = |s: &Segment| rouge::sentence(&s.hypothesis, &s.references);
        Ok(Measures {
            bleu: segments.iter().map(Counts::of).collect(),
            rouge: segments.iter().map(rouge).collect(),
            cider: cider::corpus(segments),
            meteor: meteor::segments(segments, meteor)?,
            whole_meteor: meteor.is_some(),
        })
    }

    /// Computes the scores of a set of the images; an image may occur more than once.
    pub fn scores(&self, images: impl IntoIterator<Item = usize>) -> Scores {
        let (mut bleu, mut meteor) = (Counts::default(), Statistics::default());
        let (mut rouge, mut cider, mut plain) = (0.0, 0.0, 0.0);
        let mut count = 0;
        for image in images {
            bleu += self.bleu[image];
            meteor += self.meteor[image];
            rouge += self.rouge[image];
            cider += self.cider[image].0;
            plain += self.cider[image].1;
            count += 1;
        }
        let [bleu1, bleu2, bleu3, bleu4] = bleu.bleu().map(|score| 100.0 * score);
        let mean = |sum: f64| 100.0 * sum / count as f64;
        let meteor = 100.0 * meteor.score();
        Scores {
            bleu1,
            bleu2,
            bleu3,
            bleu4,
            rouge_l: mean(rouge),
            cider: mean(cider),
            cider_d: mean(cider),
            cider_plain: mean(plain),
            meteor: self.whole_meteor.then_some(meteor),
            meteor_stem: (!self.whole_meteor).then_some(meteor),
            images: count,
        }
    }

    /// Computes confidence intervals as percentiles of a bootstrap (Efron 1979).
    fn intervals(&self) -> BTreeMap<&'static str, [f64; 2]> {
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let images = self.bleu.len();
        let mut drawn: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for _ in 0..RESAMPLES {
            let sample = (0..images).map(|_| random.random_range(0..images));
            for (name, score) in self.scores(sample).named() {
                drawn.entry(name).or_default().push(score);
            }
        }
        let bounds = |(name, mut scores): (&'static str, Vec<f64>)| {
            scores.sort_unstable_by(f64::total_cmp);
            let outside = (1.0 - CONFIDENCE) / 2.0 * (RESAMPLES - 1) as f64;
            let [low, high] = [
                outside.floor() as usize,
                RESAMPLES - 1 - outside.floor() as usize,
            ];
            (name, [scores[low], scores[high]])
        };
        drawn.into_iter().map(bounds).collect()
    }
}

impl Scores {
    /// Returns the scores that are present with their names, in the order of the fields.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = [
            ("bleu1", Some(self.bleu1)),
            ("bleu2", Some(self.bleu2)),
            ("bleu3", Some(self.bleu3)),
            ("bleu4", Some(self.bleu4)),
            ("rouge_l", Some(self.rouge_l)),
            ("cider", Some(self.cider)),
            ("cider_d", Some(self.cider_d)),
            ("cider_plain", Some(self.cider_plain)),
            ("meteor", self.meteor),
            ("meteor_stem", self.meteor_stem),
        ];
        all.into_iter()
            .filter_map(|(name, score)| Some((name, score?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(captions: &[(&str, &str)]) -> Report {
        let name = |index: usize| format!("{index:04}.jpg");
        let hypotheses: Vec<_> = captions
            .iter()
            .enumerate()
            .map(|(index, (text, _))| Hypothesis {
                image: name(index),
                text: (*text).to_owned(),
            })
            .collect();
        let references = captions
            .iter()
            .enumerate()
            .map(|(index, (_, reference))| (name(index), vec![(*reference).to_owned()]))
            .collect();
        evaluate(&hypotheses, &references, Options::default()).unwrap()
    }

    #[test]
    fn intervals_hold_the_score_and_shrink_with_more_images() {
        let pair = [
            ("a dog runs on the beach", "a dog runs on the sand"),
            ("a man", "two girls play ball"),
            ("a cat sleeps on a red chair", "a cat sleeps on a chair"),
            ("people walk", "people walk in the city at night"),
        ];
        let few = report(&pair);
        let many = report(&pair.repeat(16));
        for (name, score) in few.scores.named() {
            let [low, high] = few.intervals[name];
            assert!(
                low <= score && score <= high,
                "{name}: {low} {score} {high}"
            );
            let [narrow_low, narrow_high] = many.intervals[name];
            assert!(narrow_high - narrow_low < high - low, "{name}");
        }
        // The standard error of a mean of n values is that of one value divided by the square root of n: here a
        // quarter.
        let width = |r: &Report| r.intervals["rouge_l"][1] - r.intervals["rouge_l"][0];
        let ratio = width(&many) / width(&few);
        assert!((0.18..0.36).contains(&ratio), "{ratio}");
    }

    #[test]
    fn the_same_captions_have_the_same_intervals() {
        let captions = [("a dog", "a dog runs"), ("a cat", "a dog"), ("x", "y z")];
        assert_eq!(report(&captions).intervals, report(&captions).intervals);
    }

    #[test]
    fn one_image_scores_as_a_set_of_itself() {
        let captions = [("a dog runs on", "a dog runs on sand"), ("cats", "a cat")];
        let all = report(&captions);
        let alone = report(&captions[..1]);
        assert_eq!(all.images.len(), 2);
        assert_eq!(all.images[0].bleu1, alone.scores.bleu1);
        assert_eq!(all.images[0].rouge_l, alone.scores.rouge_l);
        assert_eq!(all.images[0].meteor_stem, alone.scores.meteor_stem);
    }
}
