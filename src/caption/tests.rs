//! Tests of the whole search against its definition, with a small decoder on every device.

use std::collections::HashMap;

use super::agreement::by_agreement;
use super::rules::{Costs, Rules};
use super::search;
use super::sentence::Sentence;
use super::{Choosing, Search, search_ids};
use crate::data::vocabulary::{END, START};
use crate::error::Result;
use crate::model::{Decoder, DecoderConfig, DecoderKind, DecoderState};
use crate::nn::{Init, Module};
use crate::ops::testing::{device, on_every_device, on_every_isa, random};
use crate::tensor::Tensor;

const VOCABULARY: usize = 12;

/// Returns the sentences that a search without rules chooses.
fn sentences(decoder: &Decoder, images: &Tensor, how: &Search) -> Result<Vec<Vec<Sentence>>> {
    ruled(decoder, images, how, &Rules::default())
}

/// Returns the sentences that a search with these rules chooses.
fn ruled(
    decoder: &Decoder,
    images: &Tensor,
    how: &Search,
    rules: &Rules,
) -> Result<Vec<Vec<Sentence>>> {
    let how = Search {
        judge: false,
        ..*how
    };
    let found = search::sentences(decoder, images, &how, rules)?;
    let chosen = |candidates| {
        let mut ordered = search::order(&how, candidates, None);
        ordered.truncate(how.n_best);
        ordered
    };
    Ok(found.into_iter().map(chosen).collect())
}

/// Builds a decoder whose weights are so large that the words' probabilities differ clearly and sentences begin to
/// loop.
fn decoder(seed: u64) -> Decoder {
    let config = DecoderConfig {
        features: 5,
        embedding: 6,
        hidden: 7,
        vocabulary: VOCABULARY,
        dropout: 0.0,
        kind: DecoderKind::Inject,
        layers: 1,
        tied: false,
        attention: 0,
    };
    let mut decoder = Decoder::new(&config, &mut Init::new(seed)).unwrap();
    decoder.visit("", &mut |_, _, t| {
        t.data_mut().iter_mut().for_each(|x| *x *= 3.0);
    });
    decoder.to(&device()).unwrap();
    decoder
}

/// The decoder's predictions after each beginning of a sentence of one image, computed one word at a time and cached.
struct Oracle<'a> {
    decoder: &'a Decoder,
    image: Tensor,
    known: HashMap<Vec<usize>, (DecoderState, Vec<f64>)>,
}

impl Oracle<'_> {
    /// Returns the log-probabilities of all words after `ids`.
    fn after(&mut self, ids: &[usize]) -> &(DecoderState, Vec<f64>) {
        if !self.known.contains_key(ids) {
            let (next, logits) = match ids.split_last() {
                None => {
                    let start = self.decoder.start(&self.image).unwrap();
                    self.decoder.step(&start, &[START as usize]).unwrap()
                }
                Some((&last, before)) => {
                    let state = self.after(before).0.clone();
                    self.decoder.step(&state, &[last]).unwrap()
                }
            };
            let logits: Vec<f64> = logits.data().iter().map(|&x| x.into()).collect();
            let sum: f64 = logits.iter().map(|x| x.exp()).sum();
            let log_probs = logits.iter().map(|x| x - sum.ln()).collect();
            self.known.insert(ids.to_vec(), (next, log_probs));
        }
        &self.known[ids]
    }
}

/// A sentence's ids and its total.
type Scored = (Vec<usize>, f64);

/// Whether the last `n` words of `ids` occur earlier in it.
fn repeats(ids: &[usize], n: usize) -> bool {
    n > 0 && ids.len() > n && {
        let (last, before) = (&ids[ids.len() - n..], &ids[..ids.len() - 1]);
        before.windows(n).any(|run| run == last)
    }
}

/// The definition: extends every sentence by every word, sorts everything and drops nothing early. Returns `wanted`
/// sentences.
fn exhaustive(
    oracle: &mut Oracle,
    how: &Search,
    rules: (&[usize], &Costs),
    wanted: usize,
) -> Vec<Scored> {
    let (leading, costs) = rules;
    let is_leading = |ids: &[usize]| ids.last().is_some_and(|last| leading.contains(last));
    let end = END as usize;
    let width = how.beam / how.beam_groups;
    let mut open: Vec<Vec<Scored>> = vec![vec![(Vec::new(), 0.0)]; how.beam_groups];
    let mut finished: Vec<Vec<Scored>> = vec![Vec::new(); how.beam_groups];
    for step in 0..=how.max_words {
        let mut chosen: Vec<usize> = Vec::new();
        for group in 0..how.beam_groups {
            // Merit, total and the extended sentence.
            let mut all: Vec<(f64, f64, Vec<usize>)> = Vec::new();
            for (ids, total) in &open[group] {
                let log_probs = oracle.after(ids).1.clone();
                for word in (2..VOCABULARY).filter(|&w| w != 3) {
                    let mut longer = ids.clone();
                    longer.push(word);
                    let barred = match word == end {
                        true => step == 0 || is_leading(ids),
                        false => step == how.max_words || repeats(&longer, how.no_repeat_ngram),
                    };
                    if barred {
                        continue;
                    }
                    let said = word != end && ids.contains(&word);
                    let factor = if said { how.repetition_penalty } else { 1.0 };
                    let total = total + factor * log_probs[word] - costs.of(word);
                    let times = chosen.iter().filter(|&&w| w == word).count();
                    let cost = how.diversity * times as f64;
                    all.push((total - cost, total, longer));
                }
            }
            all.sort_by(|a, b| b.0.total_cmp(&a.0));
            let mut next = Vec::new();
            for (_, total, ids) in all {
                if ids.ends_with(&[end]) {
                    finished[group].push((ids, total));
                } else {
                    next.push((ids, total));
                }
                if next.len() == width {
                    break;
                }
            }
            if step < how.max_words {
                chosen.extend(next.iter().map(|(ids, _)| ids[ids.len() - 1]));
                open[group] = next;
            }
        }
    }
    let score = |s: &Scored| s.1 / (s.0.len() as f64).powf(how.length_penalty);
    let rank = |all: &mut Vec<Scored>| {
        all.sort_by(|a, b| {
            let [a_ends, b_ends] = [a, b].map(|s| s.0.ends_with(&[end]));
            b_ends.cmp(&a_ends).then(score(b).total_cmp(&score(a)))
        });
    };
    let lists: Vec<Vec<Scored>> = finished
        .into_iter()
        .zip(open)
        .map(|(mut list, cut)| {
            list.extend(cut.into_iter().map(|(mut ids, total)| {
                while ids.len() > 1 && is_leading(&ids) {
                    ids.pop();
                }
                (ids, total)
            }));
            rank(&mut list);
            list
        })
        .collect();
    let mut best: Vec<Scored> = Vec::new();
    for place in 0..lists.iter().map(Vec::len).max().unwrap_or(0) {
        let mut round: Vec<Scored> = lists.iter().filter_map(|l| l.get(place).cloned()).collect();
        rank(&mut round);
        for s in round {
            if best.len() < wanted && best.iter().all(|b| b.0 != s.0) {
                best.push(s);
            }
        }
    }
    rank(&mut best);
    best
}

/// All settings with which the search is compared with its definition.
fn settings() -> Vec<Search> {
    let base = Search {
        max_words: 7,
        ..Search::default()
    };
    let mut all = Vec::new();
    for (beam, n_best, beam_groups) in [(1, 1, 1), (5, 1, 1), (4, 4, 1), (4, 3, 2), (6, 6, 3)] {
        for (repetition_penalty, no_repeat_ngram) in
            [(1.0, 0), (1.4, 0), (1.0, 1), (1.3, 2), (1.0, 3)]
        {
            for length_penalty in [0.0, 0.7] {
                all.push(Search {
                    beam,
                    n_best,
                    beam_groups,
                    diversity: 0.7,
                    repetition_penalty,
                    no_repeat_ngram,
                    length_penalty,
                    ..base
                });
            }
        }
    }
    all
}

fn ids(sentences: &[Sentence]) -> Vec<Vec<usize>> {
    sentences.iter().map(|s| s.ids().collect()).collect()
}

fn check_against_definition(seed: u64, settings: &[Search], rules: &Rules) {
    let decoder = decoder(seed);
    let images = random(&[3, 5], seed + 100);
    for row in 0..3 {
        let mut oracle = Oracle {
            decoder: &decoder,
            image: images.narrow(row, 1).unwrap(),
            known: HashMap::new(),
        };
        for how in settings {
            let found = &ruled(&decoder, &images, how, rules).unwrap()[row];
            let costs = rules.costs(row);
            let want = exhaustive(&mut oracle, how, (&rules.leading, &costs), how.n_best);
            let want_ids: Vec<_> = want.iter().map(|s| s.0.clone()).collect();
            assert_eq!(ids(found), want_ids, "decoder {seed}, image {row}, {how:?}");
            for (found, (_, total)) in found.iter().zip(&want) {
                assert!((found.total - total).abs() < 1e-4, "{how:?}");
            }
        }
    }
}

#[test]
fn the_search_finds_what_its_definition_finds() {
    on_every_isa(|| {
        for seed in 1..4 {
            check_against_definition(seed, &settings(), &Rules::default());
        }
    });
    // A GPU is slow at so many small steps.
    let few: Vec<Search> = settings().into_iter().step_by(7).collect();
    crate::ops::testing::on_gpu(|| check_against_definition(1, &few, &Rules::default()));
}

#[test]
fn the_search_finds_what_its_definition_finds_under_rules() {
    // Words that no sentence may end with, and words with a cost in the first and the last picture.
    let rules = Rules {
        leading: vec![5, 8, 9],
        costs: vec![
            Costs(vec![(4, 0.7), (6, 3.0)]),
            Costs::default(),
            Costs(vec![(10, 5.0)]),
        ],
    };
    for seed in 1..4 {
        check_against_definition(seed, &settings(), &rules);
        let ruled = ruled(
            &decoder(seed),
            &random(&[3, 5], seed + 100),
            &settings()[3],
            &rules,
        )
        .unwrap();
        assert!(ruled.iter().flatten().all(|s| {
            let words: Vec<usize> = s.ids().filter(|&id| id != END as usize).collect();
            words.len() == 1 || !rules.leading.contains(words.last().unwrap())
        }));
    }
}

#[test]
fn repeated_runs_occur_without_the_ban_and_never_with_it() {
    on_every_device(|| {
        let images = random(&[6, 5], 5);
        for n in 1..=3 {
            let any_repeats = |no_repeat_ngram| {
                let how = Search {
                    beam: 3,
                    n_best: 3,
                    max_words: 12,
                    no_repeat_ngram,
                    ..Search::default()
                };
                let found = (1..4).map(|seed| sentences(&decoder(seed), &images, &how).unwrap());
                let found: Vec<Vec<usize>> = found.flatten().flat_map(|s| ids(&s)).collect();
                assert!(found.len() >= 18 && found.iter().all(|ids| !ids.is_empty()));
                let words =
                    |ids: &Vec<usize>| ids.len() - usize::from(ids.ends_with(&[END as usize]));
                found
                    .iter()
                    .any(|ids| (0..=words(ids)).any(|len| repeats(&ids[..len], n)))
            };
            assert!(any_repeats(0), "{n}");
            assert!(!any_repeats(n), "{n}");
        }
    });
}

#[test]
fn groups_differ_more_than_a_beam() {
    on_every_device(|| {
        let (decoder, images) = (decoder(2), random(&[4, 5], 6));
        let how = Search {
            beam: 4,
            n_best: 4,
            max_words: 7,
            ..Search::default()
        };
        let diverse = Search {
            beam_groups: 4,
            diversity: 5.0,
            ..how
        };
        let first_words = |how: &Search| -> usize {
            let found = sentences(&decoder, &images, how).unwrap();
            let distinct = |all: &Vec<Sentence>| {
                let mut words: Vec<usize> = all.iter().map(|s| s.words[0].id).collect();
                words.sort_unstable();
                words.dedup();
                words.len()
            };
            found.iter().map(distinct).sum()
        };
        // This diversity is so strong that every group gets another first word.
        assert_eq!(first_words(&diverse), 16);
        assert!(first_words(&how) < 16);
    });
}

#[test]
fn agreement_chooses_among_the_sentences_of_the_beam() {
    on_every_device(|| {
        let (decoder, images) = (decoder(3), random(&[4, 5], 7));
        for beam_groups in [1, 3] {
            let all = Search {
                beam: 6,
                n_best: 6,
                beam_groups,
                max_words: 7,
                ..Search::default()
            };
            let agreed = Search {
                n_best: 2,
                choose: Choosing::Agreement,
                ..all
            };
            let all = sentences(&decoder, &images, &all).unwrap();
            let found = sentences(&decoder, &images, &agreed).unwrap();
            for (all, found) in all.into_iter().zip(found) {
                let (ended, cut): (Vec<_>, Vec<_>) = all.into_iter().partition(|s| s.finished);
                let mut want = by_agreement(ended, &agreed);
                want.extend(by_agreement(cut, &agreed));
                assert_eq!(found[..], want[..2]);
            }
        }
    });
}

#[test]
fn ids_are_those_of_the_best_sentence() {
    on_every_device(|| {
        let (decoder, images) = (decoder(1), random(&[3, 5], 8));
        let how = Search {
            beam: 3,
            n_best: 3,
            max_words: 7,
            ..Search::default()
        };
        let all = sentences(&decoder, &images, &how).unwrap();
        let best: Vec<Vec<usize>> = all.iter().map(|s| s[0].ids().collect()).collect();
        assert_eq!(search_ids(&decoder, &images, &how).unwrap(), best);
        let none = search_ids(&decoder, &Tensor::zeros(&[0, 5]), &how).unwrap();
        assert!(none.is_empty());
    });
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let refused = |change: fn(&mut Search)| {
        let mut how = Search::default();
        change(&mut how);
        how.check().unwrap_err().to_string()
    };
    Search::default().check().unwrap();
    assert!(refused(|how| how.beam = 0).contains("1 to 1000"));
    assert!(refused(|how| how.n_best = 6).contains("a wider beam"));
    assert!(refused(|how| how.length_penalty = f64::NAN).contains("finite"));
    assert!(refused(|how| how.max_words = 0).contains("one word"));
    assert!(refused(|how| how.repetition_penalty = 0.9).contains("repetition penalty"));
    assert!(refused(|how| how.repetition_penalty = f64::INFINITY).contains("repetition penalty"));
    assert!(refused(|how| how.beam_groups = 0).contains("divides"));
    assert!(refused(|how| how.beam_groups = 2).contains("2 groups in a beam of 5"));
    let aimless = refused(|how| (how.beam_groups, how.diversity) = (5, 0.0));
    assert!(
        aimless.contains("a diversity of 0 with 5 groups"),
        "{aimless}"
    );
}
