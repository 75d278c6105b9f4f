//! The metrics against values recorded from the COCO caption evaluation, and what must hold for any captions.

use std::collections::BTreeMap;

use glimpse::metrics::{Hypothesis, References, Scores, ptb, score};
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

#[test]
fn bleu_equals_the_coco_evaluations() {
    for set in fixture().sets {
        let hypotheses: Vec<_> = set
            .images
            .iter()
            .map(|(name, image)| hypothesis(name, &image.hypothesis))
            .collect();
        let references: References = set
            .images
            .iter()
            .map(|(name, image)| (name.clone(), image.references.clone()))
            .collect();
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
        prop_assert_eq!(score(&hypotheses, &references).unwrap(), before);
    }

    #[test]
    fn scores_stay_between_0_and_100((hypotheses, references) in captions()) {
        let scores = score(&hypotheses, &references).unwrap();
        for value in bleu(&scores) {
            prop_assert!((0.0..=100.0).contains(&value), "{value}");
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
