//! Counts the files that a walk through folders left out although they seem to be images.

use std::collections::BTreeMap;
use std::fmt;

/// How many files that seem to be images were left out, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver(BTreeMap<&'static str, usize>);

impl PassedOver {
    /// Counts a file that was left out for this reason, such as `HEIC` or `hidden`.
    pub(super) fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Returns the number of all files that were left out.
    pub fn count(&self) -> usize {
        self.0.values().sum()
    }
}

/// Formats the counts, most frequent first: `7 (5 HEIC, 2 without a picture's name)`, or `0`.
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count())?;
        if self.0.is_empty() {
            return Ok(());
        }
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let kinds = kinds
            .iter()
            .map(|(what, count)| format!("{count} {what}"))
            .collect::<Vec<_>>();
        write!(f, " ({})", kinds.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_by_kind() {
        let mut passed = PassedOver::default();
        assert_eq!(passed.to_string(), "0");
        for what in ["raw", "HEIC", "without a picture's name", "HEIC", "AVIF"] {
            passed.add(what);
        }
        assert_eq!(
            passed.to_string(),
            "5 (2 HEIC, 1 AVIF, 1 raw, 1 without a picture's name)"
        );
    }
}
