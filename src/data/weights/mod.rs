//! Weight files: named tensors in the safetensors format.
//!
//! Reading maps the file into memory and checks its header before anything is allocated. Writing never leaves
//! half a file: the bytes go to a temporary file beside the target, are synced, and take the target's name in
//! one step, so that whatever goes wrong, what was there before is still there.
//!
//! # 8-bit matrices
//!
//! The format knows 8-bit integers but no scales. A tensor `NAME` of type `I8` is read as floating-point numbers where
//! the file also holds `NAME.scale`, of type `F32` or `F16` and shape `[rows]`: element `i` of row `r` (an index of the
//! first axis) is the integer times `NAME.scale[r]`. Scales are finite and not negative. They are a part of `NAME`'s
//! encoding: [`WeightFile::entries`] lists `NAME` alone. [`Precision::I8`] writes tensors of two and more axes so; see
//! `quantised.rs` for how the scales are chosen.

mod quantised;
mod write;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use safetensors::{SafeTensorError, SafeTensors};

use super::bytes::Bytes;
use super::float::Float;
use super::import::Format;
use crate::cpu::{Isa, formats, memory, threads};
use crate::error::{self, Error, Result};
use crate::tensor::Tensor;

pub use write::write_weights;

/// How numbers are stored in a file. In memory they are always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits, exactly as in memory.
    #[default]
    F32,
    /// 16 bits, 11 of them significant: half the size, rounded.
    F16,
    /// 16 bits, 8 of them significant, with the range of `f32`.
    Bf16,
    /// Tensors of two and more axes as 8-bit integers with a scale for each row, a quarter of the size; the others as
    /// `F16`, or as `F32` where a number is beyond the range of that.
    I8,
}

impl Precision {
    /// All of them.
    pub const ALL: [Precision; 4] = [
        Precision::F32,
        Precision::F16,
        Precision::Bf16,
        Precision::I8,
    ];

    /// The name, as it is written on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::I8 => "i8",
        }
    }
}

/// The suffix that turns the name of a quantised tensor into that of its scales.
const SCALE: &str = ".scale";

/// Numbers that one task decodes: 256 KiB as `f32`, which are still in the cache when they are checked.
const PIECE: usize = 1 << 16;

/// An opened safetensors file.
pub struct WeightFile {
    path: PathBuf,
    bytes: Bytes,
    header: Metadata,
    /// Where in `bytes` the tensors begin.
    data: usize,
}

/// What a file says of one of its tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its type, as the format spells it.
    pub dtype: String,
}

/// A tensor that was read, and whether all its elements are finite numbers.
pub(crate) struct Loaded {
    pub(crate) tensor: Tensor,
    pub(crate) is_finite: bool,
}

/// A tensor as it lies in the file.
pub(crate) struct Raw<'a> {
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'a [usize],
    pub(crate) bytes: &'a [u8],
}

/// The bytes of a tensor, and how they stand for numbers.
enum Stored<'a> {
    Floats(Float, &'a [u8]),
    Rows { numbers: &'a [u8], scales: Vec<f32> },
}

/// A part of a tensor that one task decodes.
struct Piece<'a> {
    from: Stored<'a>,
    to: &'a mut [f32],
    tensor: usize,
}

/// What is wrong with the header of a file.
fn fault(error: &SafeTensorError) -> &'static str {
    match error {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::HeaderTooLarge
        | SafeTensorError::InvalidHeaderLength => {
            "its header does not have the length that it says"
        }
        SafeTensorError::InvalidHeader(_) | SafeTensorError::InvalidHeaderDeserialization(_) => {
            "its header is no JSON of that format"
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            "it has fewer or more bytes than its header says"
        }
        _ => "its header contradicts itself",
    }
}

impl WeightFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// Where it cannot be read or its header makes no sense.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = Bytes::map(path, "a safetensors file")?;
        Self::checked(path.to_path_buf(), bytes)
    }

    /// A file that is part of the program; `name` stands for its path in messages.
    ///
    /// # Errors
    /// Where its header makes no sense.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::checked(PathBuf::from(name), Bytes::Static(bytes))
    }

    pub(super) fn checked(path: PathBuf, bytes: Bytes) -> Result<Self> {
        let all = bytes.as_ref();
        let (length, header) = SafeTensors::read_metadata(all).map_err(|e| {
            let is_foreign = Format::of(all).is_some_and(|f| f != Format::Safetensors);
            let what = match is_foreign {
                true => format!(
                    "is of PyTorch's or Keras' making; turn it into an encoder with `glimpse-convert {} \
                     OUTPUT.safetensors`",
                    error::name(&path)
                ),
                false => format!("is not a whole safetensors file: {}; get it again", fault(&e)),
            };
            Error::file(&path, what)
        })?;
        // The header is preceded by its length, 8 bytes.
        let data = 8 + length;
        Ok(WeightFile {
            path,
            bytes,
            header,
            data,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text under `key` in the file's metadata.
    ///
    /// # Errors
    /// None; the header was checked when the file was opened.
    pub fn metadata(&self, key: &str) -> Result<Option<String>> {
        let all = self.header.metadata().as_ref();
        Ok(all.and_then(|all| all.get(key).cloned()))
    }

    /// Everything that is in the file, sorted by name. The scales of quantised tensors are not tensors of their own.
    ///
    /// # Errors
    /// None; the header was checked when the file was opened.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let all = self.header.tensors();
        let is_scale = |name: &str| {
            let of = name.strip_suffix(SCALE).and_then(|of| all.get(of));
            of.is_some_and(|info| info.dtype == Dtype::I8)
        };
        let named = all.iter().filter(|(name, _)| !is_scale(name));
        let mut entries: Vec<Entry> = named
            .map(|(name, info)| Entry {
                name: name.clone(),
                shape: info.shape.clone(),
                dtype: format!("{:?}", info.dtype),
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The tensors called `names`, in `f32`; `None` for each that is not there.
    ///
    /// # Errors
    /// Where one holds integers without scales or another type that is no floating-point number, or where its scales
    /// do not fit.
    pub fn tensors(&self, names: &[String]) -> Result<Vec<Option<Tensor>>> {
        let loaded = self.load(names)?.into_iter();
        Ok(loaded.map(|l| l.map(|l| l.tensor)).collect())
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// Where it is not there; otherwise as [`WeightFile::tensors`].
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let found = self.tensors(&[name.to_string()])?.pop().flatten();
        found.ok_or_else(|| Error::file(&self.path, format_args!("has no tensor `{name}`")))
    }

    /// The tensors called `names` as in [`WeightFile::tensors`], decoded and checked by all threads together.
    pub(crate) fn load(&self, names: &[String]) -> Result<Vec<Option<Loaded>>> {
        let infos = names.iter().map(|name| self.header.info(name));
        let infos: Vec<Option<&TensorInfo>> = infos.collect();
        let lens = infos.iter().map(|i| i.map_or(0, |i| len(&i.shape)));
        let mut buffers: Vec<Vec<f32>> = lens.map(memory::unset).collect();
        let mut pieces = Vec::new();
        for (tensor, buffer) in buffers.iter_mut().enumerate() {
            if let Some(info) = infos[tensor] {
                let stored = self.stored(&names[tensor], info)?;
                cut(tensor, &stored, buffer, &mut pieces);
            }
        }
        let finite: Vec<AtomicBool> = names.iter().map(|_| AtomicBool::new(true)).collect();
        let isa = Isa::current();
        threads::for_each_chunk(&mut pieces, 1, |_, pieces| {
            for piece in pieces {
                if !piece.decode(isa) {
                    finite[piece.tensor].store(false, Ordering::Relaxed);
                }
            }
        });
        let loaded = infos.iter().zip(buffers).zip(&finite);
        let loaded = loaded.map(|((info, buffer), finite)| {
            let Some(info) = info else { return Ok(None) };
            let tensor = Tensor::from_vec(buffer, &info.shape)?;
            let is_finite = finite.load(Ordering::Relaxed);
            Ok(Some(Loaded { tensor, is_finite }))
        });
        loaded.collect()
    }

    /// The tensor called `name` as it lies in the file.
    pub(crate) fn raw(&self, name: &str) -> Option<Raw<'_>> {
        let info = self.header.info(name)?;
        Some(Raw {
            dtype: info.dtype,
            shape: &info.shape,
            bytes: self.slice(info),
        })
    }

    /// All bytes of the file.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Gives the memory that holds parts of the file back to the system, which reads them again when they are needed.
    pub(crate) fn release(&self) {
        self.bytes.release();
    }

    /// The bytes of the tensor that `info` speaks of.
    fn slice(&self, info: &TensorInfo) -> &[u8] {
        let (start, end) = info.data_offsets;
        // The header was checked against the size of the file.
        &self.bytes.as_ref()[self.data + start..self.data + end]
    }

    fn stored(&self, name: &str, info: &TensorInfo) -> Result<Stored<'_>> {
        let bytes = self.slice(info);
        match float(info.dtype) {
            Some(float) => Ok(Stored::Floats(float, bytes)),
            None if info.dtype == Dtype::I8 => Ok(Stored::Rows {
                numbers: bytes,
                scales: self.scales(name, info)?,
            }),
            None => Err(self.refuse(
                name,
                format_args!("holds {:?}, not floating-point numbers", info.dtype),
            )),
        }
    }

    /// The scales of the quantised tensor `name`.
    fn scales(&self, name: &str, info: &TensorInfo) -> Result<Vec<f32>> {
        let scale = format!("{name}{SCALE}");
        let Some(found) = self.header.info(&scale) else {
            return Err(self.refuse(
                name,
                format_args!("holds I8, not floating-point numbers, and there is no `{scale}`"),
            ));
        };
        let rows = info.shape.first().copied();
        if rows.is_none() || found.shape.len() != 1 || found.shape.first().copied() != rows {
            let (shape, of) = (&found.shape, &info.shape);
            return Err(self.refuse(
                &scale,
                format_args!("is {shape:?}; `{name}` {of:?} needs a scale for each row"),
            ));
        }
        let float = match found.dtype {
            Dtype::F32 => Float::F32,
            Dtype::F16 => Float::F16,
            other => {
                return Err(self.refuse(
                    &scale,
                    format_args!("holds {other:?}; scales are F32 or F16"),
                ));
            }
        };
        let scales = float.decode(self.slice(found));
        match scales.iter().position(|&s| !quantised::is_scale(s)) {
            None => Ok(scales),
            Some(row) => {
                let what = format_args!("is {} at row {row}; no scale is", scales[row]);
                Err(self.refuse(&scale, what))
            }
        }
    }

    fn refuse(&self, tensor: &str, what: std::fmt::Arguments) -> Error {
        Error::file(&self.path, format_args!("tensor `{tensor}` {what}"))
    }
}

/// The type that the format calls `dtype`, where it is a floating-point number that can be read.
pub(super) fn float(dtype: Dtype) -> Option<Float> {
    match dtype {
        Dtype::F64 => Some(Float::F64),
        Dtype::F32 => Some(Float::F32),
        Dtype::F16 => Some(Float::F16),
        Dtype::BF16 => Some(Float::BF16),
        _ => None,
    }
}

/// Elements of a shape in a header that was checked, whose product fits.
fn len(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Cuts a tensor into parts that one task each decodes.
fn cut<'a>(tensor: usize, stored: &Stored<'a>, mut to: &'a mut [f32], pieces: &mut Vec<Piece<'a>>) {
    let row = match stored {
        Stored::Floats(..) => 1,
        Stored::Rows { scales, .. } => (to.len() / scales.len().max(1)).max(1),
    };
    let rows = PIECE.div_ceil(row);
    let mut first = 0;
    while !to.is_empty() {
        let (head, tail) = to.split_at_mut(to.len().min(rows * row));
        let here = first * row..first * row + head.len();
        let from = match stored {
            Stored::Floats(float, bytes) => {
                let size = float.size();
                Stored::Floats(*float, &bytes[here.start * size..here.end * size])
            }
            Stored::Rows { numbers, scales } => Stored::Rows {
                numbers: &numbers[here],
                scales: scales[first..scales.len().min(first + rows)].to_vec(),
            },
        };
        pieces.push(Piece {
            from,
            to: head,
            tensor,
        });
        (to, first) = (tail, first + rows);
    }
}

impl Piece<'_> {
    /// Writes the numbers and returns whether they are finite.
    fn decode(&mut self, isa: Isa) -> bool {
        match &self.from {
            Stored::Floats(float, bytes) => {
                float.decode_into(bytes, self.to);
                formats::all_finite(isa, self.to)
            }
            // Scales are such that all products are.
            Stored::Rows { numbers, scales } => {
                quantised::dequantise(isa, numbers, scales, self.to);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
