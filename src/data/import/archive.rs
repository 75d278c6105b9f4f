//! An opened weight file of another program, whose tensors are read on demand.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::hdf5::{self, Hdf5};
use super::source::{Source, largest};
use super::torch::{self, TorchFile};
use super::zipped;
use crate::data::bytes::Bytes;
use crate::data::float::Float;
use crate::data::format::Format;
use crate::data::hex;
use crate::data::weights::{Entry, WeightFile};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// An opened weight file of any of these formats.
pub struct Archive {
    path: PathBuf,
    format: Format,
    bytes: Bytes,
    entries: Vec<Entry>,
    config: Option<serde_json::Value>,
    source: Source,
}

impl Archive {
    /// Opens the file at `path` and lists its tensors.
    ///
    /// # Errors
    /// If it cannot be read, is of another format, is damaged, or is malicious: a pickle that would start a program.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::of(path.to_path_buf(), Bytes::open(path, "a weight file")?)
    }

    /// Opens a file that is given as bytes; `name` stands for its path in messages.
    ///
    /// # Errors
    /// If it is of another format, is damaged, or is malicious: a pickle that would start a program.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        Self::of(PathBuf::from(name), bytes.into())
    }

    fn of(path: PathBuf, bytes: Bytes) -> Result<Self> {
        let refuse = |what: String| Error::file(&path, what);
        let (mut format, mut config) = (recognise(&path, bytes.as_ref())?, None);
        let source = match format {
            Format::Safetensors => {
                Source::Safetensors(WeightFile::checked(path.clone(), bytes.clone())?)
            }
            Format::TorchLegacy => Source::Torch(TorchFile::legacy(bytes.clone()).map_err(refuse)?),
            Format::KerasH5 => {
                let largest = largest(&bytes);
                Source::Hdf5(Hdf5::open(bytes.clone(), largest).map_err(refuse)?)
            }
            Format::TorchZip | Format::KerasZip => {
                let (source, of_model) = zipped::open(bytes.clone()).map_err(refuse)?;
                if matches!(source, Source::Hdf5(_)) {
                    format = Format::KerasZip;
                }
                config = of_model;
                source
            }
        };
        let entries = match &source {
            Source::Safetensors(file) => {
                let entries = file.entries()?;
                let entry = |e: &Entry| entry(&e.name, &e.shape, &e.dtype);
                entries.iter().map(entry).collect()
            }
            Source::Torch(file) => {
                let entry = |t: &torch::Described| entry(&t.name, &t.shape, t.element.name());
                file.tensors.iter().map(entry).collect()
            }
            Source::Hdf5(file) => {
                config = config.or_else(|| file.config.clone());
                let entry = |d: &hdf5::Described| {
                    entry(&d.name, &d.shape, d.float.map_or("no float", Float::name))
                };
                file.datasets.iter().map(entry).collect()
            }
        };
        Ok(Archive {
            path,
            format,
            bytes,
            entries,
            config,
            source,
        })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the size of the file in bytes.
    pub fn size(&self) -> usize {
        self.bytes.as_ref().len()
    }

    /// Returns the format of the file.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns the tensors in the file's own order and under its own names; both differ from format to format.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the model's configuration, if Keras stored one: layers by class, name and options.
    pub fn config(&self) -> Option<&serde_json::Value> {
        self.config.as_ref()
    }

    /// Returns the name of the layer that entry `index` is a variable of, if the file stores it apart from the entry's
    /// name.
    pub fn layer_name(&self, index: usize) -> Option<&str> {
        match &self.source {
            Source::Hdf5(file) => file.datasets.get(index)?.layer.as_deref(),
            _ => None,
        }
    }

    /// Returns the names of the Python classes and functions that the file refers to beside its tensors: a vocabulary,
    /// a loss, random states. None of these objects was created.
    pub fn passed_over(&self) -> &[String] {
        match &self.source {
            Source::Torch(file) => &file.passed_over,
            _ => &[],
        }
    }

    /// Returns the file as a weight file, if it is in the safetensors format.
    pub fn weights(&self) -> Option<&WeightFile> {
        match &self.source {
            Source::Safetensors(file) => Some(file),
            _ => None,
        }
    }

    /// Returns the SHA-256 of the whole file, 64 hexadecimal digits.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(self.bytes.as_ref()))
    }

    /// Reads the tensor of entry `index`, in `f32`.
    ///
    /// # Errors
    /// If its numbers are not floating-point, or fewer or more than its shape says.
    pub fn tensor(&mut self, index: usize) -> Result<Tensor> {
        let Entry { name, shape, .. } = &self.entries[index];
        let numbers = match &mut self.source {
            Source::Safetensors(file) => return file.tensor(name),
            Source::Torch(file) => file.read(index),
            Source::Hdf5(file) => file.read(index),
        };
        let numbers = numbers.map_err(|what| Error::file(&self.path, what))?;
        Tensor::from_vec(numbers, shape)
            .map_err(|e| Error::file(&self.path, format_args!("tensor `{name}`: {e}")))
    }
}

/// Returns a name without characters that control a terminal.
fn harmless(name: &str) -> String {
    match name.contains(char::is_control) {
        true => name.escape_debug().to_string(),
        false => name.to_string(),
    }
}

fn entry(name: &str, shape: &[usize], dtype: &str) -> Entry {
    Entry {
        name: harmless(name),
        shape: shape.to_vec(),
        dtype: dtype.to_string(),
    }
}

fn recognise(path: &Path, bytes: &[u8]) -> Result<Format> {
    Format::of(bytes).ok_or_else(|| {
        // The oldest PyTorch files were `tar` archives.
        let what = if bytes.get(257..262) == Some(b"ustar") {
            "is of PyTorch's format before 0.1.10; load and save it with a newer PyTorch first"
        } else {
            "is no weight file: neither safetensors nor PyTorch's nor Keras'"
        };
        Error::file(path, what)
    })
}
