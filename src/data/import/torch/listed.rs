//! What a pickle of weights says: which tensors there are, and which window of which storage each is.

use std::collections::{HashMap, HashSet};

use crate::data::float::Float;
use crate::data::import::pickle::{self, Id, Pickle, Printable, Value};

/// The deepest nesting of dictionaries in which weights are looked for.
const DEEPEST: usize = 6;

/// More tensors than any checkpoint of a DenseNet has.
const MOST_TENSORS: usize = 100_000;

/// Bytes of a key beyond which it is no tensor's name.
const LONGEST_NAME: usize = 512;

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
pub(in crate::data::import) enum Element {
    Float(Float),
    /// Integers and truth values, by their name in safetensors and their size in bytes.
    Other(&'static str, usize),
}

impl Element {
    pub(super) fn size(self) -> usize {
        match self {
            Element::Float(float) => float.size(),
            Element::Other(_, size) => size,
        }
    }

    pub(in crate::data::import) fn name(self) -> &'static str {
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
pub(in crate::data::import) struct Described {
    pub(in crate::data::import) name: String,
    pub(in crate::data::import) shape: Vec<usize>,
    pub(in crate::data::import) element: Element,
    /// The name of its storage.
    pub(super) storage: String,
    /// Elements of the storage.
    pub(super) stored: usize,
    offset: usize,
    stride: Vec<usize>,
}

impl Described {
    /// This tensor's numbers out of the bytes of its storage, which [`tensor`] has seen to be within them.
    pub(super) fn window(&self, bytes: &[u8], float: Float) -> Vec<f32> {
        let size = float.size();
        if self.shape.contains(&0) {
            return Vec::new();
        }
        let count: usize = self.shape.iter().product();
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

    /// Whether all elements lie in the storage, and there are no more of them than it has.
    fn is_within(&self) -> bool {
        // Asked first, for the product of the others may be anything.
        if self.shape.contains(&0) {
            return true;
        }
        let count = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let mut axes = self.shape.iter().zip(&self.stride);
        let last = axes.try_fold(self.offset, |at, (&n, stride)| {
            at.checked_add((n - 1).checked_mul(*stride)?)
        });
        count.is_some_and(|n| n <= self.stored) && last.is_some_and(|at| at < self.stored)
    }
}

/// The pickle at the start of `bytes`, with nothing in it but what weights need.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle<Global>, String> {
    pickle::read(bytes, find, |global| global == Global::Dict)
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
pub(super) fn storages(
    pickle: &Pickle<Global>,
) -> Result<HashMap<String, (Element, usize)>, String> {
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
pub(super) fn tensors(pickle: &Pickle<Global>) -> Result<Vec<Described>, String> {
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
