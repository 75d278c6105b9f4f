//! Weight files: named tensors in the safetensors format.
//!
//! Reading maps the file into memory and checks its header before anything is allocated. Writing never leaves
//! half a file: the bytes go to a temporary file beside the target, are synced, and take the target's name in
//! one step, so that whatever goes wrong, what was there before is still there.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::bytes::Bytes;
use super::float::Float;
use super::import::Format;
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// How numbers are stored in a file. In memory they are always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits, exactly what is in memory.
    #[default]
    F32,
    /// 16 bits, 11 of them significant: half the size, rounded.
    F16,
    /// 16 bits, 8 of them significant, with the range of `f32`.
    Bf16,
}

impl Precision {
    pub(crate) fn float(self) -> Float {
        match self {
            Precision::F32 => Float::F32,
            Precision::F16 => Float::F16,
            Precision::Bf16 => Float::BF16,
        }
    }

    /// The numbers as they come back from a file that stores them so.
    pub(crate) fn round(self, numbers: &[f32]) -> Vec<f32> {
        self.float().decode(&self.float().encode(numbers))
    }

    /// The name, as it is written on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
        }
    }
}

/// An opened safetensors file.
pub struct WeightFile {
    path: PathBuf,
    bytes: Bytes,
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
        let file = WeightFile { path, bytes };
        file.parse()?;
        Ok(file)
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn parse(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(self.bytes.as_ref()).map_err(|e| {
            let is_foreign = Format::of(self.bytes.as_ref()).is_some_and(|f| f != Format::Safetensors);
            let what = match is_foreign {
                true => format!(
                    "is of PyTorch's or Keras' making; turn it into an encoder with `glimpse-convert {} \
                     OUTPUT.safetensors`",
                    self.path.display()
                ),
                false => format!("is not a whole safetensors file ({e}); get it again"),
            };
            Error::file(&self.path, what)
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text under `key` in the file's metadata.
    ///
    /// # Errors
    /// Where the header makes no sense.
    pub fn metadata(&self, key: &str) -> Result<Option<String>> {
        let (_, meta) = SafeTensors::read_metadata(self.bytes.as_ref())
            .map_err(|e| Error::file(&self.path, format_args!("has a broken header: {e}")))?;
        Ok(meta.metadata().as_ref().and_then(|m| m.get(key).cloned()))
    }

    /// Everything that is in the file, sorted by name.
    ///
    /// # Errors
    /// Where the header makes no sense.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = self
            .parse()?
            .iter()
            .map(|(name, view)| Entry {
                name: name.to_string(),
                shape: view.shape().to_vec(),
                dtype: format!("{:?}", view.dtype()),
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The tensors called `names`, in `f32`; `None` for each that is not there.
    ///
    /// # Errors
    /// Where one holds integers or another type that is no floating-point number.
    pub fn tensors(&self, names: &[String]) -> Result<Vec<Option<Tensor>>> {
        let file = self.parse()?;
        names
            .iter()
            .map(|name| match file.tensor(name) {
                Ok(view) => self.convert(name, &view).map(Some),
                Err(_) => Ok(None),
            })
            .collect()
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// Where it is not there; otherwise as [`WeightFile::tensors`].
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let found = self.tensors(&[name.to_string()])?.pop().flatten();
        found.ok_or_else(|| Error::file(&self.path, format_args!("has no tensor `{name}`")))
    }

    /// The type of a tensor's numbers.
    ///
    /// # Errors
    /// Where they are no floating-point numbers.
    pub(super) fn float(&self, name: &str, view: &TensorView) -> Result<Float> {
        match view.dtype() {
            Dtype::F64 => Ok(Float::F64),
            Dtype::F32 => Ok(Float::F32),
            Dtype::F16 => Ok(Float::F16),
            Dtype::BF16 => Ok(Float::BF16),
            other => Err(Error::file(
                &self.path,
                format_args!("tensor `{name}` holds {other:?}, not floating-point numbers"),
            )),
        }
    }

    fn convert(&self, name: &str, view: &TensorView) -> Result<Tensor> {
        let float = self.float(name, view)?;
        Tensor::from_vec(float.decode(view.data()), view.shape())
            .map_err(|e| Error::file(&self.path, format_args!("tensor `{name}`: {e}")))
    }
}

/// Writes named tensors and metadata to `path`, atomically.
///
/// # Errors
/// Where the file cannot be written (no such folder, no permission, no space); what was at `path` before is
/// then still there.
pub fn write_weights(
    path: &Path,
    tensors: &[(String, Tensor)],
    precision: Precision,
    metadata: HashMap<String, String>,
) -> Result<()> {
    let here = tensors.iter().map(|(_, t)| t.to(&Device::Cpu));
    let here: Vec<Tensor> = here.collect::<Result<_>>()?;
    let bytes: Vec<Vec<u8>> = here
        .iter()
        .map(|t| precision.float().encode(t.data()))
        .collect();
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::F16 => Dtype::F16,
        Precision::Bf16 => Dtype::BF16,
    };
    let views = tensors.iter().zip(&bytes).map(|((name, t), bytes)| {
        TensorView::new(dtype, t.dims().to_vec(), bytes)
            .map(|view| (name.clone(), view))
            .map_err(|e| Error::file(path, format_args!("tensor `{name}` cannot be stored: {e}")))
    });
    let views: Vec<_> = views.collect::<Result<_>>()?;
    // One metadata entry at most keeps the bytes the same from run to run: the format's map has no order.
    let file = safetensors::serialize(views, Some(metadata))
        .map_err(|e| Error::file(path, format_args!("cannot be stored: {e}")))?;
    write_atomically(path, &file)
}

/// Replaces the file at `path` by one with these bytes, or leaves it as it is.
///
/// # Errors
/// As [`write_weights`].
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |e: std::io::Error| {
        Error::file(
            path,
            format_args!("cannot be written: {e}; what was there before is untouched"),
        )
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".glimpse-").suffix(".partial");
    // Those that any program gives a new file; a temporary file's own would keep others from reading a model.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(fail)?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    // The new name must survive a power failure too; where a folder cannot be synced, nothing is lost but that.
    #[cfg(unix)]
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<(String, Tensor)> {
        vec![
            (
                "a".into(),
                Tensor::from_vec(vec![1.0, -2.5, 3.25], &[3]).unwrap(),
            ),
            (
                "b.weight".into(),
                Tensor::from_vec(vec![0.5; 4], &[2, 2]).unwrap(),
            ),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
            let meta = HashMap::from([("key".to_string(), "text".to_string())]);
            write_weights(&path, &sample(), precision, meta).unwrap();
            let file = WeightFile::open(&path).unwrap();
            assert_eq!(file.tensor("a").unwrap().data(), &[1.0, -2.5, 3.25]);
            assert_eq!(file.tensor("b.weight").unwrap().dims(), &[2, 2]);
            assert_eq!(file.metadata("key").unwrap().as_deref(), Some("text"));
            assert_eq!(file.metadata("other").unwrap(), None);
            assert!(file.tensor("c").is_err());
        }
        assert_eq!(
            std::fs::read_dir(&dir).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        std::fs::create_dir_all(path.join("inside")).unwrap();
        let message = write_atomically(&path, b"new").unwrap_err().to_string();
        assert!(message.contains("untouched"), "{message}");
        assert!(path.join("inside").is_dir());
        assert_eq!(
            std::fs::read_dir(&dir).unwrap().count(),
            1,
            "no temporary file is left"
        );
        assert!(write_atomically(&dir.path().join("no/such/folder"), b"x").is_err());
    }

    #[test]
    fn any_broken_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        write_weights(&path, &sample(), Precision::F32, HashMap::new()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut state = 7u64;
        for round in 0..4000usize {
            let mut bytes = whole.clone();
            if round % 2 == 0 {
                bytes.truncate(round / 2 % whole.len());
            } else {
                for _ in 0..3 {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let at = (state >> 33) as usize % bytes.len();
                    bytes[at] = (state >> 17) as u8;
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            // Whatever it says, it says it without a panic.
            if let Ok(file) = WeightFile::open(&path) {
                let _ = file.entries();
                let _ = file.tensor("a");
                let _ = file.metadata("key");
            } else if round % 2 == 0 {
                let message = WeightFile::open(&path).err().unwrap().to_string();
                assert!(!message.contains('\n'), "{message}");
            }
        }
    }
}
