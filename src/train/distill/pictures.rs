//! The picture files of the target files: found by name, checked by digest, decoded on demand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use super::file::TargetFile;
use super::header::DIGEST_DIGITS;
use crate::cpu::threads;
use crate::data::{Dataset, Image, Split, folder, hex};
use crate::error::{Error, Result};

/// A picture that a target file may refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// File name, by which target files refer to it.
    pub name: String,
    /// Path of the file.
    pub path: PathBuf,
    /// Whether its views are for validation only: a picture of a data set's dev split.
    pub held_out: bool,
}

/// The pictures that target files refer to.
pub struct Pictures {
    found: Vec<Found>,
    /// Bytes left for the cache of decoded pictures.
    room: AtomicUsize,
}

struct Found {
    picture: Picture,
    /// Digest in the target files.
    digest: String,
    decoded: OnceLock<Image>,
}

/// Lists the images in `folders`, which need no captions, as pictures for training.
///
/// # Errors
/// Fails if a folder cannot be read or holds no image.
pub fn in_folders(folders: &[PathBuf]) -> Result<Vec<Picture>> {
    if let Some(odd) = folders.iter().find(|folder| !folder.is_dir()) {
        let what = "is not a folder; distill.pictures takes folders of pictures";
        return Err(Error::file(odd, what));
    }
    let paths = folder::expand(folders, false).entries.into_iter();
    paths
        .map(|path| {
            let path = path?;
            let name = path.file_name().unwrap_or_default();
            Ok(Picture {
                name: name.to_string_lossy().into_owned(),
                path,
                held_out: false,
            })
        })
        .collect()
}

impl Picture {
    /// Lists the pictures of a data set: its train split for training, its dev split held out. Its test split is left
    /// out.
    ///
    /// # Errors
    /// Fails if images are missing.
    pub fn of_dataset(dataset: &Dataset) -> Result<Vec<Picture>> {
        let mut pictures = Vec::new();
        for (split, held_out) in [(Split::Train, false), (Split::Dev, true)] {
            let of_split = dataset.pictures(split)?.into_iter();
            pictures.extend(of_split.map(|(name, path)| Picture {
                name,
                path,
                held_out,
            }));
        }
        Ok(pictures)
    }
}

impl Pictures {
    /// Finds the pictures of `files` among `given`. Returns them, and for each file the index of each of its pictures.
    ///
    /// If several of the given pictures have one name, the one with the right digest is taken.
    ///
    /// # Errors
    /// Fails if a picture is missing, differs from the one that the teacher saw, or two teachers saw different pictures
    /// of one name.
    pub fn find(
        files: &[TargetFile],
        given: Vec<Picture>,
        cache_mib: usize,
    ) -> Result<(Self, Vec<Vec<u32>>)> {
        let mut wanted: Vec<(&str, &str)> = Vec::new();
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let mut of_files = Vec::new();
        for file in files {
            let header = file.header();
            let mut of_file = Vec::with_capacity(header.names.len());
            for (name, digest) in header.names.iter().zip(&header.digests) {
                let next = wanted.len() as u32;
                let number = *numbers.entry(name).or_insert(next);
                if number == next {
                    wanted.push((name, digest));
                } else if wanted[number as usize].1 != digest {
                    let what = format_args!(
                        "its picture {name} is another one than that of the target files before it; both teachers must \
                         see the same file"
                    );
                    return Err(Error::file(file.path(), what));
                }
                of_file.push(number);
            }
            of_files.push(of_file);
        }
        let mut by_name: HashMap<&str, Vec<&Picture>> = HashMap::new();
        for picture in &given {
            by_name.entry(&picture.name).or_default().push(picture);
        }
        let matches = threads::map(wanted.len(), |i| {
            let (name, digest) = wanted[i];
            choose(by_name.get(name).map_or(&[][..], Vec::as_slice), digest)
        });
        let found = all_found(files, &wanted, matches)?;
        let pictures = Pictures {
            found,
            room: AtomicUsize::new(cache_mib << 20),
        };
        Ok((pictures, of_files))
    }

    /// Returns the picture with this index.
    pub fn get(&self, number: usize) -> &Picture {
        &self.found[number].picture
    }

    /// Returns the digest of the file of the picture with this index.
    pub(super) fn digest(&self, number: usize) -> &str {
        &self.found[number].digest
    }

    /// Returns the number of pictures.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// Calls `body` with the decoded picture, which is cached if there is memory left.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or `body` fails.
    pub fn with_image<R>(
        &self,
        number: usize,
        body: impl FnOnce(&Image) -> Result<R>,
    ) -> Result<R> {
        let Found {
            picture, decoded, ..
        } = &self.found[number];
        if let Some(image) = decoded.get() {
            return body(image);
        }
        let image = Image::open(&picture.path)?;
        let size = image.pixels().len();
        let take = |room: usize| room.checked_sub(size);
        let has_room = self
            .room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok();
        match has_room {
            true => body(decoded.get_or_init(|| image)),
            false => body(&image),
        }
    }
}

/// Result of the search for a picture by name and digest.
enum Match {
    Found(Picture),
    Missing,
    /// Files of this name exist, but none has the right digest.
    Other(PathBuf),
    Unreadable(Error),
}

/// Returns the candidate whose file has the digest `wanted`.
fn choose(candidates: &[&Picture], wanted: &str) -> Match {
    let mut other = None;
    for candidate in candidates {
        match digest(&candidate.path) {
            Ok(digest) if digest == wanted => return Match::Found((*candidate).clone()),
            Ok(_) => other = Some(candidate.path.clone()),
            Err(e) => return Match::Unreadable(e),
        }
    }
    other.map_or(Match::Missing, Match::Other)
}

/// Returns the first digits of the SHA-256 of a file.
fn digest(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::unread(path, &e))?;
    Ok(hex(&Sha256::digest(&bytes))[..DIGEST_DIGITS].to_string())
}

/// Returns the matches if all pictures were found, otherwise an error of one line about the others.
fn all_found(
    files: &[TargetFile],
    wanted: &[(&str, &str)],
    matches: Vec<Match>,
) -> Result<Vec<Found>> {
    let total = wanted.len();
    let blame = files
        .iter()
        .map(TargetFile::path)
        .next()
        .unwrap_or(Path::new("targets"));
    let (mut found, mut missing, mut others) = (Vec::with_capacity(total), Vec::new(), Vec::new());
    for (matched, (name, digest)) in matches.into_iter().zip(wanted) {
        match matched {
            Match::Found(picture) => found.push(Found {
                picture,
                digest: digest.to_string(),
                decoded: OnceLock::new(),
            }),
            Match::Missing => missing.push(*name),
            Match::Other(path) => others.push(path),
            Match::Unreadable(e) => return Err(e),
        }
    }
    if let Some(first) = missing.first() {
        let of = files
            .iter()
            .find(|f| f.header().names.iter().any(|name| name == first));
        let what = format_args!(
            "{} of {total} pictures are not there, the first is {first}; add their folder to distill.pictures",
            missing.len()
        );
        return Err(Error::file(of.map_or(blame, TargetFile::path), what));
    }
    if let Some(first) = others.first() {
        let what = format_args!(
            "is not the picture that the teacher saw (nor are {} others of {total}): its digest differs; write the \
             targets again from these files",
            others.len() - 1
        );
        return Err(Error::file(first, what));
    }
    Ok(found)
}
