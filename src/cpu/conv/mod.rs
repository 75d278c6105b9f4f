//! Convolution as a matrix product that never writes its matrix down.
//!
//! Feature maps are `[N, H, W, C]`: a pixel's channels lie side by side. Each output pixel is a row of A
//! whose elements are the `kh x kw` windows of input pixels, each a run of channels; weights are B. Copying
//! those windows out (im2col) would multiply the input by `kh kw`. Instead a task copies the few input rows
//! that its output rows look at into a tile in cache, with a border of zeros, applying batch norm and ReLU on
//! the way where the caller wants that. In the tile a tap of the kernel is the same distance away from every
//! pixel, which is just what [`RowBlock`] describes.
//!
//! The gradient by the input is a convolution too: of the output's gradient, with `stride - 1` zeros between
//! its pixels, by the kernel turned around. The gradient by the weights is the product of A, transposed, and
//! the output's gradient, summed over all pixels.

mod grad_weight;

pub use grad_weight::grad_weight;

use super::Isa;
use super::aligned::AlignedVec;
use super::kernel::{Output, PackedB, RowBlock, multiply_block, tile_shape};
use super::profile;
use super::simd::{Simd, WithSimd};
use super::threads::{self, SharedMut};

/// The sizes of a convolution. Pairs are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Taps.
    pub kernel: [usize; 2],
    /// Input pixels from one output pixel to the next.
    pub stride: [usize; 2],
    /// Zeros around the input.
    pub padding: [usize; 2],
}

impl ConvShape {
    /// Rows of the output: `(height + 2 padding - kernel) / stride + 1`, rounded down.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding[0] - self.kernel[0]) / self.stride[0] + 1
    }

    /// Columns of the output.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding[1] - self.kernel[1]) / self.stride[1] + 1
    }

    /// Pixels of the input, over all images.
    pub fn pixels(&self) -> usize {
        self.batch * self.height * self.width
    }

    /// Pixels of the output, over all images.
    pub fn out_pixels(&self) -> usize {
        self.batch * self.out_height() * self.out_width()
    }

    /// Taps times input channels: what one output is a sum over.
    pub fn k(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels
    }

    /// Multiplications and additions of one pass.
    pub fn flops(&self) -> f64 {
        2.0 * self.out_pixels() as f64 * self.k() as f64 * self.out_channels as f64
    }
}

/// As in a table of timings: the kernel, the map, the channels.
impl std::fmt::Display for ConvShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([kh, kw], [sh, sw]) = (self.kernel, self.stride);
        write!(f, "{kh}x{kw}")?;
        if self.stride != [1, 1] {
            write!(f, "/{sh}x{sw}")?;
        }
        let (n, h, w) = (self.batch, self.height, self.width);
        let (c, o) = (self.channels, self.out_channels);
        write!(f, " {n}x{h}x{w} {c} to {o}")
    }
}

/// `[N, H, W, C]` whose pixels begin `stride` floats apart: a whole map, or some channels of a wider one.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    /// The first channel of the first pixel, and everything after it.
    pub data: &'a [f32],
    /// From one pixel to the next.
    pub stride: usize,
}

/// The same, to be written.
pub struct PixelsMut<'a> {
    /// The first channel of the first pixel, and everything after it.
    pub data: &'a mut [f32],
    /// From one pixel to the next.
    pub stride: usize,
}

/// What is done to each input element while it is copied: `max(0, x * scale[c] + shift[c])`, which is batch
/// norm and ReLU.
#[derive(Clone, Copy)]
pub struct ScaleShiftRelu<'a> {
    /// One factor a channel.
    pub scale: &'a [f32],
    /// One summand a channel.
    pub shift: &'a [f32],
}

/// How output pixels look at input pixels: the forward pass and the gradient by the input are both of this
/// form.
struct Window {
    batch: usize,
    from: [usize; 2],
    channels: usize,
    to: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    // Zeros before the first input pixel; fewer than none where the padding was wider than the kernel.
    before: [isize; 2],
    // Steps from one input pixel to the next, zeros between.
    spread: [usize; 2],
}

/// Packs weights `[O, C, kh, kw]` for [`forward`].
pub fn pack_forward(isa: Isa, shape: &ConvShape, weight: &[f32]) -> PackedB {
    let (c, taps) = (shape.channels, shape.kernel[0] * shape.kernel[1]);
    PackedB::new(isa, shape.k(), shape.out_channels, |k, first, row| {
        let start = k % c * taps + k / c;
        for (j, x) in row.iter_mut().enumerate() {
            *x = weight[(first + j) * c * taps + start];
        }
    })
}

/// Packs weights `[O, C, kh, kw]` for [`grad_input`]: the kernel turned around, inputs for outputs.
fn pack_grad_input(isa: Isa, shape: &ConvShape, weight: &[f32]) -> PackedB {
    let (o, c, taps) = (
        shape.out_channels,
        shape.channels,
        shape.kernel[0] * shape.kernel[1],
    );
    PackedB::new(isa, taps * o, c, |k, first, row| {
        let start = k % o * c * taps + (taps - 1 - k / o);
        for (j, x) in row.iter_mut().enumerate() {
            *x = weight[start + (first + j) * taps];
        }
    })
}

/// `y = conv(x) (+ bias)`, with `before` applied to the input on the way.
///
/// `x` is `[N, H, W, C]`, `weight` comes from [`pack_forward`], `y` is `[N, OH, OW, O]`.
pub fn forward(
    isa: Isa,
    shape: &ConvShape,
    x: Pixels,
    before: Option<ScaleShiftRelu>,
    weight: &PackedB,
    bias: Option<&[f32]>,
    y: PixelsMut,
) {
    let _timer = profile::time("conv", shape, shape.flops());
    let window = Window {
        batch: shape.batch,
        from: [shape.height, shape.width],
        channels: shape.channels,
        to: [shape.out_height(), shape.out_width()],
        kernel: shape.kernel,
        stride: shape.stride,
        before: shape.padding.map(|p| p as isize),
        spread: [1, 1],
    };
    window.multiply(isa, x, before, weight, bias, y);
}

/// The gradient by the input, `[N, H, W, C]`, from the output's, `[N, OH, OW, O]`, and weights
/// `[O, C, kh, kw]`.
pub fn grad_input(isa: Isa, shape: &ConvShape, grad: Pixels, weight: &[f32], grad_x: PixelsMut) {
    let _timer = profile::time("conv gradient, input", shape, shape.flops());
    let turned = |i: usize| shape.kernel[i] as isize - 1 - shape.padding[i] as isize;
    let window = Window {
        batch: shape.batch,
        from: [shape.out_height(), shape.out_width()],
        channels: shape.out_channels,
        to: [shape.height, shape.width],
        kernel: shape.kernel,
        stride: [1, 1],
        before: [turned(0), turned(1)],
        spread: shape.stride,
    };
    window.multiply(
        isa,
        grad,
        None,
        &pack_grad_input(isa, shape, weight),
        None,
        grad_x,
    );
}

// A tile should leave room for the packed weights in the second-level cache.
const TILE_FLOATS: usize = 48 * 1024;
// Enough tasks for a good balance over a few cores, whatever their number.
const TASKS: usize = 8;

impl Window {
    fn multiply(
        mut self,
        isa: Isa,
        x: Pixels,
        before: Option<ScaleShiftRelu>,
        weight: &PackedB,
        bias: Option<&[f32]>,
        y: PixelsMut,
    ) {
        if self.is_pointwise() {
            // Every pixel stands for itself: one tall image lets tasks be cut anywhere.
            let pixels = self.batch * self.from[0] * self.from[1];
            (self.batch, self.from, self.to) = (1, [pixels, 1], [pixels, 1]);
        }
        let out_pixels = self.batch * self.to[0] * self.to[1];
        if out_pixels == 0 || weight.columns() == 0 {
            return;
        }
        assert!((out_pixels - 1) * y.stride + weight.columns() <= y.data.len());
        let c = SharedMut::new(y.data);
        let (pixel_stride, merged) = self.tile_pixel();
        let row_floats = self.tile_width() * pixel_stride;
        let rows = self.rows_per_task(tile_shape(isa).0, row_floats);
        let tasks_per_image = self.to[0].div_ceil(rows);
        let segments = self.segments(pixel_stride, merged);
        let segment_len = if merged {
            self.kernel[1] * self.channels
        } else {
            self.channels
        };

        threads::for_each(self.batch * tasks_per_image, |task| {
            let image = task / tasks_per_image;
            let first = task % tasks_per_image * rows;
            let rows = rows.min(self.to[0] - first);
            let mut tile = AlignedVec::zeros(self.tile_height(rows) * row_floats);
            self.fill_tile(isa, x, before, image, first, pixel_stride, &mut tile);
            let offsets: Vec<usize> = (0..rows * self.to[1])
                .map(|i| {
                    let (row, column) = (i / self.to[1], i % self.to[1]);
                    row * self.stride[0] * row_floats + column * self.stride[1] * pixel_stride
                })
                .collect();
            let block = RowBlock {
                data: &tile,
                offsets: &offsets,
                k_stride: 1,
                segments: &segments,
                segment_len,
            };
            let row = (image * self.to[0] + first) * self.to[1];
            let out = Output {
                c,
                stride: y.stride,
                row,
                accumulate: false,
                bias,
            };
            // SAFETY: `y` was checked to hold all pixels; each task has output rows of its own.
            unsafe { multiply_block(isa, &block, weight, 0, 0..weight.panels(), out) };
        });
    }

    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.before == [0, 0]
            && self.spread == [1, 1]
    }

    fn tile_height(&self, rows: usize) -> usize {
        (rows - 1) * self.stride[0] + self.kernel[0]
    }

    fn tile_width(&self) -> usize {
        (self.to[1] - 1) * self.stride[1] + self.kernel[1]
    }

    /// Floats from one pixel of the tile to the next, and whether neighbouring taps of a row are one segment.
    ///
    /// Few channels (an image's three) are kept dense, so that a row of taps is one long run. Otherwise the
    /// distance is an odd number of cache lines: pixels an even power apart would all fall into the same few
    /// sets of the first-level cache.
    fn tile_pixel(&self) -> (usize, bool) {
        if self.channels < 16 {
            (self.channels, true)
        } else {
            let lines = self.channels.div_ceil(16);
            ((lines | 1) * 16, false)
        }
    }

    fn segments(&self, pixel_stride: usize, merged: bool) -> Vec<usize> {
        let row = self.tile_width() * pixel_stride;
        let columns = if merged { 1 } else { self.kernel[1] };
        (0..self.kernel[0])
            .flat_map(|ky| (0..columns).map(move |kx| ky * row + kx * pixel_stride))
            .collect()
    }

    /// Output rows of one task: as many as the tile may hold, few enough to make [`TASKS`] tasks, and among
    /// those the number whose pixels fill the kernel's strips best.
    fn rows_per_task(&self, strip: usize, row_floats: usize) -> usize {
        let fits =
            (TILE_FLOATS / row_floats.max(1)).saturating_sub(self.kernel[0] - 1) / self.stride[0];
        let shared = (self.batch * self.to[0]).div_ceil(TASKS);
        let shared = if self.to[1] == 1 {
            shared.next_multiple_of(strip)
        } else {
            shared
        };
        let most = fits.min(shared).clamp(1, self.to[0]);
        let used = |rows: usize| {
            let pixels = rows * self.to[1];
            pixels as f64 / pixels.next_multiple_of(strip) as f64
        };
        let least = most.div_ceil(2);
        (least..=most).fold(
            most,
            |best, rows| if used(rows) > used(best) { rows } else { best },
        )
    }

    /// Copies the input rows that output rows `first..` of `image` look at. The tile starts as zeros.
    #[allow(clippy::too_many_arguments)]
    fn fill_tile(
        &self,
        isa: Isa,
        x: Pixels,
        before: Option<ScaleShiftRelu>,
        image: usize,
        first: usize,
        pixel_stride: usize,
        tile: &mut [f32],
    ) {
        let top = (first * self.stride[0]) as isize - self.before[0];
        for (i, row) in tile
            .chunks_exact_mut(self.tile_width() * pixel_stride)
            .enumerate()
        {
            let Some(y) = source(top + i as isize, self.spread[0], self.from[0]) else {
                continue;
            };
            // The tile's columns that hold input pixels, `spread` apart.
            let spread = self.spread[1] as isize;
            let first_x = (-self.before[1]).max(0).div_euclid(spread)
                + isize::from((-self.before[1]).max(0).rem_euclid(spread) != 0);
            let last_x = (self.from[1] as isize - 1)
                .min((self.tile_width() as isize - 1 - self.before[1]).div_euclid(spread));
            if last_x < first_x {
                continue;
            }
            let start = (first_x * spread + self.before[1]) as usize;
            let pixel = (image * self.from[0] + y) * self.from[1] + first_x as usize;
            isa.dispatch(CopyPixels {
                from: &x.data[pixel * x.stride..],
                from_stride: x.stride,
                to: &mut row[start * pixel_stride..],
                to_stride: self.spread[1] * pixel_stride,
                pixels: (last_x - first_x + 1) as usize,
                channels: self.channels,
                before,
            });
        }
    }
}

/// The input coordinate at position `at` of an axis whose `len` pixels are `spread` apart, if one is there.
fn source(at: isize, spread: usize, len: usize) -> Option<usize> {
    let at = usize::try_from(at).ok()?;
    (at % spread == 0 && at / spread < len).then_some(at / spread)
}

/// Copies the channels of a run of pixels, applying `before`.
struct CopyPixels<'a> {
    from: &'a [f32],
    from_stride: usize,
    to: &'a mut [f32],
    to_stride: usize,
    pixels: usize,
    channels: usize,
    before: Option<ScaleShiftRelu<'a>>,
}

impl WithSimd for CopyPixels<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in 0..self.pixels {
            let from = &self.from[i * self.from_stride..][..self.channels];
            let to = &mut self.to[i * self.to_stride..][..self.channels];
            match self.before {
                None => to.copy_from_slice(from),
                Some(f) => scale_shift_relu(s, f, from, to),
            }
        }
    }
}

/// `to = max(0, from * scale + shift)`, one pixel.
#[inline(always)]
pub(crate) fn scale_shift_relu<S: Simd>(s: S, f: ScaleShiftRelu, from: &[f32], to: &mut [f32]) {
    let n = from.len();
    let (scale, shift, to) = (&f.scale[..n], &f.shift[..n], &mut to[..n]);
    let whole = n - n % S::LANES;
    let zero = s.splat(0.0);
    for c in (0..whole).step_by(S::LANES) {
        let y = s.mul_add(s.load(&from[c..]), s.load(&scale[c..]), s.load(&shift[c..]));
        s.store(&mut to[c..], s.max(y, zero));
    }
    for c in whole..n {
        to[c] = (from[c] * scale[c] + shift[c]).max(0.0);
    }
}
