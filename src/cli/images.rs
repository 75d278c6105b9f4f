//! The images of a command line, read in chunks.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::options::ReadingArgs;
use super::output;
use crate::caption::{Failure, TOGETHER, image_name};
use crate::cpu::threads;
use crate::data::folder::{self, PassedOver};
use crate::data::{Image, Recipe, preprocess};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The images of a command line.
#[derive(Args)]
pub struct Paths {
    /// An image (JPEG, PNG, WebP, the first frame of a GIF, BMP, the first page of a TIFF), a folder of images, or - for
    /// one image on standard input
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Look for images in the folders' subfolders too
    #[arg(long)]
    pub recursive: bool,
    #[command(flatten)]
    pub reading: ReadingArgs,
}

impl Paths {
    /// Whether one image was named, and no folder.
    pub fn is_single(&self) -> bool {
        matches!(self.paths.as_slice(), [only] if !only.is_dir())
    }

    /// Lists the images, with folders expanded, and the other files in the folders. Nothing is read yet.
    pub fn images(&self, recipe: Recipe) -> (Images, PassedOver) {
        let listing = folder::expand(&self.paths, self.recursive);
        let sources: Vec<Source> = listing.entries.into_iter().map(Source::new).collect();
        let images = Images {
            waiting: sources.into_iter(),
            recipe,
        };
        (images, listing.passed_over)
    }
}

/// Images that wait to be read. Iterating reads them in order, [`TOGETHER`] at a time.
pub struct Images {
    waiting: std::vec::IntoIter<Source>,
    recipe: Recipe,
}

impl Images {
    /// The image files at `paths`.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>, recipe: Recipe) -> Self {
        let sources: Vec<Source> = paths
            .into_iter()
            .map(|path| Source::new(Ok(path)))
            .collect();
        Images {
            waiting: sources.into_iter(),
            recipe,
        }
    }
}

impl Iterator for Images {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let sources: Vec<Source> = self.waiting.by_ref().take(TOGETHER).collect();
        if sources.is_empty() {
            return None;
        }
        let recipe = self.recipe;
        let mut chunk = Chunk {
            entries: Vec::new(),
            pictures: Vec::new(),
        };
        let files: Vec<&Source> = sources.iter().filter(|s| !s.is_stream()).collect();
        let mut loaded = threads::map(files.len(), |i| files[i].load(recipe)).into_iter();
        for source in &sources {
            // A stream is read outside the thread pool: waiting for another program would block a thread that other
            // stages need.
            let waiting = source.is_stream().then(|| source.load(recipe));
            let Some((picture, ms)) = waiting.or_else(|| loaded.next()) else {
                continue;
            };
            let (warnings, error) = match picture {
                Ok(picture) => {
                    let warnings = picture.warnings().to_vec();
                    chunk.pictures.push(picture);
                    (warnings, None)
                }
                Err(error) => (Vec::new(), Some(error)),
            };
            chunk.entries.push(Entry {
                path: source.path.clone(),
                ms,
                warnings,
                error,
            });
        }
        Some(chunk)
    }
}

/// Reads the image at `path`, or on standard input if `path` is `-`.
///
/// # Errors
/// If it cannot be read.
pub fn read(path: &Path) -> Result<Image> {
    if path == Path::new("-") {
        return Image::from_standard_input();
    }
    Image::open(path)
}

/// Milliseconds since `started`.
pub fn ms_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

/// A path, and the reason why it cannot be read if that is already known.
struct Source {
    path: PathBuf,
    refused: Option<String>,
}

impl Source {
    fn new(found: Result<PathBuf>) -> Self {
        match found {
            Ok(path) => Source {
                path,
                refused: None,
            },
            Err(Error::File { path, what, .. }) => Source {
                path,
                refused: Some(what),
            },
            Err(other) => Source {
                path: PathBuf::from("?"),
                refused: Some(other.to_string()),
            },
        }
    }

    /// Whether another program writes it: standard input, or a named pipe such as a shell's `<(...)`.
    fn is_stream(&self) -> bool {
        let is_pipe = || std::fs::metadata(&self.path).is_ok_and(|m| !m.is_file() && !m.is_dir());
        self.refused.is_none() && (self.path == Path::new("-") || is_pipe())
    }

    /// The square picture for the encoder, and the time that it took in milliseconds.
    fn load(&self, recipe: Recipe) -> (Result<Image>, f64) {
        let started = Instant::now();
        (self.square(recipe), ms_since(started))
    }

    fn square(&self, recipe: Recipe) -> Result<Image> {
        let image = match &self.refused {
            Some(what) => return Err(Error::file(&self.path, what)),
            None => read(&self.path)?,
        };
        Ok(recipe.square(&image)?.into_owned().with_warnings_of(&image))
    }
}

/// A chunk of images; those that could be read are ready for the encoder.
pub struct Chunk {
    /// All images of the chunk.
    pub entries: Vec<Entry>,
    /// The pictures of the entries without an error, in the same order.
    pictures: Vec<Image>,
}

/// An image's path, and the outcome of reading it.
pub struct Entry {
    /// The path as the user would type it.
    pub path: PathBuf,
    /// Time of reading and preparing, in milliseconds.
    pub ms: f64,
    /// Irregularities of its file.
    pub warnings: Vec<String>,
    /// The reason why it cannot be used.
    pub error: Option<Error>,
}

impl Chunk {
    /// The encoder's input for the readable images, `[N, H, W, 3]`; `None` if there are none.
    ///
    /// # Errors
    /// None for images that one recipe made.
    pub fn tensor(&self) -> Result<Option<Tensor>> {
        if self.pictures.is_empty() {
            return Ok(None);
        }
        preprocess::batch(&self.pictures).map(Some)
    }
}

/// Reports an image that could not be used, as an object among the results or on standard error.
///
/// # Errors
/// If standard output cannot be written.
pub fn report_failure(path: &Path, error: &Error, json: bool) -> Result<()> {
    if json {
        let (image, image_bytes) = image_name(path);
        return output::json(&Failure {
            image,
            image_bytes,
            error: error.to_string(),
        });
    }
    output::complain(error);
    Ok(())
}
