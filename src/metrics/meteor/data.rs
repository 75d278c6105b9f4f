//! METEOR's own files: function words, synonyms and paraphrases.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::paraphrases::Paraphrases;
use super::synonyms::Synonyms;
use crate::error::{Error, Result};

/// The archive that holds all but the paraphrases, as METEOR is published.
const ARCHIVE: &str = "meteor-1.5.jar";
const WORDS: &str = "function/english.words";
const SETS: &str = "synonym/english.synsets";
const EXCEPTIONS: &str = "synonym/english.exceptions";
/// Where the paraphrases may be.
const PARAPHRASES: [&str; 2] = ["data/paraphrase-en.gz", "paraphrase-en.gz"];
/// The most bytes of one file; METEOR's own largest has 3.7 million.
const LARGEST: u64 = 1 << 26;

/// METEOR's own files for English, which the stages beyond exact and stem matches need.
///
/// They come with the Java program, as it is published and as the `pycocoevalcap` package has it in its folder
/// `meteor`: `meteor-1.5.jar`, in which function words and synonyms are, and `data/paraphrase-en.gz`.
#[derive(Debug)]
pub struct Data {
    function_words: HashSet<String>,
    synonyms: Synonyms,
    /// Read when the words are known whose paraphrases are wanted.
    paraphrases: PathBuf,
}

impl Data {
    /// Reads the files in `folder`, where function words and synonyms may be unpacked or in the archive.
    ///
    /// # Errors
    /// Where one is missing, cannot be read, or is not what it should be. (The paraphrases are looked at later.)
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
        let mut files = Files::new(folder)?;
        let (path, text) = files.text(WORDS)?;
        let function_words = text.lines().map(str::to_owned).collect();
        if text.trim().is_empty() {
            return Err(Error::file(path, "has no words"));
        }
        let (sets, exceptions) = (files.text(SETS)?, files.text(EXCEPTIONS)?);
        Ok(Data {
            function_words,
            synonyms: Synonyms::read((&sets.0, &sets.1), (&exceptions.0, &exceptions.1))?,
            paraphrases,
        })
    }

    pub(super) fn is_function_word(&self, word: &str) -> bool {
        self.function_words.contains(word)
    }

    /// The sets of synonyms that a word is in, ascending.
    pub(super) fn synsets(&self, word: &str) -> Vec<u32> {
        self.synonyms.sets(word)
    }

    /// The paraphrases among phrases of these words.
    ///
    /// # Errors
    /// Where their file cannot be read or is no table of paraphrases.
    pub(super) fn paraphrases(&self, ids: &HashMap<String, u32>) -> Result<Paraphrases> {
        Paraphrases::read(&self.paraphrases, ids)
    }
}

/// Files that are in a folder, or in the archive in it.
struct Files<'a> {
    folder: &'a Path,
    archive: Option<ZipArchive<File>>,
}

impl<'a> Files<'a> {
    fn new(folder: &'a Path) -> Result<Self> {
        let path = folder.join(ARCHIVE);
        let archive = match path.is_file() {
            false => None,
            true => {
                let file = File::open(&path).map_err(|e| Error::unread(&path, &e))?;
                let archive = ZipArchive::new(file)
                    .map_err(|_| Error::file(&path, "is damaged, or no archive; copy it again"))?;
                Some(archive)
            }
        };
        Ok(Files { folder, archive })
    }

    /// A file's text, and what errors are to call it.
    fn text(&mut self, name: &str) -> Result<(PathBuf, String)> {
        let mut path = self.folder.join(name);
        let mut bytes = Vec::new();
        let read = if path.is_file() {
            File::open(&path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        } else if let Some(archive) = &mut self.archive {
            path = self.folder.join(ARCHIVE).join(name);
            let entry = archive
                .by_name(name)
                .map_err(|_| Error::file(&path, "is not in the archive, or damaged"))?;
            entry.take(LARGEST + 1).read_to_end(&mut bytes)
        } else {
            return Err(Error::file(
                self.folder,
                format_args!(
                    "has neither {ARCHIVE} nor {name}; METEOR 1.5 and pycocoevalcap's folder meteor have it"
                ),
            ));
        };
        read.map_err(|e| Error::unread(&path, &e))?;
        if bytes.len() as u64 > LARGEST {
            return Err(Error::file(&path, "is too large to be METEOR's"));
        }
        let text = String::from_utf8(bytes).map_err(|_| Error::file(&path, "is not UTF-8 text"))?;
        Ok((path, text))
    }
}
