//! What is odd about a dataset that is read all the same.

use crate::error::{Error, Result};

/// So many examples are named.
const EXAMPLES: usize = 5;

/// What a [`Remark`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Which rule made the splits.
    Rule,
    /// A text that is not UTF-8.
    Encoding,
    /// A quotation mark that nothing closes.
    Quotation,
    /// Broken lines, which are an error where the dataset is used.
    BrokenLine,
    /// A picture in two splits, which is an error where the dataset is used.
    TwoSplits,
    /// Pictures that lie in several folders of which any may be meant, which is an error where the dataset is used.
    SeveralFolders,
    /// Pictures of different names that are one file, which is an error where the dataset is used.
    SharedFile,
    /// Pictures that are listed and not there.
    MissingPicture,
    /// Pictures that are listed and have no caption.
    NoCaption,
    /// Pictures with captions that no list of a split names.
    NoSplit,
    /// Pictures that are there and have no row.
    NotListed,
    /// Captions of pictures that are not listed.
    LostCaption,
    /// Pictures whose files are called a little differently from what is listed.
    OtherName,
    /// Files that were chosen among others.
    Choice,
    /// Columns that were chosen among others.
    Columns,
    /// Pictures that are left out because they cannot be used, as was asked for.
    Skipped,
}

/// Something about a dataset that its user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What it is about.
    pub topic: Topic,
    /// How many pictures, lines or files it is about.
    pub count: usize,
    /// The first of them.
    pub examples: Vec<String>,
    /// The whole of it in a sentence, with the file.
    pub text: String,
}

/// Collects remarks while a dataset is read.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) remarks: Vec<Remark>,
    /// Whether what is broken is remarked on.
    pub(super) examine: bool,
}

impl Log {
    /// Adds a remark; `text` is a file's error, or what reads like one.
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

    /// Something that keeps the dataset from being used, in one place of it.
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
