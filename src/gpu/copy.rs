//! Copies of columns from one matrix to another, and of tensors into one buffer.

use super::Gpu;
use super::Slice;
use super::shaders::Shader;
use crate::error::Result;
use crate::gpu::params::shader_params;
use std::ops::Range;
use std::sync::Arc;

shader_params! {
    /// The sizes, and where the rows of both matrices begin.
    struct Params of Concat {
        rows: u32,
        columns: u32,
        x_start: u32,
        x_stride: u32,
        y_start: u32,
        y_stride: u32,
    }
}

/// A matrix whose rows begin `stride` elements apart.
#[derive(Clone)]
pub struct Rows {
    /// The beginning of the first row.
    pub data: Slice,
    /// Elements from one row to the next.
    pub stride: usize,
}

impl Rows {
    /// Returns the matrix whose first row begins with `data`, and whose rows begin `stride` elements apart.
    pub fn new(data: impl Into<Slice>, stride: usize) -> Rows {
        Rows {
            data: data.into(),
            stride,
        }
    }

    /// Returns the matrix without its first `columns` columns.
    pub fn from_column(&self, columns: usize) -> Rows {
        Rows {
            data: self.data.after(columns),
            stride: self.stride,
        }
    }
}

/// Copies the first `columns` columns of `rows` rows from one matrix to another.
///
/// # Errors
/// Where the GPU is lost.
pub fn columns(gpu: &Gpu, from: &Rows, to: &Rows, [rows, columns]: [usize; 2]) -> Result<()> {
    gpu.kernel(Shader::Concat, "concat_columns")
        .params(&Params {
            rows: rows as u32,
            columns: columns as u32,
            x_start: from.data.start(),
            x_stride: from.stride as u32,
            y_start: to.data.start(),
            y_stride: to.stride as u32,
        })
        .read(1, &from.data)
        .write(2, &to.data)
        .over(rows * columns)
}

/// Divides slices of these lengths into the fewest consecutive groups that each fit one buffer. A slice that is too large for a
/// buffer is a group of its own.
pub fn groups_that_fit(gpu: &Gpu, lens: &[usize]) -> Vec<Range<usize>> {
    let (mut groups, mut first, mut len) = (Vec::new(), 0, 0);
    for (i, &more) in lens.iter().enumerate() {
        if i > first && len + more > gpu.max_elements() {
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

/// Returns the parts one after the other in one buffer. A part is a slice and its length. The parts are copied, unless they
/// already lie one after the other.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn side_by_side(gpu: &Gpu, parts: &[(Slice, usize)]) -> Result<Slice> {
    let Some((first, _)) = parts.first() else {
        return Ok(gpu.unset(0)?.into());
    };
    let mut next = first.offset;
    let contiguous = parts.iter().all(|(slice, len)| {
        let is_next = Arc::ptr_eq(&slice.buffer, &first.buffer) && slice.offset == next;
        next += len;
        is_next
    });
    if contiguous {
        return Ok(first.clone());
    }
    let whole = Slice::from(gpu.unset(parts.iter().map(|(_, len)| len).sum())?);
    let mut position = 0;
    for (slice, len) in parts {
        gpu.copy(slice, &whole.after(position), *len)?;
        position += len;
    }
    Ok(whole)
}
