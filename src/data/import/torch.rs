//! What `torch.save` writes: a pickle that says which tensors there are, and their numbers beside it.
//!
//! Since PyTorch 1.6 that is a zip archive, `NAME/data.pkl` and `NAME/data/0`, `NAME/data/1`, … Before, and in the
//! files that torchvision publishes, it is one pickle after another (a magic number, a version, the sizes of C's
//! types, the object, the names of its storages) and then each storage, its length first.
//!
//! In either, a tensor is a window on a storage: `_rebuild_tensor_v2(storage, offset, size, stride)`.

use std::collections::{HashMap, HashSet};
use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::pickle::{self, Id, Pickle, Printable, Value};
use crate::data::bytes::Bytes;
use crate::data::float::Float;

/// The deepest nesting of dictionaries in which weights are looked for.
const DEEPEST: usize = 6;

/// More tensors than any checkpoint of a DenseNet has.
const MOST_TENSORS: usize = 100_000;

/// Bytes of a key beyond which it is no tensor's name.
const LONGEST_NAME: usize = 512;

/// The magic number at the beginning of the files before 1.6, `0x1950a86a20f9469cfc6c`, as a pickle spells it.
pub(super) const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Everything that a pickle of weights may name. What is not here is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    Dict,
    RebuildTensor,
    RebuildParameter,
    Storage(Element),
    /// Something that a checkpoint has beside its weights; what it is does not matter.
    Aside,
}

/// What the numbers of a storage are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Float(Float),
    /// Integers and truth values, by their name in safetensors and their size in bytes.
    Other(&'static str, usize),
}

impl Element {
    fn size(self) -> usize {
        match self {
            Element::Float(float) => float.size(),
            Element::Other(_, size) => size,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Element::Float(float) => float.name(),
            Element::Other(name, _) => name,
        }
    }
}

fn find(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Global::Dict,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch", "DoubleStorage") => Global::Storage(Element::Float(Float::F64)),
        ("torch", "FloatStorage") => Global::Storage(Element::Float(Float::F32)),
        ("torch", "HalfStorage") => Global::Storage(Element::Float(Float::F16)),
        ("torch", "BFloat16Storage") => Global::Storage(Element::Float(Float::BF16)),
        ("torch", "LongStorage") => Global::Storage(Element::Other("I64", 8)),
        ("torch", "IntStorage") => Global::Storage(Element::Other("I32", 4)),
        ("torch", "ShortStorage") => Global::Storage(Element::Other("I16", 2)),
        ("torch", "CharStorage") => Global::Storage(Element::Other("I8", 1)),
        ("torch", "ByteStorage") => Global::Storage(Element::Other("U8", 1)),
        ("torch", "BoolStorage") => Global::Storage(Element::Other("BOOL", 1)),
        ("torch", "Size" | "device")
        | ("torch", "float32" | "float16" | "bfloat16" | "float64" | "int64")
        | ("argparse", "Namespace")
        | ("pathlib", "Path" | "PosixPath" | "WindowsPath" | "PurePosixPath" | "PureWindowsPath")
        | ("collections", "Counter" | "defaultdict")
        | ("builtins" | "__builtin__", "set" | "dict" | "list" | "int")
        | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar")
        | ("numpy", "dtype")
        | ("numpy.dtypes", "Float64DType" | "Float32DType" | "Int64DType")
        | ("_codecs", "encode") => Global::Aside,
        _ => return None,
    })
}

/// A tensor that a file speaks of.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) element: Element,
    storage: String,
    /// Elements of the storage.
    stored: usize,
    offset: usize,
    stride: Vec<usize>,
}

/// A file of `torch.save`.
pub(super) struct TorchFile {
    pub(super) tensors: Vec<Described>,
    container: Container,
    /// Bytes of the largest storage that is read.
    largest: usize,
    /// The storage that was read last: tensors may share one.
    last: Option<(String, Vec<u8>)>,
}

enum Container {
    /// The archive, and the folder in it that holds everything.
    Zip(Box<ZipArchive<Cursor<Bytes>>>, String),
    /// The file, and where in it the bytes of each storage are.
    Legacy(Bytes, HashMap<String, (usize, usize)>),
}

impl TorchFile {
    /// A zip archive that holds `FOLDER/data.pkl`, and no storage of more than `largest` bytes.
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
        let bytes = read_entry(&mut archive, &name, pickle::LARGEST)?
            .ok_or_else(|| format!("has no `{name}`"))?;
        let pickle = read_pickle(&bytes)?;
        Ok(TorchFile {
            tensors: tensors(&pickle)?,
            container: Container::Zip(Box::new(archive), folder),
            largest,
            last: None,
        })
    }

    /// Pickles one after another, and then the storages.
    pub(super) fn legacy(file: Bytes) -> Result<Self, String> {
        let bytes = file.as_ref();
        let mut at = LEGACY.len();
        let mut next = || {
            let pickle = read_pickle(bytes.get(at..).unwrap_or_default())?;
            at += pickle.length;
            Ok::<_, String>(pickle)
        };
        let version = next()?;
        if version.get(version.root()) != &Value::Int(1001) {
            return Err("is of a version of PyTorch's old format that nobody has written".into());
        }
        let system = next()?;
        if is_big_endian(&system) {
            return Err("was written on a big-endian machine, which is not supported".into());
        }
        let object = next()?;
        let keys = next()?;
        let tensors = tensors(&object)?;
        let stored = storages(&object)?;
        let places = legacy_places(bytes, at, &keys, &stored)?;
        Ok(TorchFile {
            tensors,
            largest: file.as_ref().len(),
            container: Container::Legacy(file, places),
            last: None,
        })
    }

    /// The numbers of tensor `index`, in the order of its shape.
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
                check_length(&tensor.storage, length, wanted)?;
                &(*file).as_ref()[start..start + length]
            }
            Container::Zip(archive, folder) => {
                if self
                    .last
                    .as_ref()
                    .is_none_or(|(key, _)| *key != tensor.storage)
                {
                    let name = format!("{folder}data/{}", tensor.storage);
                    self.last = None;
                    let bytes = read_entry(archive, &name, wanted)?
                        .ok_or_else(|| format!("storage `{}` is missing", Printable(&name)))?;
                    check_length(&tensor.storage, bytes.len(), wanted)?;
                    self.last = Some((tensor.storage.clone(), bytes));
                }
                self.last
                    .as_ref()
                    .map(|(_, bytes)| &bytes[..])
                    .unwrap_or_default()
            }
        };
        Ok(tensor.window(bytes, float))
    }
}

impl Described {
    /// This tensor's numbers out of the bytes of its storage, which [`tensor`] has seen to be within them.
    fn window(&self, bytes: &[u8], float: Float) -> Vec<f32> {
        let size = float.size();
        let count: usize = self.shape.iter().product();
        if count == 0 {
            return Vec::new();
        }
        let mut dense = 1;
        let is_dense = self
            .shape
            .iter()
            .zip(&self.stride)
            .rev()
            .all(|(&n, &stride)| {
                let as_it_comes = n == 1 || stride == dense;
                dense *= n;
                as_it_comes
            });
        if is_dense {
            return float.decode(&bytes[self.offset * size..][..count * size]);
        }
        let mut gathered = Vec::with_capacity(count * size);
        let mut index = vec![0; self.shape.len()];
        for _ in 0..count {
            let steps = index.iter().zip(&self.stride).map(|(i, stride)| i * stride);
            let at = self.offset + steps.sum::<usize>();
            gathered.extend_from_slice(&bytes[at * size..][..size]);
            for (i, &n) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < n {
                    break;
                }
                *i = 0;
            }
        }
        float.decode(&gathered)
    }
}

/// The bytes of an archive's entry, at most `most` of them; `None` where there is no such entry.
pub(super) fn read_entry(
    archive: &mut ZipArchive<Cursor<Bytes>>,
    name: &str,
    most: usize,
) -> Result<Option<Vec<u8>>, String> {
    let Some(index) = archive.index_for_name(name) else {
        return Ok(None);
    };
    let broken =
        |e: &dyn std::fmt::Display| format!("entry `{}` cannot be read: {e}", Printable(name));
    let entry = archive.by_index(index).map_err(|e| broken(&e))?;
    let size = entry.size();
    // What it says is not believed before it is there: the buffer grows with what really comes out.
    if size > most as u64 {
        return Err(format!(
            "entry `{}` says it holds {size} bytes, where at most {most} belong",
            Printable(name)
        ));
    }
    let mut bytes = Vec::new();
    entry
        .take(most as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| broken(&e))?;
    if bytes.len() as u64 != size {
        return Err(format!(
            "entry `{}` holds {} bytes where it says {size}",
            Printable(name),
            bytes.len()
        ));
    }
    Ok(Some(bytes))
}

fn check_length(storage: &str, length: usize, wanted: usize) -> Result<(), String> {
    if length == wanted {
        return Ok(());
    }
    Err(format!(
        "storage `{}` has {length} bytes where its tensors need {wanted}",
        Printable(storage)
    ))
}

fn read_pickle(bytes: &[u8]) -> Result<Pickle<Global>, String> {
    pickle::read(bytes, find, |global| global == Global::Dict)
}

/// Whether the description of the system that wrote a file says so.
fn is_big_endian(system: &Pickle<Global>) -> bool {
    let Value::Dict(pairs) = system.get(system.root()) else {
        return false;
    };
    pairs.iter().any(|&(key, value)| {
        system.text(key) == Some("little_endian") && system.get(value) == &Value::Bool(false)
    })
}

/// Where the storages named in the list `keys` are, one after the other from `at` on.
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
            .ok_or("names a storage by something that is no text")?;
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

/// A reference to a storage: `('storage', type, key, device, elements, …)`.
fn storage(pickle: &Pickle<Global>, id: Id) -> Option<(Element, &str, usize)> {
    let &Value::Persistent(id) = pickle.get(id) else {
        return None;
    };
    let [kind, class, key, _, count, view @ ..] = pickle.items(id)? else {
        return None;
    };
    // PyTorch before 0.4 could have storages that are parts of others.
    if view.iter().any(|&view| pickle.get(view) != &Value::None) {
        return None;
    }
    let (Some("storage"), &Value::Global(Global::Storage(element))) =
        (pickle.text(*kind), pickle.get(*class))
    else {
        return None;
    };
    Some((element, pickle.text(*key)?, pickle.size(*count)?))
}

/// Every storage that a pickle refers to.
fn storages(pickle: &Pickle<Global>) -> Result<HashMap<String, (Element, usize)>, String> {
    let mut all = HashMap::new();
    for id in pickle.ids() {
        let Some((element, key, count)) = storage(pickle, id) else {
            continue;
        };
        let before = all.insert(key.to_string(), (element, count));
        if before.is_some_and(|before| before != (element, count)) {
            return Err(format!(
                "speaks of storage `{}` in two ways",
                Printable(key)
            ));
        }
    }
    Ok(all)
}

/// Every tensor in a pickle's dictionaries, named by the way to it: `state_dict.features.conv0.weight`.
fn tensors(pickle: &Pickle<Global>) -> Result<Vec<Described>, String> {
    let mut found = Vec::new();
    // Dictionaries still to be looked into; those further in come first, so that the order is the file's.
    let mut waiting = vec![(pickle.root(), String::new(), 0)];
    let mut seen = HashSet::new();
    while let Some((id, name, depth)) = waiting.pop() {
        if let Some(tensor) = tensor(pickle, id, &name)? {
            found.push(tensor);
            if found.len() > MOST_TENSORS {
                return Err(format!("holds more than {MOST_TENSORS} tensors"));
            }
            continue;
        }
        let Value::Dict(pairs) = pickle.get(id) else {
            continue;
        };
        if depth == DEEPEST || !seen.insert(id) {
            continue;
        }
        for &(key, value) in pairs.iter().rev() {
            let key = match pickle.get(key) {
                Value::Text(text) if text.len() <= LONGEST_NAME => text.clone(),
                Value::Int(n) => n.to_string(),
                _ => continue,
            };
            let name = if name.is_empty() {
                key
            } else {
                format!("{name}.{key}")
            };
            waiting.push((value, name, depth + 1));
        }
    }
    Ok(found)
}

/// The tensor that `id` would have become, if it is one.
fn tensor(pickle: &Pickle<Global>, mut id: Id, name: &str) -> Result<Option<Described>, String> {
    if let &Value::Call(Global::RebuildParameter, arguments) = pickle.get(id) {
        match pickle.items(arguments) {
            Some(&[data, ..]) => id = data,
            _ => return Ok(None),
        }
    }
    let &Value::Call(Global::RebuildTensor, arguments) = pickle.get(id) else {
        return Ok(None);
    };
    let broken = || {
        format!(
            "describes tensor `{}` in a way that makes no sense",
            Printable(name)
        )
    };
    let Some([data, offset, shape, stride, ..]) = pickle.items(arguments) else {
        return Err(broken());
    };
    let sizes = |id: &Id| -> Option<Vec<usize>> {
        pickle.items(*id)?.iter().map(|&n| pickle.size(n)).collect()
    };
    let (element, key, stored) = storage(pickle, *data).ok_or_else(broken)?;
    let tensor = Described {
        name: name.to_string(),
        shape: sizes(shape).ok_or_else(broken)?,
        element,
        storage: key.to_string(),
        stored,
        offset: pickle.size(*offset).ok_or_else(broken)?,
        stride: sizes(stride).ok_or_else(broken)?,
    };
    if tensor.shape.len() != tensor.stride.len() || tensor.shape.len() > 8 {
        return Err(broken());
    }
    if !tensor.is_within() {
        return Err(format!(
            "tensor `{}` {:?} reaches beyond its storage of {stored} numbers",
            Printable(name),
            tensor.shape
        ));
    }
    Ok(Some(tensor))
}

impl Described {
    /// Whether all elements lie in the storage, and there are no more of them than it has.
    fn is_within(&self) -> bool {
        let count = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if count == Some(0) {
            return true;
        }
        let last = self
            .shape
            .iter()
            .zip(&self.stride)
            .try_fold(self.offset, |at, (&n, stride)| {
                at.checked_add((n - 1).checked_mul(*stride)?)
            });
        count.is_some_and(|n| n <= self.stored) && last.is_some_and(|at| at < self.stored)
    }
}
