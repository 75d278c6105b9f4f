//! Opens a cache, or computes its missing rows.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::layout::KEY;
use super::partial::{Partial, Start, lock};
use super::source::{Source, View};
use super::{FeatureCache, Progress};
use crate::cpu::{Isa, formats, threads};
use crate::data::contents::Sum;
use crate::data::store;
use crate::data::weights::WeightFile;
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// Mini-batch size of the encoder.
pub(super) const GROUP: usize = 32;

/// Computes the features of these pictures in this view: `[n, C]` or `[n, P, C]`.
pub(super) type Encode<'a> = dyn Fn(&[usize], View) -> Result<Tensor> + 'a;

/// Returns the path of the file while it is being computed.
pub(super) fn partial_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".partial");
    name.into()
}

/// Implements [`FeatureCache::open_or_compute`].
pub(super) fn open_or_compute(
    path: &Path,
    source: &Source,
    digests: &[Sum],
    encode: &Encode,
    progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<FeatureCache> {
    if digests.len() != source.pictures.len() {
        return Err(Error::value(
            "feature cache",
            format_args!(
                "{} digests of {} pictures",
                digests.len(),
                source.pictures.len()
            ),
        ));
    }
    if source.pictures.is_empty() || source.views.is_empty() {
        return Err(Error::value(
            "feature cache",
            "there is no picture to encode",
        ));
    }
    if let Found::Fitting(cache) = find(path, source, digests)? {
        return Ok(*cache);
    }
    // Follows a symbolic link, because the finished file is renamed to its target.
    let path = &store::resolve(path)?;
    let beside = partial_path(path);
    let file = lock(&beside)?;
    // Another process may have completed the file just before the lock was free.
    let mut why = match find(path, source, digests)? {
        Found::Fitting(cache) => {
            drop(file);
            let _ = fs::remove_file(&beside);
            return Ok(*cache);
        }
        Found::Stale(why) => Some(why),
        Found::Nothing => None,
    };
    let start = match Start::find(file, &beside, source, digests, GROUP)? {
        Start::Useless(file, reason) => {
            why.get_or_insert(reason);
            Start::Nothing(file)
        }
        start => start,
    };
    if let Some(why) = why {
        progress(Progress::Stale { why })?;
    }
    if let Start::At(_, pictures) = start {
        progress(Progress::Resumed { pictures })?;
    }
    let whole = compute(start, &beside, source, digests, encode, progress)?;
    whole.finish(source, path)?;
    match FeatureCache::of(WeightFile::open(path)?, source, digests) {
        Ok(cache) => Ok(cache),
        Err(why) => Err(Error::file(path, format_args!("{why}; start again"))),
    }
}

/// The file found at a path.
enum Found {
    Fitting(Box<FeatureCache>),
    /// A cache that was made from other inputs or is damaged, and why it cannot be used.
    Stale(String),
    Nothing,
}

/// Looks for a usable cache at `path`.
///
/// # Errors
/// Fails if the file is not a cache. It is then not overwritten.
fn find(path: &Path, source: &Source, digests: &[Sum]) -> Result<Found> {
    if fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == 0) || !path.exists() {
        return Ok(Found::Nothing);
    }
    let file = match WeightFile::open(path) {
        Ok(file) => file,
        Err(_) if begins_like_a_cache(path) => {
            return Ok(Found::Stale(
                "is damaged: its header makes no sense, or is not the one that was written".into(),
            ));
        }
        Err(_) => return Err(foreign(path)),
    };
    if file.metadata(KEY)?.is_none() {
        // Old versions without views wrote the entry `digest` alone.
        return match file.metadata("digest")? {
            Some(_) if file.raw("features").is_some() => {
                Ok(Found::Stale("is of an older version".into()))
            }
            _ => Err(foreign(path)),
        };
    }
    // The first epoch reads the whole file anyway. Checking it now finds damage early, and damaged files are computed
    // again.
    if let Some(tensor) = file.damaged().first() {
        return Ok(Found::Stale(format!(
            "is damaged: tensor `{tensor}` does not match its checksum"
        )));
    }
    Ok(match FeatureCache::of(file, source, digests) {
        Ok(cache) => Found::Fitting(Box::new(cache)),
        Err(why) => Found::Stale(why),
    })
}

fn foreign(path: &Path) -> Error {
    Error::file(
        path,
        "is no feature cache, or one whose header is damaged, and would be overwritten; move it away, or give this run \
         another output",
    )
}

/// Returns whether a file that cannot be opened was a cache before it was damaged.
fn begins_like_a_cache(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|f| f.take(256).read_to_end(&mut start));
    // Allows one damaged byte in the key itself.
    let is_key = |window: &[u8]| {
        let pairs = window.iter().zip(KEY.as_bytes());
        pairs.filter(|(a, b)| a != b).count() <= 1
    };
    read.is_ok() && start.windows(KEY.len()).any(is_key)
}

/// Encodes the pictures whose rows are missing.
fn compute(
    start: Start,
    beside: &Path,
    source: &Source,
    digests: &[Sum],
    encode: &Encode,
    progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<Partial> {
    let (mut partial, mut file, done) = match start {
        Start::At(partial, done) => (Some(partial), None, done),
        Start::Nothing(file) | Start::Useless(file, _) => (None, Some(file), 0),
    };
    let all = source.pictures.len();
    for first in (done..all).step_by(GROUP) {
        let group: Vec<usize> = (first..all.min(first + GROUP)).collect();
        let (shape, rows) = encode_group(source, &group, encode)?;
        if let Some(file) = file.take() {
            partial = Some(Partial::begin(
                file,
                beside,
                source,
                digests,
                shape.clone(),
            )?);
        }
        let Some(partial) = &mut partial else { break };
        if partial.layout.shape != shape {
            let before = &partial.layout.shape;
            return Err(Error::shape(
                "feature cache",
                format_args!("{before:?} a row"),
                format_args!("{shape:?}"),
            ));
        }
        partial.append(first * source.views.len(), &rows)?;
        let pictures = first + group.len();
        progress(Progress::Encoded { pictures })?;
    }
    partial.ok_or_else(|| Error::value("feature cache", "there is no picture to encode"))
}

/// Returns the shape of a row, and the rows of these pictures in f16; the views of a picture are adjacent.
fn encode_group(
    source: &Source,
    group: &[usize],
    encode: &Encode,
) -> Result<(Vec<usize>, Vec<u8>)> {
    let views = source.views.len();
    let mut row_shape: Vec<usize> = Vec::new();
    let mut rows: Vec<u8> = Vec::new();
    for (number, &view) in source.views.iter().enumerate() {
        let features = encode(group, view)?.to(&Device::Cpu)?;
        let want = if source.maps { "[n, P, C]" } else { "[n, C]" };
        let shape = match features.dims() {
            [n, rest @ ..]
                if *n == group.len()
                    && rest.len() == 1 + usize::from(source.maps)
                    && !features.is_empty()
                    && (number == 0 || *rest == row_shape) =>
            {
                rest.to_vec()
            }
            _ => return Err(Error::shape("feature cache", want, features.shape())),
        };
        let len: usize = shape.iter().product();
        rows.resize(2 * len * views * group.len(), 0);
        round(source, group, features.data(), len, &mut rows, number)?;
        row_shape = shape;
    }
    Ok((row_shape, rows))
}

/// Converts rows of `len` elements to f16 and writes them to the slots of view `number`.
fn round(
    source: &Source,
    group: &[usize],
    features: &[f32],
    len: usize,
    rows: &mut [u8],
    number: usize,
) -> Result<()> {
    let isa = Isa::current();
    let too_large: Vec<AtomicBool> = group.iter().map(|_| AtomicBool::new(false)).collect();
    threads::for_each_chunk(rows, 2 * len * source.views.len(), |i, views| {
        let to = &mut views[2 * len * number..][..2 * len];
        formats::f32_to_f16(isa, &features[i * len..(i + 1) * len], to);
        let special = |h: &[u8; 2]| u16::from_le_bytes(*h) & 0x7c00 == 0x7c00;
        if to.as_chunks::<2>().0.iter().any(special) {
            too_large[i].store(true, Ordering::Relaxed);
        }
    });
    let Some(i) = too_large.iter().position(|x| x.load(Ordering::Relaxed)) else {
        return Ok(());
    };
    let row = &features[i * len..(i + 1) * len];
    let bad = row.iter().find(|x| x.is_nan() || x.abs() >= 65520.0);
    let bad = bad.unwrap_or(&f32::NAN);
    let name = &source.pictures[group[i]].name;
    Err(Error::value(
        "feature cache",
        format_args!("the encoder makes {bad} of the picture {name}, which f16 cannot hold"),
    ))
}
