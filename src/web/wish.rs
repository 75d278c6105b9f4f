//! How the images of a request are to be captioned: what its query says, and what the fields of its form say.

use std::fmt;

use utoipa::IntoParams;

use super::refusal::{Refusal, shown};
use crate::caption::Search;

/// How to caption.
///
/// What is not said stays open, because a form may say it after a query that does not.
#[derive(Clone, Copy, Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wish {
    /// Sentences that are followed at a time; 1 is greedy.
    #[param(value_type = usize, required = false, minimum = 1, maximum = 50, default = 5)]
    beam: Option<usize>,
    /// Captions of each image; not more than `beam`.
    #[param(value_type = usize, required = false, minimum = 1, maximum = 50, default = 1)]
    n_best: Option<usize>,
    /// Whether each word comes with where in the picture the model looked, for a model with attention: 1 or 0.
    #[param(value_type = u8, required = false, minimum = 0, maximum = 1, default = 0)]
    attention: Option<u8>,
}

impl Wish {
    /// What can be said, as messages list it.
    pub const NAMES: &str = "`beam`, `n_best`, `attention`";

    /// What a query says.
    ///
    /// # Errors
    /// Where it says what makes no sense, or what nobody knows.
    pub fn from_query(pairs: &[(String, String)], widest: usize) -> Result<Self, Refusal> {
        let mut wish = Wish::default();
        for (name, value) in pairs {
            if !wish.set(name, value, widest)? {
                return Err(Refusal::bad_request(format!(
                    "the query has an unknown field `{}`; it may have {}",
                    shown(name),
                    Wish::NAMES
                )));
            }
        }
        Ok(wish)
    }

    /// Takes in that `name` is `value`; no beam is wider than `widest`. False where nothing has this name.
    ///
    /// # Errors
    /// Where the value makes no sense, or is another than the one that was said before.
    pub fn set(&mut self, name: &str, value: &str, widest: usize) -> Result<bool, Refusal> {
        let value = value.trim();
        let wrong = |must: String| {
            let value = shown(value);
            Refusal::bad_request(format!("{name}={value}: must be {must}"))
        };
        match name {
            "beam" => {
                let beam = value
                    .parse()
                    .ok()
                    .filter(|beam| (1..=widest).contains(beam));
                let beam = beam.ok_or_else(|| wrong(format!("1 to {widest}")))?;
                put(&mut self.beam, name, beam)?;
            }
            "n_best" => {
                // How many there can be, the beam says, and that may come later.
                let count = value.parse().ok().filter(|&count| count > 0);
                let count = count.ok_or_else(|| wrong("1 to the beam".into()))?;
                put(&mut self.n_best, name, count)?;
            }
            "attention" => {
                let on = match value {
                    "1" | "true" => 1,
                    "0" | "false" => 0,
                    _ => return Err(wrong("1 or 0".into())),
                };
                put(&mut self.attention, name, on)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The search that is meant, now that all is said.
    ///
    /// # Errors
    /// Where one part does not fit another.
    pub fn search(self) -> Result<Search, Refusal> {
        let usual = Search::default();
        let beam = self.beam.unwrap_or(usual.beam);
        let n_best = self.n_best.unwrap_or(usual.n_best);
        if n_best > beam {
            return Err(Refusal::bad_request(format!(
                "n_best={n_best}: must be 1 to the beam, {beam}"
            )));
        }
        Ok(Search {
            beam,
            n_best,
            attention: self.attention.map_or(usual.attention, |on| on == 1),
            ..usual
        })
    }
}

/// Fills `slot`, where nothing else was said.
fn put<T: Copy + PartialEq + fmt::Display>(
    slot: &mut Option<T>,
    name: &str,
    value: T,
) -> Result<(), Refusal> {
    match slot.replace(value) {
        Some(before) if before != value => Err(Refusal::bad_request(format!(
            "{name} is given as {before} and as {value}; give it once"
        ))),
        _ => Ok(()),
    }
}
