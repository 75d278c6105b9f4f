//! Floor 6: scores of captions against captions that people wrote.
//!
//! Everything here works on [`Segment`]s, one for each image: the tokens of the caption under test and those of its
//! references. [`segments`] checks that hypotheses and references belong together, and tokenizes each caption once
//! ([`ptb`]). Each measure ([`bleu`], [`rouge`], [`cider`], [`meteor`]) computes counts for each image, from which the
//! score of any set of images follows. [`report`] computes the score of all images, and of resampled sets, which give
//! the confidence intervals. [`hypotheses`] reads captions from files; [`diversity`] measures them without references.
//!
//! BLEU, ROUGE-L, CIDEr and METEOR equal those of the COCO caption evaluation (`pycocoevalcap`), times 100. Without
//! METEOR's own files, METEOR is computed with two of its four stages and called `meteor_stem`.

pub mod bleu;
pub mod calibration;
pub mod cider;
pub mod diversity;
pub mod hypotheses;
pub mod meteor;
pub mod precision;
pub mod ptb;
pub mod report;
pub mod rouge;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use hypotheses::{parse_hypotheses, read_hypotheses};
pub use report::{Options, Report, evaluate};

use crate::error::{Error, Result};

/// A caption to be scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// The image's name, as in the references.
    pub image: String,
    /// The caption.
    pub text: String,
}

/// The captions that people wrote, by image name.
pub type References = BTreeMap<String, Vec<String>>;

/// The tokens of one image's caption and references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The tokens of the caption under test; may be empty.
    pub hypothesis: Vec<String>,
    /// The tokens of each reference; at least one.
    pub references: Vec<Vec<String>>,
}

/// The scores of a set of captions, times 100.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// BLEU with single words.
    pub bleu1: f64,
    /// BLEU with up to two words in a row.
    pub bleu2: f64,
    /// BLEU with up to three words in a row.
    pub bleu3: f64,
    /// BLEU with up to four words in a row, the usual one.
    pub bleu4: f64,
    /// ROUGE-L, the mean over the images.
    pub rouge_l: f64,
    /// CIDEr as the COCO evaluation and papers report it, which is the formula of CIDEr-D.
    pub cider: f64,
    /// CIDEr-D: equal to `cider`, under its proper name.
    pub cider_d: f64,
    /// CIDEr by the paper's first formula, without clipping and length penalty.
    pub cider_plain: f64,
    /// METEOR 1.5 with all its stages; `None` without METEOR's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meteor: Option<f64>,
    /// METEOR 1.5 with the exact and stem stages only; `None` if METEOR's data is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meteor_stem: Option<f64>,
    /// The number of images that were scored.
    pub images: usize,
}

/// Scores one caption for each image of `references`, without METEOR's data; see [`evaluate`] for more.
///
/// Both sides must name the same images, each image once. A score over other images cannot be compared with published
/// scores, so a missing image is an error.
///
/// ```
/// use glimpse::metrics::{Hypothesis, References, score};
///
/// let hypotheses = [Hypothesis { image: "a.jpg".into(), text: "a dog runs on the beach".into() }];
/// let references = References::from([(
///     "a.jpg".into(),
///     vec!["A dog runs on the beach.".into(), "A brown dog plays by the sea.".into()],
/// )]);
/// let scores = score(&hypotheses, &references)?;
/// assert_eq!(scores.images, 1);
/// assert!(scores.bleu4 > 99.999);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// If an image has no caption, several, or no references.
pub fn score(hypotheses: &[Hypothesis], references: &References) -> Result<Scores> {
    let segments = segments(hypotheses, references)?;
    Ok(report::Measures::of(&segments, None)?.scores(0..segments.len()))
}

/// Joins hypotheses and references by image, in the order of the hypotheses, and tokenizes both.
///
/// # Errors
/// If an image has no caption, several, or no references.
pub fn segments(hypotheses: &[Hypothesis], references: &References) -> Result<Vec<Segment>> {
    let mut seen = BTreeSet::new();
    let mut segments = Vec::with_capacity(hypotheses.len());
    for Hypothesis { image, text } in hypotheses {
        if !seen.insert(image.as_str()) {
            return Err(Error::value(
                "score",
                format!("image {image} has two captions; keep one"),
            ));
        }
        let texts = match references.get(image) {
            Some(texts) if !texts.is_empty() => texts,
            _ => {
                let what = format!(
                    "image {image} has no reference captions; is it of this data set and split?"
                );
                return Err(Error::value("score", what));
            }
        };
        segments.push(Segment {
            hypothesis: ptb::tokenize(text),
            references: texts.iter().map(|text| ptb::tokenize(text)).collect(),
        });
    }
    let mut missing = references
        .keys()
        .filter(|image| !seen.contains(image.as_str()));
    if let Some(first) = missing.next() {
        let (count, all) = (1 + missing.count(), references.len());
        return Err(Error::value(
            "score",
            format!("{count} of {all} images have no caption, {first} the first"),
        ));
    }
    if segments.is_empty() {
        return Err(Error::value("score", "there are no captions to score"));
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hypothesis(image: &str, text: &str) -> Hypothesis {
        Hypothesis {
            image: image.into(),
            text: text.into(),
        }
    }

    fn references(images: &[(&str, &[&str])]) -> References {
        images
            .iter()
            .map(|(image, texts)| {
                (
                    image.to_string(),
                    texts.iter().map(|t| t.to_string()).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn images_must_match_one_to_one() {
        let both = references(&[("a", &["a dog"]), ("b", &["a cat"]), ("c", &[])]);
        let message = |hypotheses: &[Hypothesis]| score(hypotheses, &both).unwrap_err().to_string();
        let (a, b) = (hypothesis("a", "a dog"), hypothesis("b", "a cat"));
        assert_eq!(
            message(&[a.clone(), a.clone()]),
            "score: image a has two captions; keep one"
        );
        assert_eq!(
            message(&[a.clone(), hypothesis("z", "a dog")]),
            "score: image z has no reference captions; is it of this data set and split?"
        );
        assert_eq!(
            message(&[a.clone(), b, hypothesis("c", "a dog")]),
            "score: image c has no reference captions; is it of this data set and split?"
        );
        assert_eq!(
            message(&[a]),
            "score: 2 of 3 images have no caption, b the first"
        );
        assert_eq!(
            score(&[], &References::new()).unwrap_err().to_string(),
            "score: there are no captions to score"
        );
    }

    #[test]
    fn an_empty_caption_scores_nothing_and_does_not_fail() {
        let scores = score(&[hypothesis("a", " . ")], &references(&[("a", &["a dog"])])).unwrap();
        assert_eq!(scores.bleu1, 0.0);
        assert_eq!(scores.bleu4, 0.0);
        let scores = score(&[hypothesis("a", "a dog")], &references(&[("a", &[""])])).unwrap();
        assert!(scores.bleu4 < 1e-6);
    }
}
