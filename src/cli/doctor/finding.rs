//! Findings, and how they are printed.

use serde::Serialize;

use super::super::output;
use crate::error::{Result, is_unsafe};

/// Number of examples that are printed.
const EXAMPLES: usize = 5;

/// Whether a finding prevents training on the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Training stops or does not begin.
    Error,
    /// Training works, but the result may be worse than it could be, or look better than it is.
    Advice,
}

/// Something about a dataset or a model that its user should know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Its name, for programs.
    pub finding: &'static str,
    /// Whether it stops training.
    pub severity: Severity,
    /// The number of pictures, captions or lines concerned.
    pub count: usize,
    /// The first of them.
    pub examples: Vec<String>,
    /// The finding in a sentence.
    pub what: String,
    /// The remedy.
    pub advice: &'static str,
}

impl Finding {
    /// A finding that does not stop training. `about` lists the items concerned; the first of them are its examples.
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

    /// Adds the finding about these items to `findings`, if there are any. `one` or `several` follow their number.
    pub fn report(
        findings: &mut Vec<Finding>,
        finding: &'static str,
        about: Vec<String>,
        [one, several]: [&str; 2],
        advice: &'static str,
    ) {
        if !about.is_empty() {
            let what = counted(about.len(), one, several);
            findings.push(Finding::new(finding, about, what, advice));
        }
    }

    /// Makes the finding one that stops training, if `it_does`.
    pub fn stopping(mut self, it_does: bool) -> Self {
        if it_does {
            self.severity = Severity::Error;
        }
        self
    }

    /// Prints it for people.
    ///
    /// # Errors
    /// If standard output cannot be written.
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

/// A text from a foreign file, with characters escaped that would control a terminal.
fn visible(text: &str) -> String {
    match text.contains(is_unsafe) {
        true => text.escape_debug().to_string(),
        false => text.to_string(),
    }
}

/// A number with its noun in the singular or the plural.
fn counted(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// A share in percent.
pub fn percent(part: usize, all: usize) -> f64 {
    100.0 * part as f64 / all.max(1) as f64
}
