//! What a search holds against words because of the language or of the picture.
//!
//! **Leading words.** A sentence does not end with a word that promises another one (`in the`, `with a`): after one of
//! [`OPEN_ENDS`] and [`LEADING_WORDS`] the end mark is blocked. A sentence that is cut because it has grown too long loses such words.
//!
//! **Kinds of animals.** The decoder has read of a thousand dogs and hardly of a cat, so it calls whatever has four legs a
//! dog. The detectors of [`Recognition`](crate::model::Recognition) say how likely each kind is to be in the picture. Where
//! one is likely, a word for another kind costs by how much less likely that one is:
//!
//! ```text
//! penalised log p(w) = log p(w) - strength x ln(max over kinds j of p(j) / p(k))      w a word for kind k
//! ```
//!
//! where `p(k)` counts as at least [`LEAST`]. A dog beside a horse costs little, for both are likely. Where no kind reaches
//! [`PRESENT`], nothing costs anything.
//!
//! Both only lower words, so that what [`penalties`](super::penalties) says of the likeliest words of a row holds: `p` of
//! them may be touched, and `beam + 1 + p` are looked at.

use super::search::Search;
use crate::data::Vocabulary;
use crate::data::function_words::{LEADING_WORDS, OPEN_ENDS};
use crate::data::vocabulary::UNKNOWN;
use crate::model::{Captioner, recognition::Seen};

/// The probability from which on a kind of animal is taken to be in the picture.
const PRESENT: f64 = 0.3;

/// What the probability of a kind counts as, at least.
const LEAST: f64 = 1e-3;

/// Costs below this are left out.
const NEGLIGIBLE: f64 = 0.05;

/// What words cost in one picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Costs(pub(super) Vec<(usize, f64)>);

impl Costs {
    /// The cost of `word`, 0 or more.
    pub(super) fn of(&self, word: usize) -> f64 {
        self.0
            .iter()
            .find(|(id, _)| *id == word)
            .map_or(0.0, |(_, cost)| *cost)
    }

    /// How many words cost anything.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The rules of a search.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// The ids of the words that no sentence ends with.
    pub(super) leading: Vec<usize>,
    /// What words cost, for each picture; none at all where there is no entry.
    pub(super) costs: Vec<Costs>,
}

impl Rules {
    /// The rules for pictures in which this was `seen`; with nothing seen, those of the language alone.
    pub(super) fn new(captioner: &Captioner, seen: &[Seen], how: &Search) -> Self {
        let costs = match &captioner.recognition {
            Some(recognition) if how.recognition > 0.0 => {
                let kinds = &recognition.config().kinds;
                let words: Vec<&[u32]> = kinds.iter().map(|kind| &kind.words[..]).collect();
                seen.iter()
                    .map(|seen| costs(&words, &seen.kinds, how.recognition))
                    .collect()
            }
            _ => Vec::new(),
        };
        Rules {
            leading: leading(&captioner.vocabulary),
            costs,
        }
    }

    /// Whether a sentence may end with this word.
    pub(super) fn may_end_with(&self, word: usize) -> bool {
        !self.leading.contains(&word)
    }

    /// What words cost in this picture.
    pub(super) fn costs(&self, image: usize) -> Costs {
        self.costs.get(image).cloned().unwrap_or_default()
    }
}

fn leading(vocabulary: &Vocabulary) -> Vec<usize> {
    let words = OPEN_ENDS.iter().chain(&LEADING_WORDS);
    let ids = words.map(|word| vocabulary.id(word));
    ids.filter(|id| *id != UNKNOWN)
        .map(|id| id as usize)
        .collect()
}

/// The costs of the `words` of kinds with these probabilities.
fn costs(words: &[&[u32]], kinds: &[f64], strength: f64) -> Costs {
    let likeliest = kinds.iter().copied().fold(0.0, f64::max);
    if likeliest < PRESENT {
        return Costs::default();
    }
    let cost = |p: &f64| strength * (likeliest / p.max(LEAST)).ln();
    let of_kind = |(words, p): (&&[u32], &f64)| -> Vec<(usize, f64)> {
        words.iter().map(|&word| (word as usize, cost(p))).collect()
    };
    let all = words.iter().zip(kinds).flat_map(of_kind);
    Costs(all.filter(|(_, cost)| *cost > NEGLIGIBLE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_costs_by_how_much_less_likely_it_is() {
        let words: [&[u32]; 3] = [&[4, 5], &[6], &[7]];
        let found = costs(&words, &[0.8, 0.1, 0.0], 0.5);
        assert_eq!(found.of(4), 0.0);
        assert!((found.of(6) - 0.5 * 8f64.ln()).abs() < 1e-12);
        assert!((found.of(7) - 0.5 * 800f64.ln()).abs() < 1e-12);
        assert_eq!(found.of(8), 0.0);
        assert_eq!(found.len(), 2);
        // Nothing is there to be confused with anything.
        assert_eq!(costs(&words, &[0.29, 0.1, 0.0], 0.5), Costs::default());
        assert_eq!(costs(&[], &[], 0.5), Costs::default());
    }

    #[test]
    fn no_sentence_ends_with_an_article() {
        let captioner = Captioner::bundled().unwrap();
        let rules = Rules::new(&captioner, &[], &Search::default());
        let id = |word: &str| captioner.vocabulary.id(word) as usize;
        for word in ["a", "the", "in", "with", "against", "and"] {
            assert!(!rules.may_end_with(id(word)), "{word}");
        }
        assert!(rules.may_end_with(id("dog")));
        assert!(rules.may_end_with(id("up")));
    }
}
