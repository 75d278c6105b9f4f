//! Finds pictures of a dataset that cannot be used.

use std::path::{Path, PathBuf};

use super::entries::Entry;
use super::remarks::{Remark, Topic};
use super::{Dataset, Given, Split};
use crate::cpu::threads;
use crate::data::Image;
use crate::data::folder::kinds;
use crate::error::{self, Error, Result};

/// Number of pictures that a message names.
const NAMED: usize = 20;

/// A picture that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Its file.
    pub path: PathBuf,
    /// The reason, as a message says it.
    pub why: String,
}

impl Unusable {
    fn new(path: &Path, error: Error) -> Self {
        let why = match error {
            Error::File { what, .. } => what,
            other => other.to_string(),
        };
        Unusable {
            path: path.to_path_buf(),
            why,
        }
    }
}

/// The pictures among `paths` that cannot be read. Each picture is decoded.
pub fn unreadable<P: AsRef<Path> + Sync>(paths: &[P]) -> Vec<Unusable> {
    let read = |at: usize| {
        let path = paths[at].as_ref();
        Image::open(path)
            .err()
            .map(|error| Unusable::new(path, error))
    };
    threads::map(paths.len(), read)
        .into_iter()
        .flatten()
        .collect()
}

/// An error of one line that names the unusable pictures; `None` if there are none.
pub fn refusal(unusable: &[Unusable], total: usize) -> Option<Error> {
    let named = |one: &Unusable| {
        let file = one.path.file_name().unwrap_or_default();
        format!("{} {}", error::name(&file), one.why)
    };
    match unusable {
        [] => None,
        [only] => Some(Error::file(
            &only.path,
            format_args!("{}; --skip-bad does without it", only.why),
        )),
        [first, ..] => {
            let list: Vec<String> = unusable.iter().take(NAMED).map(named).collect();
            let more = match unusable.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!("; and {more} more, which glimpse doctor lists"),
            };
            let what = format_args!(
                "{} of {total} pictures cannot be used: {}{more}; --skip-bad does without them",
                unusable.len(),
                list.join("; ")
            );
            Some(Error::file(
                first.path.parent().unwrap_or(&first.path),
                what,
            ))
        }
    }
}

/// Checks the first bytes of a file; returns the reason if it is not a picture. This check is almost free and finds
/// most files that are no pictures: empty files, and HTML pages that a server sent instead of a picture.
fn at_a_glance(path: &Path) -> Option<Unusable> {
    match kinds::begins_as_picture(path) {
        true => None,
        // Other first bytes may still begin a picture, so the file is decoded, which also gives the reason.
        false => Image::open(path)
            .err()
            .map(|error| Unusable::new(path, error)),
    }
}

impl Dataset {
    /// Reads the dataset that `given` describes, to use the images of these splits. With `skip_bad`, images that are
    /// missing, cannot be read or have no caption are left out.
    ///
    /// # Errors
    ///
    /// If [`Dataset::read`] would fail, or if no image of these splits is left.
    pub fn read_for(given: &Given, splits: &[Split]) -> Result<Dataset> {
        let mut dataset = Dataset::read(given)?;
        if given.skip_bad {
            dataset.skip_bad(splits)?;
        }
        Ok(dataset)
    }

    /// Checks the first bytes of each image file of these splits.
    ///
    /// # Errors
    ///
    /// If some are no pictures. The message is one line that names all files that cannot be read.
    pub fn glance(&self, splits: &[Split]) -> Result<()> {
        let entries = self
            .entries
            .iter()
            .filter(|entry| splits.contains(&entry.split));
        let files: Vec<&PathBuf> = entries.filter_map(|entry| entry.file.as_ref()).collect();
        let found = threads::map(files.len(), |at| at_a_glance(files[at]));
        if found.iter().all(Option::is_none) {
            return Ok(());
        }
        // The command stops here anyway. All files are decoded, so one message also names damaged files that begin
        // well.
        refusal(&unreadable(&files), files.len()).map_or(Ok(()), Err)
    }

    /// Leaves out all images of these splits that cannot be used, and adds a remark with their number.
    fn skip_bad(&mut self, splits: &[Split]) -> Result<()> {
        let (asked, mut kept): (Vec<Entry>, Vec<Entry>) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry| splits.contains(&entry.split));
        let total = asked.len();
        let has_captions = self.has_captions();
        let why = threads::map(total, |at| match &asked[at] {
            Entry { file: None, .. } => Some("is missing".to_string()),
            Entry { captions, .. } if has_captions && captions.is_empty() => {
                Some("has no caption".into())
            }
            Entry {
                file: Some(file), ..
            } => Image::open(file)
                .err()
                .map(|error| Unusable::new(file, error).why),
        });
        let mut bad = Vec::new();
        let mut fine = Vec::new();
        for (entry, why) in asked.into_iter().zip(why) {
            match why {
                None => fine.push(entry),
                Some(why) => {
                    bad.push(format!("{} {why}", entry.name));
                    self.left_out.push(entry);
                }
            }
        }
        if fine.is_empty() && total > 0 {
            let what = format_args!(
                "none of its {total} pictures can be used, the first: {}",
                bad[0]
            );
            return Err(Error::file(&self.root, what));
        }
        if let Some(first) = bad.first() {
            let what = format_args!(
                "{} of {total} pictures cannot be used, and are left out as --skip-bad says; the first: {first}",
                bad.len()
            );
            self.remarks.push(Remark {
                topic: Topic::Skipped,
                count: bad.len(),
                text: Error::file(&self.root, what).to_string(),
                examples: bad,
            });
        }
        // Within each split the listed order is kept.
        kept.extend(fine);
        self.entries = kept;
        Ok(())
    }
}
