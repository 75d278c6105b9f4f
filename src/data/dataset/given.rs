//! A user's description of a dataset: its folder and options.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result};

/// A dataset's folder, and options for reading it where the layout is ambiguous.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The folder.
    pub root: PathBuf,
    /// The columns of a table, if their titles are not known ones.
    pub columns: Option<Columns>,
    /// The table of pictures and captions, if there are several.
    pub table: Option<PathBuf>,
    /// Karpathy's file, if there are several.
    pub karpathy: Option<PathBuf>,
    /// Whether pictures that are missing, cannot be read or have no caption are left out. Otherwise they are an error.
    /// Missing and uncaptioned pictures of a user's own dataset, or of one that a rule splits, are always left out.
    pub skip_bad: bool,
    /// Whether all broken lines are left out and remarked on. Otherwise the first broken line is an error. For
    /// examining a dataset without using it.
    pub examine: bool,
}

impl Given {
    /// A folder without options.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Given {
            root: root.into(),
            ..Given::default()
        }
    }
}

impl From<&Path> for Given {
    fn from(root: &Path) -> Self {
        Given::at(root)
    }
}

impl From<&PathBuf> for Given {
    fn from(root: &PathBuf) -> Self {
        Given::at(root)
    }
}

impl From<&Given> for Given {
    fn from(given: &Given) -> Self {
        given.clone()
    }
}

/// The titles of a table's columns (or their numbers from 1), written `image=file,caption=text`; `caption` may be given
/// several times, and `split` may be added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Names of pictures.
    pub image: String,
    /// Captions.
    pub captions: Vec<String>,
    /// Names of splits.
    pub split: Option<String>,
}

impl FromStr for Columns {
    type Err = Error;

    fn from_str(text: &str) -> Result<Columns> {
        let mut columns = Columns::default();
        for part in text.split(',') {
            match part
                .split_once('=')
                .map(|(key, title)| (key.trim(), title.trim()))
            {
                Some(("image", title)) if columns.image.is_empty() && !title.is_empty() => {
                    columns.image = title.into();
                }
                Some(("caption", title)) if !title.is_empty() => {
                    columns.captions.push(title.into())
                }
                Some(("split", title)) if columns.split.is_none() && !title.is_empty() => {
                    columns.split = Some(title.into());
                }
                _ => {
                    return Err(Error::usage(format_args!(
                        "'{part}' is not image=TITLE, caption=TITLE or split=TITLE, each with a title and one image alone"
                    )));
                }
            }
        }
        if columns.image.is_empty() || columns.captions.is_empty() {
            return Err(Error::usage(
                "both image=TITLE and caption=TITLE are needed, as in image=file,caption=text",
            ));
        }
        Ok(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named() {
        let columns: Columns = "image=File name, caption=Text,caption=More,split=Set"
            .parse()
            .unwrap();
        assert_eq!(columns.image, "File name");
        assert_eq!(columns.captions, ["Text", "More"]);
        assert_eq!(columns.split.as_deref(), Some("Set"));
        for wrong in [
            "",
            "image=a",
            "caption=a",
            "a,b",
            "image=,caption=b",
            "image=a,image=b,caption=c",
        ] {
            assert!(wrong.parse::<Columns>().is_err(), "{wrong}");
        }
    }
}
