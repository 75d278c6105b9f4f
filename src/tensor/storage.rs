//! Where a tensor's elements are.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Shape;
use crate::cpu::packed::{Layout, PackedB};
use crate::cpu::{Isa, memory};
use crate::error::Result;
use crate::gpu::{Buffer, Slice};

/// Where a tensor's elements are: a closed list, because both ends of it are ours. Tensors share storage, and
/// the last one to go frees it.
#[derive(Clone)]
#[non_exhaustive]
pub enum Storage {
    /// In the memory of the processor.
    Cpu(Arc<CpuBuffer>),
    /// In the memory of a graphics device.
    Gpu(Arc<GpuBuffer>),
}

/// Elements in the processor's memory, and, for weights, the order in which the kernels want them.
pub struct CpuBuffer {
    data: Vec<f32>,
    // One for each instruction set and order that was asked for: hardly ever more than one.
    packed: Mutex<Vec<Packed>>,
}

/// Elements in a graphics device's memory, and what was made of them there and read of them here. They never change.
pub struct GpuBuffer {
    buffer: Arc<Buffer>,
    len: usize,
    // Read when somebody asks, once.
    host: OnceLock<Vec<f32>>,
    // What is shown of them where they cannot be read.
    lost: OnceLock<Vec<f32>>,
    // Weights in a kernel's order, by whatever tells the orders apart.
    packed: Mutex<Vec<(usize, Shape, Arc<Buffer>)>>,
}

impl GpuBuffer {
    fn read(&self) -> Result<&[f32]> {
        if let Some(data) = self.host.get() {
            return Ok(data);
        }
        let data = self
            .buffer
            .gpu()
            .read(&self.buffer.clone().into(), self.len)?;
        Ok(self.host.get_or_init(|| data))
    }

    /// The elements, or, where the device does not answer any more, as many that are not numbers; whatever asks the
    /// device next says why.
    fn data(&self) -> &[f32] {
        match self.read() {
            Ok(data) => data,
            Err(_) => self.lost.get_or_init(|| vec![f32::NAN; self.len]),
        }
    }
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
        memory::recycle(std::mem::take(&mut self.data));
    }
}

impl Storage {
    pub(super) fn cpu(data: Vec<f32>) -> Self {
        Storage::Cpu(Arc::new(CpuBuffer {
            data,
            packed: Mutex::default(),
        }))
    }

    pub(super) fn gpu(buffer: Arc<Buffer>, len: usize) -> Self {
        Storage::Gpu(Arc::new(GpuBuffer {
            buffer,
            len,
            host: OnceLock::new(),
            lost: OnceLock::new(),
            packed: Mutex::default(),
        }))
    }

    pub(super) fn data(&self) -> &[f32] {
        match self {
            Storage::Cpu(buffer) => &buffer.data,
            Storage::Gpu(buffer) => buffer.data(),
        }
    }

    /// The number of elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Storage::Cpu(buffer) => buffer.data.len(),
            Storage::Gpu(buffer) => buffer.len,
        }
    }

    /// The elements, or why they cannot be had.
    pub(super) fn read(&self) -> Result<&[f32]> {
        match self {
            Storage::Cpu(buffer) => Ok(&buffer.data),
            Storage::Gpu(buffer) => buffer.read(),
        }
    }

    /// The graphics device's memory, where they are there.
    pub(super) fn buffer(&self) -> Option<&Arc<Buffer>> {
        match self {
            Storage::Cpu(_) => None,
            Storage::Gpu(buffer) => Some(&buffer.buffer),
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
            Storage::Gpu(buffer) => {
                *self = Storage::cpu(buffer.data().to_vec());
                self.data_mut()
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
            Storage::Gpu(buffer) => buffer.data()[range].to_vec(),
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
        let Storage::Cpu(buffer) = self else {
            return Arc::new(pack(self.data()));
        };
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

    /// What `pack` makes of the elements on their graphics device, kept for the next time they are asked for in this
    /// shape and order.
    pub(super) fn packed_on_gpu(
        &self,
        order: usize,
        shape: &Shape,
        pack: impl FnOnce(&Slice) -> Result<Arc<Buffer>>,
    ) -> Option<Result<Slice>> {
        let Storage::Gpu(buffer) = self else {
            return None;
        };
        let mut kept = buffer.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|(o, s, _)| *o == order && s == shape);
        if let Some((_, _, packed)) = found {
            return Some(Ok(packed.clone().into()));
        }
        let packed = match pack(&buffer.buffer.clone().into()) {
            Ok(packed) => packed,
            Err(e) => return Some(Err(e)),
        };
        kept.push((order, shape.clone(), packed.clone()));
        Some(Ok(packed.into()))
    }
}
