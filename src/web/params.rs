//! The parameters of a request for captions, from its query and the fields of its form.

use std::fmt;

use utoipa::IntoParams;

use super::refusal::{Refusal, shown};
use crate::caption::Search;

/// The parameters of captioning.
///
/// Parameters that are not given stay `None`, because a form may give them after a query that did not.
#[derive(Clone, Copy, Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CaptionParams {
    /// Number of sentences that are extended at a time; 1 is greedy search.
    #[param(value_type = usize, required = false, minimum = 1, maximum = 50, default = 5)]
    beam: Option<usize>,
    /// Number of captions of each image; at most `beam`.
    #[param(value_type = usize, required = false, minimum = 1, maximum = 50, default = 1)]
    n_best: Option<usize>,
    /// Whether each word has its attention weights, for a model with attention: 1 or 0.
    #[param(value_type = u8, required = false, minimum = 0, maximum = 1, default = 0)]
    attention: Option<u8>,
}

impl CaptionParams {
    /// The names of all parameters, for messages.
    pub const NAMES: &str = "`beam`, `n_best`, `attention`";

    /// Reads the parameters of a query.
    ///
    /// # Errors
    /// If a value is malformed, or a parameter is unknown.
    pub fn from_query(pairs: &[(String, String)], widest: usize) -> Result<Self, Refusal> {
        let mut params = CaptionParams::default();
        for (name, value) in pairs {
            if !params.set(name, value, widest)? {
                return Err(Refusal::bad_request(format!(
                    "the query has an unknown field `{}`; it may have {}",
                    shown(name),
                    CaptionParams::NAMES
                )));
            }
        }
        Ok(params)
    }

    /// Sets the parameter `name` to `value`; no beam is wider than `widest`. Returns false if there is no parameter of
    /// this name.
    ///
    /// # Errors
    /// If the value is malformed, or differs from one that was set before.
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
                // The limit is the beam, which may come later.
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

    /// Returns the settings of the search, once all parameters are set.
    ///
    /// # Errors
    /// If one parameter does not fit another.
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

/// Sets `slot`, unless it has another value already.
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
