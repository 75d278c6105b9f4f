//! Reads the datasets of an HDF5 file, in which Keras stores weights.
//!
//! The `hdf5-reader` crate reads the format itself. It is written in Rust and follows neither links to other files nor
//! filters that call other libraries.

use std::collections::HashSet;

use hdf5_reader::error::Error;
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Datatype, Hdf5File, OpenOptions};

use super::pickle::Printable;
use crate::data::bytes::Bytes;
use crate::data::float::Float;

/// Size limit, in bytes, of an object's header and attributes; a model's configuration is an attribute.
const LARGEST_HEADER: usize = 16 << 20;

/// The largest number of groups and datasets; no DenseNet of Keras has as many.
const MAX_OBJECTS: usize = 50_000;

/// The length in bytes of the longest path that is followed.
const MAX_PATH_BYTES: usize = 1024;

/// The deepest nesting of groups that is followed.
const MAX_DEPTH: usize = 16;

/// An HDF5 file with the list of its datasets.
pub(super) struct Hdf5 {
    pub(super) datasets: Vec<Described>,
    /// The model's configuration, if the file has one.
    pub(super) config: Option<serde_json::Value>,
}

/// A dataset.
pub(super) struct Described {
    /// Its path, with slashes: `conv1_conv/conv1_conv/kernel:0`.
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    /// The format of its elements; `None` if they are not floating-point numbers.
    pub(super) float: Option<Float>,
    /// The name of its layer, if the group around it has one: Keras 3 has groups `vars` whose variables are numbered.
    pub(super) layer: Option<String>,
    dataset: Dataset,
}

impl Hdf5 {
    /// Opens a file that is given as bytes; no dataset of more than `largest` bytes is read.
    pub(super) fn open(bytes: Bytes, largest: usize) -> Result<Self, String> {
        let options = OpenOptions::default()
            .with_max_chunk_bytes(largest)
            .with_max_read_bytes(largest)
            .with_max_object_header_bytes(LARGEST_HEADER);
        let file = Hdf5File::from_owner(bytes, options).map_err(broken)?;
        let root = file.root_group().map_err(broken)?;
        let config = root
            .attribute("model_config")
            .and_then(|a| a.read_string())
            .ok();
        Ok(Hdf5 {
            datasets: datasets(root)?,
            config: config.and_then(|text| serde_json::from_str(&text).ok()),
        })
    }

    /// Reads the numbers of dataset `index`, row-major.
    pub(super) fn read(&self, index: usize) -> Result<Vec<f32>, String> {
        let Described {
            name,
            shape,
            float,
            dataset,
            ..
        } = &self.datasets[index];
        let Some(float) = float else {
            return Err(format!(
                "dataset `{}` holds no floating-point numbers",
                Printable(name)
            ));
        };
        let wanted = shape
            .iter()
            .try_fold(float.size(), |n, &d| n.checked_mul(d));
        let bytes = dataset
            .read_raw_bytes()
            .map_err(|e| format!("dataset `{}`: the file {}", Printable(name), broken(e)))?;
        if Some(bytes.len()) != wanted {
            return Err(format!(
                "dataset `{}` holds {} bytes, which is not {shape:?} in {}",
                Printable(name),
                bytes.len(),
                float.name()
            ));
        }
        Ok(float.decode(&bytes))
    }
}

/// Explains why a file could not be read. The library's own messages speak of internals of the format.
fn broken(error: Error) -> String {
    let is_unknown = error.to_string().starts_with("unsupported");
    match is_unknown {
        true => {
            "is damaged, or uses parts of HDF5 that are not supported; save it again with Keras"
        }
        false => "is not a whole HDF5 file; get it again",
    }
    .into()
}

/// Lists all datasets in `root` and the groups within.
fn datasets(root: Group) -> Result<Vec<Described>, String> {
    let too_many =
        |what: &str| format!("is not a file of weights: it has more {what} than those have");
    let mut found = Vec::new();
    let mut seen = HashSet::from([root.address()]);
    let mut waiting = vec![(root, String::new(), 0)];
    while let Some((group, path, depth)) = waiting.pop() {
        let (groups, datasets) = group.members().map_err(broken)?;
        let layer = match group.name() {
            "vars" if !datasets.is_empty() => group.attribute("name").ok(),
            _ => None,
        };
        let layer = layer.and_then(|name| name.read_string().ok());
        for dataset in datasets {
            let name = format!("{path}{}", dataset.name());
            if name.len() > MAX_PATH_BYTES {
                return Err(too_many("letters in a name"));
            }
            let shape = dataset.shape().iter().map(|&d| usize::try_from(d));
            let shape = shape
                .collect::<Result<_, _>>()
                .map_err(|_| too_many("elements"))?;
            let float = float(dataset.dtype());
            found.push(Described {
                name,
                shape,
                float,
                layer: layer.clone(),
                dataset,
            });
        }
        for group in groups {
            // The groups may form a cycle.
            if depth < MAX_DEPTH && path.len() < MAX_PATH_BYTES && seen.insert(group.address()) {
                let path = format!("{path}{}/", group.name());
                waiting.push((group, path, depth + 1));
            }
        }
        if found.len() + waiting.len() > MAX_OBJECTS {
            return Err(too_many("groups and datasets"));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn float(datatype: &Datatype) -> Option<Float> {
    let Datatype::FloatingPoint {
        size,
        byte_order: hdf5_reader::ByteOrder::LittleEndian,
    } = datatype
    else {
        return None;
    };
    match size {
        8 => Some(Float::F64),
        4 => Some(Float::F32),
        2 => Some(Float::F16),
        _ => None,
    }
}
