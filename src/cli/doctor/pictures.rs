//! Examines the pictures: missing, unreadable, odd and duplicate ones.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use super::called;
use super::finding::Finding;
use super::likeness::{self, Look};
use crate::cli::output;
use crate::cpu::threads;
use crate::data::dataset::Listed;
use crate::data::{Image, Policy};
use crate::error::{Error, Result};

/// Number of pictures that are read between two updates of the progress bar.
const PROGRESS_STEP: usize = 64;

/// The data of a picture that can be read.
#[derive(Clone, Debug)]
pub struct Picture {
    pub width: u32,
    pub height: u32,
    /// Hash of the file's bytes.
    file: u64,
    /// Hash of the pixels.
    pixels: u64,
    look: Option<Look>,
    warnings: Vec<String>,
}

impl Picture {
    fn read(path: &Path) -> Result<Picture> {
        let policy = Policy::current();
        let metadata = std::fs::metadata(path).map_err(|e| Error::unread(path, &e))?;
        if metadata.len() > policy.limits.file_bytes {
            // The file is refused by its size, so its bytes need not be read into memory.
            Image::open(path)?;
        }
        let bytes = std::fs::read(path).map_err(|e| Error::unread(path, &e))?;
        let image = Image::decode(&bytes, path, policy.limits)?;
        let image = match policy.is_strict {
            true => image.strictly().map_err(|e| Error::file(path, e))?,
            false => image,
        };
        let size = (image.width(), image.height());
        Ok(Picture {
            width: size.0,
            height: size.1,
            file: hashed(&bytes),
            pixels: hashed(&(size, image.pixels())),
            look: Look::of(&image),
            warnings: image.warnings().to_vec(),
        })
    }
}

fn hashed(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Reads all pictures. Returns the data of each that can be read.
pub fn examine(
    listed: &[Listed],
    skip_bad: bool,
    findings: &mut Vec<Finding>,
) -> Vec<Option<Picture>> {
    missing(listed, skip_bad, findings);
    let bar = output::progress(
        "{bar:30} {pos}/{len} pictures  {eta} left",
        listed.len() as u64,
    );
    let mut seen = Vec::with_capacity(listed.len());
    for chunk in listed.chunks(PROGRESS_STEP) {
        let read = |at: usize| chunk[at].file.map(Picture::read);
        seen.extend(threads::map(chunk.len(), read));
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let mut unreadable = Vec::new();
    let mut odd = Vec::new();
    for (one, picture) in listed.iter().zip(&seen) {
        match picture {
            Some(Err(Error::File { what, .. })) => {
                unreadable.push(format!("{} {what}", called(one)))
            }
            Some(Err(other)) => unreadable.push(format!("{} {other}", called(one))),
            Some(Ok(picture)) => {
                odd.extend(
                    picture
                        .warnings
                        .iter()
                        .map(|warning| format!("{} {warning}", called(one))),
                );
            }
            None => {}
        }
    }
    if !unreadable.is_empty() {
        let what = format!(
            "{} of {} pictures cannot be read",
            unreadable.len(),
            listed.len()
        );
        let advice = "copy or download them again, or leave them out with --skip-bad.";
        let mut finding = Finding::new("unreadable_pictures", unreadable.clone(), what, advice);
        // All of them are listed, so they can be repaired in one go.
        finding.examples = unreadable;
        findings.push(finding.stopping(!skip_bad));
    }
    Finding::report(
        findings,
        "odd_pictures",
        odd,
        [
            "picture has an odd file that holds all of its pixels",
            "pictures have odd files that hold all of their pixels",
        ],
        "nothing; write them anew to be rid of the warnings. --strict refuses them.",
    );
    let seen: Vec<Option<Picture>> = seen.into_iter().map(|picture| picture?.ok()).collect();
    let same = find_duplicates(listed, &seen, findings);
    alike(listed, &seen, &same, findings);
    seen
}

fn missing(listed: &[Listed], skip_bad: bool, findings: &mut Vec<Finding>) {
    let lost: Vec<String> = listed
        .iter()
        .filter(|one| one.file.is_none())
        .map(called)
        .collect();
    if !lost.is_empty() {
        let what = format!("{} of {} pictures are missing", lost.len(), listed.len());
        let advice = "put them into the dataset's folder or into a folder of pictures there, or leave them out with --skip-bad.";
        findings.push(Finding::new("missing_pictures", lost, what, advice).stopping(!skip_bad));
    }
}

/// Reports pictures that exist twice, as files or pixel by pixel. Returns for each picture the index of the first
/// equal one.
fn find_duplicates(
    listed: &[Listed],
    seen: &[Option<Picture>],
    findings: &mut Vec<Finding>,
) -> Vec<usize> {
    let mut files: BTreeMap<u64, usize> = BTreeMap::new();
    let mut pixels: BTreeMap<u64, usize> = BTreeMap::new();
    let mut first_like: Vec<usize> = (0..listed.len()).collect();
    let (mut within, mut across) = (Vec::new(), Vec::new());
    for (at, picture) in seen.iter().enumerate() {
        let Some(picture) = picture else { continue };
        let by_file = *files.entry(picture.file).or_insert(at);
        let first = *pixels.entry(picture.pixels).or_insert(by_file);
        first_like[at] = first.min(by_file);
        if first_like[at] == at {
            continue;
        }
        let other = &listed[first_like[at]];
        let text = match by_file == at {
            true => format!(
                "{} has the pixels of {}",
                called(&listed[at]),
                called(other)
            ),
            false => format!("{} is the file of {}", called(&listed[at]), called(other)),
        };
        match other.split == listed[at].split {
            true => within.push(text),
            false => across.push(text),
        }
    }
    Finding::report(
        findings,
        "duplicates_across_splits",
        across,
        [
            "picture is there again in another split",
            "pictures are there again in another split",
        ],
        "take them out of one of the splits: scores are too good where pictures of dev or test were learnt.",
    );
    Finding::report(
        findings,
        "duplicates",
        within,
        [
            "picture is there again in the same split",
            "pictures are there again in the same split",
        ],
        "give one picture the captions of both, and take the other out.",
    );
    first_like
}

/// Reports pictures that look alike but are not equal.
fn alike(listed: &[Listed], seen: &[Option<Picture>], same: &[usize], findings: &mut Vec<Finding>) {
    let looks: Vec<Option<Look>> = seen
        .iter()
        .map(|picture| picture.as_ref()?.look.clone())
        .collect();
    let (mut within, mut across) = (Vec::new(), Vec::new());
    for (first, second) in likeness::pairs(&looks) {
        if same[first] == same[second] {
            continue;
        }
        let text = format!("{} and {}", called(&listed[first]), called(&listed[second]));
        match listed[first].split == listed[second].split {
            true => within.push(text),
            false => across.push(text),
        }
    }
    let advice = "look at them; if they are one picture, treat them as one. Pictures of a series may be kept.";
    Finding::report(
        findings,
        "near_duplicates_across_splits",
        across,
        [
            "pair of pictures in different splits looks alike",
            "pairs of pictures in different splits look alike",
        ],
        advice,
    );
    Finding::report(
        findings,
        "near_duplicates",
        within,
        [
            "pair of pictures in the same split looks alike",
            "pairs of pictures in the same split look alike",
        ],
        advice,
    );
}
