//! What was found, and how it is printed.

use serde::Serialize;

use super::super::output;
use crate::error::{Result, is_unsafe};

/// So many examples are printed of what has many.
const EXAMPLES: usize = 5;

/// Whether a finding keeps the dataset from being trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Training stops or does not begin.
    Error,
    /// Training goes on; what comes of it may be worse than it could be, or look better than it is.
    Advice,
}

/// Something about a dataset or a model that its user should know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Its name, for programs.
    pub finding: &'static str,
    /// Whether it stops a training.
    pub severity: Severity,
    /// How many pictures, captions or lines it is about.
    pub count: usize,
    /// The first of them.
    pub examples: Vec<String>,
    /// What was found, in a sentence.
    pub what: String,
    /// What to do about it.
    pub advice: &'static str,
}

impl Finding {
    /// A finding that stops no training, about these; the first of them are its examples.
    pub fn new(
        finding: &'static str,
        about: Vec<String>,
        what: impl ToString,
        advice: &'static str,
    ) -> Self {
        let count = about.len();
        let mut examples = about;
        examples.truncate(EXAMPLES);
        Finding {
            finding,
            severity: Severity::Advice,
            count,
            examples,
            what: what.to_string(),
            advice,
        }
    }

    /// The finding as one that stops a training, if `it_does`.
    pub fn stopping(mut self, it_does: bool) -> Self {
        if it_does {
            self.severity = Severity::Error;
        }
        self
    }

    /// Prints it for people.
    ///
    /// # Errors
    /// Where standard output takes nothing.
    pub fn print(&self) -> Result<()> {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Advice => "advice",
        };
        output::line(format_args!("{severity:<8}{}", visible(&self.what)))?;
        for example in &self.examples {
            output::line(format_args!("          {}", visible(example)))?;
        }
        let more = self.count.saturating_sub(self.examples.len());
        if more > 0 && !self.examples.is_empty() {
            output::line(format_args!("          and {more} more"))?;
        }
        output::line(format_args!("        {}", self.advice))
    }
}

/// A text out of foreign files, without what a terminal would obey.
fn visible(text: &str) -> String {
    match text.contains(is_unsafe) {
        true => text.escape_debug().to_string(),
        false => text.to_string(),
    }
}

/// A number with the words for one or those for several.
pub fn counted(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// A share in percent.
pub fn percent(part: usize, all: usize) -> f64 {
    100.0 * part as f64 / all.max(1) as f64
}
