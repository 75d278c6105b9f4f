//! Where a tensor's elements are.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::Shape;
use crate::cpu::packed::{Layout, PackedB};
use crate::cpu::{Isa, memory};

/// Where a tensor's elements are: a closed list, because both ends of it are ours. Tensors share storage, and
/// the last one to go frees it.
#[derive(Clone)]
#[non_exhaustive]
pub enum Storage {
    /// In the memory of the processor.
    Cpu(Arc<CpuBuffer>),
}

/// Elements in the processor's memory, and, for weights, the order in which the kernels want them.
pub struct CpuBuffer {
    data: Vec<f32>,
    // One for each instruction set and order that was asked for: hardly ever more than one.
    packed: Mutex<Vec<Packed>>,
}

/// Weights in the kernels' order, and what they were packed as.
struct Packed {
    isa: Isa,
    layout: Layout,
    shape: Shape,
    panels: Arc<PackedB>,
}

impl Drop for CpuBuffer {
    fn drop(&mut self) {
        memory::give(std::mem::take(&mut self.data));
    }
}

impl Storage {
    pub(super) fn cpu(data: Vec<f32>) -> Self {
        Storage::Cpu(Arc::new(CpuBuffer {
            data,
            packed: Mutex::default(),
        }))
    }

    pub(super) fn data(&self) -> &[f32] {
        match self {
            Storage::Cpu(buffer) => &buffer.data,
        }
    }

    /// The elements for writing: copied where they are shared, and what was packed of them forgotten.
    pub(super) fn data_mut(&mut self) -> &mut [f32] {
        match self {
            Storage::Cpu(buffer) => {
                if Arc::get_mut(buffer).is_none() {
                    let data = buffer.data.clone();
                    *buffer = Arc::new(CpuBuffer {
                        data,
                        packed: Mutex::default(),
                    });
                }
                let buffer = Arc::get_mut(buffer).expect("a fresh buffer has one owner");
                buffer.packed = Mutex::default();
                &mut buffer.data
            }
        }
    }

    pub(super) fn into_vec(self, range: Range<usize>) -> Vec<f32> {
        match self {
            Storage::Cpu(buffer) => match Arc::try_unwrap(buffer) {
                Ok(mut buffer) if range == (0..buffer.data.len()) => {
                    std::mem::take(&mut buffer.data)
                }
                Ok(buffer) => buffer.data[range].to_vec(),
                Err(buffer) => buffer.data[range].to_vec(),
            },
        }
    }

    /// What `pack` makes of the elements, kept for the next time they are asked for in this shape and order.
    pub(super) fn packed(
        &self,
        isa: Isa,
        layout: Layout,
        shape: &Shape,
        pack: impl FnOnce(&[f32]) -> PackedB,
    ) -> Arc<PackedB> {
        let Storage::Cpu(buffer) = self;
        let kept = || buffer.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |p: &&Packed| p.isa == isa && p.layout == layout && p.shape == *shape;
        if let Some(packed) = kept().iter().find(same) {
            return packed.panels.clone();
        }
        // Packing shares out work, and a thread that waits for the others may come by here again: nothing is locked.
        let panels = Arc::new(pack(&buffer.data));
        let mut kept = kept();
        if let Some(packed) = kept.iter().find(same) {
            return packed.panels.clone();
        }
        kept.push(Packed {
            isa,
            layout,
            shape: shape.clone(),
            panels: panels.clone(),
        });
        panels
    }
}
