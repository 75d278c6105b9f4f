//! A large tensor of a weight file, read row by row.
//!
//! A file of targets or features may be larger than memory. [`Rows`] maps such a file and decodes a row when it is
//! asked for. The system loads the file's pages at their first access and drops them when memory is short.

use std::ops::Range;

use safetensors::tensor::Dtype;

use super::bytes::Bytes;
use super::float::Float;
use super::weights::{WeightFile, float};
use crate::error::{Error, Result};

/// The rows of a tensor `[N, ..]` in a mapped file. Copies share the mapping.
#[derive(Clone)]
pub struct Rows {
    bytes: Bytes,
    /// The tensor's range of bytes in the file.
    range: Range<usize>,
    count: usize,
    size: usize,
    float: Float,
}

impl Rows {
    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the number of elements in a row.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Decodes row `row` into `out`, which has [`Rows::size`] elements.
    ///
    /// # Errors
    /// If there is no such row, or `out` has another length.
    pub fn read(&self, row: usize, out: &mut [f32]) -> Result<()> {
        if row >= self.count || out.len() != self.size {
            return Err(Error::shape(
                "rows",
                format_args!("a row below {} of {} elements", self.count, self.size),
                format_args!("row {row} of {}", out.len()),
            ));
        }
        let len = self.size * self.float.size();
        let bytes = &self.bytes.as_ref()[self.range.clone()][row * len..][..len];
        self.float.decode_into(bytes, out);
        Ok(())
    }

    /// Removes the pages that were read from this process's memory; the system caches them while it has room.
    pub fn release(&self) {
        self.bytes.release();
    }

    /// Returns all bytes of the tensor, as the file holds them.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.bytes.as_ref()[self.range.clone()]
    }
}

impl WeightFile {
    /// Opens the tensor `name`, `[N, ..]`, to be read row by row; `None` if there is none. Its checksum is not
    /// verified, because that would read the whole tensor; [`WeightFile::verify`] does that.
    ///
    /// # Errors
    /// If the tensor has no dimension, or its numbers are not floating-point.
    pub fn rows(&self, name: &str) -> Result<Option<Rows>> {
        let Some(tensor) = self.raw(name) else {
            return Ok(None);
        };
        let refuse =
            |what: String| Error::file(self.path(), format_args!("tensor `{name}` {what}"));
        let float = float(tensor.dtype).ok_or_else(|| {
            refuse(format!(
                "holds {:?}, not floating-point numbers",
                tensor.dtype
            ))
        })?;
        let Some((&count, rest)) = tensor.shape.split_first() else {
            return Err(refuse("is a single number, not rows".into()));
        };
        let start = tensor.bytes.as_ptr() as usize - self.bytes().as_ref().as_ptr() as usize;
        Ok(Some(Rows {
            bytes: self.bytes().clone(),
            range: start..start + tensor.bytes.len(),
            count,
            size: rest.iter().product(),
            float,
        }))
    }

    /// Reads the tensor `name`, `[N]`, of non-negative integers; `None` if there is none.
    ///
    /// # Errors
    /// If the tensor does not match its checksum, has another shape, holds numbers that are not integers, or one that
    /// does not fit 32 bits.
    pub fn integers(&self, name: &str) -> Result<Option<Vec<u32>>> {
        let Some(tensor) = self.raw(name) else {
            return Ok(None);
        };
        let refuse = |what: String| Err(Error::file(self.path(), what));
        if tensor.shape.len() != 1 {
            return refuse(format!("tensor `{name}` is {:?}, not [N]", tensor.shape));
        }
        let data = tensor.bytes;
        self.verify_tensor(name, data)?;
        let numbers: Option<Vec<u32>> = match tensor.dtype {
            Dtype::U32 => decode(data, |b| Some(u32::from_le_bytes(b))),
            Dtype::I32 => decode(data, |b| u32::try_from(i32::from_le_bytes(b)).ok()),
            Dtype::I64 => decode(data, |b| u32::try_from(i64::from_le_bytes(b)).ok()),
            Dtype::U64 => decode(data, |b| u32::try_from(u64::from_le_bytes(b)).ok()),
            other => {
                return refuse(format!(
                    "tensor `{name}` holds {other:?}, not whole numbers"
                ));
            }
        };
        match numbers {
            Some(numbers) => Ok(Some(numbers)),
            None => refuse(format!(
                "tensor `{name}` holds a number below 0 or above 32 bits"
            )),
        }
    }
}

fn decode<const N: usize>(
    bytes: &[u8],
    number: impl Fn([u8; N]) -> Option<u32>,
) -> Option<Vec<u32>> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|&b| number(b))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::data::weights::{NumberFormat, write_weights};
    use crate::tensor::Tensor;

    #[test]
    fn rows_are_those_of_the_tensor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let values: Vec<f32> = (0..35).map(|i| i as f32 * 0.5).collect();
        let tensors = [
            ("a".to_string(), Tensor::scalar(1.0)),
            (
                "x".to_string(),
                Tensor::from_vec(values.clone(), &[5, 7]).unwrap(),
            ),
        ];
        for precision in [NumberFormat::F32, NumberFormat::F16, NumberFormat::Bf16] {
            write_weights(&path, &tensors, precision, HashMap::new()).unwrap();
            let file = WeightFile::open(&path).unwrap();
            let rows = file.rows("x").unwrap().unwrap();
            assert_eq!((rows.len(), rows.size()), (5, 7));
            let mut row = [0.0; 7];
            for i in 0..5 {
                rows.read(i, &mut row).unwrap();
                assert_eq!(row, values[i * 7..][..7]);
            }
            assert!(rows.read(5, &mut row).is_err());
            assert!(rows.read(0, &mut row[..6]).is_err());
            assert!(file.rows("y").unwrap().is_none());
            assert!(file.rows("a").is_err());
            assert!(file.integers("x").is_err());
            assert_eq!(file.integers("y").unwrap(), None);
        }
    }
}
