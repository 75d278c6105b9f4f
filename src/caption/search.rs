//! Greedy and beam search.
//!
//! A beam of `B` keeps the `B` likeliest beginnings of a sentence. Each step extends every one of them by every word
//! and keeps the best `B` of the results; sentences that end are set aside. The probability of a sentence falls with
//! every further word, so it cannot compare sentences of different lengths. The final order is therefore by
//!
//! ```text
//! score = log p(sentence) / length^a
//! ```
//!
//! where `a` is the length penalty: 0 favours short sentences, 1 is the mean over words. A beam of one is greedy
//! search.
//!
//! Four refinements are off unless asked for: a penalty for repeated words and a ban on repeated n-grams
//! (`penalties.rs`; both lower `log p` in the score too), diverse groups (`diverse.rs`), and choosing among the best by
//! agreement (`agreement.rs`). The function `search` also applies the rules of `rules.rs`: no caption ends with a word
//! such as `the`, and, for a calibrated model, words for animals follow the kinds that were recognised. With a
//! calibrated model it chooses by evidence too (`confidence.rs`).

use std::sync::Arc;

use super::Caption;
use super::agreement::by_agreement;
use super::beam::{Beam, Step};
use super::confidence::Evidence;
use super::diverse::Groups;
use super::rules::Rules;
use super::sentence::{Sentence, attention};
use super::settings::{Choosing, Search};
use crate::cpu::threads;
use crate::data::vocabulary::START;
use crate::error::Result;
use crate::model::{Captioner, Decoder};
use crate::tensor::Tensor;

/// Finds the best captions of images: at most `n_best` for each image, best first.
///
/// `features` are `[N, C]`, or the maps `[N, P, C]` that an attention decoder takes. A sentence that has not ended
/// after `max_words` words is cut there; finished sentences are preferred. A caption's log-probabilities are the
/// model's own, without penalties.
///
/// # Errors
/// If the features do not fit the model or the settings make no sense.
pub fn search(captioner: &Captioner, features: &Tensor, how: &Search) -> Result<Vec<Vec<Caption>>> {
    let recognition = captioner.recognition.as_ref().filter(|_| how.judge);
    let how = &Search {
        judge: recognition.is_some(),
        ..*how
    };
    how.check()?;
    let seen = recognition.map_or_else(|| Ok(Vec::new()), |r| r.recognise(features))?;
    let rules = Rules::new(captioner, &seen, how);
    let found = sentences(&captioner.decoder, features, how, &rules)?;
    let captions = |(image, candidates): (usize, Vec<Sentence>)| -> Result<Vec<Caption>> {
        let evidence = recognition
            .zip(seen.get(image))
            .map(|(recognition, seen)| Evidence::new(&captioner.vocabulary, recognition, seen));
        let ordered = order(how, candidates, evidence.as_ref());
        let best = ordered.iter().take(how.n_best);
        let caption = |sentence: &Sentence| -> Result<Caption> {
            let caption = sentence.caption(captioner)?;
            Ok(match &evidence {
                Some(evidence) => evidence.judged(caption, sentence, &ordered, how),
                None => caption,
            })
        };
        best.map(caption).collect()
    };
    found.into_iter().enumerate().map(captions).collect()
}

/// Finds the ids of the best sentence of each image, the end mark included if it was reached.
///
/// `image` holds features `[N, C]` or maps `[N, P, C]`. Only the decoder's probabilities count: the rules of `rules.rs`
/// and the evidence are not applied.
///
/// # Errors
/// If the features do not fit the decoder or the settings make no sense.
pub fn search_ids(decoder: &Decoder, image: &Tensor, how: &Search) -> Result<Vec<Vec<usize>>> {
    let how = Search {
        n_best: 1,
        judge: false,
        ..*how
    };
    let best = |candidates: Vec<Sentence>| {
        let ordered = order(&how, candidates, None);
        ordered.first().map_or(Vec::new(), |s| s.ids().collect())
    };
    let found = sentences(decoder, image, &how, &Rules::default())?;
    Ok(found.into_iter().map(best).collect())
}

/// Sorts one image's candidates by the measure of choice; finished ones come before those that were cut.
pub(super) fn order(
    how: &Search,
    candidates: Vec<Sentence>,
    evidence: Option<&Evidence>,
) -> Vec<Sentence> {
    let (mut finished, mut cut): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|s| s.finished);
    for part in [&mut finished, &mut cut] {
        match (how.choose, evidence) {
            (Choosing::Agreement, _) => *part = by_agreement(std::mem::take(part), how),
            (Choosing::Likeliest, Some(evidence)) if how.evidence > 0.0 => {
                let score = |s: &Sentence| how.score(s) + how.evidence * evidence.of(s);
                let mut scored: Vec<(f64, Sentence)> =
                    part.drain(..).map(|s| (score(&s), s)).collect();
                scored.sort_by(|a, b| b.0.total_cmp(&a.0));
                part.extend(scored.into_iter().map(|(_, sentence)| sentence));
            }
            (Choosing::Likeliest, _) => {}
        }
    }
    finished.extend(cut);
    finished
}

/// Finds the sentences of each image that the final choice is made from, likeliest first.
pub(super) fn sentences(
    decoder: &Decoder,
    image: &Tensor,
    how: &Search,
    rules: &Rules,
) -> Result<Vec<Vec<Sentence>>> {
    how.check()?;
    let images = image.dims().first().copied().unwrap_or(0);
    if images == 0 {
        return Ok(Vec::new());
    }
    let groups = |row: usize| Groups::new(row, &Arc::new(rules.costs(row)), how);
    let mut all: Vec<Groups> = (0..images).map(groups).collect();
    // `state` has a row for each open sentence, image by image; at first one row for each image.
    let mut state = decoder.start(image)?;
    let mut last: Vec<usize> = vec![START as usize; images];
    for step in 0..=how.max_words {
        let (next, logits) = decoder.step(&state, &last)?;
        // The step after the last word can only end the sentence.
        let ends = step == how.max_words;
        let rows = how.likeliest(&logits, step == 0, ends, touched(&all, how))?;
        let step = Step {
            rows: &rows,
            attention: &attention(&next, how.attention)?,
            rules,
            ends,
        };
        threads::for_each_chunk(&mut all, 1, |_, some| {
            some.iter_mut().for_each(|groups| groups.extend(&step, how));
        });
        let mut kept = Vec::new();
        last.clear();
        for beam in all.iter_mut().flat_map(|groups| &mut groups.0) {
            kept.extend_from_slice(&beam.origins);
            beam.first = last.len();
            last.extend(beam.last_words());
        }
        if kept.is_empty() {
            break;
        }
        state = next.select(&kept)?;
    }
    Ok(all.into_iter().map(|groups| groups.best(how)).collect())
}

/// Returns the largest number of words that penalties touch after any open sentence.
fn touched(all: &[Groups], how: &Search) -> usize {
    let beams = all.iter().flat_map(|groups| &groups.0);
    beams
        .map(|beam: &Beam| beam.touched(how))
        .max()
        .unwrap_or(0)
}
