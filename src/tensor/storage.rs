//! Where a tensor's elements are.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::Shape;
use crate::cpu::Isa;
use crate::cpu::kernel::PackedB;

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
    packed: OnceLock<Packed>,
}

/// Weights in the kernels' order, and what they were packed as.
struct Packed {
    isa: Isa,
    shape: Shape,
    panels: Arc<PackedB>,
}

impl Storage {
    pub(super) fn cpu(data: Vec<f32>) -> Self {
        Storage::Cpu(Arc::new(CpuBuffer {
            data,
            packed: OnceLock::new(),
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
                        packed: OnceLock::new(),
                    });
                }
                let buffer = Arc::get_mut(buffer).expect("a fresh buffer has one owner");
                buffer.packed.take();
                &mut buffer.data
            }
        }
    }

    pub(super) fn into_vec(self, range: Range<usize>) -> Vec<f32> {
        match self {
            Storage::Cpu(buffer) => match Arc::try_unwrap(buffer) {
                Ok(buffer) if range == (0..buffer.data.len()) => buffer.data,
                Ok(buffer) => buffer.data[range].to_vec(),
                Err(buffer) => buffer.data[range].to_vec(),
            },
        }
    }

    /// What `pack` makes of the elements, kept for the next time they are asked for in this shape.
    pub(super) fn packed(
        &self,
        isa: Isa,
        shape: &Shape,
        pack: impl FnOnce(&[f32]) -> PackedB,
    ) -> Arc<PackedB> {
        let Storage::Cpu(buffer) = self;
        match buffer.packed.get() {
            Some(kept) if kept.isa == isa && kept.shape == *shape => kept.panels.clone(),
            Some(_) => Arc::new(pack(&buffer.data)),
            None => {
                let panels = Arc::new(pack(&buffer.data));
                let _ = buffer.packed.set(Packed {
                    isa,
                    shape: shape.clone(),
                    panels: panels.clone(),
                });
                panels
            }
        }
    }
}
