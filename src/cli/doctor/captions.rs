//! Examines the captions: missing or too long ones, one long word, words too rare to be learnt.

use super::called;
use super::finding::{Finding, percent};
use crate::data::dataset::Listed;
use crate::data::vocabulary::{UNKNOWN, words};
use crate::data::{Split, Vocabulary};
use crate::train::TrainConfig;

/// Minimum letters of a word that seems to be a sentence, in scripts without spaces.
const LONG_WITHOUT_SPACES: usize = 8;

/// Minimum letters of a single-word caption that seems to be a sentence, in other scripts.
const LONG_ALONE: usize = 25;

/// Share of unknown words, in percent, from which it is reported.
pub const MANY_UNKNOWN: f64 = 5.0;

/// Examines all captions. Returns the number of words that can be learnt, and the share of the dev captions' words,
/// in percent, that are not among them.
pub fn examine(listed: &[Listed], skip_bad: bool, findings: &mut Vec<Finding>) -> (usize, f64) {
    let silent: Vec<String> = listed
        .iter()
        .filter(|one| one.captions.is_empty())
        .map(called)
        .collect();
    if !silent.is_empty() {
        let what = format!(
            "{} of {} pictures have no caption",
            silent.len(),
            listed.len()
        );
        let advice = "write captions for them, or leave them out with --skip-bad.";
        findings.push(
            Finding::new("pictures_without_caption", silent, what, advice).stopping(!skip_bad),
        );
    }
    forms(listed, findings);
    vocabulary(listed, findings)
}

/// Reports captions of an unusual form.
fn forms(listed: &[Listed], findings: &mut Vec<Finding>) {
    let most = TrainConfig::default().max_words;
    let (mut wordless, mut long, mut unsegmented) = (Vec::new(), Vec::new(), Vec::new());
    let mut total = 0;
    for one in listed {
        for caption in one.captions {
            total += 1;
            let words = words(caption);
            let example = || format!("{}: {}", called(one), beginning(caption));
            match words.len() {
                0 => wordless.push(example()),
                count if count > most => long.push(format!("{}: {count} words", called(one))),
                _ if is_unsegmented(&words) => unsegmented.push(example()),
                _ => {}
            }
        }
    }
    if !wordless.is_empty() {
        let what = format!("{} of {total} captions have no word", wordless.len());
        let advice = "write captions instead, or take their rows out: the model learns from them to say nothing.";
        findings.push(Finding::new(
            "captions_without_words",
            wordless,
            what,
            advice,
        ));
    }
    if !long.is_empty() {
        let what = format!(
            "{} of {total} captions are longer than {most} words, and are cut there",
            long.len()
        );
        let advice = "shorten them to a sentence each, or raise max_words in the configuration.";
        findings.push(Finding::new("captions_too_long", long, what, advice));
    }
    if !unsegmented.is_empty() {
        let what = format!(
            "{} of {total} captions are one long word",
            unsegmented.len()
        );
        let advice = "put spaces between the words; for Chinese, Japanese or Thai a program for word segmentation does that.";
        findings.push(Finding::new(
            "captions_of_one_word",
            unsegmented,
            what,
            advice,
        ));
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Whether a caption seems to be a sentence without spaces.
fn is_unsegmented(words: &[String]) -> bool {
    let in_dense_script =
        |word: &String| word.chars().filter(|c| is_dense(*c)).count() >= LONG_WITHOUT_SPACES;
    words.iter().any(in_dense_script)
        || matches!(words, [only] if only.chars().count() >= LONG_ALONE)
}

/// Whether a letter belongs to a script without spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese.
fn is_dense(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}

fn vocabulary(listed: &[Listed], findings: &mut Vec<Finding>) -> (usize, f64) {
    let of = |split| {
        let of_split = listed.iter().filter(move |one| one.split == split);
        of_split.flat_map(|one| one.captions)
    };
    if of(Split::Train).next().is_none() {
        // The missing split is already reported.
        return (0, 0.0);
    }
    let least = TrainConfig::default().min_count;
    let Ok(vocabulary) = Vocabulary::build(of(Split::Train), least) else {
        let what = format!(
            "no word occurs {least} times in the training captions, so that none can be learnt"
        );
        let advice = "collect more captions, or lower min_count in the configuration (1 for a few hundred captions).";
        findings.push(Finding::new("no_frequent_words", Vec::new(), what, advice).stopping(true));
        return (0, 100.0);
    };
    let unknown = Unknown::of(of(Split::Dev), &vocabulary);
    if unknown.percent() >= MANY_UNKNOWN {
        let what = format!(
            "{:.1}% of the dev captions' words ({} different ones) occur less than {least} times in the training captions",
            unknown.percent(),
            unknown.words.len()
        );
        let advice =
            "collect more captions, or lower min_count in the configuration; 2 to 4% are usual.";
        findings.push(Finding::new(
            "unknown_words",
            unknown.words.clone(),
            what,
            advice,
        ));
    }
    // Without the four special tokens.
    (vocabulary.len() - 4, unknown.percent())
}

/// Words that a vocabulary lacks.
pub struct Unknown {
    /// The distinct unknown words, the most frequent first.
    pub words: Vec<String>,
    count: usize,
    all: usize,
}

impl Unknown {
    /// The unknown words of captions.
    pub fn of<'a>(captions: impl Iterator<Item = &'a String>, vocabulary: &Vocabulary) -> Self {
        let mut counts: std::collections::BTreeMap<String, usize> = Default::default();
        let mut all = 0;
        for word in captions.flat_map(|caption| words(caption)) {
            all += 1;
            if vocabulary.id(&word) == UNKNOWN {
                *counts.entry(word).or_default() += 1;
            }
        }
        let count = counts.values().sum();
        let mut words: Vec<(String, usize)> = counts.into_iter().collect();
        words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Unknown {
            words: words.into_iter().map(|(word, _)| word).collect(),
            count,
            all,
        }
    }

    /// Their share of all words, in percent.
    pub fn percent(&self) -> f64 {
        percent(self.count, self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_without_spaces_are_found() {
        for (caption, expected) in [
            ("一个男人在海滩上骑自行车。", true),
            ("一个 男人 在 海滩 上 骑 自行车", false),
            ("สุนัขกำลังวิ่งบนชายหาด", true),
            ("amanridesabicycleonthebeach", true),
            ("Donaudampfschifffahrtsgesellschaft am Ufer", false),
            ("a dog", false),
        ] {
            assert_eq!(is_unsegmented(&words(caption)), expected, "{caption}");
        }
    }
}
