//! Functions of one or two numbers, element by element, with `shaders/elementwise.wgsl`.

use std::sync::Arc;

use super::Gpu;
use super::shaders::Shader;
use super::{Buffer, Slice};
use crate::error::Result;
use crate::gpu::params::shader_params;

shader_params! {
    /// The number of elements, where the arrays begin in their buffers, and the factor of `scale`.
    struct Params of Elementwise {
        len: u32,
        a_start: u32,
        b_start: u32,
        factor: f32,
    }
}

// The numbers of the shader's functions of two numbers.
/// `y = a + b`
pub const ADD: u32 = 0;
/// `y = a - b`
pub const SUB: u32 = 1;
/// `y = a b`
pub const MUL: u32 = 2;
/// `y = a (1 - b^2)`
pub const TANH_GRAD: u32 = 3;
/// `y = a b (1 - b)`
pub const SIGMOID_GRAD: u32 = 4;

// The numbers of the shader's functions of one number.
/// `y = factor x`
pub const SCALE: u32 = 0;
/// `y = tanh(x)`
pub const TANH: u32 = 1;
/// `y = sigmoid(x)`
pub const SIGMOID: u32 = 2;

/// Computes function number `function` of each of `len` pairs of elements.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn pair(gpu: &Gpu, function: u32, a: &Slice, b: &Slice, len: usize) -> Result<Arc<Buffer>> {
    let y = Slice::from(gpu.unset(len)?);
    gpu.kernel(Shader::Elementwise, "elementwise_pair")
        .constant("FUNCTION", function)
        .params(&Params {
            len: len as u32,
            a_start: a.start(),
            b_start: b.start(),
            factor: 0.0,
        })
        .read(1, a)
        .read(2, b)
        .write(3, &y)
        .over(len)?;
    Ok(y.buffer)
}

/// Computes function number `function` of each of `len` elements; `factor` is for the function that scales.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn single(gpu: &Gpu, function: u32, factor: f32, x: &Slice, len: usize) -> Result<Arc<Buffer>> {
    let y = Slice::from(gpu.unset(len)?);
    gpu.kernel(Shader::Elementwise, "elementwise_single")
        .constant("FUNCTION", function)
        .params(&Params {
            len: len as u32,
            a_start: x.start(),
            b_start: 0,
            factor,
        })
        .read(1, x)
        .write(3, &y)
        .over(len)?;
    Ok(y.buffer)
}
