//! The sizes of a convolution. The operations and the kernels on the CPU and on the GPU all use them.

/// Stride and padding of a convolution. Pairs are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Distance in input pixels between the windows of two neighbouring output pixels.
    pub stride: [usize; 2],
    /// Rows and columns of zeros added on each side of the image.
    pub padding: [usize; 2],
}

impl Window {
    /// Equal stride, and equal padding, in both directions.
    pub const fn square(stride: usize, padding: usize) -> Self {
        Window {
            stride: [stride; 2],
            padding: [padding; 2],
        }
    }
}

/// The sizes of a convolution. Pairs are `[vertical, horizontal]`. The stride must not be 0, and the kernel must fit the
/// padded input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Number of images, `N`.
    pub batch: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels of the input, `C`.
    pub channels: usize,
    /// Channels of the output, `O`.
    pub out_channels: usize,
    /// Height and width of the kernel, in pixels.
    pub kernel: [usize; 2],
    /// Distance in input pixels between the windows of two neighbouring output pixels.
    pub stride: [usize; 2],
    /// Rows and columns of zeros added on each side of the input.
    pub padding: [usize; 2],
}

impl ConvShape {
    /// Rows of the output: `(height + 2 padding - kernel) / stride + 1`, rounded down.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding[0] - self.kernel[0]) / self.stride[0] + 1
    }

    /// Columns of the output: `(width + 2 padding - kernel) / stride + 1`, rounded down.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding[1] - self.kernel[1]) / self.stride[1] + 1
    }

    /// `[N, H, W, C]`, the dimensions of the input.
    pub fn dims(&self) -> [usize; 4] {
        [self.batch, self.height, self.width, self.channels]
    }

    /// `[O, C, kh, kw]`, the dimensions of the weights.
    pub fn weight_dims(&self) -> [usize; 4] {
        let [kh, kw] = self.kernel;
        [self.out_channels, self.channels, kh, kw]
    }

    /// `[N, OH, OW, O]`, the dimensions of the output.
    pub fn out_dims(&self) -> [usize; 4] {
        let (height, width) = (self.out_height(), self.out_width());
        [self.batch, height, width, self.out_channels]
    }

    /// Pixels of the input, over all images.
    pub fn pixels(&self) -> usize {
        self.batch * self.height * self.width
    }

    /// Pixels of the output, over all images.
    pub fn out_pixels(&self) -> usize {
        self.batch * self.out_height() * self.out_width()
    }

    /// The taps, which are the pixels of the kernel: `kh kw`.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The number of summands of one output element: `kh kw C`.
    pub fn k(&self) -> usize {
        self.taps() * self.channels
    }

    /// Elements of the weights.
    pub fn weights(&self) -> usize {
        self.out_channels * self.k()
    }

    /// Floating-point operations of the forward pass: a multiplication and an addition for each summand. Each of the two
    /// gradients takes as many.
    pub fn flops(&self) -> f64 {
        2.0 * self.out_pixels() as f64 * self.k() as f64 * self.out_channels as f64
    }
}

/// The label in a table of timings, such as `3x3/2x2 1x56x56 128 to 32`: kernel and stride, input map, channels.
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
