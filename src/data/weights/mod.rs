//! Weight files: named tensors in the safetensors format.
//!
//! Reading checks the header before anything is allocated for the tensors. A tensor's checksum, if the file has
//! checksums, is verified while the tensor is decoded; see `checksums.rs`. Files of up to 64 MiB are read; larger ones
//! are mapped into memory. Writing never leaves half a file: the bytes go to a temporary file beside the target, are
//! synced, and take the target's name in one atomic step. If anything fails, the previous file is unchanged.
//!
//! # 8-bit matrices
//!
//! The format has 8-bit integers, but no scales. A tensor `NAME` of type `I8` is read as floating-point numbers if the
//! file also holds `NAME.scale`, of type `F32` or `F16` and shape `[rows]`: element `i` of row `r` (an index of the
//! first axis) is the integer times `NAME.scale[r]`. Scales are finite and not negative. They are a part of `NAME`'s
//! encoding: [`WeightFile::entries`] lists only `NAME`. [`NumberFormat::I8`] writes tensors of two and more axes in this
//! form; `quantised.rs` describes how the scales are chosen.

pub(crate) mod checksums;
mod decode;
mod quantised;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use safetensors::{SafeTensorError, SafeTensors};

use super::bytes::Bytes;
use super::float::Float;
use super::format::Format;
use crate::error::{self, Error, Result};
use crate::tensor::Tensor;

pub use write::write_weights;

/// The number format in a file. In memory numbers are always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberFormat {
    /// 32 bits, exactly as in memory.
    #[default]
    F32,
    /// 16 bits, 11 of them significant: half the size, rounded.
    F16,
    /// 16 bits, 8 of them significant, with the range of `f32`.
    Bf16,
    /// Tensors of two and more axes as 8-bit integers with a scale for each row, a quarter of the size; the others as
    /// `F16`, or as `F32` if a number is beyond the range of `F16`.
    I8,
}

impl NumberFormat {
    /// All formats.
    pub const ALL: [NumberFormat; 4] = [
        NumberFormat::F32,
        NumberFormat::F16,
        NumberFormat::Bf16,
        NumberFormat::I8,
    ];

    /// Returns the name that the command line and files use.
    pub fn name(self) -> &'static str {
        match self {
            NumberFormat::F32 => "f32",
            NumberFormat::F16 => "f16",
            NumberFormat::Bf16 => "bf16",
            NumberFormat::I8 => "i8",
        }
    }
}

/// The suffix that turns the name of a quantised tensor into that of its scales.
const SCALE: &str = ".scale";

/// Bytes of a mapped file that a full verification reads before it releases their memory.
const RESIDENT: usize = 64 << 20;

/// An opened safetensors file.
pub struct WeightFile {
    path: PathBuf,
    bytes: Bytes,
    header: Metadata,
    /// The start of the tensors in `bytes`.
    data: usize,
    /// The checksums of the tensors, if the file has any.
    sums: Option<HashMap<String, u32>>,
}

/// The description of a tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its type, as the format names it.
    pub dtype: String,
}

/// A tensor that was read, and whether all of its elements are finite.
pub(crate) struct Loaded {
    pub(crate) tensor: Tensor,
    pub(crate) is_finite: bool,
}

/// A tensor as stored in the file.
pub(crate) struct Raw<'a> {
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'a [usize],
    pub(crate) bytes: &'a [u8],
}

/// Explains what is wrong with the header of a file.
fn fault(error: &SafeTensorError) -> &'static str {
    match error {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::HeaderTooLarge
        | SafeTensorError::InvalidHeaderLength => {
            "its header does not have the length that it says"
        }
        SafeTensorError::InvalidHeader(_) | SafeTensorError::InvalidHeaderDeserialization(_) => {
            "its header is not JSON of that format"
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
    /// If it cannot be read, or its header is malformed or does not match its checksum.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = Bytes::open(path, "a safetensors file")?;
        Self::checked(path.to_path_buf(), bytes)
    }

    /// Opens a file that is part of the program; `name` stands for its path in messages.
    ///
    /// # Errors
    /// If its header is malformed or does not match its checksum.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::checked(PathBuf::from(name), Bytes::Static(bytes))
    }

    pub(super) fn checked(path: PathBuf, bytes: Bytes) -> Result<Self> {
        let all = bytes.as_ref();
        let (length, header) = SafeTensors::read_metadata(all).map_err(|e| {
            // A damaged length may look like another format, but the header's text after it does not.
            let is_foreign = all.get(8) != Some(&b'{')
                && Format::of(all).is_some_and(|f| f != Format::Safetensors);
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
        let sums =
            checksums::read(&all[..data], &header).map_err(|what| Error::file(&path, what))?;
        Ok(WeightFile {
            path,
            bytes,
            header,
            data,
            sums,
        })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file has checksums of its tensors. Files of other programs and of older versions have none.
    pub fn has_checksums(&self) -> bool {
        self.sums.is_some()
    }

    /// Returns the tensors, in the order of their bytes, that do not match their checksums. Reads the whole file, on
    /// all threads. Empty if the file has no checksums.
    pub fn damaged(&self) -> Vec<String> {
        let Some(sums) = &self.sums else {
            return Vec::new();
        };
        let names = self.header.offset_keys();
        let infos = names.iter().filter_map(|name| self.header.info(name));
        let all: Vec<&[u8]> = infos.map(|info| self.slice(info)).collect();
        let found = checksums::of_each(&all, RESIDENT, &|| self.release());
        let pairs = names.into_iter().zip(found);
        let damaged = pairs.filter(|(name, sum)| sums.get(name) != Some(sum));
        damaged.map(|(name, _)| name).collect()
    }

    /// Verifies the checksums of all tensors. [`WeightFile::tensors`] verifies those of the tensors that it returns.
    ///
    /// # Errors
    /// If a tensor does not match its checksum; the message names the first.
    pub fn verify(&self) -> Result<()> {
        match self.damaged().first() {
            Some(name) => Err(self.mismatch(name)),
            None => Ok(()),
        }
    }

    /// Verifies the checksum of one tensor.
    pub(super) fn verify_tensor(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let wanted = self.sums.as_ref().and_then(|sums| sums.get(name));
        match wanted.is_none_or(|&sum| sum == checksums::of(bytes)) {
            true => Ok(()),
            false => Err(self.mismatch(name)),
        }
    }

    fn mismatch(&self, tensor: &str) -> Error {
        let what = match &self.bytes {
            Bytes::Static(_) => "the program's file was damaged; install Glimpse again",
            _ => checksums::DAMAGED,
        };
        self.refuse(tensor, format_args!("does not match its checksum: {what}"))
    }

    /// Returns the text under `key` in the file's metadata.
    ///
    /// # Errors
    /// None; the header was checked when the file was opened.
    pub fn metadata(&self, key: &str) -> Result<Option<String>> {
        let all = self.header.metadata().as_ref();
        Ok(all.and_then(|all| all.get(key).cloned()))
    }

    /// Lists all tensors in the file, sorted by name. The scales of quantised tensors are not listed.
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

    /// Reads the tensors `names`, in `f32`; `None` for each that does not exist.
    ///
    /// # Errors
    /// If a tensor does not match its checksum, holds integers without scales or another type that is not
    /// floating-point, or if its scales do not fit.
    pub fn tensors(&self, names: &[String]) -> Result<Vec<Option<Tensor>>> {
        let loaded = self.load(names)?.into_iter();
        Ok(loaded.map(|l| l.map(|l| l.tensor)).collect())
    }

    /// Reads the tensor `name`.
    ///
    /// # Errors
    /// If it does not exist, and in the cases of [`WeightFile::tensors`].
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let found = self.tensors(&[name.to_string()])?.pop().flatten();
        found.ok_or_else(|| Error::file(&self.path, format_args!("has no tensor `{name}`")))
    }

    /// Returns the tensor `name` as stored in the file; its checksum is not verified.
    pub(crate) fn raw(&self, name: &str) -> Option<Raw<'_>> {
        let info = self.header.info(name)?;
        Some(Raw {
            dtype: info.dtype,
            shape: &info.shape,
            bytes: self.slice(info),
        })
    }

    /// Returns all bytes of the file.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Releases the memory that holds parts of the file; the system reads them again when they are needed.
    pub(crate) fn release(&self) {
        self.bytes.release();
    }

    /// Returns the bytes of the tensor that `info` describes.
    fn slice(&self, info: &TensorInfo) -> &[u8] {
        let (start, end) = info.data_offsets;
        // The header was checked against the size of the file.
        &self.bytes.as_ref()[self.data + start..self.data + end]
    }

    fn refuse(&self, tensor: &str, what: std::fmt::Arguments) -> Error {
        Error::file(&self.path, format_args!("tensor `{tensor}` {what}"))
    }
}

/// Returns the floating-point format that `dtype` names; `None` if it is another type or cannot be read.
pub(super) fn float(dtype: Dtype) -> Option<Float> {
    match dtype {
        Dtype::F64 => Some(Float::F64),
        Dtype::F32 => Some(Float::F32),
        Dtype::F16 => Some(Float::F16),
        Dtype::BF16 => Some(Float::BF16),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
