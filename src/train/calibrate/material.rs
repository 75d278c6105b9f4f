//! The pictures that a calibration learns from, and their labels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Sources;
use super::kinds;
use crate::data::vocabulary::words;
use crate::data::{Dataset, Example, Split, folder};
use crate::error::{self, Error, Result};

/// A photograph by name, and its known contents.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Photo {
    pub(super) path: PathBuf,
    /// Indices of the animal kinds in it; `None` where unknown.
    pub(super) kinds: Option<BTreeSet<usize>>,
    /// Name of its class, if known.
    pub(super) class: Option<String>,
}

/// All pictures.
pub(super) struct Material {
    /// Captioned pictures to learn from.
    pub(super) train: Vec<Example>,
    /// Captioned pictures that the captioner was not trained on.
    pub(super) dev: Vec<Example>,
    /// Photographs without captions.
    pub(super) photos: Vec<Photo>,
    /// Pictures that are no photographs.
    pub(super) others: Vec<PathBuf>,
}

impl Material {
    pub(super) fn open(sources: &Sources, seed: u64) -> Result<Self> {
        let used = [Split::Train, Split::Dev];
        let dataset = Dataset::read_for(&sources.data, &used)?;
        dataset.glance(&used)?;
        let others = pictures(&sources.not_photos)?;
        Ok(Material {
            train: dataset.split(Split::Train)?,
            dev: dataset.split(Split::Dev)?,
            photos: photos(sources, seed)?,
            others,
        })
    }
}

/// Returns the indices of the animal kinds that `captions` mention.
pub(super) fn kinds_in(captions: &[String]) -> BTreeSet<usize> {
    let words = captions.iter().flat_map(|caption| words(caption));
    words.filter_map(|word| kinds::kind_of(&word)).collect()
}

/// Returns the image files in a folder, in order.
fn pictures(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Err(Error::file(
            path,
            "is no folder; give one that holds pictures",
        ));
    }
    let found: Vec<PathBuf> = folder::expand(&[path], false)
        .entries
        .into_iter()
        .collect::<Result<_>>()?;
    match found.is_empty() {
        true => Err(Error::file(path, "holds no pictures")),
        false => Ok(found),
    }
}

/// Returns the labelled photographs that show an animal or a class, and up to `most_photos` others: half of them
/// labelled, half unlabelled, drawn at random.
fn photos(sources: &Sources, seed: u64) -> Result<Vec<Photo>> {
    let Some(path) = &sources.photos else {
        return Ok(Vec::new());
    };
    let mut labels = match &sources.labels {
        Some(labels) => read_labels(labels)?,
        None => BTreeMap::new(),
    };
    let (mut labelled, mut others) = (Vec::new(), Vec::new());
    for picture in pictures(path)? {
        let name = picture.file_name().unwrap_or_default().to_string_lossy();
        match labels.remove(&*name) {
            Some(photo) => labelled.push(Photo {
                path: picture,
                ..photo
            }),
            None => others.push(Photo {
                path: picture,
                ..Photo::default()
            }),
        }
    }
    if let (Some(file), true) = (&sources.labels, labelled.is_empty()) {
        let what = format_args!("names none of the photos in {}", error::name(&path));
        return Err(Error::file(file, what));
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    labelled.shuffle(&mut random);
    others.shuffle(&mut random);
    // Labelled photographs that show an animal or a class are rare. All of them are used.
    let shows = |photo: &Photo| {
        photo.class.is_some() || photo.kinds.as_ref().is_some_and(|k| !k.is_empty())
    };
    let (mut chosen, plain): (Vec<Photo>, Vec<Photo>) = labelled.into_iter().partition(shows);
    let half = sources.most_photos / 2;
    chosen.extend(plain.into_iter().take(half));
    chosen.extend(others.into_iter().take(half));
    // Shuffled, so that every part of the list is a sample of the whole.
    chosen.shuffle(&mut random);
    Ok(chosen)
}

/// Reads labels by photograph name. A line has the name, a tab, the kinds separated by commas (`-` for none, `?` for
/// unknown), and optionally a tab and the name of a class.
fn read_labels(path: &Path) -> Result<BTreeMap<String, Photo>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::unread(path, &e))?;
    let mut labels = BTreeMap::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
    {
        let mut fields = line.split('\t');
        let (Some(name), Some(listed)) = (fields.next(), fields.next()) else {
            let what = format_args!("line {} has no tab after the photo's name", number + 1);
            return Err(Error::file(path, what));
        };
        let kinds: Option<BTreeSet<usize>> = match listed {
            "-" => Some(BTreeSet::new()),
            // One name that is not in `KINDS`, such as `?`, makes all kinds in the picture unknown.
            names => names.split(',').map(kinds::named).collect(),
        };
        let class = fields
            .next()
            .filter(|class| !class.is_empty())
            .map(str::to_lowercase);
        let photo = Photo {
            kinds,
            class,
            ..Photo::default()
        };
        labels.insert(name.to_string(), photo);
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_kinds_nothing_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.tsv");
        std::fs::write(
            &path,
            "a.jpg\tcat,dog\nb.jpg\t-\tChurch\nc.jpg\t?\n\nd.jpg\tunicorn\n",
        )
        .unwrap();
        let labels = read_labels(&path).unwrap();
        let of = |name: &str| labels[name].kinds.clone();
        assert_eq!(of("a.jpg"), Some([0, 1].into()));
        assert_eq!(of("b.jpg"), Some(BTreeSet::new()));
        assert_eq!(labels["b.jpg"].class.as_deref(), Some("church"));
        assert_eq!((of("c.jpg"), of("d.jpg")), (None, None));
        std::fs::write(&path, "a.jpg cat\n").unwrap();
        let message = read_labels(&path).unwrap_err().to_string();
        assert!(message.contains("line 1"), "{message}");
    }

    #[test]
    fn captions_speak_of_kinds() {
        let captions = ["Two Dogs and a horse .".to_string(), "a puppy".to_string()];
        assert_eq!(kinds_in(&captions), [0, 2].into());
        assert!(kinds_in(&["a hot-dog stand".to_string()]).contains(&0));
    }
}
