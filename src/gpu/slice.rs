//! A part of a GPU buffer.

use std::sync::Arc;

use super::Buffer;

/// A part of a buffer: its elements, of 32 bits each, from `offset` on.
#[derive(Clone)]
pub struct Slice {
    /// The whole buffer.
    pub buffer: Arc<Buffer>,
    /// The index of the first element.
    pub offset: usize,
}

impl Slice {
    /// Returns the slice that begins `elements` further on.
    pub fn after(&self, elements: usize) -> Slice {
        Slice {
            buffer: self.buffer.clone(),
            offset: self.offset + elements,
        }
    }

    /// The index of the first element, as shaders take it.
    pub fn start(&self) -> u32 {
        self.offset as u32
    }
}

impl From<Arc<Buffer>> for Slice {
    fn from(buffer: Arc<Buffer>) -> Self {
        Slice { buffer, offset: 0 }
    }
}
