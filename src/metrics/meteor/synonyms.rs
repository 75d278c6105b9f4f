//! WordNet's sets of synonyms, as METEOR's files give them.
//!
//! `english.synsets` has two lines for each word: the word, and the numbers of the sets that contain it.
//! `english.exceptions` has two lines for each base form: `wolf`, then its irregular forms, `wolves`. All other words
//! are reduced by their endings.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};

/// Endings and their replacements, in the order in which they are tried.
const ENDINGS: [(&str, &str); 20] = [
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
    ("s", ""),
    ("ies", "y"),
    ("es", "e"),
    ("es", ""),
    ("ed", "e"),
    ("ed", ""),
    ("ing", "e"),
    ("ing", ""),
    ("er", ""),
    ("est", ""),
    ("er", "e"),
    ("est", "e"),
];

#[derive(Debug)]
pub(super) struct Synonyms {
    /// The sets that contain each base form.
    sets: HashMap<String, Vec<u32>>,
    /// The base forms of each irregular form.
    bases: HashMap<String, Vec<String>>,
}

impl Synonyms {
    /// Reads both files, each given with its name for error messages.
    ///
    /// # Errors
    /// If a word has no second line, or the number of a set is not a number.
    pub fn read(sets: (&Path, &str), exceptions: (&Path, &str)) -> Result<Self> {
        let mut synonyms = Synonyms {
            sets: HashMap::new(),
            bases: HashMap::new(),
        };
        for (line, word, numbers) in pairs(sets)? {
            let number = |text: &str| {
                text.parse::<u32>().map_err(|_| {
                    Error::file(
                        sets.0,
                        format_args!("line {} has '{text}' for a set", line + 1),
                    )
                })
            };
            let numbers = numbers.split_ascii_whitespace().map(number);
            let numbers = numbers.collect::<Result<_>>()?;
            synonyms.sets.insert(word.to_owned(), numbers);
        }
        for (_, base, forms) in pairs(exceptions)? {
            for form in forms.split_ascii_whitespace() {
                let bases = synonyms.bases.entry(form.to_owned()).or_default();
                bases.push(base.to_owned());
            }
        }
        Ok(synonyms)
    }

    /// Returns the sets that contain a word or one of its base forms, ascending.
    pub fn sets(&self, word: &str) -> Vec<u32> {
        let mut sets = Vec::new();
        let mut add = |word: &str| sets.extend(self.sets.get(word).into_iter().flatten());
        add(word);
        match self.bases.get(word) {
            Some(bases) => bases.iter().for_each(|base| add(base)),
            None => add(&self.reduced(word).unwrap_or_default()),
        }
        sets.sort_unstable();
        sets.dedup();
        sets
    }

    /// Returns the word reduced by the first ending for which the result is in some set.
    fn reduced(&self, word: &str) -> Option<String> {
        if word.ends_with("ss") || word.chars().count() <= 2 {
            return None;
        }
        let reduce = |(ending, instead): &(&str, &str)| {
            let reduced = word.strip_suffix(ending)?.to_owned() + instead;
            self.sets.contains_key(&reduced).then_some(reduced)
        };
        ENDINGS.iter().find_map(reduce)
    }
}

/// Returns lines two by two, with the number of the first.
fn pairs<'a>((path, text): (&Path, &'a str)) -> Result<Vec<(usize, &'a str, &'a str)>> {
    let mut lines = text.lines();
    let mut pairs = Vec::new();
    while let Some(first) = lines.next() {
        let number = 1 + 2 * pairs.len();
        let second = lines.next().ok_or_else(|| {
            Error::file(
                path,
                format_args!("ends after line {number}, whose second half is missing"),
            )
        })?;
        pairs.push((number, first, second));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sets: &str, exceptions: &str) -> Result<Synonyms> {
        Synonyms::read(
            (Path::new("synsets"), sets),
            (Path::new("exceptions"), exceptions),
        )
    }

    #[test]
    fn words_are_reduced_to_what_the_sets_have() {
        let synonyms = read(
            "wolf\n7 3\nfirefighter\n5\nfireman\n5\nride\n9\nrid\n1\nglass\n2\n",
            "wolf\nwolves\n",
        )
        .unwrap();
        for (word, sets) in [
            ("wolf", &[3, 7][..]),
            ("wolves", &[3, 7]),
            ("firemen", &[5]),
            ("firefighters", &[5]),
            ("riding", &[9]),
            ("rided", &[9]),
            ("glass", &[2]),
            ("glasses", &[2]),
            ("as", &[]),
            ("zebra", &[]),
            ("", &[]),
        ] {
            assert_eq!(synonyms.sets(word), sets, "sets of {word}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        assert_eq!(
            read("wolf\n3\ndog\n4 x\n", "").unwrap_err().to_string(),
            "synsets: line 4 has 'x' for a set"
        );
        assert_eq!(
            read("", "wolf\nwolves\ndog\n").unwrap_err().to_string(),
            "exceptions: ends after line 3, whose second half is missing"
        );
    }
}
