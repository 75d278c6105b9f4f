//! What a walk through folders left out although it seemed to be pictures.

use std::collections::BTreeMap;
use std::fmt;

/// How many files that seem to be pictures were left out, by why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver(BTreeMap<&'static str, usize>);

impl PassedOver {
    /// One more file that is `what`, such as `HEIC` or `hidden`.
    pub(super) fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// All of them.
    pub fn count(&self) -> usize {
        self.0.values().sum()
    }
}

/// `7 (5 HEIC, 2 without a picture's name)`, the most frequent first; `0`.
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
