//! Scratch memory that starts on a cache line.
//!
//! A 64-byte vector that straddles two cache lines costs two loads. Packed operands are read far more
//! often than they are written, so they begin on a line.

use bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A growable run of `f32` whose first element lies on a 64-byte boundary.
#[derive(Clone, Default)]
pub struct AlignedVec {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedVec {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        AlignedVec {
            lines: vec![Line::zeroed(); len.div_ceil(16)],
            len,
        }
    }

    /// Makes the length exactly `len`, keeping the memory; what it holds afterwards is unspecified.
    pub fn reset(&mut self, len: usize) {
        if self.lines.len() < len.div_ceil(16) {
            self.lines.resize(len.div_ceil(16), Line::zeroed());
        }
        self.len = len;
    }
}

impl std::ops::Deref for AlignedVec {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl std::ops::DerefMut for AlignedVec {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}
