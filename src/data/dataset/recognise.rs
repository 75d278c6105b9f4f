//! Recognises which dataset a folder holds.

use std::path::{Path, PathBuf};

use super::entries::Entry;
use super::given::Given;
use super::locate::Names;
use super::remarks::{Log, Topic};
use super::split::{Split, SplitSource};
use super::{
    CAPTION_FILES, Dataset, coco, flickr, kaggle, karpathy, locate, others, pictures, sidecars,
    tables,
};
use crate::error::{Error, Result, name};

/// The kind of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Flickr8k,
    Karpathy,
    Kaggle,
    Flickr30k,
    Coco,
    Metadata,
    Table,
    Sidecars,
    Pictures,
}

impl Format {
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Flickr8k => "Flickr8k",
            Format::Karpathy => "Karpathy's split",
            Format::Kaggle => "Kaggle's Flickr8k",
            Format::Flickr30k => "Flickr30k",
            Format::Coco => "COCO",
            Format::Metadata => "an image folder with metadata",
            Format::Table => "a table of pictures and captions",
            Format::Sidecars => "pictures with texts beside them",
            Format::Pictures => "pictures without captions",
        }
    }

    /// Whether it is a format that users make for their own pictures.
    fn is_own(self) -> bool {
        matches!(self, Format::Metadata | Format::Table | Format::Sidecars)
    }

    /// How strictly its names are matched to files.
    fn names(self) -> Names {
        match self {
            Format::Kaggle => Names::Table,
            own if own.is_own() => Names::Own,
            _ => Names::Published,
        }
    }
}

impl Dataset {
    /// Reads the dataset that `given` describes.
    ///
    /// # Errors
    ///
    /// If [`Dataset::open`] would fail, or if an option in `given` does not fit the dataset.
    pub fn read(given: &Given) -> Result<Dataset> {
        let root = given.root.as_path();
        if !root.is_dir() {
            return Err(Error::file(
                root,
                "is not a folder; a dataset is given by its folder",
            ));
        }
        let mut log = Log {
            examine: given.examine,
            ..Log::default()
        };
        let (format, splits, mut entries) = recognise(given, &mut log)?;
        if given.columns.is_some()
            && !matches!(format, Format::Kaggle | Format::Metadata | Format::Table)
        {
            let what = format_args!(
                "is {}, whose columns are known, and --columns is for tables; name the table with --table",
                format.name()
            );
            return Err(Error::file(root, what));
        }
        let used = locate::locate(root, &mut entries, format.names(), &mut log)?;
        let mut dataset = Dataset {
            root: root.to_path_buf(),
            format,
            splits,
            entries,
            left_out: Vec::new(),
            remarks: Vec::new(),
        };
        if matches!(format, Format::Metadata | Format::Table) {
            dataset.remark_unlisted(&used, &mut log);
        }
        if format.is_own() || splits.is_rule() {
            dataset.leave_out_missing(&mut log);
        }
        dataset.remark_rule(&mut log);
        dataset.remarks = log.remarks;
        Ok(dataset)
    }

    /// Leaves out listed images whose file is missing (unless all are), and images without captions.
    fn leave_out_missing(&mut self, log: &mut Log) {
        let total = self.entries.len();
        let is_here = self.entries.iter().any(|entry| entry.file.is_some());
        let (kept, missing): (Vec<Entry>, Vec<Entry>) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry| entry.file.is_some() || !is_here);
        let (kept, silent): (Vec<Entry>, Vec<Entry>) = kept
            .into_iter()
            .partition(|entry| !entry.captions.is_empty());
        for (topic, lost, what) in [
            (Topic::MissingPicture, &missing, "are listed and not there"),
            (Topic::NoCaption, &silent, "have no caption"),
        ] {
            if let Some(first) = lost.first() {
                let what = format_args!(
                    "{} of {total} pictures {what}, and are left out; the first is {}",
                    lost.len(),
                    first.name
                );
                log.remark(
                    topic,
                    lost.iter().map(|entry| &entry.name),
                    Error::file(&self.root, what),
                );
            }
        }
        self.entries = kept;
        self.left_out = missing;
        self.left_out.extend(silent);
    }

    /// Remarks on pictures that no row names.
    fn remark_unlisted(&self, folders: &[PathBuf], log: &mut Log) {
        let unlisted = locate::unlisted(folders, &self.entries);
        let file_name = |path: &PathBuf| name(&path.file_name().unwrap_or_default()).to_string();
        if let Some(first) = unlisted.first() {
            let what = format_args!(
                "{} pictures are in no row that is used, and are left out; the first is {}",
                unlisted.len(),
                file_name(first)
            );
            log.remark(
                Topic::NotListed,
                unlisted.iter().map(file_name),
                Error::file(&self.root, what),
            );
        }
    }

    /// Remarks on the rule that made the splits.
    fn remark_rule(&self, log: &mut Log) {
        if !self.splits.is_rule() {
            return;
        }
        let count = |split| {
            self.entries
                .iter()
                .filter(|entry| entry.split == split)
                .count()
        };
        let [train, dev, test] = Split::ALL.map(count);
        let parts = match self.splits {
            SplitSource::Eighths => format!("{train} train, {dev} dev, {test} test"),
            _ => format!("{train} train, {dev} dev"),
        };
        let what = format_args!(
            "nothing says which pictures are for what, so a hash of their names does: {parts}"
        );
        let examples: [String; 0] = [];
        log.remark(
            Topic::Rule,
            examples.into_iter(),
            Error::file(&self.root, what),
        );
    }
}

/// Recognises the format, and reads the source of the splits and the images.
fn recognise(given: &Given, log: &mut Log) -> Result<(Format, SplitSource, Vec<Entry>)> {
    let root = given.root.as_path();
    let columns = given.columns.as_ref();
    if given.table.is_some() && given.karpathy.is_some() {
        return Err(Error::usage(
            "--table and --karpathy name two datasets; take one of them",
        ));
    }
    // The files from which the captions are read.
    let mut read = Vec::new();
    let (format, (splits, entries)) = if let Some(table) = &given.table {
        let parts = tables::named(given, table)?;
        (Format::Table, tables::read(parts, columns, log)?)
    } else if let Some(file) = flickr::find_flickr8k(root).filter(|_| given.karpathy.is_none()) {
        read.push(file.clone());
        (Format::Flickr8k, flickr::read_flickr8k(&file, log)?)
    } else if let Some(file) = karpathy::find(given)? {
        read.push(file.clone());
        (Format::Karpathy, karpathy::read(&file, log)?)
    } else if let Some(file) = kaggle::find(root) {
        read.push(file.clone());
        (Format::Kaggle, kaggle::read(&file, columns, log)?)
    } else if let Some(file) = flickr::find_flickr30k(root) {
        read.push(file.clone());
        // A table whose columns the user names is not Flickr30k's table.
        match columns.is_some() && file.extension().is_some_and(|e| e == "csv") {
            true => (
                Format::Table,
                tables::read(tables::only(file), columns, log)?,
            ),
            false => (Format::Flickr30k, flickr::read_flickr30k(&file, log)?),
        }
    } else if let Some(files) = coco::find(root, log) {
        read.extend(coco::files(root));
        (Format::Coco, coco::read(root, files, log)?)
    } else if let Some(parts) = tables::find_metadata(root) {
        read.extend(tables::files(&parts));
        (Format::Metadata, tables::read(parts, columns, log)?)
    } else if let Some(parts) = tables::find(root)? {
        read.extend(tables::files(&parts));
        (Format::Table, tables::read(parts, columns, log)?)
    } else if let Some(folder) = sidecars::find(root) {
        (Format::Sidecars, sidecars::read(root, &folder, log)?)
    } else if let Some(folder) = pictures::find(root) {
        let entries = pictures::read(&folder)?;
        (Format::Pictures, (SplitSource::Whole, entries))
    } else {
        return Err(unknown(root));
    };
    others::remark(given, &read, log);
    Ok((format, splits, entries))
}

/// The error for a folder that holds no known dataset.
fn unknown(root: &Path) -> Error {
    let hint = others::hint(root);
    let hint = hint.unwrap_or_else(|| match pictures::elsewhere(root) {
        Some(folder) => format!("there are pictures in {}, and no captions", name(&folder)),
        None => "found no pictures without captions either".into(),
    });
    let what = format_args!("is no dataset that is known here: looked for {CAPTION_FILES}; {hint}");
    Error::file(root, what)
}
