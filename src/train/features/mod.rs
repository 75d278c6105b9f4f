//! The feature cache: outputs of a frozen encoder, computed once and kept in a memory-mapped file.
//!
//! A training run on a frozen encoder needs the same features in every epoch. [`FeatureCache::open_or_compute`] encodes
//! each picture once and stores the results as f16. From then on a batch is a handful of rows that
//! [`FeatureCache::rows`] decodes. Rows are averages `[C]` or maps `[P, C]`; a picture has one row for each [`View`].
//!
//! The file records what it was made from ([`Source`]): a digest of the encoder, the preprocessing recipe, the views,
//! and the pictures with their names and contents. It is computed again if any of these differs, or if it does not
//! match its [checksums](crate::data::weights). All checksums are verified when the file is opened, because the first
//! epoch reads the whole file anyway.
//!
//! # The file
//!
//! It is a safetensors file. The metadata entry `glimpse-features` holds a JSON object with the encoder's digest, the
//! recipe, the views and the pictures' names. For `N` pictures and `K` views the tensors are
//!
//! | name | type | shape | |
//! |---|---|---|---|
//! | `sizes` | `U64` | `[N]` | bytes of each picture's file |
//! | `modified` | `I64` | `[N]` | when that file was last written, nanoseconds since 1970; -1 where unknown |
//! | `checks` | `U64` | `[N, K]` | a checksum of each row; 0 while it is missing |
//! | `digests` | `U8` | `[N, 32]` | the SHA-256 of each picture's file |
//! | `features` | `F16` | `[N, K, C]` or `[N, K, P, C]` | the rows |
//!
//! While it is being computed, the file is called `NAME.partial`. It is renamed when it is complete and synced. A run
//! that was killed continues after the last complete group of pictures: a row counts only if it matches its checksum,
//! so torn writes and power failures leave no partial rows.

mod compute;
mod layout;
mod partial;
mod source;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub use self::layout::Description;
pub use self::source::{Picture, Source, View, digest};

use self::layout::Layout;
use crate::cpu::{Isa, formats, memory, threads};
use crate::data::Contents;
use crate::data::contents::Sum;
use crate::data::weights::WeightFile;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Bytes of mapped pages that may stay resident before they are released.
const RESIDENT: usize = 64 << 20;

/// Progress of [`FeatureCache::open_or_compute`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// An existing file cannot be used and is computed again.
    Stale {
        /// Why it could not be used, as a sentence without a subject: "was made by another encoder".
        why: String,
    },
    /// The work of an interrupted run is continued.
    Resumed {
        /// Number of pictures that need not be encoded again.
        pictures: usize,
    },
    /// A group of pictures was encoded.
    Encoded {
        /// Number of pictures done, including those of an earlier run.
        pictures: usize,
    },
}

/// Features of a frozen encoder in a file. Several threads may read it concurrently.
pub struct FeatureCache {
    file: WeightFile,
    layout: Layout,
    /// Bytes read from the mapped file since its pages were last released.
    touched: AtomicUsize,
}

impl FeatureCache {
    /// Opens the features in the file at `path` if it was made from `source`. Otherwise computes them and writes the
    /// file.
    ///
    /// `encode` turns prepared images `[N, H, W, 3]` into features `[N, C]`, or `[N, P, C]` for maps
    /// ([`Source::maps`]). It always receives the pictures in the same groups, so a resumed run computes the same bits.
    /// `progress` receives the progress and may abort with an error; the features computed until then are kept.
    ///
    /// # Errors
    /// Fails if a picture cannot be read, a feature is not finite or beyond the range of f16, a file cannot be written,
    /// another process is computing the same file, `encode` fails, `progress` aborts, or there is a file at `path` that
    /// is not a feature cache.
    pub fn open_or_compute(
        path: &Path,
        source: &Source,
        encode: &dyn Fn(&Tensor) -> Result<Tensor>,
        progress: &mut dyn FnMut(Progress) -> Result<()>,
    ) -> Result<Self> {
        let paths: Vec<&Path> = source.pictures.iter().map(|p| &*p.path).collect();
        let digests = Contents::default().sums(&paths)?;
        Self::open_or_compute_knowing(path, source, &digests, encode, progress)
    }

    /// Behaves like [`FeatureCache::open_or_compute`], for a caller that knows the digests of the pictures.
    ///
    /// # Errors
    /// The errors of [`FeatureCache::open_or_compute`].
    pub fn open_or_compute_knowing(
        path: &Path,
        source: &Source,
        digests: &[Sum],
        encode: &dyn Fn(&Tensor) -> Result<Tensor>,
        progress: &mut dyn FnMut(Progress) -> Result<()>,
    ) -> Result<Self> {
        compute::open_or_compute(
            path,
            source,
            digests,
            &|pictures, view| encode(&source.images(pictures, view)?),
            progress,
        )
    }

    /// Returns the cache in an open file, or why it was not made from `source`.
    fn of(file: WeightFile, source: &Source, digests: &[Sum]) -> Result<Self, String> {
        let layout = layout::check(&file, source, digests)?;
        Ok(FeatureCache {
            file,
            layout,
            touched: AtomicUsize::new(0),
        })
    }

    /// Returns the number of pictures.
    pub fn len(&self) -> usize {
        self.layout.pictures
    }

    /// Returns whether there are no pictures.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of views of each picture.
    pub fn views(&self) -> usize {
        self.layout.views
    }

    /// Returns the shape of a row: `[C]`, or `[P, C]` for maps.
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// Returns the features of these pictures in their first view, in this order: `[n, C]` or `[n, P, C]`, on the CPU.
    ///
    /// # Errors
    /// The errors of [`FeatureCache::rows_of_views`].
    pub fn rows(&self, pictures: &[usize]) -> Result<Tensor> {
        let which: Vec<_> = pictures.iter().map(|&picture| (picture, 0)).collect();
        self.rows_of_views(&which)
    }

    /// Returns the features of these pairs of picture and view: `[n, C]` or `[n, P, C]`, on the CPU.
    ///
    /// # Errors
    /// Fails if a picture or a view does not exist, or the row in the file is damaged.
    pub fn rows_of_views(&self, which: &[(usize, usize)]) -> Result<Tensor> {
        let layout = &self.layout;
        let is_beyond = |&&(p, v): &&(usize, usize)| p >= layout.pictures || v >= layout.views;
        if let Some(&(picture, view)) = which.iter().find(is_beyond) {
            let (pictures, views) = (layout.pictures, layout.views);
            return Err(Error::value(
                "feature cache",
                format_args!(
                    "picture {picture}, view {view} of {pictures} pictures and {views} views"
                ),
            ));
        }
        let [features, checks] = ["features", "checks"].map(|name| self.file.raw(name));
        let (Some(features), Some(checks)) = (features, checks) else {
            return Err(Error::file(self.file.path(), "is no feature cache"));
        };
        let (size, isa) = (layout.row_bytes(), Isa::current());
        let mut data = memory::unset(which.len() * layout.row_len());
        let damaged: Vec<AtomicBool> = which.iter().map(|_| AtomicBool::new(false)).collect();
        threads::for_each_chunk(&mut data, layout.row_len(), |i, to| {
            let row = which[i].0 * layout.views + which[i].1;
            let bytes = &features.bytes[row * size..(row + 1) * size];
            let check = &checks.bytes[8 * row..8 * (row + 1)];
            if layout::checksum(row, bytes).to_le_bytes() == *check {
                formats::f16_to_f32(isa, bytes, to);
            } else {
                damaged[i].store(true, Ordering::Relaxed);
            }
        });
        self.touch(which.len() * size);
        if let Some(i) = damaged.iter().position(|d| d.load(Ordering::Relaxed)) {
            let what = format_args!(
                "is damaged at picture {}; delete it and start again",
                which[i].0
            );
            return Err(Error::file(self.file.path(), what));
        }
        Tensor::from_vec(data, &[&[which.len()], &layout.shape[..]].concat())
    }

    /// Counts bytes read. Mapped pages stay resident until the system reclaims them, and the process would seem to grow
    /// to the size of the file. They are therefore released at intervals.
    fn touch(&self, bytes: usize) {
        if self.touched.fetch_add(bytes, Ordering::Relaxed) + bytes > RESIDENT {
            self.touched.store(0, Ordering::Relaxed);
            self.file.release();
        }
    }
}
