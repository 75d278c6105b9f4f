//! Karpathy's `dataset_*.json`, the splits that most papers on Flickr8k, Flickr30k and COCO report on.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Entry, Split, SplitSource, is_plain, read_json};
use crate::error::{self, Error, Result};

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
    cocoid: Option<u64>,
    /// The image's place in the file.
    imgid: Option<u64>,
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: String,
}

/// The one `dataset_*.json` in the folder. Several are an error, as nothing says which is meant.
pub(super) fn find(root: &Path) -> Result<Option<PathBuf>> {
    let unreadable = |e: std::io::Error| Error::unread(root, &e);
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if name
            .to_str()
            .is_some_and(|n| n.starts_with("dataset_") && n.ends_with(".json"))
        {
            found.push(root.join(name));
        }
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        n => Err(Error::file(
            root,
            format_args!("holds {n} files dataset_*.json; leave the one to be used"),
        )),
    }
}

pub(super) fn read(file: &Path) -> Result<(SplitSource, Vec<Entry>)> {
    let failed = |what: String| Error::file(file, what);
    let listed: File = read_json(file)?;
    let mut entries = Vec::with_capacity(listed.images.len());
    for image in listed.images {
        let split = match image.split.as_str() {
            // COCO's validation images beyond those that are held out; papers train on them.
            "train" | "restval" => Split::Train,
            "val" => Split::Dev,
            "test" => Split::Test,
            other => {
                return Err(failed(format!(
                    "{} is in an unknown split '{other}'",
                    image.filename
                )));
            }
        };
        let path = Path::new(&image.filepath).join(&image.filename);
        if !path.to_str().is_some_and(is_plain) {
            return Err(failed(format!("'{}' is no image name", error::name(&path))));
        }
        let captions = image
            .sentences
            .into_iter()
            .map(|sentence| sentence.raw.trim().to_string());
        let captions = captions.filter(|caption| !caption.is_empty()).collect();
        entries.push(Entry {
            name: image.filename,
            number: image.cocoid.or(image.imgid),
            path,
            captions,
            split,
        });
    }
    Ok((SplitSource::Published, entries))
}
