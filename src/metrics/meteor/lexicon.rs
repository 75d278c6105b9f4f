//! The words of all sentences that METEOR aligns, with their stems, synonyms and paraphrases.

use std::collections::{HashMap, HashSet};

use rust_stemmers::{Algorithm, Stemmer};

use super::data::Data;
use super::normalize;
use super::paraphrases::Paraphrases;
use crate::error::Result;

/// The function words that are used without METEOR's own list. They are chosen as METEOR's authors chose theirs: words
/// that make up more than about a thousandth (here 0.12%) of a large corpus (here the counts of the `wordfreq`
/// package), and punctuation.
const FUNCTION_WORDS: &str = "\
    the to and of a in i is for that you it on with this was be as are have at he not by but from my or we an your all \
    so his they me if one can will just like about up out what has when more do no were who had their there her which \
    time get been would she new people how some also them now other its our than good only after first him into know \
    see two make over think \
    s 's 't ' \" ` , . : ; ? ! - -- ( ) -lrb- -rrb- $ % & /";

/// The words of all sentences that are to be aligned, numbered.
pub(super) struct Lexicon<'a> {
    data: Option<&'a Data>,
    function_words: HashSet<&'static str>,
    stemmer: Stemmer,
    stems: HashMap<String, u32>,
    ids: HashMap<String, u32>,
    words: Vec<Word>,
    paraphrases: Paraphrases,
}

struct Word {
    stem: u32,
    is_function: bool,
    /// The sets of synonyms that contain the word, ascending.
    synsets: Vec<u32>,
}

impl<'a> Lexicon<'a> {
    pub fn new(data: Option<&'a Data>) -> Self {
        Lexicon {
            data,
            function_words: FUNCTION_WORDS.split_whitespace().collect(),
            stemmer: Stemmer::create(Algorithm::English),
            stems: HashMap::new(),
            ids: HashMap::new(),
            words: Vec::new(),
            paraphrases: Paraphrases::default(),
        }
    }

    /// Returns the words of a caption, given as the tokens that the other scores use.
    pub fn sentence(&mut self, tokens: &[String]) -> Vec<u32> {
        let words = normalize::words(tokens);
        words.iter().map(|word| self.id(word)).collect()
    }

    fn id(&mut self, word: &str) -> u32 {
        if let Some(&id) = self.ids.get(word) {
            return id;
        }
        let next = self.stems.len() as u32;
        let stem = self.stemmer.stem(word).into_owned();
        let stem = *self.stems.entry(stem).or_insert(next);
        let word_and_its_data = Word {
            stem,
            is_function: match self.data {
                Some(data) => data.is_function_word(word),
                None => self.function_words.contains(word),
            },
            synsets: self.data.map_or_else(Vec::new, |data| data.synsets(word)),
        };
        let id = self.words.len() as u32;
        self.words.push(word_and_its_data);
        self.ids.insert(word.to_owned(), id);
        id
    }

    /// Reads the paraphrases of the words that have been added so far.
    ///
    /// # Errors
    /// If the file of paraphrases cannot be read or is not such a table.
    pub fn add_paraphrases(&mut self, data: &Data) -> Result<()> {
        self.paraphrases = data.paraphrases(&self.ids)?;
        Ok(())
    }

    pub fn stem(&self, word: u32) -> u32 {
        self.words[word as usize].stem
    }

    pub fn is_function(&self, word: u32) -> bool {
        self.words[word as usize].is_function
    }

    /// Whether some set of synonyms contains both words.
    pub fn are_synonyms(&self, a: u32, b: u32) -> bool {
        let [mut a, mut b] = [a, b].map(|word| self.words[word as usize].synsets.as_slice());
        while let (Some(first), Some(second)) = (a.first(), b.first()) {
            match first.cmp(second) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => a = &a[1..],
                std::cmp::Ordering::Greater => b = &b[1..],
            }
        }
        false
    }

    /// Calls `each` with position, length and paraphrase for every phrase in `sentence` that has one.
    pub fn paraphrases_of(&self, sentence: &[u32], each: impl FnMut(usize, usize, &[u32])) {
        self.paraphrases.of(sentence, each);
    }
}
