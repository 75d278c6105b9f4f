//! The features of a frozen encoder, computed once and kept in a file that is mapped into memory.
//!
//! A training run on a frozen encoder needs the same features in every epoch. [`FeatureCache::open_or_compute`] encodes
//! each picture once, stores the results as f16, and from then on a batch is a handful of rows that
//! [`FeatureCache::rows`] decodes. Rows are averages `[C]` or maps `[P, C]`; a picture has one row for each [`View`].
//!
//! The file knows what it was made from ([`Source`]): a digest of the encoder, the preprocessing recipe, the views, and
//! the pictures with their names and contents. A file that was made from anything else is made anew, and so is one that
//! does not match its [checksums](crate::data::weights), which are checked when it is opened: all of it is read in the first
//! epoch anyway.
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
//! While it is computed it is called `NAME.partial`. It gets its name when it is whole and synced. A run that was killed
//! goes on after the last whole chunk: a row counts only if its checksum fits, so neither a torn write nor a power
//! failure leaves half a row.

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

/// Mapped bytes that may stay resident before the system is told to take them back.
const RESIDENT: usize = 64 << 20;

/// Messages of [`FeatureCache::open_or_compute`] while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A file was there, but it is made anew.
    Stale {
        /// Why it could not be used, as a sentence without a subject: "was made by another encoder".
        why: String,
    },
    /// An earlier run was broken off, and this one goes on after so many pictures.
    Resumed {
        /// Pictures that need not be encoded again.
        pictures: usize,
    },
    /// So many pictures are done.
    Encoded {
        /// Pictures done, those of an earlier run included.
        pictures: usize,
    },
}

/// Features of a frozen encoder in a file. Any number of threads may read at once.
pub struct FeatureCache {
    file: WeightFile,
    layout: Layout,
    /// Mapped bytes that were read since the system was last told to take them back.
    touched: AtomicUsize,
}

impl FeatureCache {
    /// The features in the file at `path` where it was made from `source`. Otherwise they are computed and kept there.
    ///
    /// `encode` turns prepared images `[N, H, W, 3]` into features `[N, C]`, or `[N, P, C]` for maps
    /// ([`Source::maps`]). It always gets the pictures in the same groups, so a resumed run computes the same bits.
    /// `progress` is told what happens and may refuse to go on; what was computed until then is kept.
    ///
    /// # Errors
    /// Where a picture cannot be read, a feature is not finite or beyond the range of f16, a file cannot be written,
    /// another process is computing the same file, `encode` fails, `progress` refuses, or there is a file at `path`
    /// that is no feature cache.
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

    /// As [`FeatureCache::open_or_compute`], where somebody has read the pictures before and knows their digests.
    ///
    /// # Errors
    /// Those of [`FeatureCache::open_or_compute`].
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

    /// The cache in an opened file, or why it is none that was made from `source`.
    fn of(file: WeightFile, source: &Source, digests: &[Sum]) -> Result<Self, String> {
        let layout = layout::check(&file, source, digests)?;
        Ok(FeatureCache {
            file,
            layout,
            touched: AtomicUsize::new(0),
        })
    }

    /// The number of pictures.
    pub fn len(&self) -> usize {
        self.layout.pictures
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of views of each picture.
    pub fn views(&self) -> usize {
        self.layout.views
    }

    /// The shape of a row: `[C]`, or `[P, C]` for maps.
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// The features of these pictures in their first view, in this order: `[n, C]` or `[n, P, C]`, on the processor.
    ///
    /// # Errors
    /// As [`FeatureCache::rows_of_views`].
    pub fn rows(&self, pictures: &[usize]) -> Result<Tensor> {
        let which: Vec<_> = pictures.iter().map(|&picture| (picture, 0)).collect();
        self.rows_of_views(&which)
    }

    /// The features of these pictures, each in the view of that number: `[n, C]` or `[n, P, C]`, on the processor.
    ///
    /// # Errors
    /// Where a picture or a view does not exist, or the row in the file is damaged.
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

    /// Counts bytes that were read. Mapped pages belong to the process until the system needs them, so that its memory
    /// would seem to grow to the size of the file; they are given back every now and then.
    fn touch(&self, bytes: usize) {
        if self.touched.fetch_add(bytes, Ordering::Relaxed) + bytes > RESIDENT {
            self.touched.store(0, Ordering::Relaxed);
            self.file.release();
        }
    }
}
