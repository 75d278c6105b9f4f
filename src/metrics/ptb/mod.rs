//! The tokenizer that published caption scores are based on.
//!
//! Published BLEU scores of captions come from the COCO evaluation code, which splits text with the
//! Penn Treebank tokenizer of Stanford CoreNLP 3.4.1 (lower-casing), then drops a list of punctuation marks.
//! A score computed on other tokens is another number. This module therefore reproduces the tokenizer, its odd cases
//! included, for the text that captions contain: contractions, hyphens, abbreviations, numbers, quotes, prices,
//! smileys, web addresses.
//!
//! It is a longest-match lexer. At each position every rule of a short list reports how many characters it recognises.
//! The rule with the longest match wins; among equal ones, the earliest. A token may be shorter than its match: `don't`
//! is recognised whole, but only `do` becomes a token, and `n't` is the next one.
//!
//! Not reproduced, because captions do not contain them: HTML entities, telephone numbers, file names that start with a
//! digit, and curly apostrophes kept as such (`’90s` becomes `'90s`). On the 35,000 captions of Flickr8k both
//! tokenizers give the same tokens on every line.

mod rules;

use rules::{
    abbreviation, acronym, before_clitic, before_number, clitic, compound, dotted, email, handle,
    initials, number, run_of_marks, smiley, tag, two_words_in_one, web_address, with_apostrophe,
};

/// The marks that the COCO evaluation drops after tokenizing. Brackets are not dropped: the evaluation lists them as
/// `-LRB-`, but the lower-casing tokenizer writes `-lrb-`. Published scores include that slip.
const DROPPED: [&str; 9] = ["'", "`", ".", "?", "!", ",", ":", "-", ";"];

/// Splits a caption into lower-case tokens without punctuation.
///
/// ```
/// use glimpse::metrics::ptb::tokenize;
///
/// assert_eq!(tokenize("A dog isn't running."), ["a", "dog", "is", "n't", "running"]);
/// assert_eq!(tokenize("Mr. Smith's T-shirt, 10:30 p.m."), ["mr.", "smith", "'s", "t-shirt", "10:30", "p.m."]);
/// ```
pub fn tokenize(text: &str) -> Vec<String> {
    let text = plain(text);
    let mut tokens = Vec::new();
    let mut rest = &text[..];
    while let Some(&first) = rest.first() {
        if first.is_whitespace() {
            rest = &rest[1..];
            continue;
        }
        let taken = longest(rest);
        let token: String = rest[..taken].iter().collect();
        if !is_dropped(&token) {
            // A tag may contain spaces; each part counts as a word.
            tokens.extend(spelled(&token).split_whitespace().map(str::to_owned));
        }
        rest = &rest[taken..];
    }
    tokens
}

/// Replaces typographic quotes, dashes and dots by their ASCII forms.
fn plain(text: &str) -> Vec<char> {
    let mut plain = Vec::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '’' | '‘' | '‚' | '‛' => plain.push('\''),
            '“' | '”' | '„' | '«' | '»' => plain.push('"'),
            '–' | '—' => plain.extend(['-', '-']),
            '…' => plain.extend(['.', '.', '.']),
            _ => plain.push(c),
        }
    }
    plain
}

/// Whether a token is punctuation: a mark of the list, quotes, dots, or a dash of up to four hyphens.
fn is_dropped(token: &str) -> bool {
    let only = |mark| token.chars().all(|c| c == mark);
    DROPPED.contains(&token)
        || only('"')
        || only('\'')
        || only('`')
        || only('.')
        || (only('-') && token.len() <= 4)
}

/// Spells a token as the treebank does: lower-case, brackets by name, currency and fractions in ASCII.
fn spelled(token: &str) -> String {
    let mut spelled = String::with_capacity(token.len());
    let is_tag = token.starts_with('<') && token.ends_with('>');
    for c in token.chars() {
        match c {
            '(' if !is_tag => spelled.push_str("-lrb-"),
            ')' if !is_tag => spelled.push_str("-rrb-"),
            '[' if token.len() == 1 => spelled.push_str("-lsb-"),
            ']' if token.len() == 1 => spelled.push_str("-rsb-"),
            '{' if token.len() == 1 => spelled.push_str("-lcb-"),
            '}' if token.len() == 1 => spelled.push_str("-rcb-"),
            '½' => spelled.push_str("1/2"),
            '¼' => spelled.push_str("1/4"),
            '¾' => spelled.push_str("3/4"),
            '£' => spelled.push('#'),
            '€' => spelled.push('$'),
            '¢' => spelled.push_str("cents"),
            _ => spelled.extend(c.to_lowercase()),
        }
    }
    spelled
}

/// The match of a rule at the start of the text.
#[derive(Clone, Copy)]
struct Match {
    /// The number of characters that the rule recognised; the longest match wins.
    seen: usize,
    /// The number of characters that become the token.
    taken: usize,
}

impl Match {
    /// A match of which only the first part becomes the token.
    fn part(seen: usize, taken: usize) -> Option<Match> {
        Some(Match { seen, taken })
    }
}

/// A match that becomes the token as a whole; `None` if it is empty.
fn whole(len: usize) -> Option<Match> {
    whole_if(len > 0, len)
}

/// A match that becomes the token as a whole if `holds`.
fn whole_if(holds: bool, len: usize) -> Option<Match> {
    holds.then_some(Match {
        seen: len,
        taken: len,
    })
}

/// A rule: looks at the start of the text, which is never empty.
type Rule = fn(&[char]) -> Option<Match>;

/// The rules; among matches of equal length, the earliest rule wins.
const RULES: [Rule; 17] = [
    two_words_in_one,
    before_clitic,
    clitic,
    with_apostrophe,
    before_number,
    abbreviation,
    acronym,
    dotted,
    compound,
    number,
    email,
    web_address,
    handle,
    initials,
    smiley,
    tag,
    run_of_marks,
];

/// Returns the length of the token at the start of `rest`, at least one character.
fn longest(rest: &[char]) -> usize {
    RULES
        .iter()
        .filter_map(|rule| rule(rest))
        .reduce(|best, next| if next.seen > best.seen { next } else { best })
        .map_or(1, |best| best.taken)
}

// --- Small helpers on characters -----------------------------------------------------------------

/// Counts the characters at the start that satisfy `wanted`.
fn run(rest: &[char], wanted: impl Fn(char) -> bool) -> usize {
    rest.iter().take_while(|&&c| wanted(c)).count()
}

/// Whether the text starts with `prefix`, ignoring case.
fn starts(rest: &[char], prefix: &str) -> bool {
    let mut rest = rest.iter();
    prefix
        .chars()
        .all(|p| rest.next().is_some_and(|c| c.to_ascii_lowercase() == p))
}

/// Whether the character at `at` exists and satisfies `wanted`.
fn at(rest: &[char], at: usize, wanted: impl Fn(char) -> bool) -> bool {
    rest.get(at).is_some_and(|&c| wanted(c))
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic()
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn is_word(c: char) -> bool {
    is_letter(c) || is_digit(c)
}

fn is_vowel(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 'a' | 'e' | 'i' | 'o' | 'u')
}

#[cfg(test)]
mod tests;
