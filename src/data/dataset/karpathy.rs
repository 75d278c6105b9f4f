//! Reads Karpathy's `dataset_*.json`, the splits on which most papers about Flickr8k, Flickr30k and COCO report.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::entries::{Entry, merged, written};
use super::given::Given;
use super::names::is_plain;
use super::remarks::{Log, Topic};
use super::split::{Split, SplitSource};
use super::text::{Id, read_json};
use crate::error::{self, Error, Result};

/// The folder to which the three files are unpacked.
const FOLDER: &str = "caption_datasets";

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    filename: String,
    /// The subfolder; only COCO's file has it.
    #[serde(default)]
    filepath: String,
    split: String,
    /// COCO's number of the image; only COCO's file has it.
    cocoid: Option<Id>,
    /// The image's index in the file.
    imgid: Option<Id>,
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: Option<String>,
    /// The words of the caption, without capitals and punctuation.
    #[serde(default)]
    tokens: Vec<String>,
}

/// Finds the file that the user names, inside the folder or elsewhere, or the only `dataset_*.json` in the folder or
/// in `caption_datasets`. Several are an error, as nothing says which is meant.
pub(super) fn find(given: &Given) -> Result<Option<PathBuf>> {
    let root = &given.root;
    if let Some(named) = &given.karpathy {
        let inside = [root.join(named), root.join(FOLDER).join(named)];
        let found = inside
            .into_iter()
            .find(|path| path.is_file() && !named.is_file());
        return Ok(Some(found.unwrap_or_else(|| named.clone())));
    }
    for folder in [root.clone(), root.join(FOLDER)] {
        if !folder.is_dir() {
            continue;
        }
        let mut found = files(&folder)?;
        if found.len() > 1 {
            let what = format_args!(
                "holds {} files dataset_*.json, {}; say which one is meant, as in --karpathy {}",
                found.len(),
                found.join(", "),
                found[0]
            );
            return Err(Error::file(folder, what));
        }
        if let Some(name) = found.pop() {
            return Ok(Some(folder.join(name)));
        }
    }
    Ok(None)
}

/// All files `dataset_*.json` of a dataset's folder.
pub(super) fn all(root: &Path) -> Vec<PathBuf> {
    let folders = [root.to_path_buf(), root.join(FOLDER)];
    let of = |folder: &PathBuf| {
        let names = files(folder).unwrap_or_default().into_iter();
        names.map(|name| folder.join(name)).collect::<Vec<_>>()
    };
    folders.iter().flat_map(of).collect()
}

/// The names of the files `dataset_*.json` in a folder, sorted.
fn files(folder: &Path) -> Result<Vec<String>> {
    let unreadable = |e: std::io::Error| Error::unread(folder, &e);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name
            .to_str()
            .filter(|n| n.starts_with("dataset_") && n.ends_with(".json"));
        found.extend(name.map(str::to_string));
    }
    found.sort();
    Ok(found)
}

pub(super) fn read(file: &Path, log: &mut Log) -> Result<(SplitSource, Vec<Entry>)> {
    let failed = |what: String| Error::file(file, what);
    let listed: File = read_json(file)?;
    let mut entries = Vec::with_capacity(listed.images.len());
    for image in listed.images {
        let split = match image.split.as_str() {
            // Validation images of COCO that are not held out; papers train on them.
            "train" | "restval" => Split::Train,
            "val" => Split::Dev,
            "test" => Split::Test,
            other => {
                let what = format!(
                    "{} is in an unknown split '{other}'; there are train, restval, val and test",
                    image.filename
                );
                log.broken(Topic::BrokenLine, failed(what))?;
                continue;
            }
        };
        let path = Path::new(&image.filepath).join(&image.filename);
        if !path.to_str().is_some_and(is_plain) {
            let what = format!("'{}' is no image name", error::name(&path));
            log.broken(Topic::BrokenLine, failed(what))?;
            continue;
        }
        let captions = image.sentences.into_iter().filter_map(|sentence| {
            written(&sentence.raw.unwrap_or_else(|| sentence.tokens.join(" ")))
        });
        let number = |id: Option<Id>| id.and_then(|id| id.number());
        let mut entry = Entry::named(image.filename, captions.collect(), split);
        entry.number = number(image.cocoid).or_else(|| number(image.imgid));
        entry.path = path;
        entries.push(entry);
    }
    Ok((SplitSource::Published, merged(entries, false, file, log)?))
}
