//! The beam search for the best alignment.
//!
//! A path goes through the reference from left to right. At each word it takes one of the matches that begin there, or
//! none. Paths are compared by three criteria, in this order: more matched words (those of stages after the first count
//! half), fewer chunks, and matches that lie closer to where they would be in equal sentences. Among paths that are
//! equal in all three, the one that was found first wins.
//!
//! Two traits of the Java program are kept, because scores depend on them. Half words are rounded down at each match,
//! so a single stem or synonym counts nothing. The distance of a match is added to the path that continues *without*
//! it.

use super::lexicon::Lexicon;
use super::matches::{self, Match};
use super::{STAGES, Side, Statistics};

/// The number of paths that are kept.
const BEAM: usize = 40;

/// A partial alignment: the choices up to some word of the reference.
#[derive(Debug, Clone)]
struct Path {
    /// A bit for each word that is already matched: those of the reference, then those of the caption.
    used: Vec<u64>,
    /// The last match that was chosen, as an index into the shared list of choices.
    last: Option<usize>,
    /// The number of matched words of both sentences, weighted by stage.
    weight: usize,
    chunks: usize,
    distance: usize,
    /// Index of the next word of the reference.
    next: usize,
    /// The word of the caption after the last match, if a chunk is open.
    open: Option<usize>,
}

/// A match that a path chose, linked to the choice before it. Paths share their beginnings.
struct Choice {
    chosen: Match,
    before: Option<usize>,
}

/// Computes the statistics of the best alignment of a caption with a reference.
pub(super) fn align(lexicon: &Lexicon, hypothesis: &[u32], reference: &[u32]) -> Statistics {
    let found = matches::find(lexicon, hypothesis, reference);
    let best = search(&found, hypothesis.len());
    let mut statistics = Statistics {
        hypothesis: side(lexicon, hypothesis),
        reference: side(lexicon, reference),
        chunks: chunks(&best) as f64,
    };
    for m in best {
        for &word in &hypothesis[m.other_start..][..m.other_length] {
            statistics
                .hypothesis
                .count(m.stage, lexicon.is_function(word));
        }
        for &word in &reference[m.start..][..m.length] {
            statistics
                .reference
                .count(m.stage, lexicon.is_function(word));
        }
    }
    statistics
}

/// Counts the words of a sentence, before any match.
fn side(lexicon: &Lexicon, sentence: &[u32]) -> Side {
    let function = sentence.iter().filter(|word| lexicon.is_function(**word));
    Side {
        words: sentence.len() as f64,
        function_words: function.count() as f64,
        ..Side::default()
    }
}

impl Side {
    fn count(&mut self, stage: usize, function: bool) {
        debug_assert!(stage < STAGES);
        match function {
            true => self.function[stage] += 1.0,
            false => self.content[stage] += 1.0,
        }
    }
}

/// Counts the chunks of matches that are in the order of the reference.
fn chunks(best: &[Match]) -> usize {
    let ends = best.windows(2).filter(|pair| {
        let [a, b] = [pair[0], pair[1]];
        a.start + a.length != b.start || a.other_start + a.other_length != b.other_start
    });
    ends.count() + usize::from(!best.is_empty())
}

/// Returns the matches of the best path, in the order of the reference.
fn search(found: &[Vec<Match>], hypothesis: usize) -> Vec<Match> {
    let words = found.len() + hypothesis;
    let mut start = Path {
        used: vec![0; words.div_ceil(64)],
        last: None,
        weight: 0,
        chunks: 0,
        distance: 0,
        next: 0,
        open: None,
    };
    let certain = certain(found, hypothesis);
    for m in certain.iter().flatten() {
        start.take(m, found.len());
    }
    let mut choices: Vec<Choice> = Vec::new();
    let mut paths = vec![start];
    for (current, matches) in found.iter().enumerate() {
        paths.sort_by_key(Path::rank);
        paths.truncate(BEAM);
        let mut longer = Vec::with_capacity(2 * paths.len());
        for mut path in paths {
            if current < path.next {
                // A longer match covers this word.
                longer.push(path);
                continue;
            }
            if let Some(m) = certain[current] {
                path.distance += m.start.abs_diff(m.other_start);
                path.choose(m, &mut choices);
                longer.push(path);
                continue;
            }
            for m in matches {
                if !path.is_free(m, found.len()) {
                    continue;
                }
                let mut with = path.clone();
                with.take(m, found.len());
                with.choose(*m, &mut choices);
                path.distance += m.start.abs_diff(m.other_start);
                longer.push(with);
            }
            path.chunks += usize::from(path.open.take().is_some());
            path.next += 1;
            longer.push(path);
        }
        paths = longer;
    }
    paths.sort_by_key(Path::rank);
    paths.truncate(BEAM);
    for path in &mut paths {
        path.chunks += usize::from(path.open.is_some());
    }
    paths.sort_by_key(Path::rank);
    let mut last = paths.first().and_then(|path| path.last);
    let mut best = Vec::new();
    while let Some(Choice { chosen, before }) = last.and_then(|index| choices.get(index)) {
        best.push(*chosen);
        last = *before;
    }
    best.reverse();
    best
}

/// Returns the matches that need no search, by their first word: no other match has any of their words.
fn certain(found: &[Vec<Match>], hypothesis: usize) -> Vec<Option<Match>> {
    let (mut here, mut there) = (vec![0usize; found.len()], vec![0usize; hypothesis]);
    for m in found.iter().flatten() {
        here[m.start..][..m.length].iter_mut().for_each(|n| *n += 1);
        there[m.other_start..][..m.other_length]
            .iter_mut()
            .for_each(|n| *n += 1);
    }
    let alone = |m: &Match| {
        let mut words = here[m.start..][..m.length]
            .iter()
            .chain(&there[m.other_start..][..m.other_length]);
        words.all(|count| *count == 1)
    };
    let only = |matches: &Vec<Match>| match matches[..] {
        [m] if alone(&m) => Some(m),
        _ => None,
    };
    found.iter().map(only).collect()
}

impl Path {
    /// The sort key of paths; the smallest is the best.
    fn rank(&self) -> (std::cmp::Reverse<usize>, usize, usize) {
        (std::cmp::Reverse(self.weight), self.chunks, self.distance)
    }

    /// Returns the bits of a match's words; the reference has `reference` words.
    fn bits(m: &Match, reference: usize) -> impl Iterator<Item = usize> {
        let there = reference + m.other_start;
        (m.start..m.start + m.length).chain(there..there + m.other_length)
    }

    fn is_free(&self, m: &Match, reference: usize) -> bool {
        Path::bits(m, reference).all(|bit| self.used[bit / 64] >> (bit % 64) & 1 == 0)
    }

    fn take(&mut self, m: &Match, reference: usize) {
        for bit in Path::bits(m, reference) {
            self.used[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Adds a match whose words are already marked.
    fn choose(&mut self, m: Match, choices: &mut Vec<Choice>) {
        self.weight += match m.stage {
            0 => m.length + m.other_length,
            _ => m.length / 2 + m.other_length / 2,
        };
        self.chunks += usize::from(self.open.is_some_and(|end| end != m.other_start));
        self.open = Some(m.other_start + m.other_length);
        self.next = m.start + m.length;
        choices.push(Choice {
            chosen: m,
            before: self.last,
        });
        self.last = Some(choices.len() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(start: usize, other_start: usize) -> Match {
        Match {
            stage: 0,
            start,
            length: 1,
            other_start,
            other_length: 1,
        }
    }

    #[test]
    fn fewer_chunks_are_preferred() {
        // Reference "a dog and a cat", caption "a cat": both "a" match, the one beside "cat" is right.
        let found = vec![
            vec![exact(0, 0)],
            vec![],
            vec![],
            vec![exact(3, 0)],
            vec![exact(4, 1)],
        ];
        assert_eq!(search(&found, 2), [exact(3, 0), exact(4, 1)]);
    }

    #[test]
    fn chunks_are_stretches_in_both_sentences() {
        assert_eq!(chunks(&[]), 0);
        assert_eq!(chunks(&[exact(0, 0), exact(1, 1)]), 1);
        assert_eq!(chunks(&[exact(0, 1), exact(1, 0)]), 2);
        assert_eq!(chunks(&[exact(0, 0), exact(2, 1)]), 2);
    }

    #[test]
    fn a_long_match_hides_the_words_under_it() {
        let phrase = Match {
            stage: 3,
            start: 0,
            length: 2,
            other_start: 0,
            other_length: 2,
        };
        // Both have weight 2, a word in each sentence, and form one chunk; they exclude each other.
        let found = vec![vec![phrase], vec![exact(1, 0)]];
        let best = search(&found, 2);
        assert_eq!(best.len(), 1);
    }
}
