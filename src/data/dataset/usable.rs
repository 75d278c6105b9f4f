//! Which of a dataset's pictures can be used at all.

use std::path::{Path, PathBuf};

use super::entries::Entry;
use super::remarks::{Remark, Topic};
use super::{Dataset, Given, Split};
use crate::cpu::threads;
use crate::data::Image;
use crate::data::folder::kinds;
use crate::error::{self, Error, Result};

/// So many are named in a message.
const NAMED: usize = 20;

/// A picture that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it.
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

/// Those of the pictures at `paths` that cannot be read. Each is decoded.
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

/// One line about pictures of which some cannot be used; none where all can.
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

/// What is wrong with a file that is no picture by its first bytes. A look at these costs next to nothing and finds
/// most of what is no picture: files of no bytes, pages of a server that had something else to say.
fn at_a_glance(path: &Path) -> Option<Unusable> {
    match kinds::begins_as_picture(path) {
        true => None,
        // What begins in another way may be a picture still, and is told what it is otherwise.
        false => Image::open(path)
            .err()
            .map(|error| Unusable::new(path, error)),
    }
}

impl Dataset {
    /// The dataset that `given` describes, to use the images of these splits. With `skip_bad` those that are missing, cannot
    /// be read or have no caption are left out.
    ///
    /// # Errors
    ///
    /// As [`Dataset::open`], and where there would be no image left.
    pub fn read_for(given: &Given, splits: &[Split]) -> Result<Dataset> {
        let mut dataset = Dataset::read(given)?;
        if given.skip_bad {
            dataset.skip_bad(splits)?;
        }
        Ok(dataset)
    }

    /// Looks at the beginning of each image file of these splits.
    ///
    /// # Errors
    ///
    /// Where some are no pictures: one line that names all that cannot be read.
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
        // As the run stops here, all are read, so that one message names also those that begin well.
        refusal(&unreadable(&files), files.len()).map_or(Ok(()), Err)
    }

    /// Leaves out all images of these splits that cannot be used, and remarks on how many.
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
        // In the order in which they were listed, as far as each split goes.
        kept.extend(fine);
        self.entries = kept;
        Ok(())
    }
}
