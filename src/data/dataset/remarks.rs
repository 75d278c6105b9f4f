//! Remarks: irregularities of a dataset that do not prevent reading.

use crate::error::{Error, Result};

/// Number of examples that a remark holds.
const EXAMPLES: usize = 5;

/// The subject of a [`Remark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The rule that made the splits.
    Rule,
    /// A text that is not UTF-8.
    Encoding,
    /// A quotation mark that nothing closes.
    Quotation,
    /// Broken lines. They are an error unless the dataset is only examined.
    BrokenLine,
    /// A picture in two splits. This is an error unless the dataset is only examined.
    TwoSplits,
    /// Pictures in several folders, any of which may be meant. This is an error unless the dataset is only examined.
    SeveralFolders,
    /// Pictures of different names that are one file. This is an error unless the dataset is only examined.
    SharedFile,
    /// Pictures that are listed but missing.
    MissingPicture,
    /// Pictures that are listed and have no caption.
    NoCaption,
    /// Pictures with captions that no list of a split names.
    NoSplit,
    /// Pictures that exist but have no row.
    NotListed,
    /// Captions of pictures that are not listed.
    LostCaption,
    /// Pictures whose file names differ a little from the listed names.
    OtherName,
    /// Files that were chosen among others.
    Choice,
    /// Columns that were chosen among others.
    Columns,
    /// Pictures that are left out because they cannot be used, as the user asked.
    Skipped,
}

/// Something about a dataset that its user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Its subject.
    pub topic: Topic,
    /// The number of pictures, lines or files concerned.
    pub count: usize,
    /// The first of them.
    pub examples: Vec<String>,
    /// The whole remark in a sentence, with the file.
    pub text: String,
}

/// Collects remarks while a dataset is read.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) remarks: Vec<Remark>,
    /// Whether errors that would keep the dataset from being used become remarks.
    pub(super) examine: bool,
}

impl Log {
    /// Adds a remark. `text` is a file's error, or text of the same form.
    pub(super) fn remark<S: Into<String>>(
        &mut self,
        topic: Topic,
        examples: impl ExactSizeIterator<Item = S>,
        text: impl ToString,
    ) {
        self.remarks.push(Remark {
            topic,
            count: examples.len(),
            examples: examples.take(EXAMPLES).map(Into::into).collect(),
            text: text.to_string(),
        });
    }

    /// Reports an error that keeps the dataset from being used. If the dataset is only examined, it becomes a remark.
    ///
    /// # Errors
    /// The error itself, unless the dataset is only examined.
    pub(super) fn broken(&mut self, topic: Topic, error: Error) -> Result<()> {
        if !self.examine {
            return Err(error);
        }
        let text = error.to_string();
        match self.remarks.iter_mut().find(|r| r.topic == topic) {
            Some(remark) => {
                remark.count += 1;
                if remark.examples.len() < EXAMPLES {
                    remark.examples.push(text);
                }
            }
            None => self.remark(topic, [text.clone()].into_iter(), text),
        }
        Ok(())
    }
}
