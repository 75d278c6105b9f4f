//! Feature maps `[N, H, W, C]` as slices: the operands of convolutions and of loops over rows.

/// A map `[N, H, W, C]` whose pixels begin `stride` floats apart: a whole map, or some channels of a wider one.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    /// The first channel of the first pixel, and everything after it.
    pub data: &'a [f32],
    /// Floats from one pixel to the next.
    pub stride: usize,
}

impl<'a> Pixels<'a> {
    /// Returns the map whose first pixel begins with `data`, and whose pixels begin `stride` floats apart.
    pub fn new(data: &'a [f32], stride: usize) -> Self {
        Pixels { data, stride }
    }

    /// Returns the first `channels` channels of pixel `row`.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize, channels: usize) -> &'a [f32] {
        &self.data[row * self.stride..][..channels]
    }
}

/// A map `[N, H, W, C]` like [`Pixels`], to be written.
pub struct PixelsMut<'a> {
    /// The first channel of the first pixel, and everything after it.
    pub data: &'a mut [f32],
    /// Floats from one pixel to the next.
    pub stride: usize,
}

impl<'a> PixelsMut<'a> {
    /// Returns the map whose first pixel begins with `data`, and whose pixels begin `stride` floats apart.
    pub fn new(data: &'a mut [f32], stride: usize) -> Self {
        PixelsMut { data, stride }
    }

    /// Returns the first `channels` channels of pixel `row`.
    #[inline(always)]
    pub(crate) fn row(&mut self, row: usize, channels: usize) -> &mut [f32] {
        &mut self.data[row * self.stride..][..channels]
    }
}
