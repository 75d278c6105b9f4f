//! Tests of the metrics against recorded values of the COCO caption evaluation, and of properties that hold for any
//! captions.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use glimpse::metrics::cider::{CiderD, DocumentFrequencies};
use glimpse::metrics::meteor::{self, Statistics};
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
    meteor: Recorded,
    meteor_stem: Recorded,
}

/// The score of a whole set, and the score of each of its images.
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

/// Compares METEOR's score of each set, and of each of its images, with the recorded one.
fn check_meteor(data: Option<&meteor::Data>, name: &str, of: fn(&CaptionSet) -> &Recorded) {
    for set in fixture().sets {
        let (hypotheses, references) = inputs(&set);
        let segments = segments(&hypotheses, &references).unwrap();
        let mut all = Statistics::default();
        let found = meteor::segments(&segments, data).unwrap();
        for (hypothesis, statistics) in hypotheses.iter().zip(found) {
            let (got, expected) = (statistics.score(), of(&set).images[&hypothesis.image]);
            assert!(
                (got - expected).abs() < 1e-9,
                "{}: {name} of {hypothesis:?} is {got}, expected {expected}: {statistics:?}",
                set.name
            );
            all += statistics;
        }
        let (got, expected) = (all.score(), of(&set).all);
        assert!(
            (got - expected).abs() < 1e-9,
            "{}: {name} is {got}",
            set.name
        );
    }
}

#[test]
fn meteor_without_its_data_equals_the_java_programs_first_two_stages() {
    check_meteor(None, "METEOR", |set| &set.meteor_stem);
}

/// Needs METEOR's own files, which are not part of this package, in the folder that `GLIMPSE_METEOR_DATA` names.
#[test]
fn meteor_with_its_data_equals_the_java_program() {
    let Some(folder) = std::env::var_os("GLIMPSE_METEOR_DATA") else {
        eprintln!("GLIMPSE_METEOR_DATA is not set: nothing is tested");
        return;
    };
    let data = meteor::Data::open(Path::new(&folder)).unwrap();
    check_meteor(Some(&data), "METEOR", |set| &set.meteor);
}

/// Small versions of METEOR's files, with their names.
fn meteor_files() -> [(&'static str, Vec<u8>); 4] {
    let mut table = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    table
        .write_all(b"0.5\nin front of\nbefore\n0.25\nhouse\nthe home\n")
        .unwrap();
    [
        ("function/english.words", b"the\na\nof\nin\n".to_vec()),
        (
            "synonym/english.synsets",
            b"large\n17 4\nbig\n4\nwolf\n9\n".to_vec(),
        ),
        ("synonym/english.exceptions", b"wolf\nwolves\n".to_vec()),
        ("data/paraphrase-en.gz", table.finish().unwrap()),
    ]
}

fn write_files(folder: &Path, files: &[(&str, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn scored_with(folder: &Path) -> glimpse::error::Result<Statistics> {
    let hypotheses = [hypothesis("a", "a big dog before the home")];
    let references = References::from([(
        "a".to_owned(),
        vec!["a large dog in front of house".to_owned()],
    )]);
    let data = meteor::Data::open(folder)?;
    Ok(meteor::segments(&segments(&hypotheses, &references)?, Some(&data))?[0])
}

#[test]
fn synonyms_and_paraphrases_come_from_the_files() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &meteor_files());
    let found = scored_with(folder.path()).unwrap();
    // Exact: "a" and "dog". Synonym: "big" for "large". Paraphrases: "before" for "in front of", "the home" for "house".
    assert_eq!(found.hypothesis.content, [1.0, 0.0, 1.0, 2.0]);
    assert_eq!(found.hypothesis.function, [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(found.reference.content, [1.0, 0.0, 1.0, 2.0]);
    assert_eq!(found.reference.function, [1.0, 0.0, 0.0, 2.0]);
    assert_eq!(found.chunks, 1.0);
}

#[test]
fn the_files_may_be_in_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let files = meteor_files();
    write_files(folder.path(), &files);
    let unpacked = scored_with(folder.path()).unwrap();
    let path = folder.path().join("meteor-1.5.jar");
    let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, bytes) in &files[..3] {
        archive
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        archive.write_all(bytes).unwrap();
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    archive.finish().unwrap();
    assert_eq!(scored_with(folder.path()).unwrap(), unpacked);
    fs::write(path, "no archive").unwrap();
    let message = scored_with(folder.path()).unwrap_err().to_string();
    assert!(
        message.ends_with("meteor-1.5.jar: is damaged, or no archive; copy it again"),
        "{message}"
    );
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    for (broken, bytes, expected) in [
        (0, Some(&b" \n"[..]), "english.words: has no words"),
        (
            0,
            None,
            "has neither meteor-1.5.jar nor function/english.words",
        ),
        (
            1,
            Some(b"big\n4\nlarge\nx\n"),
            "english.synsets: line 4 has 'x' for a set",
        ),
        (
            1,
            Some(b"big\n\xff\n"),
            "english.synsets: is not UTF-8 text",
        ),
        (2, Some(b"wolf\n"), "english.exceptions: ends after line 1"),
        (
            3,
            Some(b"0.5\nbig\n"),
            "paraphrase-en.gz: line 1 cannot be read",
        ),
        (3, None, "has no paraphrase-en.gz"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut files = meteor_files().to_vec();
        match bytes {
            Some(bytes) => files[broken].1 = bytes.to_vec(),
            None => drop(files.remove(broken)),
        }
        write_files(folder.path(), &files);
        let message = scored_with(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains(expected) && !message.contains('\n'),
            "{message}"
        );
    }
    let message = scored_with(Path::new("nowhere")).unwrap_err().to_string();
    assert!(message.starts_with("nowhere: is not a folder"), "{message}");
}

/// Scores 320 captions, five for each of 64 images, as a step of self-critical training does.
#[test]
fn a_self_critical_step_is_scored_in_milliseconds() {
    let caption =
        |seed: u32| -> Vec<u32> { (0..11).map(|i| (seed * 31 + i * i * 7) % 97).collect() };
    let references: Vec<Vec<Vec<u32>>> = (0..64)
        .map(|image| (0..5).map(|r| caption(image * 5 + r)).collect())
        .collect();
    let cider = CiderD::new(DocumentFrequencies::new(
        references.iter().map(Vec::as_slice),
    ));
    let prepared: Vec<_> = references.iter().map(|r| cider.prepare(r)).collect();
    let started = Instant::now();
    let mut sum = 0.0;
    for (image, prepared) in prepared.iter().enumerate() {
        for sample in 0..5 {
            sum += cider.score_prepared(&caption(image as u32 * 5 + sample), prepared);
        }
    }
    let took = started.elapsed();
    assert!(
        sum > 64.0 * 5.0 * 2.0,
        "each sample is one of the references: {sum}"
    );
    // It takes a few milliseconds; the bound allows for a busy machine and a build without optimization.
    assert!(took < Duration::from_millis(500), "{took:?}");
}

/// Training scores ids of words, which must give the same scores as the words.
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

/// A caption of one to twelve words from a short list, so that captions share words.
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
        // The mean is a sum in another order, so its last bits may differ.
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
        let meteor = scores.meteor_stem.unwrap();
        prop_assert!((0.0..=100.0).contains(&meteor), "{meteor}");
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
    fn any_text_has_scores(text in any::<String>(), other in any::<String>()) {
        let references = References::from([("a".to_owned(), vec![other, text.clone()])]);
        let scores = score(&[hypothesis("a", &text)], &references).unwrap();
        for (name, value) in scores.named() {
            prop_assert!(value.is_finite() && value >= 0.0, "{name} is {value}");
        }
    }

    #[test]
    fn case_and_outer_blanks_do_not_change_captions(text in caption()) {
        prop_assert_eq!(ptb::tokenize(&format!("  {text} .")), ptb::tokenize(&text));
    }
}
