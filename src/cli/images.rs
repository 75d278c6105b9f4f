//! The images of a command line, read a few at a time.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::options::ReadingArgs;
use super::output;
use crate::caption::{Failure, image_name};
use crate::cpu::threads;
use crate::data::folder::{self, PassedOver};
use crate::data::{Image, Recipe, preprocess};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Images that are decoded and encoded at a time: enough to keep all cores busy, few enough that the first
/// results come soon.
pub const CHUNK: usize = 8;

/// Which images.
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

    /// The images, folders opened, and what the folders hold besides; nothing is read yet.
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

/// Images that wait to be read; iterating reads them [`CHUNK`] by [`CHUNK`], in order.
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
        let sources: Vec<Source> = self.waiting.by_ref().take(CHUNK).collect();
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
            // Whoever waits for another program must be no worker: other stages have work for those.
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

/// The image at `path`, or on standard input where that is `-`.
///
/// # Errors
/// Where it cannot be read.
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

/// A path, and why nothing can be read there if that is known already.
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
            Err(Error::File { path, what }) => Source {
                path,
                refused: Some(what),
            },
            Err(other) => Source {
                path: PathBuf::from("?"),
                refused: Some(other.to_string()),
            },
        }
    }

    /// Whether another program writes it: standard input, or a pipe that was named, as shells name `<(...)`.
    fn is_stream(&self) -> bool {
        let is_pipe = || std::fs::metadata(&self.path).is_ok_and(|m| !m.is_file() && !m.is_dir());
        self.refused.is_none() && (self.path == Path::new("-") || is_pipe())
    }

    /// The square picture that the encoder will see, and the milliseconds that it took.
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

/// Some images, those that could be read ready for the encoder.
pub struct Chunk {
    /// All of them.
    pub entries: Vec<Entry>,
    /// Those of the entries without an error, in the same order.
    pictures: Vec<Image>,
}

/// An image by its path, and what came of reading it.
pub struct Entry {
    /// The path as the user would type it.
    pub path: PathBuf,
    /// How long reading and preparing took, in milliseconds.
    pub ms: f64,
    /// What is odd about its file.
    pub warnings: Vec<String>,
    /// Why it cannot be used.
    pub error: Option<Error>,
}

impl Chunk {
    /// The encoder's input for the readable images, `[N, H, W, 3]`; `None` where there are none.
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

/// Tells the user about an image that could not be used: as an object among the results, or on standard error.
///
/// # Errors
/// Where standard output cannot take it.
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
