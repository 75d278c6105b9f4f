//! Sums of all elements and of columns, by `shaders/reduce.wgsl`.

use std::sync::Arc;

use super::Gpu;
use super::buffer::{Buffer, Slice};
use super::copy::Rows;
use super::shaders::Shader;
use crate::error::Result;

// Chunks of a long sum at most, and elements of one at least.
const MOST_CHUNKS: usize = 256;
const LEAST_LENGTH: usize = 4096;
/// Rows of a chunk at least, where rows are added.
pub(super) const LEAST_ROWS: usize = 512;

/// Into how many chunks to cut `len` elements, and how long each is.
pub fn chunks(len: usize) -> [usize; 2] {
    cut(len, LEAST_LENGTH)
}

pub(super) fn cut(len: usize, least: usize) -> [usize; 2] {
    let length = len.div_ceil(MOST_CHUNKS).max(least);
    [len.div_ceil(length).max(1), length]
}

/// `factor` times the sum of `len` elements: one number.
///
/// # Errors
/// Where the device is lost or has no memory.
pub fn total(gpu: &Gpu, x: &Slice, len: usize, factor: f32) -> Result<Arc<Buffer>> {
    let [chunks, length] = chunks(len);
    let y = Slice::from(gpu.unset(1)?);
    let run = |x: &Slice, y: &Slice, len: usize, length: usize, chunks: usize, factor: f32| {
        let sizes = [len as u32, x.start(), length as u32, chunks as u32, 0, 0];
        gpu.kernel(Shader::Reduce, "reduce_sum")
            .params(&sizes)
            .params(&[factor])
            .read(1, x)
            .write(2, y)
            .groups(chunks)
    };
    if chunks == 1 {
        run(x, &y, len, len, 1, factor)?;
        return Ok(y.buffer);
    }
    let parts = Slice::from(gpu.unset(chunks)?);
    run(x, &parts, len, length, chunks, 1.0)?;
    run(&parts, &y, chunks, chunks, 1, factor)?;
    Ok(y.buffer)
}

/// `len` times the one number `x`, times `factor`.
///
/// # Errors
/// Where the device is lost or has no memory.
pub fn spread(gpu: &Gpu, x: &Slice, len: usize, factor: f32) -> Result<Arc<Buffer>> {
    let y = Slice::from(gpu.unset(len)?);
    gpu.kernel(Shader::Reduce, "reduce_broadcast")
        .params(&[len as u32, x.start(), 0, 0, 0, 0])
        .params(&[factor])
        .read(1, x)
        .write(2, &y)
        .over(len)?;
    Ok(y.buffer)
}

/// The sum over `rows` rows of each of `columns` columns.
///
/// # Errors
/// Where the device is lost or has no memory.
pub fn rows(gpu: &Gpu, x: &Rows, [rows, columns]: [usize; 2]) -> Result<Arc<Buffer>> {
    let [chunks, length] = cut(rows, LEAST_ROWS);
    let parts = Slice::from(gpu.unset(chunks * columns)?);
    let sizes = |start: u32| {
        [
            rows as u32,
            start,
            length as u32,
            chunks as u32,
            columns as u32,
            x.stride as u32,
            0,
        ]
    };
    gpu.kernel(Shader::Reduce, "reduce_rows")
        .params(&sizes(x.data.start()))
        .read(1, &x.data)
        .write(2, &parts)
        .grid([columns.div_ceil(32), chunks, 1])?;
    if chunks == 1 {
        return Ok(parts.buffer);
    }
    let y = Slice::from(gpu.unset(columns)?);
    gpu.kernel(Shader::Reduce, "reduce_add_parts")
        .params(&sizes(0))
        .read(1, &parts)
        .write(2, &y)
        .over(columns)?;
    Ok(y.buffer)
}
