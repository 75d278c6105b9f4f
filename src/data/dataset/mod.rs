//! Captioning datasets, read as they are published.
//!
//! [`Dataset::open`] looks into a folder and recognises, in this order:
//!
//! | dataset | recognised by | splits |
//! |---|---|---|
//! | Flickr8k | `Flickr8k.token.txt` | `Flickr_8k.trainImages.txt`, `….devImages.txt`, `….testImages.txt` |
//! | Karpathy's split of any | `dataset_*.json` | in the file; `restval` counts as train, `val` is dev |
//! | Flickr8k from Kaggle | `captions.txt` | the lists above if they are there, else by rule |
//! | Flickr30k | `results_20130124.token` or `results.csv` | by rule |
//! | COCO | `annotations/captions_{train,val}{2017,2014}.json` | train, and val as dev |
//! | pictures without captions | images, and none of the above | all are train |
//!
//! The rule, where a dataset comes without split lists: images are ordered by a hash of their names; the
//! first eighth of them (at most 1,000) is dev, as many after them are test, the others train. It depends
//! on the names alone, so everybody who has the same images gets the same splits.
//!
//! Images lie beside these files or in one of the folders that the datasets are usually unpacked to
//! (`images`, `Images`, `Flicker8k_Dataset`, …).

mod coco;
mod flickr;
mod kaggle;
mod karpathy;
mod pictures;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::de::DeserializeOwned;

use crate::data::words;
use crate::error::{self, Error, Result};

/// Where the images may lie, relative to the dataset's folder.
const IMAGE_FOLDERS: [&str; 8] = [
    "",
    "images",
    "Images",
    "Flicker8k_Dataset",
    "Flickr8k_Dataset",
    "flickr30k-images",
    "flickr30k_images",
    "Flickr30k_Images",
];

/// The files that hold a dataset's captions, for messages.
const CAPTION_FILES: &str = "Flickr8k.token.txt, dataset_*.json (Karpathy), captions.txt (Kaggle), \
                             results_20130124.token or results.csv (Flickr30k) and \
                             annotations/captions_train2017.json (COCO)";

/// The largest share that the rule gives to dev and to test, in images.
const MOST_HELD_OUT: usize = 1000;

/// The three parts of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose and tune by; also written `val`.
    Dev,
    /// To report on, once.
    Test,
}

/// A captioning dataset on disk: its captions are in memory, its images are not.
#[derive(Clone, Debug)]
pub struct Dataset {
    root: PathBuf,
    format: Format,
    splits: SplitSource,
    entries: Vec<Entry>,
}

/// One image and what people said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The image file, which exists.
    pub image: PathBuf,
    /// What the dataset calls the image: its file name.
    pub name: String,
    /// The captions as they were written, at least one.
    pub captions: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Flickr8k,
    Karpathy,
    Kaggle,
    Flickr30k,
    Coco,
    Pictures,
}

/// Who says which image belongs to which split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SplitSource {
    Published,
    Rule,
    /// Without captions all images are there to train on.
    Whole,
}

/// An image as a dataset's files list it, before anyone looked whether it is there.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    /// The number that the dataset calls the image by, where it has one.
    number: Option<u64>,
    /// Below one of [`IMAGE_FOLDERS`].
    path: PathBuf,
    captions: Vec<String>,
    split: Split,
}

/// Captions by image name, in the order of the names.
#[derive(Debug, Default)]
struct Captions(BTreeMap<String, Vec<String>>);

impl Dataset {
    /// Recognises the dataset in the folder `root` and reads its captions.
    ///
    /// # Errors
    ///
    /// When the folder is none of the known datasets and holds no pictures (the message lists the files that were
    /// looked for), or one of its files cannot be read or has a malformed line (the message names file and line).
    pub fn open(root: impl AsRef<Path>) -> Result<Dataset> {
        let root = root.as_ref();
        if !root.is_dir() {
            return Err(Error::file(
                root,
                "is not a folder; a dataset is given by its folder",
            ));
        }
        let (format, (splits, entries)) = if let Some(file) = flickr::find_flickr8k(root) {
            (Format::Flickr8k, flickr::read_flickr8k(&file)?)
        } else if let Some(file) = karpathy::find(root)? {
            (Format::Karpathy, karpathy::read(&file)?)
        } else if let Some(file) = kaggle::find(root) {
            (Format::Kaggle, kaggle::read(&file)?)
        } else if let Some(file) = flickr::find_flickr30k(root) {
            (Format::Flickr30k, flickr::read_flickr30k(&file)?)
        } else if let Some(files) = coco::find(root) {
            (Format::Coco, coco::read(files)?)
        } else if let Some(folder) = pictures::find(root) {
            let entries = pictures::read(&folder)?;
            (Format::Pictures, (SplitSource::Whole, entries))
        } else {
            let what = format_args!(
                "is no dataset that is known here: looked for {CAPTION_FILES}, and found no pictures without captions \
                 either"
            );
            return Err(Error::file(root, what));
        };
        Ok(Dataset {
            root: root.to_path_buf(),
            format,
            splits,
            entries,
        })
    }

    /// The folder that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the dataset is, for people: `Flickr8k`, `COCO`.
    pub fn name(&self) -> &'static str {
        match self.format {
            Format::Flickr8k => "Flickr8k",
            Format::Karpathy => "Karpathy's split",
            Format::Kaggle => "Kaggle's Flickr8k",
            Format::Flickr30k => "Flickr30k",
            Format::Coco => "COCO",
            Format::Pictures => "pictures without captions",
        }
    }

    /// Whether there are captions; pictures alone can be distilled on, but not captioned on.
    pub fn has_captions(&self) -> bool {
        self.format != Format::Pictures
    }

    /// Whether the splits are the dataset's own, rather than made by the rule described [above](self).
    pub fn has_published_splits(&self) -> bool {
        self.splits == SplitSource::Published
    }

    /// Whether the dataset gives any image to this split.
    pub fn has_split(&self, split: Split) -> bool {
        self.entries.iter().any(|entry| entry.split == split)
    }

    /// The images of one split with their captions, in the order of the dataset's list (where the rule
    /// made the splits: of the names).
    ///
    /// # Errors
    ///
    /// When the dataset has no such split, or images or captions are missing; the message names how many
    /// and the first of them.
    pub fn split(&self, split: Split) -> Result<Vec<Example>> {
        let entries = self.captioned(split)?;
        let paths = self.locate(&entries, split)?;
        let example = |(entry, image): (&Entry, PathBuf)| Example {
            image,
            name: entry.name.clone(),
            captions: entry.captions.clone(),
        };
        Ok(entries.into_iter().zip(paths).map(example).collect())
    }

    /// Name and file of each image of one split, whether or not it has captions; none where there is no such split.
    ///
    /// # Errors
    ///
    /// When images are missing.
    pub fn pictures(&self, split: Split) -> Result<Vec<(String, PathBuf)>> {
        let entries = self.entries_of(split);
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let paths = self.locate(&entries, split)?;
        let names = entries.into_iter().map(|entry| entry.name.clone());
        Ok(names.zip(paths).collect())
    }

    fn entries_of(&self, split: Split) -> Vec<&Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.split == split)
            .collect()
    }

    /// The files of these images, of which there is at least one.
    fn locate(&self, entries: &[&Entry], split: Split) -> Result<Vec<PathBuf>> {
        let failed = |what: String| Err(Error::file(&self.root, what));
        let total = entries.len();
        let holds_any = |folder: &PathBuf| {
            entries
                .iter()
                .any(|entry| folder.join(&entry.path).is_file())
        };
        let Some(folder) = IMAGE_FOLDERS
            .iter()
            .map(|name| self.root.join(name))
            .find(holds_any)
        else {
            let first = entries
                .first()
                .map(|entry| error::name(&entry.path).to_string());
            return failed(format!(
                "none of the {total} {split} images is here, the first is {}; looked beside the captions and in {}",
                first.unwrap_or_default(),
                IMAGE_FOLDERS[1..].join(", ")
            ));
        };
        let paths: Vec<PathBuf> = entries
            .iter()
            .map(|entry| folder.join(&entry.path))
            .collect();
        let missing = || paths.iter().filter(|image| !image.is_file());
        if let Some(first) = missing().next() {
            let count = missing().count();
            return failed(format!(
                "{count} of {total} {split} images are missing, the first is {}",
                error::name(first)
            ));
        }
        Ok(paths)
    }

    /// The captions of one split's images by their names, whether the image files are there or not.
    ///
    /// # Errors
    ///
    /// When the dataset has no such split, or captions are missing.
    pub fn captions(&self, split: Split) -> Result<BTreeMap<String, Vec<String>>> {
        let entries = self.captioned(split)?.into_iter();
        Ok(entries
            .map(|entry| (entry.name.clone(), entry.captions.clone()))
            .collect())
    }

    /// The names of the images that the dataset calls by numbers as well: COCO's ids, Karpathy's `cocoid` or, where there
    /// is none, `imgid`.
    pub fn numbers(&self) -> BTreeMap<u64, String> {
        let numbered = |entry: &Entry| Some((entry.number?, entry.name.clone()));
        self.entries.iter().filter_map(numbered).collect()
    }

    /// What is listed of one split: at least one image, each with captions.
    fn captioned(&self, split: Split) -> Result<Vec<&Entry>> {
        let failed = |what: String| Err(Error::file(&self.root, what));
        if !self.has_captions() {
            return failed(format!(
                "holds pictures but no captions, which this needs: looked for {CAPTION_FILES}; a distillation alone \
                 ([distill]) takes pictures without captions"
            ));
        }
        let entries = self.entries_of(split);
        let total = entries.len();
        if total == 0 {
            return failed(format!("has no {split} split: {}", self.why_absent(split)));
        }
        let silent = || entries.iter().filter(|entry| entry.captions.is_empty());
        if let Some(first) = silent().next() {
            let count = silent().count();
            return failed(format!(
                "{count} of {total} {split} images have no caption, the first is {}",
                first.name
            ));
        }
        Ok(entries)
    }

    /// Why a split has no images.
    fn why_absent(&self, split: Split) -> String {
        match (self.splits, self.format, split) {
            (SplitSource::Whole, ..) => "without captions all pictures are train".into(),
            (SplitSource::Rule, ..) => "there are too few images to set any apart".into(),
            (_, Format::Coco, Split::Test) => {
                "COCO publishes no captions for its test images".into()
            }
            (_, Format::Coco, _) => "its captions_*.json is not in annotations".into(),
            (_, Format::Karpathy, _) => "its JSON file gives no image to it".into(),
            (..) => format!("{} is not there or is empty", flickr::list_name(split)),
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

impl Captions {
    /// Adds a caption to an image. A blank one still makes the image known, so that one without any
    /// other is reported instead of silently left out.
    fn add(&mut self, name: &str, caption: &str) {
        let captions = self.0.entry(name.to_string()).or_default();
        let caption = caption.trim();
        if !caption.is_empty() {
            captions.push(caption.to_string());
        }
    }

    /// Entries with the splits that the [rule](self) makes.
    fn split_by_rule(self) -> Vec<Entry> {
        let mut by_hash: Vec<(u64, &str)> = self
            .0
            .keys()
            .map(|name| (hash(name), name.as_str()))
            .collect();
        by_hash.sort_unstable();
        let held_out = (by_hash.len() / 8).min(MOST_HELD_OUT);
        let splits: BTreeMap<String, Split> = by_hash
            .iter()
            .enumerate()
            .map(|(rank, (_, name))| match rank {
                r if r < held_out => (name.to_string(), Split::Dev),
                r if r < 2 * held_out => (name.to_string(), Split::Test),
                _ => (name.to_string(), Split::Train),
            })
            .collect();
        // Both maps are in the order of the same names.
        let pairs = self.0.into_iter().zip(splits.into_values());
        pairs
            .map(|((name, captions), split)| Entry {
                path: (&name).into(),
                name,
                number: None,
                captions,
                split,
            })
            .collect()
    }
}

/// FNV-1a, 64 bits: spreads names evenly and can be recomputed by anyone in three lines.
fn hash(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The first of `names` that is a file in `root`.
fn first_file(root: &Path, names: &[&str]) -> Option<PathBuf> {
    names
        .iter()
        .map(|name| root.join(name))
        .find(|path| path.is_file())
}

/// A text file, without the byte-order mark that some editors leave.
fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Error::unread(path, &e))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        malformed(
            path,
            1 + valid.iter().filter(|byte| **byte == b'\n').count(),
            "is not UTF-8 text",
        )
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_string(),
        None => text,
    })
}

/// The lines of a text that are not blank, with their numbers from 1.
fn numbered_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
}

/// A JSON file of the shape `T`.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(|e| Error::unread(path, &e))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::file(path, words::json(&e)))
}

fn malformed(path: &Path, line: usize, what: impl fmt::Display) -> Error {
    Error::file(path, format_args!("line {line} {what}"))
}

/// Whether `name` stays inside the folder that it is looked for in.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_depends_on_names_alone() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
        let mut captions = Captions::default();
        for i in (0..80).rev() {
            captions.add(&format!("{i}.jpg"), "x");
        }
        let entries = captions.split_by_rule();
        let count = |split| entries.iter().filter(|e| e.split == split).count();
        assert_eq!(
            (count(Split::Train), count(Split::Dev), count(Split::Test)),
            (60, 10, 10)
        );
        let mut ranked: Vec<u64> = entries.iter().map(|e| hash(&e.name)).collect();
        ranked.sort_unstable();
        for entry in &entries {
            let rank = ranked.iter().position(|h| *h == hash(&entry.name)).unwrap();
            assert_eq!(entry.split == Split::Dev, rank < 10, "{}", entry.name);
        }
    }

    #[test]
    fn splits_have_names() {
        for split in [Split::Train, Split::Dev, Split::Test] {
            assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
        }
        assert_eq!("val".parse::<Split>().unwrap(), Split::Dev);
        assert!("valid".parse::<Split>().is_err());
    }
}
