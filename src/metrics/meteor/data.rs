//! METEOR's own files: function words, synonyms and paraphrases.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::paraphrases::Paraphrases;
use super::synonyms::Synonyms;
use crate::error::{Error, Result};

/// The archive, as METEOR is published, that holds everything but the paraphrases.
const ARCHIVE: &str = "meteor-1.5.jar";
const WORDS: &str = "function/english.words";
const SYNSETS: &str = "synonym/english.synsets";
const EXCEPTIONS: &str = "synonym/english.exceptions";
/// The places where the paraphrases may be.
const PARAPHRASES: [&str; 2] = ["data/paraphrase-en.gz", "paraphrase-en.gz"];
/// The size limit of one file in bytes; METEOR's largest has 3.7 million.
const MAX_FILE_BYTES: u64 = 1 << 26;

/// METEOR's own files for English, which the stages beyond exact and stem matches need.
///
/// The files come with the Java program. The published program and the folder `meteor` of the `pycocoevalcap` package
/// both have them: `meteor-1.5.jar` with function words and synonyms, and `data/paraphrase-en.gz`.
#[derive(Debug)]
pub struct Data {
    function_words: HashSet<String>,
    synonyms: Synonyms,
    /// The file of paraphrases. It is read later, when the words of the captions are known.
    paraphrases: PathBuf,
}

impl Data {
    /// Reads the files in `folder`. Function words and synonyms may be unpacked or in the archive.
    ///
    /// # Errors
    /// If a file is missing, cannot be read, or has other contents than expected. (The paraphrases are read later.)
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::file(
                folder,
                "is not a folder; METEOR's files are given by their folder",
            ));
        }
        let paraphrases = PARAPHRASES.iter().map(|name| folder.join(name));
        let Some(paraphrases) = { paraphrases }.find(|path| path.is_file()) else {
            return Err(Error::file(
                folder,
                "has no paraphrase-en.gz, neither itself nor in data; METEOR 1.5 and pycocoevalcap's folder meteor have it",
            ));
        };
        let files = Files { folder };
        let (path, text) = files.text(WORDS)?;
        let function_words = text.lines().map(str::to_owned).collect();
        if text.trim().is_empty() {
            return Err(Error::file(path, "has no words"));
        }
        let (sets, exceptions) = (files.text(SYNSETS)?, files.text(EXCEPTIONS)?);
        Ok(Data {
            function_words,
            synonyms: Synonyms::read((&sets.0, &sets.1), (&exceptions.0, &exceptions.1))?,
            paraphrases,
        })
    }

    pub(super) fn is_function_word(&self, word: &str) -> bool {
        self.function_words.contains(word)
    }

    /// Returns the sets of synonyms that contain a word, ascending.
    pub(super) fn synsets(&self, word: &str) -> Vec<u32> {
        self.synonyms.sets(word)
    }

    /// Reads the paraphrases among phrases of these words.
    ///
    /// # Errors
    /// If their file cannot be read or is not a table of paraphrases.
    pub(super) fn paraphrases(&self, ids: &HashMap<String, u32>) -> Result<Paraphrases> {
        Paraphrases::read(&self.paraphrases, ids)
    }
}

/// Access to files that are in a folder, or in the archive in that folder.
struct Files<'a> {
    folder: &'a Path,
}

impl Files<'_> {
    /// Returns a file's text, and its name for error messages.
    fn text(&self, name: &str) -> Result<(PathBuf, String)> {
        let (unpacked, archive) = (self.folder.join(name), self.folder.join(ARCHIVE));
        let (path, bytes) = if unpacked.is_file() {
            let mut bytes = Vec::new();
            File::open(&unpacked)
                .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
                .map_err(|e| Error::unread(&unpacked, &e))?;
            (unpacked, bytes)
        } else if archive.is_file() {
            (archive.join(name), unpacked_from(&archive, name)?)
        } else {
            return Err(Error::file(
                self.folder,
                format_args!(
                    "has neither {ARCHIVE} nor {name}; METEOR 1.5 and pycocoevalcap's folder meteor have it"
                ),
            ));
        };
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(Error::file(&path, "is too large to be METEOR's"));
        }
        let text = String::from_utf8(bytes).map_err(|_| Error::file(&path, "is not UTF-8 text"))?;
        Ok((path, text))
    }
}

/// Reads the file `name` in an archive, up to one byte more than allowed.
#[cfg(feature = "convert")]
fn unpacked_from(archive: &Path, name: &str) -> Result<Vec<u8>> {
    let file = File::open(archive).map_err(|e| Error::unread(archive, &e))?;
    let mut zip = zip::ZipArchive::new(file)
        .map_err(|_| Error::file(archive, "is damaged, or no archive; copy it again"))?;
    let path = archive.join(name);
    let entry = zip
        .by_name(name)
        .map_err(|_| Error::file(&path, "is not in the archive, or damaged"))?;
    let mut bytes = Vec::new();
    let read = entry.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|e| Error::unread(&path, &e))?;
    Ok(bytes)
}

/// Refuses the archive.
#[cfg(not(feature = "convert"))]
fn unpacked_from(archive: &Path, _name: &str) -> Result<Vec<u8>> {
    Err(Error::file(
        archive,
        "is an archive, which this build does not read; unpack it there, or build with the feature `convert`",
    ))
}
