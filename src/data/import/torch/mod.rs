//! Reads the files of `torch.save`: a pickle that describes the tensors, and their numbers beside it.
//!
//! Since PyTorch 1.6 such a file is a zip archive: `NAME/data.pkl` and `NAME/data/0`, `NAME/data/1`, … Before, and in
//! the files that torchvision publishes, it is a sequence of pickles (a magic number, a version, the sizes of C's
//! types, the object, the names of its storages), followed by each storage after its length.
//!
//! In both formats a tensor is a view of a storage: `_rebuild_tensor_v2(storage, offset, size, stride)`.

mod listed;

use std::collections::HashMap;
use std::io::Cursor;

use zip::ZipArchive;

pub(super) use self::listed::Described;
use self::listed::{Element, Global, passed_over, read, storages, tensors};
use super::pickle::{self, Pickle, Printable, Value};
use super::unzip::read_entry;
use crate::data::bytes::Bytes;

/// The magic number at the beginning of files before 1.6, `0x1950a86a20f9469cfc6c`.
const MAGIC: &[u8] = b"l\xfc\x9cF\xf9 j\xa8P\x19";

/// A file of `torch.save`.
pub(super) struct TorchFile {
    pub(super) tensors: Vec<Described>,
    /// The classes of the other objects in the file. None of these objects was made.
    pub(super) passed_over: Vec<String>,
    container: Container,
    /// Size in bytes of the largest storage that is read.
    largest: usize,
    /// The storage that was read last, since several tensors may share one.
    last: Option<(String, Vec<u8>)>,
}

enum Container {
    /// The archive, and the folder in it that contains everything.
    Zip(Box<ZipArchive<Cursor<Bytes>>>, String),
    /// The file, and the range of bytes of each storage in it.
    Legacy(Bytes, HashMap<String, (usize, usize)>),
}

impl TorchFile {
    /// Opens a zip archive that contains `FOLDER/data.pkl`; no storage of more than `largest` bytes is read.
    pub(super) fn zip(
        mut archive: ZipArchive<Cursor<Bytes>>,
        folder: String,
        largest: usize,
    ) -> Result<Self, String> {
        if let Some(order) = read_entry(&mut archive, &format!("{folder}byteorder"), 64)?
            && order != b"little"
        {
            return Err("was written on a big-endian machine, which is not supported".into());
        }
        let name = format!("{folder}data.pkl");
        let bytes = read_entry(&mut archive, &name, largest.min(pickle::LARGEST))?
            .ok_or_else(|| format!("has no `{name}`"))?;
        let pickle = read(&bytes)?;
        Ok(TorchFile {
            tensors: tensors(&pickle)?,
            passed_over: passed_over(&pickle),
            container: Container::Zip(Box::new(archive), folder),
            largest,
            last: None,
        })
    }

    /// Opens a sequence of pickles that is followed by the storages.
    pub(super) fn legacy(file: Bytes) -> Result<Self, String> {
        let bytes = file.as_ref();
        let mut at = 0;
        let mut next = || {
            let pickle = read(bytes.get(at..).unwrap_or_default())?;
            at += pickle.length;
            Ok::<_, String>(pickle)
        };
        // A pickle of any kind is refused first for harmful names.
        let magic = next()?;
        if magic.get(magic.root()) != &Value::Long(MAGIC.to_vec()) {
            return Err(
                "is a pickle, but none of `torch.save`; save the model's `state_dict()` with that"
                    .into(),
            );
        }
        let version = next()?;
        if version.get(version.root()) != &Value::Int(1001) {
            return Err("is of an unknown version of PyTorch's old format".into());
        }
        let system = next()?;
        if is_big_endian(&system) {
            return Err("was written on a big-endian machine, which is not supported".into());
        }
        let object = next()?;
        let tensors = tensors(&object)?;
        if tensors.is_empty() {
            // The names in the pickle show what the file is instead; its storages do not matter.
            return Ok(TorchFile {
                tensors,
                passed_over: passed_over(&object),
                largest: 0,
                container: Container::Legacy(file, HashMap::new()),
                last: None,
            });
        }
        let keys = next()?;
        let stored = storages(&object)?;
        let places = legacy_places(bytes, at, &keys, &stored)?;
        Ok(TorchFile {
            tensors,
            passed_over: passed_over(&object),
            largest: file.as_ref().len(),
            container: Container::Legacy(file, places),
            last: None,
        })
    }

    /// Reads the numbers of tensor `index`, in the order of its shape.
    pub(super) fn read(&mut self, index: usize) -> Result<Vec<f32>, String> {
        let tensor = &self.tensors[index];
        let Element::Float(float) = tensor.element else {
            return Err(format!(
                "tensor `{}` holds {}, not floating-point numbers",
                Printable(&tensor.name),
                tensor.element.name()
            ));
        };
        let wanted = tensor.stored.checked_mul(float.size());
        let wanted = wanted.filter(|&w| w <= self.largest).ok_or_else(|| {
            format!(
                "says that a storage holds {} numbers, more than a file of its size can",
                tensor.stored
            )
        })?;
        let bytes: &[u8] = match &mut self.container {
            Container::Legacy(file, places) => {
                let &(start, length) = places.get(&tensor.storage).ok_or_else(|| {
                    format!("storage `{}` is missing", Printable(&tensor.storage))
                })?;
                &(*file).as_ref()[start..start + length]
            }
            Container::Zip(archive, folder) => {
                let is_last = self
                    .last
                    .as_ref()
                    .is_some_and(|(key, _)| *key == tensor.storage);
                if !is_last {
                    let name = format!("{folder}data/{}", tensor.storage);
                    self.last = None;
                    let bytes = read_entry(archive, &name, wanted)?
                        .ok_or_else(|| format!("storage `{}` is missing", Printable(&name)))?;
                    self.last = Some((tensor.storage.clone(), bytes));
                }
                let last = self.last.as_ref();
                last.map(|(_, bytes)| &bytes[..]).unwrap_or_default()
            }
        };
        // Two tensors may contradict each other about the storage that they share.
        if bytes.len() != wanted {
            return Err(format!(
                "storage `{}` has {} bytes where its tensors need {wanted}",
                Printable(&tensor.storage),
                bytes.len()
            ));
        }
        Ok(tensor.window(bytes, float))
    }
}

/// Whether the file says that a big-endian system wrote it.
fn is_big_endian(system: &Pickle<Global>) -> bool {
    let Value::Dict(pairs) = system.get(system.root()) else {
        return false;
    };
    pairs.iter().any(|&(key, value)| {
        system.text(key) == Some("little_endian") && system.get(value) == &Value::Bool(false)
    })
}

/// Returns the ranges of bytes of the storages named in the list `keys`, which follow each other from `at` on.
fn legacy_places(
    bytes: &[u8],
    mut at: usize,
    keys: &Pickle<Global>,
    stored: &HashMap<String, (Element, usize)>,
) -> Result<HashMap<String, (usize, usize)>, String> {
    let mut places = HashMap::new();
    let keys_list = keys
        .items(keys.root())
        .ok_or("has no list of storages after its pickle")?;
    for &key in keys_list {
        let key = keys
            .text(key)
            .ok_or("names a storage by something that is not text")?;
        let &(element, count) = stored
            .get(key)
            .ok_or_else(|| format!("holds a storage `{}` that no tensor has", Printable(key)))?;
        let short = || {
            format!(
                "ends in the middle of storage `{}`; get it again",
                Printable(key)
            )
        };
        let (length, rest) = bytes
            .get(at..)
            .and_then(<[u8]>::split_first_chunk)
            .ok_or_else(short)?;
        let length = u64::from_le_bytes(*length);
        if length != count as u64 {
            return Err(format!(
                "storage `{}` has {length} numbers where its tensors need {count}",
                Printable(key)
            ));
        }
        let size = count
            .checked_mul(element.size())
            .filter(|&s| s <= rest.len());
        let size = size.ok_or_else(short)?;
        places.insert(key.to_string(), (at + 8, size));
        at += 8 + size;
    }
    Ok(places)
}
