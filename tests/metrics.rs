//! The metrics against values recorded from the COCO caption evaluation, and what must hold for any captions.

use std::collections::BTreeMap;

use glimpse::metrics::cider::{CiderD, DocumentFrequencies};
use glimpse::metrics::{Hypothesis, References, Scores, ptb, rouge, score, segments};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    tokens: Vec<Tokens>,
    sets: Vec<CaptionSet>,
}

#[derive(Deserialize)]
struct Tokens {
    text: String,
    tokens: String,
}

#[derive(Deserialize)]
struct CaptionSet {
    name: String,
    images: BTreeMap<String, Image>,
    bleu: [f64; 4],
    rouge_l: Recorded,
    cider: Recorded,
    cider_plain: Recorded,
}

/// A score of a whole set, and of each of its images.
#[derive(Deserialize)]
struct Recorded {
    all: f64,
    images: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Image {
    hypothesis: String,
    references: Vec<String>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/metrics.json"))
        .expect("the fixture is JSON of this shape")
}

fn hypothesis(image: &str, text: &str) -> Hypothesis {
    Hypothesis {
        image: image.to_owned(),
        text: text.to_owned(),
    }
}

fn bleu(scores: &Scores) -> [f64; 4] {
    [scores.bleu1, scores.bleu2, scores.bleu3, scores.bleu4]
}

#[test]
fn tokens_equal_the_treebank_tokenizers() {
    for Tokens { text, tokens } in fixture().tokens {
        assert_eq!(ptb::tokenize(&text).join(" "), tokens, "tokens of {text:?}");
    }
}

fn inputs(set: &CaptionSet) -> (Vec<Hypothesis>, References) {
    let hypotheses = set
        .images
        .iter()
        .map(|(name, image)| hypothesis(name, &image.hypothesis))
        .collect();
    let references = set
        .images
        .iter()
        .map(|(name, image)| (name.clone(), image.references.clone()))
        .collect();
    (hypotheses, references)
}

#[test]
fn bleu_equals_the_coco_evaluations() {
    for set in fixture().sets {
        let (hypotheses, references) = inputs(&set);
        let scores = score(&hypotheses, &references).unwrap();
        assert_eq!(scores.images, set.images.len());
        for (order, (got, expected)) in bleu(&scores).into_iter().zip(set.bleu).enumerate() {
            let (got, order) = (got / 100.0, order + 1);
            let error = (got - expected).abs() / expected.max(f64::MIN_POSITIVE);
            assert!(
                error < 1e-12,
                "{}: BLEU-{order} is {got}, expected {expected}",
                set.name
            );
        }
    }
}

#[test]
fn rouge_and_cider_equal_the_coco_evaluations() {
    for set in fixture().sets {
        let (hypotheses, references) = inputs(&set);
        let scores = score(&hypotheses, &references).unwrap();
        for (name, got, expected) in [
            ("ROUGE-L", scores.rouge_l, &set.rouge_l),
            ("CIDEr", scores.cider, &set.cider),
            ("CIDEr-D", scores.cider_d, &set.cider),
            ("plain CIDEr", scores.cider_plain, &set.cider_plain),
        ] {
            let error = (got - 100.0 * expected.all).abs();
            assert!(error < 1e-9, "{}: {name} is {got}", set.name);
        }
    }
}

#[test]
fn rouge_and_cider_of_each_image_equal_the_coco_evaluations() {
    for set in fixture().sets {
        let (hypotheses, references) = inputs(&set);
        let segments = segments(&hypotheses, &references).unwrap();
        let documents = segments.iter().map(|s| s.references.as_slice());
        let cider = CiderD::new(DocumentFrequencies::new(documents));
        for (hypothesis, segment) in hypotheses.iter().zip(&segments) {
            let image = &hypothesis.image;
            let prepared = cider.prepare(&segment.references);
            for (name, got, expected) in [
                (
                    "ROUGE-L",
                    rouge::sentence(&segment.hypothesis, &segment.references),
                    &set.rouge_l,
                ),
                (
                    "CIDEr",
                    cider.score(&segment.hypothesis, &segment.references),
                    &set.cider,
                ),
                (
                    "plain CIDEr",
                    cider.plain(&segment.hypothesis, &prepared),
                    &set.cider_plain,
                ),
            ] {
                let error = (got - expected.images[image]).abs();
                assert!(error < 1e-11, "{}, {image}: {name} is {got}", set.name);
            }
        }
    }
}

/// Training scores word ids: the numbers must be those of the words.
#[test]
fn ids_of_words_score_as_the_words() {
    let mut ids = BTreeMap::new();
    for set in fixture().sets {
        let (hypotheses, references) = inputs(&set);
        let segments = segments(&hypotheses, &references).unwrap();
        let mut numbered = |tokens: &Vec<String>| -> Vec<u32> {
            let mut id = |token: &String| {
                let next = ids.len() as u32;
                *ids.entry(token.clone()).or_insert(next)
            };
            tokens.iter().map(&mut id).collect()
        };
        let references: Vec<Vec<Vec<u32>>> = segments
            .iter()
            .map(|s| s.references.iter().map(&mut numbered).collect())
            .collect();
        let cider = CiderD::new(DocumentFrequencies::new(
            references.iter().map(Vec::as_slice),
        ));
        for ((segment, references), expected) in segments
            .iter()
            .zip(&references)
            .zip(set.cider.images.values())
        {
            let got = cider.score(&numbered(&segment.hypothesis), references);
            assert!((got - expected).abs() < 1e-11, "{}: {got}", set.name);
        }
    }
}

/// A caption of one to twelve words out of few, so that captions share words.
fn caption() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "a", "dog", "runs", "on", "the", "beach", "t-shirt", "isn't", "man's",
    ]);
    prop::collection::vec(word, 1..12).prop_map(|words| words.join(" "))
}

/// Hypotheses and references of some images.
fn captions() -> impl Strategy<Value = (Vec<Hypothesis>, References)> {
    prop::collection::vec((caption(), prop::collection::vec(caption(), 1..5)), 1..8).prop_map(
        |images| {
            let name = |index| format!("{index}.jpg");
            let hypotheses = images
                .iter()
                .enumerate()
                .map(|(i, (text, _))| hypothesis(&name(i), text))
                .collect();
            let references = images
                .into_iter()
                .enumerate()
                .map(|(i, (_, texts))| (name(i), texts))
                .collect();
            (hypotheses, references)
        },
    )
}

proptest! {
    #[test]
    fn a_caption_among_its_references_scores_100(
        mut references in prop::collection::vec(caption(), 0..4),
        own in prop::collection::vec("[a-z]{1,6}x", 4..12),
    ) {
        let own = own.join(" ");
        references.push(own.clone());
        let references = References::from([("a".to_owned(), references)]);
        let scores = score(&[hypothesis("a", &own)], &references).unwrap();
        for value in bleu(&scores) {
            prop_assert!((value - 100.0).abs() < 1e-6, "{value}");
        }
    }

    #[test]
    fn the_order_of_images_and_references_does_not_matter((mut hypotheses, mut references) in captions()) {
        let before = score(&hypotheses, &references).unwrap();
        hypotheses.reverse();
        references.values_mut().for_each(|texts| texts.reverse());
        let after = score(&hypotheses, &references).unwrap();
        // Means are added up in another order.
        prop_assert_eq!(bleu(&after), bleu(&before));
        prop_assert!((after.cider - before.cider).abs() < 1e-9);
        prop_assert!((after.rouge_l - before.rouge_l).abs() < 1e-9);
    }

    #[test]
    fn scores_stay_between_0_and_100((hypotheses, references) in captions()) {
        let scores = score(&hypotheses, &references).unwrap();
        for value in bleu(&scores) {
            prop_assert!((0.0..=100.0).contains(&value), "{value}");
        }
        prop_assert!((0.0..=100.0 + 1e-9).contains(&scores.rouge_l), "{scores:?}");
        for value in [scores.cider, scores.cider_plain] {
            prop_assert!((0.0..=1000.0 + 1e-9).contains(&value), "{scores:?}");
        }
    }

    #[test]
    fn any_text_has_tokens_without_blanks_or_plain_punctuation(text in any::<String>()) {
        for token in ptb::tokenize(&text) {
            prop_assert!(!token.is_empty() && !token.contains(char::is_whitespace), "{token:?}");
            prop_assert!(![".", ",", "!", "?", ":", ";", "-", "'"].contains(&token.as_str()), "{token:?}");
        }
    }

    #[test]
    fn typewriter_soup_does_not_panic(text in "[a-dnstNT0-9'.:;,!?@#$&<>()/ _=*-]{0,40}") {
        ptb::tokenize(&text);
    }

    #[test]
    fn case_and_outer_blanks_do_not_change_captions(text in caption()) {
        prop_assert_eq!(ptb::tokenize(&format!("  {text} .")), ptb::tokenize(&text));
    }
}
