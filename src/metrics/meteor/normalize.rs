//! Converts the tokens that the other scores use to METEOR's words.
//!
//! The Java program with `-norm` splits some tokens that the Treebank tokenizer keeps together, such as `t-shirt` into
//! `t shirt`, and splits `'s` into `' s`. This module reproduces it step by step. Only the program's list of
//! abbreviations that keep their full stop is left out: its entries are capitalised, and these tokens are in lower
//! case. (The full stop of `mr. smith` stays anyway, because a lower-case letter follows.)

/// Stands for each full stop of a row of several, which together are one word.
const DOT_OF_MANY: char = '\u{e000}';

/// Splits a caption's tokens into the words that METEOR compares.
pub(super) fn words(tokens: &[String]) -> Vec<String> {
    let text: Vec<char> = format!(" {} ", tokens.join(" ")).chars().collect();
    let mut text = apart(&text);
    for (before, after) in [(false, false), (true, false), (false, true)] {
        text = replace(&text, |a, mark, b| {
            let here = a.is_ascii_digit() == before && b.is_ascii_digit() == after;
            (mark == ',' && here).then_some(" , ")
        });
    }
    let text = quotes_and_dashes(&text);
    let mut text = replace(&text, |a, mark, b| {
        let here = (is_letter_or_digit(a) || a == '.') && is_letter_or_digit(b);
        (mark == '-' && here).then_some(" ")
    });
    type Rule = fn(char, char) -> Option<&'static str>;
    let apostrophes: [Rule; 5] = [
        |a, b| (!is_letter(a) && !is_letter(b)).then_some(" ' "),
        |a, b| (!is_letter(a) && !a.is_ascii_digit() && is_letter(b)).then_some(" ' "),
        |a, b| (is_letter(a) && !is_letter(b)).then_some(" ' "),
        |a, b| (is_letter(a) && is_letter(b)).then_some(" '"),
        |a, b| (a.is_ascii_digit() && b == 's').then_some(" '"),
    ];
    for rule in apostrophes {
        text = replace(&text, |a, mark, b| {
            (mark == '\'').then(|| rule(a, b)).flatten()
        });
    }
    full_stops(&text.into_iter().collect::<String>())
}

/// Puts spaces around every mark that is always a word of its own, and around several full stops in a row.
fn apart(text: &[char]) -> Vec<char> {
    let mut result = Vec::with_capacity(text.len() + 8);
    let mut at = 0;
    while let Some(&c) = text.get(at) {
        let dots = text[at..].iter().take_while(|c| **c == '.').count();
        if dots > 1 {
            result.push(' ');
            result.extend([DOT_OF_MANY].repeat(dots));
            result.push(' ');
            at += dots;
            continue;
        }
        let inside =
            is_letter_or_digit(c) || c.is_ascii_whitespace() || ".'`,-\u{2018}\u{2019}".contains(c);
        match inside {
            true => result.push(c),
            false => result.extend([' ', c, ' ']),
        }
        at += 1;
    }
    result
}

/// Unifies the kinds of apostrophes, quotation marks and dashes.
fn quotes_and_dashes(text: &[char]) -> Vec<char> {
    let text: String = text.iter().collect();
    let text = text.replace(['`', '\u{2018}', '\u{2019}'], "'");
    let text = text.replace(['\u{201c}', '\u{201d}'], " \" ");
    let text = text.replace("''", " \" ");
    let text = text.replace('\u{2013}', "-").replace("--", "-");
    text.chars().collect()
}

/// Removes the full stop at the end of words, except before a lower-case letter, and all full stops of `u.s.`.
fn full_stops(text: &str) -> Vec<String> {
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let mut words = Vec::with_capacity(tokens.len());
    for (index, token) in tokens.iter().enumerate() {
        let next = tokens.get(index + 1);
        match token.strip_suffix('.') {
            Some(stem) if stem.contains('.') && stem.contains(is_letter) => {
                words.push(token.replace('.', ""));
            }
            Some(stem)
                if !stem.is_empty() && !next.is_some_and(|n| n.starts_with(is_small_letter)) =>
            {
                words.extend([stem.to_owned(), ".".to_owned()]);
            }
            _ => words.push(token.replace(DOT_OF_MANY, ".")),
        }
    }
    words.iter().map(|word| word.to_lowercase()).collect()
}

/// Replaces the middle of three neighbouring characters by the result of `by`; the search continues after all three.
fn replace(text: &[char], by: impl Fn(char, char, char) -> Option<&'static str>) -> Vec<char> {
    let mut result = Vec::with_capacity(text.len() + 8);
    let mut at = 0;
    while at < text.len() {
        result.push(text[at]);
        if let Some(&[a, mark, b]) = text.get(at..at + 3)
            && let Some(new) = by(a, mark, b)
        {
            result.extend(new.chars());
            result.push(b);
            at += 2;
        }
        at += 1;
    }
    result
}

fn is_small_letter(c: char) -> bool {
    c.is_ascii_lowercase()
}

/// Latin and Cyrillic letters, as the Java program lists them.
fn is_letter(c: char) -> bool {
    matches!(c,
        'A'..='Z' | 'a'..='z' | 'Š' | 'Ž' | 'š' | 'ž' | 'Ÿ' | 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ž' | 'Ѐ'..='ӿ'
        | 'Ԁ'..='ԧ' | 'Ꙁ'..='\u{a66e}' | '\u{a67e}'..='ꚗ' | 'ᴀ'..='ᵿ')
}

fn is_letter_or_digit(c: char) -> bool {
    is_letter(c) || c.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_the_java_program_splits_them() {
        for (text, expected) in [
            ("a dog in a t-shirt", "a dog in a t shirt"),
            ("a merry-go-round", "a merry go round"),
            ("a jack-o-lantern", "a jack o-lantern"),
            ("the man 's hat is n't red", "the man ' s hat is n 't red"),
            ("the '60s", "the ' 60s"),
            (
                "mr. smith at 5 p.m. in the u.s.",
                "mr. smith at 5 pm in the us",
            ),
            ("smith jr.", "smith jr ."),
            ("10,000 men,women", "10,000 men , women"),
            ("at&t # 5 1/2 $ 5 50 %", "at & t # 5 1 / 2 $ 5 50 %"),
            ("-lrb- a -rrb-", "-lrb- a -rrb-"),
            ("wait.. what", "wait .. what"),
            ("", ""),
            ("café", "café"),
        ] {
            let tokens: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            assert_eq!(words(&tokens).join(" "), expected, "words of {text:?}");
        }
    }
}
