//! Sums of all elements and of columns, with `shaders/reduce.wgsl`.

use std::sync::Arc;

use super::Gpu;
use super::copy::Rows;
use super::shaders::Shader;
use super::{Buffer, Slice};
use crate::error::Result;
use crate::gpu::params::shader_params;

shader_params! {
    /// The sizes, where the rows begin, and the factor of the sum.
    struct Params of Reduce {
        len: u32,
        x_start: u32,
        len_per_chunk: u32,
        chunks: u32,
        columns: u32,
        x_stride: u32,
        factor: f32,
    }
}

// Chunks of a long sum at most, and elements of a chunk at least.
const MAX_CHUNKS: usize = 256;
const MIN_LENGTH: usize = 4096;
// Rows of a chunk at least, where rows are summed.
const MIN_ROWS: usize = 512;

/// Returns the number of chunks that a sum of `len` elements is split into, and the length of each.
pub fn chunks(len: usize) -> [usize; 2] {
    split(len, MIN_LENGTH)
}

/// Returns the number of chunks that a sum of `rows` rows is split into, and the length of each.
pub fn chunks_of_rows(rows: usize) -> [usize; 2] {
    split(rows, MIN_ROWS)
}

fn split(len: usize, least: usize) -> [usize; 2] {
    let length = len.div_ceil(MAX_CHUNKS).max(least);
    [len.div_ceil(length).max(1), length]
}

/// Computes `factor` times the sum of `len` elements: one number.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn total(gpu: &Gpu, x: &Slice, len: usize, factor: f32) -> Result<Arc<Buffer>> {
    let [chunks, length] = chunks(len);
    let y = Slice::from(gpu.unset(1)?);
    let dispatch = |x: &Slice, y: &Slice, len: usize, length: usize, chunks: usize, factor: f32| {
        gpu.kernel(Shader::Reduce, "reduce_sum")
            .params(&Params {
                len: len as u32,
                x_start: x.start(),
                len_per_chunk: length as u32,
                chunks: chunks as u32,
                factor,
                ..Params::default()
            })
            .read(1, x)
            .write(2, y)
            .groups(chunks)
    };
    if chunks == 1 {
        dispatch(x, &y, len, len, 1, factor)?;
        return Ok(y.buffer);
    }
    let parts = Slice::from(gpu.unset(chunks)?);
    dispatch(x, &parts, len, length, chunks, 1.0)?;
    dispatch(&parts, &y, chunks, chunks, 1, factor)?;
    Ok(y.buffer)
}

/// Returns `len` elements that are all `factor` times the one number `x`.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn broadcast(gpu: &Gpu, x: &Slice, len: usize, factor: f32) -> Result<Arc<Buffer>> {
    let y = Slice::from(gpu.unset(len)?);
    gpu.kernel(Shader::Reduce, "reduce_broadcast")
        .params(&Params {
            len: len as u32,
            x_start: x.start(),
            factor,
            ..Params::default()
        })
        .read(1, x)
        .write(2, &y)
        .over(len)?;
    Ok(y.buffer)
}

/// Computes the sum over `rows` rows of each of `columns` columns.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn rows(gpu: &Gpu, x: &Rows, [rows, columns]: [usize; 2]) -> Result<Arc<Buffer>> {
    let [chunks, length] = chunks_of_rows(rows);
    let parts = Slice::from(gpu.unset(chunks * columns)?);
    let params = Params {
        len: rows as u32,
        x_start: x.data.start(),
        len_per_chunk: length as u32,
        chunks: chunks as u32,
        columns: columns as u32,
        x_stride: x.stride as u32,
        factor: 0.0,
    };
    gpu.kernel(Shader::Reduce, "reduce_rows")
        .params(&params)
        .read(1, &x.data)
        .write(2, &parts)
        .grid([columns.div_ceil(32), chunks, 1])?;
    if chunks == 1 {
        return Ok(parts.buffer);
    }
    let y = Slice::from(gpu.unset(columns)?);
    gpu.kernel(Shader::Reduce, "reduce_add_parts")
        .params(&Params {
            x_start: 0,
            ..params
        })
        .read(1, &parts)
        .write(2, &y)
        .over(columns)?;
    Ok(y.buffer)
}
