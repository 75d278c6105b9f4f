//! Reads captioning datasets in the layouts in which they are distributed.
//!
//! [`Dataset::open`] looks into a folder and recognises these layouts, in this order:
//!
//! | dataset | recognised by | splits |
//! |---|---|---|
//! | Flickr8k | `Flickr8k.token.txt`, also in `Flickr8k_text` | `Flickr_8k.trainImages.txt`, `….devImages.txt`, `….testImages.txt` beside it |
//! | Karpathy's split of Flickr8k, Flickr30k or COCO | `dataset_*.json`, also in `caption_datasets` | in the file; `restval` counts as train, `val` is dev |
//! | Flickr8k or Flickr30k from Kaggle | `captions.txt` | the lists above if they are there, else by rule |
//! | Flickr30k | `results_20130124.token` or `results.csv`, also in `flickr30k_images` | by rule |
//! | COCO | `captions_{train,val}{2017,2014}.json`, also in `annotations` | train, and val as dev |
//! | Hugging Face's image folder | `metadata.csv` or `metadata.jsonl`, also in `train`, `validation`, `test` | by the folders, else by rule |
//! | a user's own table | one `.csv` or `.tsv`, or one for each split | a column `split`, the tables' names, else by rule |
//! | texts beside pictures | `a.jpg` and `a.txt` | folders `train`, `val` and `test`, else by rule |
//! | pictures without captions | images, and none of the above | all are train |
//!
//! If the dataset has no splits of its own, a rule makes them. The rule orders the images by a hash of their names
//! and holds out the first ones. In published datasets the first eighth (at most 1,000) is dev, as many after them
//! are test, and the others are train. In a user's own dataset (an image folder, a table, or texts beside pictures) the
//! first tenth is dev (at least 5 where there are 20 images, at most 1,000), and the others are train. The rules depend
//! on the names alone: everybody who has the same images gets the same splits. All captions of an image are in one
//! split.
//!
//! The images lie beside these files or in folders below: see `locate`. [`Dataset::remarks`] lists irregularities
//! that do not prevent reading.

mod coco;
mod columns;
mod entries;
mod flickr;
mod given;
mod json_rows;
mod kaggle;
mod karpathy;
mod locate;
mod names;
mod others;
mod pictures;
mod recognise;
mod remarks;
mod shorten;
mod sidecars;
mod split;
mod table;
mod tables;
mod text;
mod titles;
mod usable;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{self, Error, Result};
pub use given::{Columns, Given};
pub use remarks::{Remark, Topic};
pub use split::Split;
pub(crate) use split::name_hash;
pub use usable::{Unusable, refusal, unreadable};

use entries::Entry;
use recognise::Format;
use split::SplitSource;

/// The files that may hold a dataset's captions, for messages.
const CAPTION_FILES: &str = "Flickr8k.token.txt, dataset_*.json (Karpathy), captions.txt (Kaggle), \
                             results_20130124.token or results.csv (Flickr30k), \
                             annotations/captions_train2017.json (COCO), metadata.csv or metadata.jsonl (Hugging Face), \
                             a table .csv or .tsv, and a text file beside each picture";

/// A captioning dataset on disk. Its captions are in memory, its images are not.
#[derive(Clone, Debug)]
pub struct Dataset {
    root: PathBuf,
    format: Format,
    splits: SplitSource,
    entries: Vec<Entry>,
    /// Images that are listed but cannot be used: the file is missing, or there is no caption.
    left_out: Vec<Entry>,
    remarks: Vec<Remark>,
}

/// An image with its captions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The image file; it exists.
    pub image: PathBuf,
    /// The dataset's name for the image: its file name, or in a user's own dataset its path inside the folder.
    pub name: String,
    /// The captions as they were written, at least one.
    pub captions: Vec<String>,
}

/// An image that a dataset lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The dataset's name for the image.
    pub name: &'a str,
    /// Its split.
    pub split: Split,
    /// Its file, if it exists.
    pub file: Option<&'a Path>,
    /// Its captions, none of them blank.
    pub captions: &'a [String],
    /// Whether it is already left out; a remark says so.
    pub is_left_out: bool,
}

impl Dataset {
    /// Recognises the dataset in the folder `root` and reads its captions.
    ///
    /// # Errors
    ///
    /// If the folder is no known dataset and holds no pictures (the message lists the files that were looked for), or
    /// if one of its files cannot be read or has a malformed line (the message names file and line).
    pub fn open(root: impl AsRef<Path>) -> Result<Dataset> {
        Dataset::read(&Given::at(root.as_ref()))
    }

    /// The folder that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The kind of the dataset, for people: `Flickr8k`, `COCO`.
    pub fn name(&self) -> &'static str {
        self.format.name()
    }

    /// Whether there are captions. Pictures without captions serve for distillation, but not for training a
    /// captioner.
    pub fn has_captions(&self) -> bool {
        self.format != Format::Pictures
    }

    /// For a folder without captions: a nearby file that may hold captions but is not read, and what to do with it.
    pub fn hint(&self) -> Option<String> {
        others::hint(&self.root)
    }

    /// The rule that made the splits, in words. `None` if the splits are the dataset's own.
    pub fn split_rule(&self) -> Option<&'static str> {
        self.splits.rule()
    }

    /// Whether the dataset assigns any image to this split, even if the image is missing.
    pub fn has_split(&self, split: Split) -> bool {
        let mut all = self.entries.iter().chain(&self.left_out);
        all.any(|entry| entry.split == split)
    }

    /// Irregularities of the dataset, and the rule that made its splits.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// All listed images, including those that are left out.
    pub fn listed(&self) -> impl Iterator<Item = Listed<'_>> {
        let used = self.entries.iter().map(|entry| (entry, false));
        let all = used.chain(self.left_out.iter().map(|entry| (entry, true)));
        all.map(|(entry, is_left_out)| Listed {
            name: &entry.name,
            split: entry.split,
            file: entry.file.as_deref(),
            captions: &entry.captions,
            is_left_out,
        })
    }

    /// The images of one split with their captions, in the order of the dataset's list. If a rule made the splits,
    /// the images are in the order of their names.
    ///
    /// # Errors
    ///
    /// If the dataset has no such split, or images or captions are missing. The message names how many are missing,
    /// and the first of them.
    pub fn split(&self, split: Split) -> Result<Vec<Example>> {
        let entries = self.captioned(split)?;
        let paths = self.files(&entries, split)?;
        let example = |(entry, image): (&Entry, PathBuf)| Example {
            image,
            name: entry.name.clone(),
            captions: entry.captions.clone(),
        };
        Ok(entries.into_iter().zip(paths).map(example).collect())
    }

    /// Name and file of each image of one split, with or without captions; empty if there is no such split.
    ///
    /// # Errors
    ///
    /// If images are missing.
    pub fn pictures(&self, split: Split) -> Result<Vec<(String, PathBuf)>> {
        let entries = self.entries_of(split);
        let paths = self.files(&entries, split)?;
        let names = entries.into_iter().map(|entry| entry.name.clone());
        Ok(names.zip(paths).collect())
    }

    fn entries_of(&self, split: Split) -> Vec<&Entry> {
        let entries = self.entries.iter();
        entries.filter(|entry| entry.split == split).collect()
    }

    /// The files of these images.
    fn files(&self, entries: &[&Entry], split: Split) -> Result<Vec<PathBuf>> {
        // A file that existed when the dataset was read may have been deleted since.
        let is_there = |entry: &Entry| entry.file.as_ref().is_some_and(|file| file.is_file());
        let (here, missing): (Vec<&Entry>, Vec<&Entry>) =
            entries.iter().partition(|entry| is_there(entry));
        let Some(first) = missing.first() else {
            return Ok(here.iter().filter_map(|e| e.file.clone()).collect());
        };
        if here.is_empty() {
            return Err(self.nothing_here(entries.len(), split, first));
        }
        let what = format_args!(
            "{} of {} {split} images are missing, the first is {}; put them beside the others, or leave them out with \
             --skip-bad",
            missing.len(),
            entries.len(),
            error::name(&first.path)
        );
        Err(Error::file(&self.root, what))
    }

    /// The error for a split of which no image file exists.
    fn nothing_here(&self, total: usize, split: Split, first: &Entry) -> Error {
        let what = format_args!(
            "none of the {total} {split} images is here, the first is {}; looked beside the captions, in {} and in the other \
             folders here; put them there, or take the {split} split out of the list to do without it",
            error::name(&first.path),
            locate::KNOWN[1..].join(", ")
        );
        Error::file(&self.root, what)
    }

    /// The captions of one split's images by image name. The image files need not exist.
    ///
    /// # Errors
    ///
    /// If the dataset has no such split, or captions are missing.
    pub fn captions(&self, split: Split) -> Result<BTreeMap<String, Vec<String>>> {
        let entries = self.captioned(split)?.into_iter();
        Ok(entries
            .map(|entry| (entry.name.clone(), entry.captions.clone()))
            .collect())
    }

    /// The names of the images that also have a number: COCO's id, or Karpathy's `cocoid` (`imgid` if there is no
    /// `cocoid`).
    pub fn numbers(&self) -> BTreeMap<u64, String> {
        let numbered = |entry: &Entry| Some((entry.number?, entry.name.clone()));
        self.entries.iter().filter_map(numbered).collect()
    }

    /// The entries of one split: at least one image, each with captions.
    fn captioned(&self, split: Split) -> Result<Vec<&Entry>> {
        let failed = |what: String| Err(Error::file(&self.root, what));
        if !self.has_captions() {
            let hint = self
                .hint()
                .map_or(String::new(), |hint| format!("; {hint}"));
            return failed(format!(
                "holds pictures but no captions, which this needs: looked for {CAPTION_FILES}{hint}; a distillation alone \
                 ([distill]) takes pictures without captions"
            ));
        }
        let entries = self.entries_of(split);
        let mut total = entries.len();
        let mut silent: Vec<&Entry> = entries
            .iter()
            .copied()
            .filter(|entry| entry.captions.is_empty())
            .collect();
        if total == 0 {
            // All images of the split may have been left out.
            let lost: Vec<&Entry> = self
                .left_out
                .iter()
                .filter(|entry| entry.split == split)
                .collect();
            total = lost.len();
            silent = lost
                .iter()
                .copied()
                .filter(|entry| entry.captions.is_empty())
                .collect();
            match lost.first() {
                None => return failed(format!("has no {split} split: {}", self.why_absent(split))),
                Some(first) if silent.is_empty() => {
                    return Err(self.nothing_here(total, split, first));
                }
                Some(_) => {}
            }
        }
        if let Some(first) = silent.first() {
            return failed(format!(
                "{} of {total} {split} images have no caption, the first is {}; write some, or leave these images out with \
                 --skip-bad",
                silent.len(),
                first.name
            ));
        }
        Ok(entries)
    }

    /// The reason why a split has no images.
    fn why_absent(&self, split: Split) -> String {
        match (self.splits, self.format, split) {
            (SplitSource::Whole, ..) => "without captions all pictures are train".into(),
            (SplitSource::Tenths, _, Split::Test) => {
                "of one's own pictures none is set apart for it; use dev".into()
            }
            (SplitSource::Eighths | SplitSource::Tenths, ..) => {
                "there are too few images to set any apart".into()
            }
            (_, Format::Coco, Split::Test) => {
                "COCO publishes no captions for its test images".into()
            }
            (_, Format::Coco, _) => "its captions_*.json is not in annotations".into(),
            (_, Format::Karpathy, _) => "its JSON file gives no image to it".into(),
            (_, Format::Metadata | Format::Table | Format::Sidecars, _) => {
                "nothing in the folder is of it".into()
            }
            (..) => format!("{} is not there or is empty", flickr::list_name(split)),
        }
    }
}

/// The first of `names` that is a file in `root`.
fn first_file(root: &Path, names: &[&str]) -> Option<PathBuf> {
    names
        .iter()
        .map(|name| root.join(name))
        .find(|path| path.is_file())
}
