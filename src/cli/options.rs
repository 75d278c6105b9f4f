//! Options that several commands have.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{RangedU64ValueParser, TypedValueParser};

use crate::caption::Search;
use crate::error::Result;
use crate::model::Captioner;

/// Which model.
#[derive(Args)]
pub struct ModelArgs {
    /// The model, as `glimpse train` writes it [default: the bundled one]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

impl ModelArgs {
    /// Reads the model.
    ///
    /// # Errors
    /// Where the file is no model.
    pub fn load(&self) -> Result<Captioner> {
        self.model
            .as_ref()
            .map_or_else(Captioner::bundled, Captioner::load)
    }
}

/// How to look for likely sentences.
#[derive(Args)]
pub struct SearchArgs {
    /// Sentences that are followed at a time, 1 to 1000; 1 is greedy
    #[arg(long, value_name = "N", default_value_t = Search::default().beam, value_parser = count(1000))]
    pub beam: usize,
    /// Sentences are ranked by their log-probability / length^A: 0 favours short ones, 1 long ones
    #[arg(long, value_name = "A", default_value_t = Search::default().length_penalty, value_parser = finite())]
    pub length_penalty: f64,
    /// Words of a caption, at most
    #[arg(long, value_name = "N", default_value_t = Search::default().max_words, value_parser = count(1000))]
    pub max_words: usize,
}

impl SearchArgs {
    /// The settings, for the `n_best` likeliest sentences.
    pub fn search(&self, n_best: usize) -> Search {
        Search {
            beam: self.beam,
            n_best,
            length_penalty: self.length_penalty,
            max_words: self.max_words,
        }
    }
}

/// Takes whole numbers from 1 to `most`.
pub fn count(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

/// Takes numbers that are neither infinite nor none.
fn finite() -> impl TypedValueParser<Value = f64> {
    number("must be a finite number", |_| true)
}

/// Takes finite numbers that are `fine`; what others `must` be is the message.
pub fn number(must: &'static str, fine: fn(f64) -> bool) -> impl TypedValueParser<Value = f64> {
    clap::builder::StringValueParser::new().try_map(move |text| {
        let value = text
            .parse::<f64>()
            .ok()
            .filter(|x| x.is_finite() && fine(*x));
        value.ok_or(must)
    })
}
