//! How good captions are, measured against what people wrote.
//!
//! Everything here works on [`Segment`]s, one for each image: the tokens of the caption under test and
//! those of its references. [`score`] checks that hypotheses and references belong together, tokenizes
//! each caption once ([`ptb`]) and hands the segments to each measure ([`bleu`], [`rouge`], [`cider`]).
//!
//! The numbers equal those of the COCO caption evaluation (`pycocoevalcap`), times 100.

pub mod bleu;
pub mod cider;
pub mod ptb;
pub mod rouge;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A caption to be judged, as one line of a `HYPOTHESES.jsonl` file holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// The image's name, as in the references.
    pub image: String,
    /// The caption.
    pub text: String,
}

/// The captions that people wrote, by image name.
pub type References = BTreeMap<String, Vec<String>>;

/// One image's tokenized caption and references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The tokens of the caption under test; there may be none.
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
    /// CIDEr as the COCO evaluation computes and papers publish it, which is the formula of CIDEr-D.
    pub cider: f64,
    /// CIDEr-D: the number of `cider` under its proper name.
    pub cider_d: f64,
    /// CIDEr by the paper's first formula, without clipping and length penalty.
    pub cider_plain: f64,
    /// How many images were scored.
    pub images: usize,
}

/// Scores one caption for each image of `references`.
///
/// Both sides must name the same images, each image once: a score over other images than everybody
/// else's is not comparable, so leaving some out is an error and not a smaller sum.
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
pub fn score(hypotheses: &[Hypothesis], references: &References) -> Result<Scores> {
    let segments = segments(hypotheses, references)?;
    let [bleu1, bleu2, bleu3, bleu4] = bleu::corpus(&segments).map(|score| 100.0 * score);
    let mean = |sum: f64| 100.0 * sum / segments.len() as f64;
    let rouge: f64 = segments
        .iter()
        .map(|s| rouge::sentence(&s.hypothesis, &s.references))
        .sum();
    let cider = cider::corpus(&segments);
    let published = mean(cider.iter().map(|(published, _)| published).sum());
    Ok(Scores {
        bleu1,
        bleu2,
        bleu3,
        bleu4,
        rouge_l: mean(rouge),
        cider: published,
        cider_d: published,
        cider_plain: mean(cider.iter().map(|(_, plain)| plain).sum()),
        images: segments.len(),
    })
}

/// Joins hypotheses and references by image, in the order of the hypotheses, and tokenizes both.
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

/// Reads a file of lines `{"image": "a.jpg", "text": "a dog runs"}`.
///
/// Empty lines are skipped and further fields ignored; what is wrong is said with file and line.
pub fn read_hypotheses(path: &Path) -> Result<Vec<Hypothesis>> {
    let file = File::open(path).map_err(|e| Error::file(path, format!("cannot be opened: {e}")))?;
    parse_hypotheses(path, BufReader::new(file))
}

/// As [`read_hypotheses`], from anything; `name` is what error messages call it.
pub fn parse_hypotheses(name: &Path, lines: impl BufRead) -> Result<Vec<Hypothesis>> {
    let mut hypotheses = Vec::new();
    for (number, line) in (1..).zip(lines.lines()) {
        let wrong = |what: String| Error::file(name, format!("line {number}: {what}"));
        let line = line.map_err(|e| wrong(format!("cannot be read: {e}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let hypothesis = serde_json::from_str(&line).map_err(|e| {
            wrong(format!(
                "not an object {{\"image\": …, \"text\": …}} ({})",
                without_place(&e)
            ))
        })?;
        hypotheses.push(hypothesis);
    }
    Ok(hypotheses)
}

/// A JSON error without its `at line 1 column 5`: the line number would be that of the one line given.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(place) => format!("{}, column {}", &message[..place], error.column()),
        None => message,
    }
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

    #[test]
    fn lines_are_read_and_errors_name_file_and_line() {
        let read = |text: &str| parse_hypotheses(Path::new("h.jsonl"), text.as_bytes());
        let text = "{\"image\": \"a\", \"text\": \"a dog\"}\n\n{\"text\": \"\", \"image\": \"b\", \"more\": 1}\n";
        assert_eq!(
            read(text).unwrap(),
            [hypothesis("a", "a dog"), hypothesis("b", "")]
        );
        let message = |text: &str| read(text).unwrap_err().to_string();
        let shape = "not an object {\"image\": …, \"text\": …}";
        assert_eq!(
            message("{\"image\": \"a\", \"text\": \"\"}\n{\"image\": \"b\"}"),
            format!("h.jsonl: line 2: {shape} (missing field `text`, column 14)")
        );
        assert_eq!(
            message("\nx"),
            format!("h.jsonl: line 2: {shape} (expected value, column 1)")
        );
        let cut = parse_hypotheses(Path::new("h.jsonl"), &b"\xff\xfe\n"[..])
            .unwrap_err()
            .to_string();
        assert!(cut.starts_with("h.jsonl: line 1: cannot be read:"), "{cut}");
    }
}
