//! Flickr8k and Flickr30k as their authors publish them: a text file of captions, one a line.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{
    Captions, Entry, Split, SplitSource, first_file, is_plain, malformed, numbered_lines, read_text,
};
use crate::error::Result;

pub(super) fn find_flickr8k(root: &Path) -> Option<PathBuf> {
    first_file(
        root,
        &["Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt"],
    )
}

pub(super) fn read_flickr8k(file: &Path) -> Result<(SplitSource, Vec<Entry>)> {
    split_by_lists(file, read_token_file(file)?)
}

pub(super) fn find_flickr30k(root: &Path) -> Option<PathBuf> {
    first_file(
        root,
        &[
            "results_20130124.token",
            "results.csv",
            "flickr30k_images/results.csv",
        ],
    )
}

pub(super) fn read_flickr30k(file: &Path) -> Result<(SplitSource, Vec<Entry>)> {
    let is_table = file.extension().is_some_and(|extension| extension == "csv");
    let captions = if is_table {
        read_bar_table(file)?
    } else {
        read_token_file(file)?
    };
    Ok((SplitSource::Rule, captions.split_by_rule()))
}

/// The file that lists the images of one split of Flickr8k.
pub(super) fn list_name(split: Split) -> &'static str {
    match split {
        Split::Train => "Flickr_8k.trainImages.txt",
        Split::Dev => "Flickr_8k.devImages.txt",
        Split::Test => "Flickr_8k.testImages.txt",
    }
}

/// Gives each image the split whose list, beside the captions in `file`, names it; those that no list
/// names are left out. Without any list the rule decides.
pub(super) fn split_by_lists(
    file: &Path,
    mut captions: Captions,
) -> Result<(SplitSource, Vec<Entry>)> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut entries = Vec::new();
    let mut listed: HashMap<String, Split> = HashMap::new();
    let mut has_lists = false;
    for split in [Split::Train, Split::Dev, Split::Test] {
        let list = folder.join(list_name(split));
        if !list.is_file() {
            continue;
        }
        has_lists = true;
        for (number, line) in numbered_lines(&read_text(&list)?) {
            let name = line.trim();
            if !is_plain(name) {
                return Err(malformed(
                    &list,
                    number,
                    format_args!("is no image name: '{name}'"),
                ));
            }
            // An image in two splits would let a model be tested on what it learned by heart.
            if let Some(earlier) = listed.insert(name.to_string(), split) {
                return Err(malformed(
                    &list,
                    number,
                    format_args!("lists {name}, which is in {earlier} already"),
                ));
            }
            let captions = captions.0.remove(name).unwrap_or_default();
            entries.push(Entry {
                name: name.to_string(),
                path: name.into(),
                number: None,
                captions,
                split,
            });
        }
    }
    Ok(match has_lists {
        true => (SplitSource::Published, entries),
        false => (SplitSource::Rule, captions.split_by_rule()),
    })
}

/// Lines of `IMAGE#NUMBER <tab> CAPTION`.
fn read_token_file(file: &Path) -> Result<Captions> {
    let mut captions = Captions::default();
    for (number, line) in numbered_lines(&read_text(file)?) {
        let parts = line.split_once('\t').and_then(|(label, caption)| {
            let (name, _) = label.rsplit_once('#')?;
            is_plain(name).then_some((name, caption))
        });
        let Some((name, caption)) = parts else {
            return Err(malformed(
                file,
                number,
                format_args!("is not IMAGE#NUMBER<tab>CAPTION: '{line}'"),
            ));
        };
        captions.add(name, caption);
    }
    Ok(captions)
}

/// Lines of `IMAGE| NUMBER| CAPTION` under a line of titles, as Kaggle distributes Flickr30k.
fn read_bar_table(file: &Path) -> Result<Captions> {
    let mut captions = Captions::default();
    for (number, line) in numbered_lines(&read_text(file)?).skip(1) {
        let parts = line.split_once('|').and_then(|(name, rest)| {
            // One line of the published file lacks the second bar: its number ends at the space.
            let (_, caption) = rest
                .split_once('|')
                .or_else(|| rest.trim_start().split_once(' '))?;
            is_plain(name.trim()).then_some((name.trim(), caption))
        });
        let Some((name, caption)) = parts else {
            return Err(malformed(
                file,
                number,
                format_args!("is not IMAGE|NUMBER|CAPTION: '{line}'"),
            ));
        };
        captions.add(name, caption);
    }
    Ok(captions)
}
