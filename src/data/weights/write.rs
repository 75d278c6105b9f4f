//! Writes weight files: encodes tensors in a number format.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use safetensors::tensor::Dtype;

use super::checksums::{self, Listed};
use super::quantised::{self, Quantised};
use super::{NumberFormat, SCALE};
use crate::cpu::{Isa, formats};
use crate::data::float::Float;
use crate::data::store::write_atomically;
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

/// The encoding of one tensor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Storage {
    Floats(Float),
    /// 8-bit integers, with a scale for each row; the number of rows.
    Rows(usize),
}

impl NumberFormat {
    /// Returns the encoding of a tensor, which must be on the CPU, in a file of this format.
    fn storage(self, tensor: &Tensor) -> Storage {
        match (self, tensor.dims()) {
            (NumberFormat::F32, _) => Storage::Floats(Float::F32),
            (NumberFormat::F16, _) => Storage::Floats(Float::F16),
            (NumberFormat::Bf16, _) => Storage::Floats(Float::BF16),
            (NumberFormat::I8, &[rows, _, ..]) => Storage::Rows(rows),
            (NumberFormat::I8, _) => {
                let fits = |x: &f32| !x.is_finite() || half::f16::from_f32(*x).is_finite();
                Storage::Floats(match tensor.data().iter().all(fits) {
                    true => Float::F16,
                    false => Float::F32,
                })
            }
        }
    }

    /// Rounds a tensor as storing and reading it would. Numbers beyond the format's range become infinite.
    ///
    /// # Errors
    /// If the tensor is on a GPU that does not respond.
    #[cfg(any(feature = "convert", test))]
    pub(crate) fn round(self, tensor: &Tensor) -> Result<Tensor> {
        let tensor = tensor.to(&Device::Cpu)?;
        let numbers = match self.storage(&tensor) {
            Storage::Floats(Float::F32) => return Ok(tensor),
            Storage::Floats(float) => float.decode(&float.encode(tensor.data())),
            Storage::Rows(rows) => {
                let Quantised { numbers, scales } = quantised::quantise(rows, tensor.data());
                let mut back = vec![0.0; numbers.len()];
                quantised::dequantise(Isa::current(), &numbers, &scales, &mut back);
                back
            }
        };
        Tensor::from_vec(numbers, tensor.dims())
    }
}

/// An encoded tensor.
struct Encoded {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes named tensors and metadata to `path`, with checksums, atomically.
///
/// # Errors
/// If a number is beyond the range of the format, two tensors have the same name, or the file cannot be written
/// ([`write_atomically`]). A previous file at `path` is then unchanged.
pub fn write_weights(
    path: &Path,
    tensors: &[(String, Tensor)],
    format: NumberFormat,
    metadata: HashMap<String, String>,
) -> Result<()> {
    let mut encoded = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let tensor = tensor.to(&Device::Cpu)?;
        encode(name, &tensor, format, &mut encoded).map_err(|what| {
            Error::file(
                path,
                format_args!("tensor `{name}` cannot be stored: {what}"),
            )
        })?;
    }
    let mut names = HashSet::new();
    if let Some(twice) = encoded.iter().find(|e| !names.insert(e.name.as_str())) {
        let what = format_args!("cannot be stored: two tensors are called `{}`", twice.name);
        return Err(Error::file(path, what));
    }
    // In the order of other writers of the format: wide numbers first, so that all of them are aligned.
    encoded.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
    let file = assemble(&encoded, &metadata)
        .map_err(|what| Error::file(path, format_args!("cannot be stored: {what}")))?;
    write_atomically(path, &file)
}

/// Assembles the bytes of a file with these tensors in this order, and their checksums.
fn assemble(encoded: &[Encoded], metadata: &HashMap<String, String>) -> Result<Vec<u8>, String> {
    let parts: Vec<&[u8]> = encoded.iter().map(|e| &e.bytes[..]).collect();
    let sums = checksums::of_each(&parts, usize::MAX, &|| {});
    let listed = encoded.iter().zip(sums).map(|(e, sum)| Listed {
        name: &e.name,
        dtype: e.dtype,
        shape: &e.shape,
        len: e.bytes.len(),
        sum,
    });
    let mut file = checksums::beginning(metadata, &listed.collect::<Vec<_>>())?;
    file.reserve_exact(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| file.extend_from_slice(part));
    Ok(file)
}

/// Appends the encoding of a tensor, or says why there is none.
fn encode(
    name: &str,
    tensor: &Tensor,
    format: NumberFormat,
    to: &mut Vec<Encoded>,
) -> Result<(), String> {
    let data = tensor.data();
    let mut push = |name: String, dtype, shape: &[usize], bytes| {
        let shape = shape.to_vec();
        to.push(Encoded {
            name,
            dtype,
            shape,
            bytes,
        });
    };
    match format.storage(tensor) {
        Storage::Floats(float) => {
            let bytes = float.encode(data);
            if float == Float::F16 && goes_beyond(data, &float.decode(&bytes)) {
                return Err("a number is beyond the range of f16; take bf16 or f32".into());
            }
            let dtype = match float {
                Float::F64 => Dtype::F64,
                Float::F32 => Dtype::F32,
                Float::F16 => Dtype::F16,
                Float::BF16 => Dtype::BF16,
            };
            push(name.to_string(), dtype, tensor.dims(), bytes);
        }
        Storage::Rows(rows) => {
            if !formats::all_finite(Isa::current(), data) {
                return Err("not all its elements are finite numbers, as 8 bits need".into());
            }
            let Quantised { numbers, scales } = quantised::quantise(rows, data);
            push(name.to_string(), Dtype::I8, tensor.dims(), numbers);
            let bytes = Float::F32.encode(&scales);
            push(format!("{name}{SCALE}"), Dtype::F32, &[rows], bytes);
        }
    }
    Ok(())
}

/// Whether a finite number became infinite.
fn goes_beyond(before: &[f32], after: &[f32]) -> bool {
    let mut pairs = before.iter().zip(after);
    pairs.any(|(before, after)| before.is_finite() && !after.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::weights::WeightFile;

    /// Writes an opened file's tensors and metadata again, with checksums.
    fn written_again(file: &WeightFile) -> Vec<u8> {
        let encoded = file.header.offset_keys().into_iter().map(|name| {
            let raw = file.raw(&name).unwrap();
            Encoded {
                dtype: raw.dtype,
                shape: raw.shape.to_vec(),
                bytes: raw.bytes.to_vec(),
                name,
            }
        });
        let metadata = file.header.metadata().clone().unwrap_or_default();
        assemble(&encoded.collect::<Vec<_>>(), &metadata).unwrap()
    }

    /// `GLIMPSE_SUMMED=OUT cargo test --lib gives_the_bundled -- --ignored`
    #[test]
    #[ignore = "makes a file"]
    fn gives_the_bundled_model_checksums() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/glimpse.safetensors");
        let file = WeightFile::open(path).unwrap();
        let out = std::env::var_os("GLIMPSE_SUMMED").unwrap();
        std::fs::write(out, written_again(&file)).unwrap();
    }

    #[test]
    fn the_bundled_model_matches_its_checksums() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/glimpse.safetensors");
        assert!(std::fs::metadata(&path).unwrap().len() <= 8_400_000);
        let file = WeightFile::open(&path).unwrap();
        assert!(file.has_checksums());
        file.verify().unwrap();
        assert!(std::fs::read(path).unwrap() == written_again(&file));
    }
}
