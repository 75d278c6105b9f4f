//! Reads COCO's captions: one JSON file per split, in which annotations refer to images by number.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::entries::{Entry, merged, written};
use super::names::is_plain;
use super::remarks::{Log, Topic};
use super::split::{Split, SplitSource};
use super::text::{Id, read_json};
use crate::error::{Error, Result};

/// Folders in which the files may lie.
const FOLDERS: [&str; 4] = [
    "annotations",
    "",
    "annotations_trainval2017/annotations",
    "annotations_trainval2014/annotations",
];

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Image {
    id: Id,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: Id,
    caption: String,
}

/// One split's file of captions and the folder of its images.
pub(super) struct Part {
    split: Split,
    file: PathBuf,
    images: String,
}

/// The caption files of the newest year that has any.
pub(super) fn files(root: &Path) -> Vec<PathBuf> {
    let parts = ["2017", "2014"].map(|year| of_year(root, year));
    let parts = parts.into_iter().find(|parts| !parts.is_empty());
    let files = parts.into_iter().flatten().map(|part| part.file);
    files.collect()
}

/// The caption files of one year.
fn of_year(root: &Path, year: &str) -> Vec<Part> {
    let part = |(split, name): (Split, &str)| {
        let paths = FOLDERS.iter().map(|folder| {
            let file = format!("captions_{name}{year}.json");
            root.join(folder).join(file)
        });
        let file = paths.into_iter().find(|path| path.is_file())?;
        let images = format!("{name}{year}");
        Some(Part {
            split,
            file,
            images,
        })
    };
    let names = [(Split::Train, "train"), (Split::Dev, "val")];
    names.into_iter().filter_map(part).collect()
}

/// The caption files of the newest year that has any; files of the older year are remarked on.
pub(super) fn find(root: &Path, log: &mut Log) -> Option<Vec<Part>> {
    let (new, old) = (of_year(root, "2017"), of_year(root, "2014"));
    if let ([_, ..], [other, ..]) = (new.as_slice(), old.as_slice()) {
        let what = "is not read, as the captions of 2017 are there too; move these away to have those of 2014";
        let names = old.iter().map(|part| part.file.display().to_string());
        log.remark(Topic::Choice, names, Error::file(&other.file, what));
    }
    [new, old].into_iter().find(|parts| !parts.is_empty())
}

pub(super) fn read(
    root: &Path,
    parts: Vec<Part>,
    log: &mut Log,
) -> Result<(SplitSource, Vec<Entry>)> {
    let mut entries = Vec::new();
    for part in parts {
        read_part(part, &mut entries, log)?;
    }
    // An image may lie in one folder for training and in another for validation, but its name is the same.
    Ok((SplitSource::Published, merged(entries, true, root, log)?))
}

fn read_part(part: Part, entries: &mut Vec<Entry>, log: &mut Log) -> Result<()> {
    let Part {
        split,
        file,
        images,
    } = part;
    let listed: File = read_json(&file)?;
    let mut captions: HashMap<Id, Vec<String>> = HashMap::new();
    for annotation in listed.annotations {
        let of_image = captions.entry(annotation.image_id).or_default();
        of_image.extend(written(&annotation.caption));
    }
    for Image {
        id,
        file_name: name,
    } in listed.images
    {
        if !is_plain(&name) {
            let what = format_args!("'{name}' is no image name");
            log.broken(Topic::BrokenLine, Error::file(&file, what))?;
            continue;
        }
        let captions = captions.remove(&id).unwrap_or_default();
        let mut entry = Entry::named(name, captions, split);
        entry.path = Path::new(&images).join(&entry.path);
        entry.number = id.number();
        entries.push(entry);
    }
    let mut lost: Vec<&str> = captions.keys().map(Id::name).collect();
    lost.sort_unstable();
    if let Some(first) = lost.first() {
        let what = format_args!(
            "has captions of {} images that it does not list, which are left out; the first is {first}",
            lost.len()
        );
        log.remark(
            Topic::LostCaption,
            lost.iter().copied(),
            Error::file(&file, what),
        );
    }
    Ok(())
}
