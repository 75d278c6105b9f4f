//! Columns from one matrix to another, and tensors side by side in one buffer.

use super::Gpu;
use super::buffer::{Buffer, Slice};
use super::shaders::Shader;
use crate::error::Result;
use std::ops::Range;
use std::sync::Arc;

/// A matrix whose rows begin `stride` elements apart.
#[derive(Clone)]
pub struct Rows {
    /// Where the first row begins.
    pub data: Slice,
    /// From one row to the next.
    pub stride: usize,
}

impl Rows {
    /// The same from column `columns` on.
    pub fn from_column(&self, columns: usize) -> Rows {
        Rows {
            data: self.data.after(columns),
            stride: self.stride,
        }
    }
}

/// The first `columns` of `rows` rows from one matrix to another.
///
/// # Errors
/// Where the device is lost.
pub fn columns(gpu: &Gpu, from: &Rows, to: &Rows, [rows, columns]: [usize; 2]) -> Result<()> {
    let sizes = [
        rows as u32,
        columns as u32,
        from.data.start(),
        from.stride as u32,
        to.data.start(),
        to.stride as u32,
    ];
    gpu.kernel(Shader::Concat, "concat_columns")
        .params(&sizes)
        .read(1, &from.data)
        .write(2, &to.data)
        .over(rows * columns)
}

/// The sum of two runs of `len` elements.
///
/// # Errors
/// Where the device is lost or has no memory.
pub fn sum_of(gpu: &Gpu, a: &Slice, b: &Slice, len: usize) -> Result<Arc<Buffer>> {
    let y = Slice::from(gpu.unset(len)?);
    gpu.kernel(Shader::Elementwise, "elementwise_pair")
        .constant("FUNCTION", 0)
        .params(&[len as u32, a.start(), b.start(), 0])
        .read(1, a)
        .read(2, b)
        .write(3, &y)
        .over(len)?;
    Ok(y.buffer)
}

/// Runs of these lengths cut into groups that each fit one buffer, as long as they can be; what fits none is alone.
pub fn groups_that_fit(gpu: &Gpu, lens: &[usize]) -> Vec<Range<usize>> {
    let (mut groups, mut first, mut len) = (Vec::new(), 0, 0);
    for (i, &more) in lens.iter().enumerate() {
        if i > first && len + more > gpu.most_elements() {
            groups.push(first..i);
            (first, len) = (i, 0);
        }
        len += more;
    }
    if first < lens.len() {
        groups.push(first..lens.len());
    }
    groups
}

/// Runs of elements one after the other: as they are where they already lie so, else copied.
///
/// # Errors
/// Where the device is lost or has no memory.
pub fn side_by_side(gpu: &Gpu, parts: &[(Slice, usize)]) -> Result<Slice> {
    let Some((first, _)) = parts.first() else {
        return Ok(gpu.unset(0)?.into());
    };
    let mut next = first.offset;
    let lie_so = parts.iter().all(|(slice, len)| {
        let here = Arc::ptr_eq(&slice.buffer, &first.buffer) && slice.offset == next;
        next += len;
        here
    });
    if lie_so {
        return Ok(first.clone());
    }
    let whole = Slice::from(gpu.unset(parts.iter().map(|(_, len)| len).sum())?);
    let mut place = 0;
    for (slice, len) in parts {
        gpu.copy(slice, &whole.after(place), *len)?;
        place += len;
    }
    Ok(whole)
}
