//! Layout of a cache file, and the check whether a file was made from given inputs.

use std::collections::HashMap;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::source::{Source, Stat, View};
use crate::cpu::threads;
use crate::data::Recipe;
use crate::data::contents::Sum;
use crate::data::weights::WeightFile;
use crate::data::weights::checksums::{self, Listed};
use crate::data::words;
use crate::error::Result;

/// Metadata entry that marks a feature cache.
pub(super) const KEY: &str = "glimpse-features";

/// The version of the format.
const FORMAT: u32 = 1;

/// Maximum number of elements in a row. It bounds the disk space that a damaged header can request.
const MOST_ELEMENTS: usize = 1 << 24;

/// The JSON object in a cache's header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The version of the format.
    pub format: u32,
    /// Digest of the encoder: [`Source::encoder`].
    pub encoder: String,
    /// How pictures became the encoder's input.
    pub recipe: Recipe,
    /// Views of each picture.
    pub views: Vec<View>,
    /// Names of the pictures.
    pub names: Vec<String>,
}

impl Description {
    /// Reads the description of an open file, if it is a feature cache of this version.
    pub fn read(file: &WeightFile) -> Option<Self> {
        let text = file.metadata(KEY).ok()??;
        let description: Description = serde_json::from_str(&text).ok()?;
        (description.format == FORMAT).then_some(description)
    }
}

/// Dimensions of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) pictures: usize,
    pub(super) views: usize,
    /// `[C]` or `[P, C]`.
    pub(super) shape: Vec<usize>,
}

impl Layout {
    /// Returns the number of elements in a row.
    pub(super) fn row_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns the number of bytes in a row.
    pub(super) fn row_bytes(&self) -> usize {
        2 * self.row_len()
    }

    /// Returns the tensors in file order.
    fn tensors(&self) -> [(&'static str, Dtype, Vec<usize>); 5] {
        let (n, k) = (self.pictures, self.views);
        let features = [&[n, k], &self.shape[..]].concat();
        [
            ("sizes", Dtype::U64, vec![n]),
            ("modified", Dtype::I64, vec![n]),
            ("checks", Dtype::U64, vec![n, k]),
            ("digests", Dtype::U8, vec![n, 32]),
            ("features", Dtype::F16, features),
        ]
    }

    /// Returns the offset of tensor `name` from the first one, in bytes.
    pub(super) fn start(&self, name: &str) -> usize {
        let tensors = self.tensors();
        let before = tensors.iter().take_while(|(other, ..)| *other != name);
        before.map(bytes).sum()
    }

    /// Returns the header of the file, with the checksums of the tensors in file order. Its length does not depend on
    /// their values.
    pub(super) fn header(&self, source: &Source, sums: [u32; 5]) -> Result<Vec<u8>, String> {
        let description = Description {
            format: FORMAT,
            encoder: source.encoder.clone(),
            recipe: source.recipe,
            views: source.views.clone(),
            names: source.pictures.iter().map(|p| p.name.clone()).collect(),
        };
        let description = serde_json::to_string(&description).map_err(|e| words::json(&e))?;
        let tensors = self.tensors();
        let listed = tensors.iter().zip(sums).map(|(tensor, sum)| Listed {
            name: tensor.0,
            dtype: tensor.1,
            shape: &tensor.2,
            len: bytes(tensor),
            sum,
        });
        let metadata = HashMap::from([(KEY.to_string(), description)]);
        checksums::beginning(&metadata, &listed.collect::<Vec<_>>())
    }

    /// Returns the size of each tensor in bytes, in file order.
    pub(super) fn lens(&self) -> [usize; 5] {
        self.tensors().map(|tensor| bytes(&tensor))
    }

    /// Returns the tables `sizes` and `modified`, with which the tensors begin. Older versions of this program compare
    /// them.
    pub(super) fn stats(&self, source: &Source) -> Result<Vec<u8>> {
        let stats = threads::map(self.pictures, |i| Stat::of(&source.pictures[i].path));
        let stats: Vec<Stat> = stats.into_iter().collect::<Result<_>>()?;
        let sizes = stats.iter().flat_map(|stat| stat.size.to_le_bytes());
        let modified = stats.iter().flat_map(|stat| stat.modified.to_le_bytes());
        Ok(sizes.chain(modified).collect())
    }

    /// Returns the tables of the pictures, which lie between the header and the rows.
    pub(super) fn tables(&self, source: &Source, digests: &[Sum]) -> Result<Vec<u8>> {
        let mut tables = self.stats(source)?;
        tables.resize(tables.len() + 8 * self.pictures * self.views, 0);
        tables.extend(digests.iter().flatten());
        Ok(tables)
    }
}

/// Returns the size of a tensor in bytes.
fn bytes((_, dtype, shape): &(&str, Dtype, Vec<usize>)) -> usize {
    shape.iter().product::<usize>() * dtype.bitsize() / 8
}

/// Returns the dimensions of a cache from its header if the header fits the source; otherwise why it does not.
pub(super) fn sizes(
    description: Option<&str>,
    info: impl Fn(&str) -> Option<(Dtype, Vec<usize>)>,
    source: &Source,
) -> Result<Layout, String> {
    let own = |same: bool, why: &str| match same {
        true => Ok(()),
        false => Err(why.to_string()),
    };
    let broken = || "is no feature cache of this version".to_string();
    let description: Description = description
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(broken)?;
    own(description.format == FORMAT, "is of another version")?;
    own(
        description.encoder == source.encoder,
        "was made by another encoder",
    )?;
    own(
        description.recipe == source.recipe,
        "was made with another preprocessing",
    )?;
    own(description.views == source.views, "holds other views")?;
    let names = source.pictures.iter().map(|p| &p.name);
    own(names.eq(&description.names), "is of other pictures")?;
    let (_, shape) = info("features").ok_or_else(broken)?;
    let shape = shape.get(2..).unwrap_or(&[]).to_vec();
    own(
        shape.len() == 1 + usize::from(source.maps),
        match source.maps {
            true => "holds averages, not maps",
            false => "holds maps, not averages",
        },
    )?;
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    if !elements.is_some_and(|n| (1..=MOST_ELEMENTS).contains(&n)) {
        return Err(broken());
    }
    let layout = Layout {
        pictures: source.pictures.len(),
        views: source.views.len(),
        shape,
    };
    for (name, dtype, shape) in layout.tensors() {
        if info(name) != Some((dtype, shape)) {
            return Err(broken());
        }
    }
    Ok(layout)
}

/// Returns the dimensions of an open cache if it was made from `source`, whose pictures have these digests; otherwise
/// why it was not.
pub(super) fn check(file: &WeightFile, source: &Source, digests: &[Sum]) -> Result<Layout, String> {
    let description = file.metadata(KEY).ok().flatten();
    let info = |name: &str| file.raw(name).map(|t| (t.dtype, t.shape.to_vec()));
    let layout = sizes(description.as_deref(), info, source)?;
    let table = file.raw("digests").map_or(&[][..], |t| t.bytes);
    match changed(source, table, digests) {
        None => Ok(layout),
        Some(why) => Err(why),
    }
}

/// Returns why a file's table of digests does not fit the pictures, if it does not.
pub(super) fn changed(source: &Source, table: &[u8], digests: &[Sum]) -> Option<String> {
    let (table, _) = table.as_chunks::<32>();
    let pairs = || table.iter().zip(digests).zip(&source.pictures);
    let others = pairs().filter(|((had, has), _)| had != has).count();
    let (_, first) = pairs().find(|((had, has), _)| had != has)?;
    Some(match others - 1 {
        0 => format!("was made before the picture {} changed", first.name),
        more => format!(
            "was made before the picture {} and {more} others changed",
            first.name
        ),
    })
}

/// Computes the checksum of row number `row`: FNV-1a, eight bytes at a time. Each group of eight bytes enters by an
/// invertible operation, so a single damaged group always changes the checksum.
pub(super) fn checksum(row: usize, bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ row as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for &word in words {
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(PRIME);
    }
    for &byte in rest {
        hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    }
    // Zero marks a missing row.
    hash.max(1)
}
