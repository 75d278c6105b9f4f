//! Penalties of a search that come from the language or from the picture.
//!
//! **Leading words.** A sentence does not end with a word that calls for another one (`in the`, `with a`). After one of
//! [`OPEN_ENDS`] and [`LEADING_WORDS`] the end mark is therefore blocked. If a sentence is cut because it has grown too
//! long, such words are removed from its end.
//!
//! **Kinds of animals.** The training captions mention dogs a thousand times and cats hardly ever, so the decoder calls
//! most four-legged animals a dog. The detectors of [`Recognition`](crate::model::Recognition) estimate how
//! likely each kind is to be in the picture. If one kind is likely, a word for another kind costs the more, the less
//! likely that other kind is:
//!
//! ```text
//! penalised log p(w) = log p(w) - strength x ln(max over kinds j of p(j) / p(k))      w a word for kind k
//! ```
//!
//! Here `p(k)` counts as at least [`MIN_PROBABILITY`]. A dog beside a horse costs little, because both are likely. If no kind
//! reaches [`MIN_PRESENT`], no word costs anything.
//!
//! Both rules only lower words. The argument in [`penalties`](super::penalties) about the likeliest words of a row
//! therefore holds: if `p` words may be touched, the `beam + 1 + p` likeliest words are enough.

use super::settings::Search;
use crate::data::Vocabulary;
use crate::data::function_words::{LEADING_WORDS, OPEN_ENDS};
use crate::data::vocabulary::UNKNOWN;
use crate::model::{Captioner, recognition::Recognised};

/// The probability from which on a kind of animal counts as present in the picture.
const MIN_PRESENT: f64 = 0.3;

/// Lower bound for the probability of a kind.
const MIN_PROBABILITY: f64 = 1e-3;

/// Costs up to this are dropped.
const NEGLIGIBLE: f64 = 0.05;

/// The costs of words in one picture, as pairs of id and cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Costs(pub(super) Vec<(usize, f64)>);

impl Costs {
    /// Returns the cost of `word`, 0 or more.
    pub(super) fn of(&self, word: usize) -> f64 {
        self.0
            .iter()
            .find(|(id, _)| *id == word)
            .map_or(0.0, |(_, cost)| *cost)
    }

    /// Returns the number of words with a cost.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The rules of a search that come from the language and from the pictures.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// The ids of the words that no sentence may end with.
    pub(super) leading: Vec<usize>,
    /// The costs of words for each picture; a picture without an entry has no costs.
    pub(super) costs: Vec<Costs>,
}

impl Rules {
    /// Creates the rules for pictures with these detections. Without detections, only the rules of the language apply.
    pub(super) fn new(captioner: &Captioner, seen: &[Recognised], how: &Search) -> Self {
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

    /// Returns the costs of words in this picture.
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

/// Returns the costs of the `words` of each kind, from the kinds' probabilities.
fn costs(words: &[&[u32]], kinds: &[f64], strength: f64) -> Costs {
    let likeliest = kinds.iter().copied().fold(0.0, f64::max);
    if likeliest < MIN_PRESENT {
        return Costs::default();
    }
    let cost = |p: &f64| strength * (likeliest / p.max(MIN_PROBABILITY)).ln();
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
        // No kind is likely enough to be confused with another.
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
