//! Lists the tensors that a pickle of weights describes, each as a view of a storage.

use std::collections::{HashMap, HashSet};

use crate::data::float::Float;
use crate::data::import::pickle::{self, Id, Pickle, Printable, Value};

/// The deepest nesting of dictionaries and objects that is searched for weights.
const MAX_DEPTH: usize = 64;

/// The largest number of tensors; no checkpoint of a DenseNet has as many.
const MOST_TENSORS: usize = 100_000;

/// The length in bytes of the longest name of a tensor.
const LONGEST_NAME: usize = 1024;

/// The functions and classes that tensors are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    Dict,
    RebuildTensor,
    RebuildParameter,
    /// Calls the function that is its first argument with the tuple that is its third.
    RebuildSubclass,
    Storage(Element),
}

/// The type of a storage's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data::import) enum Element {
    Float(Float),
    /// Integers, booleans and complex numbers: the safetensors name and the size in bytes.
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
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            Global::RebuildParameter
        }
        ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildSubclass,
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
        ("torch", "ComplexFloatStorage") => Global::Storage(Element::Other("C64", 8)),
        ("torch", "ComplexDoubleStorage") => Global::Storage(Element::Other("C128", 16)),
        _ => return None,
    })
}

/// Whether a name is one that every checkpoint may contain, and so not worth reporting.
fn is_plain(name: &str) -> bool {
    let (module, name) = name.rsplit_once('.').unwrap_or_default();
    match module {
        "builtins" | "__builtin__" => matches!(
            name,
            "set" | "dict" | "list" | "tuple" | "int" | "float" | "bool" | "str" | "object"
        ),
        "torch" => {
            let kinds = ["float", "bfloat", "int", "uint", "complex"];
            let digits = |c: char| c.is_ascii_digit();
            matches!(
                name,
                "Size" | "device" | "bool" | "strided" | "contiguous_format"
            ) || kinds.contains(&name.trim_end_matches(digits))
        }
        "collections" | "numpy.dtypes" | "copyreg" | "copy_reg" => true,
        "numpy" => name == "dtype",
        "_codecs" => name == "encode",
        _ => false,
    }
}

/// Returns the classes of the objects in a pickle that are neither tensors nor numbers, texts, lists or dictionaries.
pub(super) fn passed_over(pickle: &Pickle<Global>) -> Vec<String> {
    let mut seen = HashSet::new();
    let names = pickle.ids().filter_map(|id| match pickle.get(id) {
        Value::Foreign(name) if !is_plain(name) && seen.insert(name) => Some(name.clone()),
        _ => None,
    });
    names.collect()
}

/// A tensor that a file describes.
#[derive(Clone, Debug)]
pub(in crate::data::import) struct Described {
    pub(in crate::data::import) name: String,
    pub(in crate::data::import) shape: Vec<usize>,
    pub(in crate::data::import) element: Element,
    /// The name of its storage.
    pub(super) storage: String,
    /// The number of elements in the storage.
    pub(super) stored: usize,
    offset: usize,
    stride: Vec<usize>,
}

impl Described {
    /// Copies this tensor's numbers from the bytes of its storage; [`tensor`] has checked that they lie within.
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

    /// Whether all elements lie in the storage, and are not more than it has.
    fn is_within(&self) -> bool {
        // Checked first, because the product of the other dimensions may overflow.
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

/// Reads the pickle at the start of `bytes`; only the names that weights need are given a meaning.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle<Global>, String> {
    pickle::read(bytes, find, |global| global == Global::Dict)
}

/// Parses a reference to a storage: `('storage', type, key, device, elements, …)`.
fn storage(pickle: &Pickle<Global>, id: Id) -> Option<(Element, &str, usize)> {
    let &Value::Persistent(id) = pickle.get(id) else {
        return None;
    };
    let [kind, class, key, _, count, view @ ..] = pickle.items(id)? else {
        return None;
    };
    // In PyTorch before 0.4 a storage could be part of another.
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

/// Whether `id` refers to a storage of a class that is not on the list.
fn is_foreign_storage(pickle: &Pickle<Global>, id: Id) -> bool {
    let &Value::Persistent(id) = pickle.get(id) else {
        return false;
    };
    let class = pickle.items(id).and_then(|items| items.get(1));
    class.is_some_and(|class| matches!(pickle.get(*class), Value::Foreign(_)))
}

/// Collects every storage that a pickle refers to.
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
                "describes storage `{}` in two ways",
                Printable(key)
            ));
        }
    }
    Ok(all)
}

/// Collects every tensor in a pickle's dictionaries and objects, named by its path: `state_dict.features.conv0.weight`.
pub(super) fn tensors(pickle: &Pickle<Global>) -> Result<Vec<Described>, String> {
    let mut found = Vec::new();
    // The values still to be searched; the children of a value come next, so that the order is the file's.
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
        if depth == MAX_DEPTH || !seen.insert(id) {
            continue;
        }
        for (key, value) in members(pickle, id).into_iter().rev() {
            let longer = match name.is_empty() {
                true => key,
                false => format!("{name}.{key}"),
            };
            if longer.len() <= LONGEST_NAME {
                waiting.push((value, longer, depth + 1));
            }
        }
    }
    Ok(found)
}

/// Returns the members of a dictionary, list or object, by name. A model has its weights in three dictionaries, whose
/// names `state_dict()` leaves out.
fn members(pickle: &Pickle<Global>, id: Id) -> Vec<(String, Id)> {
    let named = |pairs: &[(Id, Id)]| -> Vec<(String, Id)> {
        let key = |id| match pickle.get(id) {
            Value::Text(text) => Some(text.clone()),
            Value::Int(n) => Some(n.to_string()),
            _ => None,
        };
        let pairs = pairs.iter();
        pairs.filter_map(|&(k, v)| Some((key(k)?, v))).collect()
    };
    match pickle.get(id) {
        Value::Dict(pairs) => named(pairs),
        Value::List(items) | Value::Tuple(items) => {
            let items = items.iter().enumerate();
            items.map(|(i, &item)| (i.to_string(), item)).collect()
        }
        Value::Object(object) => {
            let mut all = named(&object.items);
            // With slots, the dictionary is the first or second element of a pair.
            let states = object
                .state
                .iter()
                .flat_map(|state| match pickle.get(*state) {
                    Value::Tuple(pair) if pair.len() == 2 => &pair[..],
                    _ => std::slice::from_ref(state),
                });
            for state in states {
                let Value::Dict(attributes) = pickle.get(*state) else {
                    continue;
                };
                let attributes = named(attributes);
                if !attributes.iter().any(|(name, _)| name == "_modules") {
                    all.extend(attributes);
                    continue;
                }
                for part in ["_parameters", "_buffers", "_modules"] {
                    let part = attributes.iter().find(|(name, _)| name == part);
                    let part = part.and_then(|(_, id)| match pickle.get(*id) {
                        Value::Dict(pairs) => Some(named(pairs)),
                        _ => None,
                    });
                    all.extend(part.into_iter().flatten());
                }
            }
            all
        }
        _ => Vec::new(),
    }
}

/// Interprets `id` as a tensor, if it is one.
fn tensor(pickle: &Pickle<Global>, mut id: Id, name: &str) -> Result<Option<Described>, String> {
    if let &Value::Call(Global::RebuildParameter, arguments) = pickle.get(id) {
        match pickle.items(arguments) {
            Some(&[data, ..]) => id = data,
            _ => return Ok(None),
        }
    }
    let arguments = match *pickle.get(id) {
        Value::Call(Global::RebuildTensor, arguments) => arguments,
        Value::Call(Global::RebuildSubclass, arguments) => match pickle.items(arguments) {
            Some(&[function, _, arguments, ..])
                if pickle.get(function) == &Value::Global(Global::RebuildTensor) =>
            {
                arguments
            }
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let broken = || format!("describes tensor `{}` inconsistently", Printable(name));
    let Some([data, offset, shape, stride, ..]) = pickle.items(arguments) else {
        return Err(broken());
    };
    let sizes = |id: &Id| -> Option<Vec<usize>> {
        pickle.items(*id)?.iter().map(|&n| pickle.size(n)).collect()
    };
    // The element type is one that no weights have, such as complex numbers in half precision.
    if is_foreign_storage(pickle, *data) {
        return Ok(None);
    }
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
