//! The splits of a dataset (train, dev, test), and the rules that make them where no file does.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The maximum number of images that a rule assigns to dev, and likewise to test.
const MOST_HELD_OUT: usize = 1000;

/// The minimum number of dev images in a user's own dataset, if three times as many are left to train on.
const FEW: usize = 5;

/// A split of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// For training.
    Train,
    /// For choosing a model and tuning; also written `val`.
    Dev,
    /// For the final scores, which are measured once, after all choices.
    Test,
}

impl Split {
    /// All splits.
    pub const ALL: [Split; 3] = [Split::Train, Split::Dev, Split::Test];

    /// The split that a file's name, a folder's name or a table's cell in a user's own dataset denotes, in any case.
    pub(super) fn named(text: &str) -> Option<Split> {
        match text.trim().to_lowercase().as_str() {
            "train" | "training" => Some(Split::Train),
            "dev" | "val" | "valid" | "validation" | "development" => Some(Split::Dev),
            "test" | "testing" => Some(Split::Test),
            _ => None,
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Split::Train => "train",
            Split::Dev => "dev",
            Split::Test => "test",
        })
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Split> {
        match text {
            "train" => Ok(Split::Train),
            "dev" | "val" => Ok(Split::Dev),
            "test" => Ok(Split::Test),
            _ => Err(Error::usage(format_args!(
                "unknown split '{text}': use train, dev or test"
            ))),
        }
    }
}

/// The source of the assignment of images to splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SplitSource {
    /// The dataset's own files or folders.
    Published,
    /// An eighth is dev, an eighth is test.
    Eighths,
    /// A tenth is dev.
    Tenths,
    /// Without captions all images are train.
    Whole,
}

impl SplitSource {
    pub(super) fn is_rule(self) -> bool {
        self.rule().is_some()
    }

    /// The rule in words; `None` if there is none.
    pub(super) fn rule(self) -> Option<&'static str> {
        match self {
            SplitSource::Published | SplitSource::Whole => None,
            SplitSource::Eighths => Some("an eighth each for dev and test, at most 1,000"),
            SplitSource::Tenths => Some("a tenth for dev, at most 1,000, and none for test"),
        }
    }

    /// The numbers of dev and test images out of `images`.
    fn held_out(self, images: usize) -> (usize, usize) {
        match self {
            SplitSource::Published | SplitSource::Whole => (0, 0),
            SplitSource::Eighths => {
                let eighth = (images / 8).min(MOST_HELD_OUT);
                (eighth, eighth)
            }
            SplitSource::Tenths => {
                let few = FEW.min(images / 4);
                ((images / 10).clamp(few, MOST_HELD_OUT), 0)
            }
        }
    }

    /// Assigns a split to each of these names, by the rule.
    pub(super) fn of_names<'a>(
        self,
        names: impl Iterator<Item = &'a str>,
    ) -> BTreeMap<&'a str, Split> {
        let mut by_hash: Vec<(u64, &str)> = names.map(|name| (name_hash(name), name)).collect();
        by_hash.sort_unstable();
        let (dev, test) = self.held_out(by_hash.len());
        let ranked = by_hash.into_iter().enumerate();
        ranked
            .map(|(rank, (_, name))| match rank {
                r if r < dev => (name, Split::Dev),
                r if r < dev + test => (name, Split::Test),
                _ => (name, Split::Train),
            })
            .collect()
    }
}

/// FNV-1a, 64 bits. It spreads names evenly, and anyone can recompute it in three lines.
pub(crate) fn name_hash(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_depend_on_names_alone() {
        assert_eq!(name_hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(name_hash("a"), 0xaf63_dc4c_8601_ec8c);
        let names: Vec<String> = (0..80).rev().map(|i| format!("{i}.jpg")).collect();
        let mut ranked: Vec<u64> = names.iter().map(|name| name_hash(name)).collect();
        ranked.sort_unstable();
        for (rule, train, dev, test) in [
            (SplitSource::Eighths, 60, 10, 10),
            (SplitSource::Tenths, 72, 8, 0),
        ] {
            let splits = rule.of_names(names.iter().map(String::as_str));
            let count = |split| splits.values().filter(|s| **s == split).count();
            let counts = Split::ALL.map(count);
            assert_eq!(counts, [train, dev, test]);
            for (name, split) in &splits {
                let rank = ranked.iter().position(|h| *h == name_hash(name)).unwrap();
                assert_eq!(*split == Split::Dev, rank < dev, "{name}");
            }
        }
    }

    #[test]
    fn a_few_of_ones_own_pictures_are_dev() {
        for (images, dev) in [
            (0, 0),
            (3, 0),
            (4, 1),
            (19, 4),
            (20, 5),
            (50, 5),
            (500, 50),
            (99_999, 1000),
        ] {
            assert_eq!(SplitSource::Tenths.held_out(images), (dev, 0), "{images}");
        }
        assert_eq!(SplitSource::Eighths.held_out(7), (0, 0));
    }

    #[test]
    fn splits_have_names() {
        for split in Split::ALL {
            assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
            assert_eq!(Split::named(&split.to_string()), Some(split));
        }
        assert_eq!("val".parse::<Split>().unwrap(), Split::Dev);
        assert!("valid".parse::<Split>().is_err());
        assert_eq!(Split::named(" Validation"), Some(Split::Dev));
        assert_eq!(Split::named("extra"), None);
    }
}
