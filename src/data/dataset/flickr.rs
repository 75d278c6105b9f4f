//! Reads Flickr8k and Flickr30k as their authors publish them: a text file with one caption per line.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::entries::{Captions, Entry};
use super::names::is_plain;
use super::remarks::{Log, Topic};
use super::shorten::Elsewhere;
use super::split::{Split, SplitSource};
use super::text::{malformed, numbered_lines, read_text};
use super::{first_file, tables};
use crate::error::{Error, Result};

pub(super) fn find_flickr8k(root: &Path) -> Option<PathBuf> {
    first_file(
        root,
        &[
            "Flickr8k.token.txt",
            "Flickr8k_text/Flickr8k.token.txt",
            "Flickr8k_text/Flickr8k_text/Flickr8k.token.txt",
        ],
    )
}

pub(super) fn read_flickr8k(file: &Path, log: &mut Log) -> Result<(SplitSource, Vec<Entry>)> {
    let captions = read_token_file(file, log)?;
    split_by_lists(file, captions, log)
}

pub(super) fn find_flickr30k(root: &Path) -> Option<PathBuf> {
    first_file(
        root,
        &[
            "results_20130124.token",
            "results.csv",
            "flickr30k_images/results.csv",
            "flickr30k_images/flickr30k_images/results.csv",
        ],
    )
}

pub(super) fn read_flickr30k(file: &Path, log: &mut Log) -> Result<(SplitSource, Vec<Entry>)> {
    let is_table = file.extension().is_some_and(|extension| extension == "csv");
    let rule = SplitSource::Eighths;
    if !is_table {
        return Ok((rule, read_token_file(file, log)?.split_by(rule)));
    }
    let mut rows = tables::rows(file, None, log)?;
    let elsewhere = Elsewhere::shorten(&mut rows, &[]);
    let mut entries = tables::captions(rows).split_by(rule);
    elsewhere.note(&mut entries);
    Ok((rule, entries))
}

/// The name of the file that lists the images of one split of Flickr8k.
pub(super) fn list_name(split: Split) -> &'static str {
    match split {
        Split::Train => "Flickr_8k.trainImages.txt",
        Split::Dev => "Flickr_8k.devImages.txt",
        Split::Test => "Flickr_8k.testImages.txt",
    }
}

/// Assigns each image the split whose list, beside the captions in `file`, names it. Images that no list names are
/// left out. If there are no lists, the rule decides.
pub(super) fn split_by_lists(
    file: &Path,
    mut captions: Captions,
    log: &mut Log,
) -> Result<(SplitSource, Vec<Entry>)> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut entries = Vec::new();
    let mut listed: HashMap<String, Split> = HashMap::new();
    let mut has_lists = false;
    for split in Split::ALL {
        let list = folder.join(list_name(split));
        if !list.is_file() {
            continue;
        }
        has_lists = true;
        for (number, line) in numbered_lines(&read_text(&list, log)?) {
            let name = line.trim();
            if !is_plain(name) {
                let error = malformed(&list, number, format_args!("is no image name: '{name}'"));
                log.broken(Topic::BrokenLine, error)?;
                continue;
            }
            // With an image in two splits, a model would be tested on images that it was trained on.
            if let Some(earlier) = listed.insert(name.to_string(), split) {
                let what = format_args!("lists {name}, which is in {earlier} already");
                log.broken(Topic::TwoSplits, malformed(&list, number, what))?;
                continue;
            }
            let captions = captions.0.remove(name).unwrap_or_default();
            entries.push(Entry::named(name.to_string(), captions, split));
        }
    }
    if !has_lists {
        let rule = SplitSource::Eighths;
        return Ok((rule, captions.split_by(rule)));
    }
    if let Some((first, _)) = captions.0.first_key_value() {
        let what = format_args!(
            "has captions of {} images that no list of a split names, which are left out; the first is {first}",
            captions.0.len()
        );
        log.remark(Topic::NoSplit, captions.0.keys(), Error::file(file, what));
    }
    Ok((SplitSource::Published, entries))
}

/// Reads lines of `IMAGE#NUMBER <tab> CAPTION`.
fn read_token_file(file: &Path, log: &mut Log) -> Result<Captions> {
    let mut captions = Captions::default();
    for (number, line) in numbered_lines(&read_text(file, log)?) {
        let parts = line.split_once('\t').and_then(|(label, caption)| {
            let (name, _) = label.rsplit_once('#')?;
            is_plain(name).then_some((name, caption))
        });
        match parts {
            Some((name, caption)) => captions.add(name, caption),
            None => {
                let what = format_args!("is not IMAGE#NUMBER<tab>CAPTION: '{line}'");
                log.broken(Topic::BrokenLine, malformed(file, number, what))?;
            }
        }
    }
    Ok(captions)
}
