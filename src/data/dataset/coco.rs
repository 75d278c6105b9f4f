//! COCO's captions: one JSON file a split, images and annotations joined by a number.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Entry, Split, SplitSource, is_plain, read_json};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    caption: String,
}

/// One split's file of captions and the folder of its images.
pub(super) struct Part {
    split: Split,
    file: PathBuf,
    images: String,
}

/// The caption files of the newest year that has any.
pub(super) fn find(root: &Path) -> Option<Vec<Part>> {
    ["2017", "2014"].into_iter().find_map(|year| {
        let part = |(split, name): (Split, &str)| {
            let file = root
                .join("annotations")
                .join(format!("captions_{name}{year}.json"));
            file.is_file().then(|| Part {
                split,
                file,
                images: format!("{name}{year}"),
            })
        };
        let parts: Vec<Part> = [(Split::Train, "train"), (Split::Dev, "val")]
            .into_iter()
            .filter_map(part)
            .collect();
        (!parts.is_empty()).then_some(parts)
    })
}

pub(super) fn read(parts: Vec<Part>) -> Result<(SplitSource, Vec<Entry>)> {
    let mut entries = Vec::new();
    for Part {
        split,
        file,
        images,
    } in parts
    {
        let listed: File = read_json(&file)?;
        let mut captions: HashMap<u64, Vec<String>> = HashMap::new();
        for annotation in listed.annotations {
            let caption = annotation.caption.trim();
            if !caption.is_empty() {
                captions
                    .entry(annotation.image_id)
                    .or_default()
                    .push(caption.to_string());
            }
        }
        for Image {
            id,
            file_name: name,
        } in listed.images
        {
            if !is_plain(&name) {
                return Err(Error::file(
                    &file,
                    format_args!("'{name}' is no image name"),
                ));
            }
            let captions = captions.remove(&id).unwrap_or_default();
            entries.push(Entry {
                path: Path::new(&images).join(&name),
                name,
                number: Some(id),
                captions,
                split,
            });
        }
    }
    Ok((SplitSource::Published, entries))
}
