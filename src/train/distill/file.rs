//! The target file: a teacher's features and classes of views of pictures.
//!
//! It is a safetensors file written by `tools/teacher_targets.py`, or by any other program that follows this format:
//!
//! | tensor | shape | type | holds |
//! |---|---|---|---|
//! | `picture` | `[V]` | u32, i32 or i64 | for each view its picture: an index into `names` |
//! | `view` | `[V, 6]` | f32 | `left, top, width, height` as shares of the picture, `flip` (0 or 1), `brightness`: a [`View`] |
//! | `features` | `[V, D]` | f16 or f32 | the teacher's pooled features, not standardised |
//! | `classifier.weight`, `classifier.bias` | `[K, D]`, `[K]` | f16 or f32 | the teacher's last layer: `logits = W features + b` |
//! | `logits` or `probabilities` | `[V, K]` | f16 or f32 | the teacher's classes, if they do not follow from the features |
//! | `maps` | `[V, H, W, M]` | f16 or f32 | optional: the teacher's last maps, each place reduced to `M` numbers of mean 0, whose mean square is about 1 |
//!
//! `tools/teacher_targets.py` also writes the directions, `directions.weight` `[M, D]` and `directions.mean` `[D]`; they are not read.
//! A file has `features`, or `logits` or `probabilities`, or both. With a classifier the student's predicted features
//! go through it as well. Without one the student predicts `logits` or `probabilities` by a layer of its own.
//!
//! The metadata entry `glimpse_targets` is JSON:
//!
//! ```json
//! {"format": 1, "teacher": "EfficientNet-Lite2", "source": "...", "licence": "...",
//!  "input": {"size": 260, "values": "(x - 127) / 128"}, "rendering": "bilinear-1",
//!  "names": ["1000268201_693b08cb0e.jpg", ...], "digests": ["0123456789abcdef", ...],
//!  "class_names": ["tench", ...]}
//! ```
//!
//! `digests` are the first 16 hexadecimal digits of the SHA-256 of each picture's file. They detect pictures other than
//! those that the teacher saw. `rendering` says how a view becomes pixels; `bilinear-1` is [`View::render`]. `teacher`,
//! `source`, `licence` and `input` are for people; `class_names` is optional.
//!
//! The file is mapped into memory, and a row is decoded when its view is trained on. Memory therefore does not grow
//! with the file, except by a few bytes for each view and teacher.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::header::{self, DIGEST_DIGITS, Header, METADATA_KEY};
use super::statistics::{self, Standard};
use crate::data::weights::WeightFile;
use crate::data::{Rows, View};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Lower bound of a probability: the smallest positive number in f16.
const LEAST_PROBABILITY: f32 = 5.960_464_5e-8;

/// Error text for a row or a layer with an unusable number.
const UNUSABLE: &str = "holds a number that is not finite, or beyond 1e15";

/// Accepted mean squares of the maps. Their scale is found on a part of the views, so that it is 1 only roughly.
const MAP_SQUARES: std::ops::Range<f64> = 0.1..10.0;

/// Tolerance of the sum of a row's probabilities, which are rounded to f16.
const SUM_TOLERANCE: f64 = 0.02;

/// The teacher's last layer.
pub struct Classifier {
    /// `[K, D]`
    pub weight: Tensor,
    /// `[K]`
    pub bias: Tensor,
}

/// Class targets that the file holds for each view.
struct ClassRows {
    rows: Rows,
    are_probabilities: bool,
}

/// An open target file, checked and mapped.
pub struct TargetFile {
    path: PathBuf,
    header: Header,
    /// For each view, the index of its picture.
    pictures: Vec<u32>,
    views: Rows,
    features: Option<(Rows, Standard)>,
    classes: Option<ClassRows>,
    classifier: Option<Classifier>,
    maps: Option<MapRows>,
    digest: String,
}

/// The teacher's maps: rows of `height * width * directions` numbers.
struct MapRows {
    rows: Rows,
    /// Height, width and directions.
    dims: [usize; 3],
}

impl TargetFile {
    /// Opens the file at `path` and checks all of it: checksums, shapes, views, and that every number is finite. This
    /// reads the whole file once, which takes some seconds for several gigabytes.
    ///
    /// # Errors
    /// One line that names the fault.
    pub fn open(path: &Path) -> Result<Self> {
        let file = WeightFile::open(path)?;
        let header = header::read(&file)?.ok_or_else(|| {
            let what = format_args!(
                "is no target file: its metadata has no `{METADATA_KEY}`; write one with tools/teacher_targets.py"
            );
            Error::file(path, what)
        })?;
        let refuse = |what: String| Error::file(path, what);
        file.verify()?;
        let pictures = file
            .integers("picture")?
            .ok_or_else(|| refuse("has no tensor `picture`".into()))?;
        let count = pictures.len();
        let rows_of = |name: &str| -> Result<Option<Rows>> {
            let Some(rows) = file.rows(name)? else {
                return Ok(None);
            };
            if rows.len() != count || rows.size() == 0 {
                let (n, size) = (rows.len(), rows.size());
                return Err(refuse(format!(
                    "tensor `{name}` has {n} rows of {size}, but `picture` names {count} views"
                )));
            }
            Ok(Some(rows))
        };
        if count == 0 || count > u32::MAX as usize {
            return Err(refuse(format!("holds {count} views")));
        }
        let views = rows_of("view")?.ok_or_else(|| refuse("has no tensor `view`".into()))?;
        check_views(path, &header, &pictures, &views)?;

        let features = rows_of("features")?;
        let (logits, probabilities) = (rows_of("logits")?, rows_of("probabilities")?);
        let classes = match (logits, probabilities) {
            (Some(_), Some(_)) => {
                return Err(refuse(
                    "holds both `logits` and `probabilities`; keep one".into(),
                ));
            }
            (Some(rows), None) => Some(ClassRows {
                rows,
                are_probabilities: false,
            }),
            (None, Some(rows)) => Some(ClassRows {
                rows,
                are_probabilities: true,
            }),
            (None, None) => None,
        };
        let classifier = read_classifier(&file, features.as_ref().map(Rows::size))?;
        check_classes(path, &header, classes.as_ref(), classifier.as_ref())?;
        if features.is_none() && classes.is_none() {
            return Err(refuse(
                "holds neither `features` nor `logits` nor `probabilities`".into(),
            ));
        }
        let bad_row = |name: &str, row: usize, what: &str| {
            let picture = &header.names[pictures[row] as usize];
            refuse(format!(
                "tensor `{name}`: row {row}, a view of {picture}, {what}"
            ))
        };
        if let Some(classes) = &classes {
            classes
                .check()
                .map_err(|(row, what)| bad_row(classes.name(), row, what))?;
        }
        let features = match features {
            None => None,
            Some(rows) => {
                let standard = statistics::standard(&rows)
                    .map_err(|row| bad_row("features", row, UNUSABLE))?;
                Some((rows, standard))
            }
        };
        let maps = match rows_of("maps")? {
            None => None,
            Some(rows) => {
                let dims = map_dims(&file)?;
                let standard =
                    statistics::standard(&rows).map_err(|row| bad_row("maps", row, UNUSABLE))?;
                check_scale(path, &standard)?;
                Some((MapRows { rows, dims }, standard))
            }
        };
        let (maps, map_standard) = maps.unzip();
        let standards = [
            features.as_ref().map(|(_, standard)| standard),
            map_standard.as_ref(),
        ];
        let digest = digest(&file, &views, &pictures, standards, classes.as_ref())?;
        Ok(TargetFile {
            path: path.to_path_buf(),
            header,
            pictures,
            views,
            features,
            classes,
            classifier,
            maps,
            digest,
        })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the number of views.
    pub fn len(&self) -> usize {
        self.pictures.len()
    }

    /// Returns whether there are no views; always false for a file that was opened.
    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// Returns the picture of a view, an index into the header's names.
    pub fn picture(&self, row: usize) -> usize {
        self.pictures[row] as usize
    }

    /// Returns the view of a row.
    ///
    /// # Errors
    /// Fails if there is no such row, or the file was changed since it was opened.
    pub fn view(&self, row: usize) -> Result<View> {
        let mut numbers = [0.0; 6];
        self.views.read(row, &mut numbers)?;
        View::from_numbers(numbers).map_err(|what| {
            Error::file(&self.path, format_args!("tensor `view`: row {row} {what}"))
        })
    }

    /// Returns the size of the teacher's features, if the file holds them.
    pub fn features(&self) -> Option<usize> {
        self.features.as_ref().map(|(rows, _)| rows.size())
    }

    /// Returns the number of classes, if the file holds classes or a classifier.
    pub fn classes(&self) -> Option<usize> {
        let own = self.classes.as_ref().map(|classes| classes.rows.size());
        own.or_else(|| self.classifier.as_ref().map(|c| c.bias.len()))
    }

    /// Returns whether the file holds classes for each view, rather than a classifier to compute them from features.
    pub fn has_class_rows(&self) -> bool {
        self.classes.is_some()
    }

    /// Returns mean and standard deviation of each feature over all views.
    pub fn standard(&self) -> Option<&Standard> {
        self.features.as_ref().map(|(_, standard)| standard)
    }

    /// Returns the teacher's last layer, if the file holds it.
    pub fn classifier(&self) -> Option<&Classifier> {
        self.classifier.as_ref()
    }

    /// Returns height, width and directions of the teacher's maps, if the file holds them.
    pub fn maps(&self) -> Option<[usize; 3]> {
        self.maps.as_ref().map(|maps| maps.dims)
    }

    /// Returns a digest of the header, the views, the statistics of the features and the maps, and the class targets, in
    /// hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Releases the file's mapped pages from this process's resident memory.
    pub fn release(&self) {
        self.views.release();
    }

    /// Reads the standardised features of a view into `out`.
    ///
    /// # Errors
    /// Fails if the file has none, or no such row.
    pub fn read_features(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let Some((rows, standard)) = &self.features else {
            return Err(Error::file(&self.path, "holds no features"));
        };
        rows.read(row, out)?;
        standard.apply(out);
        Ok(())
    }

    /// Reads the teacher's map of a view into `out`: `height * width * directions` numbers, see [`TargetFile::maps`].
    ///
    /// # Errors
    /// Fails if the file has none, or no such row.
    pub fn read_map(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let Some(maps) = &self.maps else {
            return Err(Error::file(&self.path, "holds no maps"));
        };
        maps.rows.read(row, out)
    }

    /// Reads the class logits of a view into `out`, up to a constant that is the same for all classes.
    ///
    /// # Errors
    /// Fails if the file has none, or no such row.
    pub fn read_logits(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let Some(classes) = &self.classes else {
            return Err(Error::file(&self.path, "holds no classes for its views"));
        };
        classes.rows.read(row, out)?;
        if classes.are_probabilities {
            out.iter_mut()
                .for_each(|p| *p = p.max(LEAST_PROBABILITY).ln());
        }
        Ok(())
    }
}

impl ClassRows {
    fn name(&self) -> &'static str {
        if self.are_probabilities {
            "probabilities"
        } else {
            "logits"
        }
    }

    /// Returns the first row that is not a valid row of classes, and its fault.
    fn check(&self) -> std::result::Result<(), (usize, &'static str)> {
        let problem = |row: &[f32]| -> Option<&'static str> {
            if !row.iter().all(|&x| statistics::is_usable(x)) {
                return Some(UNUSABLE);
            }
            if !self.are_probabilities {
                return None;
            }
            let sum: f64 = row.iter().map(|&p| f64::from(p)).sum();
            if row.iter().any(|&p| p < 0.0) || (sum - 1.0).abs() > SUM_TOLERANCE {
                return Some("holds no probabilities: they are negative, or do not add up to 1");
            }
            None
        };
        match statistics::first_problem(&self.rows, problem) {
            Some(found) => Err(found),
            None => Ok(()),
        }
    }
}

/// Returns height, width and directions of the tensor `maps`, which the file has.
fn map_dims(file: &WeightFile) -> Result<[usize; 3]> {
    let shape = file.raw("maps").map(|maps| maps.shape).unwrap_or_default();
    match *shape {
        [_, height, width, directions] => Ok([height, width, directions]),
        _ => {
            let what = format_args!("tensor `maps` is {shape:?}, not [V, H, W, M]");
            Err(Error::file(file.path(), what))
        }
    }
}

/// Refuses maps of another scale than the format says: their loss would drown the others, or be drowned by them.
fn check_scale(path: &Path, standard: &Standard) -> Result<()> {
    let columns = standard.mean.iter().zip(&standard.deviation);
    let squares = columns.map(|(m, d)| f64::from(*m).powi(2) + f64::from(*d).powi(2));
    let mean_square = squares.sum::<f64>() / standard.mean.len() as f64;
    if MAP_SQUARES.contains(&mean_square) {
        return Ok(());
    }
    let what = format_args!(
        "tensor `maps` has a mean square of {mean_square:.3}, but it must be about 1; write it with \
         tools/teacher_targets.py --maps"
    );
    Err(Error::file(path, what))
}

fn check_views(path: &Path, header: &Header, pictures: &[u32], views: &Rows) -> Result<()> {
    let names = header.names.len();
    if views.size() != 6 {
        let what = format_args!("tensor `view` has {} numbers a row, not 6", views.size());
        return Err(Error::file(path, what));
    }
    let mut numbers = [0.0; 6];
    for (row, &picture) in pictures.iter().enumerate() {
        if picture as usize >= names {
            let what = format_args!(
                "tensor `picture`: row {row} is picture {picture}, but there are {names} (from 0 on)"
            );
            return Err(Error::file(path, what));
        }
        views.read(row, &mut numbers)?;
        View::from_numbers(numbers).map_err(|what| {
            let name = &header.names[picture as usize];
            Error::file(
                path,
                format_args!("tensor `view`: row {row}, a view of {name}, {what}"),
            )
        })?;
    }
    Ok(())
}

fn read_classifier(file: &WeightFile, features: Option<usize>) -> Result<Option<Classifier>> {
    let names = ["classifier.weight", "classifier.bias"].map(String::from);
    let mut found = file.tensors(&names)?;
    let refuse = |what: String| Err(Error::file(file.path(), what));
    let (bias, weight) = match (found.pop().flatten(), found.pop().flatten()) {
        (None, None) => return Ok(None),
        (Some(bias), Some(weight)) => (bias, weight),
        _ => {
            let what = "holds one of `classifier.weight` and `classifier.bias` without the other";
            return refuse(what.into());
        }
    };
    let Some(size) = features else {
        return refuse("holds a classifier but no `features` that it could be applied to".into());
    };
    let fits = matches!(*weight.dims(), [k, d] if k > 0 && d == size && *bias.dims() == [k]);
    if !fits {
        return refuse(format!(
            "`classifier.weight` is {} and `classifier.bias` is {}, for features of {size} they must be [K, {size}] \
             and [K]",
            weight.shape(),
            bias.shape()
        ));
    }
    if weight
        .data()
        .iter()
        .chain(bias.data())
        .any(|&x| !statistics::is_usable(x))
    {
        return refuse(format!("its classifier {UNUSABLE}"));
    }
    Ok(Some(Classifier { weight, bias }))
}

fn check_classes(
    path: &Path,
    header: &Header,
    classes: Option<&ClassRows>,
    classifier: Option<&Classifier>,
) -> Result<()> {
    let own = classes.map(|classes| classes.rows.size());
    let following = classifier.map(|classifier| classifier.bias.len());
    if let (Some(own), Some(following)) = (own, following)
        && own != following
    {
        let what = format_args!("holds {own} classes a view, but its classifier has {following}");
        return Err(Error::file(path, what));
    }
    let (count, names) = (own.or(following), header.class_names.as_ref().map(Vec::len));
    match (count, names) {
        (_, None) => Ok(()),
        (Some(count), Some(names)) if count == names => Ok(()),
        (count, Some(names)) => {
            let count = count.unwrap_or(0);
            let what = format_args!("names {names} classes, but holds {count}");
            Err(Error::file(path, what))
        }
    }
}

/// Computes a digest of the header, the views with their pictures, the statistics of the features and the maps, and the class
/// targets.
fn digest(
    file: &WeightFile,
    views: &Rows,
    pictures: &[u32],
    standards: [Option<&Standard>; 2],
    classes: Option<&ClassRows>,
) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(file.metadata(METADATA_KEY)?.unwrap_or_default());
    hash.update(views.raw());
    for picture in pictures {
        hash.update(picture.to_le_bytes());
    }
    for standard in standards.into_iter().flatten() {
        for x in standard.mean.iter().chain(&standard.deviation) {
            hash.update(x.to_le_bytes());
        }
    }
    if let Some(classes) = classes {
        hash.update(classes.rows.raw());
        classes.rows.release();
    }
    Ok(crate::data::hex(&hash.finalize())[..DIGEST_DIGITS].to_string())
}
