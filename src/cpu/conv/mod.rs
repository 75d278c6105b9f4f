//! Convolution as a matrix product whose left matrix is never stored.
//!
//! Feature maps are `[N, H, W, C]`: a pixel's channels lie side by side. In the product `Y = A B`, each output pixel is a row
//! of A; its elements are the `kh x kw` input pixels of its window, C channels each. B holds the weights. Three methods lead
//! from there to the [kernel](super::kernel):
//!
//! * `pointwise`: a 1x1 kernel with stride 1 and no padding, which is a matrix product of pixels and weights;
//! * `winograd`: a 3x3 kernel with stride 1, channels in multiples of 16 and more than a few pixels, in `f32`; it takes a
//!   quarter of the multiplications;
//! * `window`: every other case, with taps that lie at the same distances from every pixel.
//!
//! All three can apply batch norm and ReLU to the input while they copy it into cache (`before`), and an operation to the
//! output before they write it (`after`).
//!
//! The gradient with respect to the input is a convolution too: of the output's gradient, with `stride - 1` zeros between
//! its pixels, by the kernel rotated by 180 degrees. The gradient with respect to the weights is the product of the
//! transposed A and the output's gradient, summed over all pixels.
//!
//! Products are of `f32`, or, in inference, of bf16. In bf16 the copies in cache hold two channels per lane (see
//! [`precision`](super::precision)), so the taps of a pixel are half as many lanes; nothing else changes.

mod copy;
mod grad_weight;
mod pointwise;
mod window;
mod winograd;

pub use grad_weight::grad_weight;

use super::after::{Affine, After};
use super::packed::{Layout, PackedB};
use super::pixels::{Pixels, PixelsMut};
use super::precision::pair;
use super::{Isa, Precision, profile};
use crate::sizes::ConvShape;
use window::SlidingWindow;
use winograd::Tiling;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Pointwise,
    Winograd,
    Window,
}

impl ConvShape {
    /// The window of the forward pass: output pixels read input pixels.
    fn window(&self) -> SlidingWindow {
        SlidingWindow {
            batch: self.batch,
            from: [self.height, self.width],
            channels: self.channels,
            to: [self.out_height(), self.out_width()],
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding.map(|p| p as isize),
            dilation: [1, 1],
        }
    }

    /// The window of the gradient with respect to the input: input pixels read gradients of output pixels.
    fn transposed(&self) -> SlidingWindow {
        SlidingWindow {
            batch: self.batch,
            from: [self.out_height(), self.out_width()],
            channels: self.out_channels,
            to: [self.height, self.width],
            kernel: self.kernel,
            stride: [1, 1],
            padding: [0, 1].map(|i| self.kernel[i] as isize - 1 - self.padding[i] as isize),
            dilation: self.stride,
        }
    }

    /// The layout of the weights that [`pack_forward`] produces.
    pub fn layout(&self, precision: Precision) -> Layout {
        match (
            precision,
            self.window().method(self.out_channels, precision),
        ) {
            (Precision::Bf16, _) => Layout::ConvolutionPairs,
            (_, Method::Winograd) => Layout::Winograd,
            (_, Method::Pointwise | Method::Window) => Layout::Convolution,
        }
    }
}

impl SlidingWindow {
    fn method(&self, out_channels: usize, precision: Precision) -> Method {
        // Without channels every pixel is an empty sum, whatever the kernel.
        if self.is_pointwise() || self.channels == 0 {
            Method::Pointwise
        } else if precision == Precision::F32 && Tiling::suits(self, out_channels) {
            // Not in bf16: the transforms would lose most of its precision.
            Method::Winograd
        } else {
            Method::Window
        }
    }

    fn multiply(
        self,
        isa: Isa,
        x: Pixels,
        before: Option<Affine>,
        weight: &PackedB,
        after: After,
        y: PixelsMut,
    ) {
        let out_pixels = self.batch * self.to[0] * self.to[1];
        let columns = weight.columns();
        if out_pixels == 0 || columns == 0 {
            return;
        }
        assert!((out_pixels - 1) * y.stride + columns <= y.data.len());
        let args = ConvArgs {
            isa,
            x,
            before,
            weight,
            after,
        };
        match self.method(columns, weight.precision()) {
            Method::Pointwise => pointwise::multiply(&args, out_pixels, self.channels, y),
            Method::Winograd => Tiling::new(&self, columns).multiply(&args, y),
            Method::Window => self.slide(&args, y),
        }
    }
}

/// The arguments that all methods take.
struct ConvArgs<'a> {
    isa: Isa,
    x: Pixels<'a>,
    before: Option<Affine<'a>>,
    weight: &'a PackedB,
    after: After<'a>,
}

/// Packs weights `[O, C, kh, kw]` for [`forward`], whose products then have this precision.
pub fn pack_forward(isa: Isa, shape: &ConvShape, precision: Precision, weight: &[f32]) -> PackedB {
    let _timer = profile::time("conv pack", shape);
    if shape.layout(precision) == Layout::Winograd {
        let (c, o) = (shape.channels, shape.out_channels);
        return winograd::pack(isa, [c, o], |c_index, o_index, tap| {
            weight[(o_index * c + c_index) * 9 + tap]
        });
    }
    let (c, taps) = (shape.channels, shape.taps());
    let (lanes, per_lane) = (precision.lanes(c), precision.per_lane());
    let packed = PackedB::new(isa, taps * lanes, shape.out_channels, |k, first, row| {
        let (tap, channel) = (k / lanes, k % lanes * per_lane);
        let weight = &weight[(first * c + channel) * taps + tap..];
        let of_outputs = row.iter_mut().zip(weight.chunks(c * taps));
        match precision {
            Precision::F32 => of_outputs.for_each(|(x, weight)| *x = weight[0]),
            Precision::Bf16 if channel + 1 < c => {
                of_outputs.for_each(|(x, weight)| *x = pair(weight[0], weight[taps]));
            }
            Precision::Bf16 => of_outputs.for_each(|(x, weight)| *x = pair(weight[0], 0.0)),
        }
    });
    packed.with_precision(precision)
}

/// Packs weights `[O, C, kh, kw]` for [`grad_input`]: the rotated kernel, with inputs and outputs exchanged.
fn pack_grad_input(isa: Isa, shape: &ConvShape, weight: &[f32]) -> PackedB {
    let _timer = profile::time("conv pack", shape);
    if shape.transposed().method(shape.channels, Precision::F32) == Method::Winograd {
        let (c, o) = (shape.channels, shape.out_channels);
        return winograd::pack(isa, [o, c], |o_index, c_index, tap| {
            weight[(o_index * c + c_index) * 9 + 8 - tap]
        });
    }
    let (o, c, taps) = (shape.out_channels, shape.channels, shape.taps());
    PackedB::new(isa, taps * o, c, |k, first, row| {
        let start = k % o * c * taps + (taps - 1 - k / o);
        for (j, x) in row.iter_mut().enumerate() {
            *x = weight[start + (first + j) * taps];
        }
    })
}

/// Computes `y = after(conv(before(x)))`, where `before` is batch norm and ReLU, if it is given.
///
/// `x` is `[N, H, W, C]`, `weight` comes from [`pack_forward`] for the same shape, `y` is `[N, OH, OW, O]`.
pub fn forward(
    isa: Isa,
    shape: &ConvShape,
    x: Pixels,
    before: Option<Affine>,
    weight: &PackedB,
    after: After,
    y: PixelsMut,
) {
    let _timer = profile::time_flops("conv", shape, shape.flops());
    shape.window().multiply(isa, x, before, weight, after, y);
}

/// Computes `dx`, the gradient with respect to the input, `[N, H, W, C]`, from the output's gradient `dy`, `[N, OH, OW, O]`,
/// and weights `[O, C, kh, kw]`.
pub fn grad_input(isa: Isa, shape: &ConvShape, dy: Pixels, weight: &[f32], dx: PixelsMut) {
    let _timer = profile::time_flops("conv gradient, input", shape, shape.flops());
    let weight = pack_grad_input(isa, shape, weight);
    shape
        .transposed()
        .multiply(isa, dy, None, &weight, After::Nothing, dx);
}
