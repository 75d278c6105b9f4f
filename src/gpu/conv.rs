//! Convolution and its gradients, with `shaders/conv2d.wgsl`.

use std::sync::Arc;

use super::Gpu;
use super::copy::Rows;
use super::gemm::Tile;
use super::kernel::Kernel;
use super::shaders::{Shader, Variant};
use super::{Buffer, Slice};
use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::sizes::ConvShape;

/// The type of the operands. Sums are `f32` in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operands {
    /// `f32`
    F32,
    /// f16, on matrix units where the GPU has them and `GLIMPSE_MATRICES` is 1.
    F16,
}

/// The operation applied to a finished sum before it is written.
#[derive(Clone, Copy)]
pub enum After<'a> {
    /// Nothing.
    Nothing,
    /// `sum + bias`, with a bias `[O]`.
    Bias(&'a Slice),
    /// `max(0, sum * scale + shift)`, with a folded norm `[4, O]`, whose first two rows are scale and shift.
    NormRelu(&'a Slice),
}

shader_params! {
    /// The sizes, and where the arrays begin in their buffers.
    struct Params of Conv2d, Conv2dCooperative {
        rows: u32,
        columns: u32,
        depth: u32,
        depth_per_split: u32,
        source_height: u32,
        source_width: u32,
        source_channels: u32,
        source_start: u32,
        source_stride: u32,
        result_height: u32,
        result_width: u32,
        result_start: u32,
        result_stride: u32,
        kernel_height: u32,
        kernel_width: u32,
        stride_y: u32,
        stride_x: u32,
        padding_y: u32,
        padding_x: u32,
        splits: u32,
        weight_start: u32,
        norm_start: u32,
        after_start: u32,
    }
}

impl Operands {
    fn variant(self) -> Variant {
        match self {
            Operands::F32 => Variant::Plain,
            Operands::F16 => Variant::Half,
        }
    }
}

/// How a product is divided among matrix units.
#[derive(Clone, Copy)]
struct Matrices {
    /// Rows and columns of one matrix.
    size: usize,
    /// Matrices side by side in a workgroup's result.
    across: usize,
    /// Invocations of a workgroup, which is four subgroups.
    threads: usize,
}

impl Matrices {
    /// Returns `None` where the GPU has no matrix units, or the sizes of the product do not suit them.
    fn of(gpu: &Gpu, params: &Params, source: &Rows) -> Option<Self> {
        let (size, subgroup) = gpu.matrices()?;
        let [columns, depth, channels] =
            [params.columns, params.depth, params.source_channels].map(|n| n as usize);
        let across = [4, 2]
            .into_iter()
            .find(|n| columns.is_multiple_of(n * size))?;
        let suits = depth.is_multiple_of(size) && in_vec4s(&source.data, source.stride, channels);
        suits.then_some(Matrices {
            size,
            across,
            threads: 4 * subgroup,
        })
    }

    /// The result of a workgroup, which is eight matrices high, in the units of [`Tile`]: 8 rows, 4 columns.
    fn tile(self) -> Tile {
        Tile {
            down: self.size,
            across: self.across * self.size / 4,
        }
    }
}

/// Returns whether rows of `columns` elements, `stride` apart, can be loaded in aligned vec4s.
fn in_vec4s(data: &Slice, stride: usize, columns: usize) -> bool {
    [data.offset, stride, columns]
        .iter()
        .all(|n| n.is_multiple_of(4))
}

impl Params {
    /// Returns the parameters of the product with source x and result y; with `backward`, source dy and result dx.
    fn new(shape: &ConvShape, backward: bool) -> Params {
        let (input, output) = (shape.dims(), shape.out_dims());
        let (source, result) = match backward {
            false => (input, output),
            true => (output, input),
        };
        let [_, source_height, source_width, source_channels] = source;
        let [batch, result_height, result_width, columns] = result;
        let depth = shape.taps() * source_channels;
        let n = |x: usize| x as u32;
        Params {
            rows: n(batch * result_height * result_width),
            columns: n(columns),
            depth: n(depth),
            depth_per_split: n(depth),
            source_height: n(source_height),
            source_width: n(source_width),
            source_channels: n(source_channels),
            source_stride: n(source_channels),
            result_height: n(result_height),
            result_width: n(result_width),
            result_stride: n(columns),
            kernel_height: n(shape.kernel[0]),
            kernel_width: n(shape.kernel[1]),
            stride_y: n(shape.stride[0]),
            stride_x: n(shape.stride[1]),
            padding_y: n(shape.padding[0]),
            padding_x: n(shape.padding[1]),
            splits: 1,
            ..Params::default()
        }
    }
}

/// Packs weights `[O, C, kh, kw]` for [`forward`], or with `backward` for [`grad_input`].
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn pack(
    gpu: &Gpu,
    shape: &ConvShape,
    operands: Operands,
    weight: &Slice,
    backward: bool,
) -> Result<Arc<Buffer>> {
    let elements = match operands {
        Operands::F32 => shape.weights(),
        Operands::F16 => shape.weights().div_ceil(2),
    };
    let packed = Slice::from(gpu.unset(elements)?);
    let params = Params {
        weight_start: weight.start(),
        ..Params::new(shape, backward)
    };
    gpu.kernel(Shader::Conv2d, "conv2d_pack")
        .variant(operands.variant())
        .constant("BACKWARD", backward.into())
        .params(&params)
        .read(2, weight)
        .write(10, &packed)
        .over(shape.weights())?;
    Ok(packed.buffer)
}

/// The operands and the result of a product.
pub struct ConvProduct<'a> {
    /// The map that is read: x.
    pub source: &'a Rows,
    /// A folded norm `[4, C]`: the product reads `max(0, x * scale + shift)` instead of x.
    pub norm: Option<&'a Slice>,
    /// The weights, [packed](pack).
    pub packed: &'a Slice,
    /// The type of the operands, for which the weights were packed.
    pub operands: Operands,
    /// The operation applied to each sum.
    pub after: After<'a>,
    /// The map that is written: y.
    pub result: &'a Rows,
}

/// Computes `y = conv(x, w)`.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn forward(gpu: &Gpu, shape: &ConvShape, maps: &ConvProduct) -> Result<()> {
    product(gpu, shape, false, maps)
}

/// Computes `dx` from `dy`, the gradient with respect to the output.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn grad_input(
    gpu: &Gpu,
    shape: &ConvShape,
    dy: &Rows,
    packed: &Slice,
    dx: &Rows,
) -> Result<()> {
    let maps = ConvProduct {
        source: dy,
        norm: None,
        packed,
        operands: Operands::F32,
        after: After::Nothing,
        result: dx,
    };
    product(gpu, shape, true, &maps)
}

impl<'a> ConvProduct<'a> {
    /// Begins a dispatch whose subgroups multiply on matrix units.
    fn on_matrices(&self, gpu: &'a Gpu, matrices: Matrices) -> Kernel<'a> {
        gpu.kernel(Shader::Conv2dCooperative, "conv2d_cooperative_forward")
            .variant(Variant::Matrices(matrices.size as u32))
            .constant("THREADS", matrices.threads as u32)
            .constant("ACROSS", matrices.across as u32)
            .read(2, self.packed)
    }

    /// Begins a dispatch whose invocations each compute a tile of sums.
    fn on_tiles(&self, gpu: &'a Gpu, tile: Tile, params: &Params) -> Kernel<'a> {
        let &ConvProduct { source, packed, .. } = self;
        let [columns, channels] = [params.columns, params.source_channels].map(|n| n as usize);
        let source_in_vec4s = in_vec4s(&source.data, source.stride, channels);
        gpu.kernel(Shader::Conv2d, "conv2d_forward")
            .variant(self.operands.variant())
            .constant("DOWN", tile.down as u32)
            .constant("ACROSS", tile.across as u32)
            .constant("SOURCE_VEC4", source_in_vec4s.into())
            .constant("WEIGHT_VEC4", in_vec4s(packed, columns, columns).into())
            .read(1, &source.data)
            .read(8, packed)
            .read(9, packed)
    }
}

fn product(gpu: &Gpu, shape: &ConvShape, backward: bool, maps: &ConvProduct) -> Result<()> {
    let &ConvProduct {
        source,
        norm,
        packed,
        operands,
        after,
        result,
    } = maps;
    let params = Params::new(shape, backward);
    let [rows, columns, depth] = [params.rows, params.columns, params.depth].map(|n| n as usize);
    if rows == 0 || columns == 0 {
        return Ok(());
    }
    let on_matrices = (!backward && operands == Operands::F16)
        .then(|| Matrices::of(gpu, &params, source))
        .flatten();
    let tile = match on_matrices {
        Some(matrices) => matrices.tile(),
        None => Tile::of(rows, columns),
    };
    let [splits, length] = tile.splits([rows, columns], depth, gpu.max_elements());
    let (kind, after) = match after {
        After::Nothing => (0, packed),
        After::Bias(bias) => (1, bias),
        After::NormRelu(folded) => (2, folded),
    };
    let params = Params {
        depth_per_split: length as u32,
        splits: splits as u32,
        source_start: source.data.start(),
        source_stride: source.stride as u32,
        result_start: result.data.start(),
        result_stride: result.stride as u32,
        weight_start: packed.start(),
        norm_start: norm.map_or(0, Slice::start),
        after_start: after.start(),
        ..params
    };
    let parts = match splits {
        1 => result.data.clone(),
        _ => gpu.unset(splits * rows * columns)?.into(),
    };
    let [down, across] = tile.groups(rows, columns);
    let kernel = match on_matrices {
        Some(matrices) => maps.on_matrices(gpu, matrices),
        None => maps
            .on_tiles(gpu, tile, &params)
            .constant("BACKWARD", backward.into()),
    };
    kernel
        .constant("NORM", norm.is_some().into())
        .constant("AFTER", kind)
        .params(&params)
        .read(3, norm.unwrap_or(after))
        .read(4, after)
        .write(5, &parts)
        .read(6, &source.data)
        .flops(shape.flops())
        .grid([down, across, splits])?;
    if splits == 1 {
        return Ok(());
    }
    gpu.kernel(Shader::Conv2d, "conv2d_sum_splits")
        .constant("AFTER", kind)
        .params(&params)
        .read(1, &parts)
        .read(4, after)
        .write(5, &result.data)
        .over(rows * columns)
}

/// Computes `dw`, `[O, C, kh, kw]`, from `dy`, the gradient with respect to the output. `x` is the
/// [source](ConvProduct::source) and `norm` the [norm](ConvProduct::norm) of the forward pass.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn grad_weight(
    gpu: &Gpu,
    shape: &ConvShape,
    x: &Rows,
    norm: Option<&Slice>,
    dy: &Rows,
) -> Result<Arc<Buffer>> {
    let (rows, columns, depth) = (shape.k(), shape.out_channels, shape.out_pixels());
    let dw = Slice::from(gpu.unset(shape.weights())?);
    if rows == 0 || columns == 0 {
        return Ok(dw.buffer);
    }
    let tile = Tile::of(rows, columns);
    let [splits, length] = tile.splits([rows, columns], depth, gpu.max_elements());
    let params = Params {
        rows: rows as u32,
        columns: columns as u32,
        depth: depth as u32,
        depth_per_split: length as u32,
        splits: splits as u32,
        source_start: x.data.start(),
        source_stride: x.stride as u32,
        result_stride: dy.stride as u32,
        weight_start: dy.data.start(),
        norm_start: norm.map_or(0, Slice::start),
        ..Params::new(shape, false)
    };
    let parts = Slice::from(gpu.unset(splits * rows * columns)?);
    let [down, across] = tile.groups(rows, columns);
    gpu.kernel(Shader::Conv2d, "conv2d_grad_weight")
        .constant("DOWN", tile.down as u32)
        .constant("ACROSS", tile.across as u32)
        .constant("NORM", norm.is_some().into())
        .constant(
            "SOURCE_VEC4",
            in_vec4s(&x.data, x.stride, shape.channels).into(),
        )
        .constant("WEIGHT_VEC4", in_vec4s(&dy.data, dy.stride, columns).into())
        .params(&params)
        .read(1, &x.data)
        .read(2, &dy.data)
        .read(3, norm.unwrap_or(&dy.data))
        .write(5, &parts)
        .read(6, &x.data)
        .read(7, &dy.data)
        .flops(shape.flops())
        .grid([down, across, splits])?;
    gpu.kernel(Shader::Conv2d, "conv2d_sum_weight")
        .params(&params)
        .read(1, &parts)
        .write(5, &dw)
        .over(rows * columns)?;
    Ok(dw.buffer)
}
