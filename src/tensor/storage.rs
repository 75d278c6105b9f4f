//! The memory that holds tensors' elements.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Shape;
use crate::cpu::packed::{Layout, PackedB};
use crate::cpu::{Isa, memory};
use crate::error::Result;
use crate::gpu::{Buffer, Slice};

/// The memory that holds a tensor's elements. Tensors share storage, and dropping the last of them frees it.
#[derive(Clone)]
#[non_exhaustive]
pub enum Storage {
    /// Main memory.
    Cpu(Arc<CpuBuffer>),
    /// The memory of a GPU.
    Gpu(Arc<GpuBuffer>),
}

/// Elements in main memory and, for weights, their copies packed for the kernels.
pub struct CpuBuffer {
    data: Vec<f32>,
    // One for each instruction set, layout and shape that was used: hardly ever more than one.
    packed: Mutex<Vec<Packed>>,
}

/// Elements in the memory of a GPU, which never change, and cached copies of them: packed ones on the GPU, and one in main
/// memory.
pub struct GpuBuffer {
    buffer: Arc<Buffer>,
    len: usize,
    // The elements in main memory, once they have been read back.
    host: OnceLock<Vec<f32>>,
    // NaNs, which stand for the elements if the GPU was lost.
    lost: OnceLock<Vec<f32>>,
    // Packed weights: the `order` of `Tensor::packed_on`, the shape, and the packed copy.
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

    /// The elements. If the GPU was lost these are NaNs, and the next call that uses the GPU returns the error.
    fn data(&self) -> &[f32] {
        match self.read() {
            Ok(data) => data,
            Err(_) => self.lost.get_or_init(|| vec![f32::NAN; self.len]),
        }
    }
}

/// Weights packed for the kernels of one instruction set.
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

    /// The elements, or the error of the GPU that holds them.
    pub(super) fn read(&self) -> Result<&[f32]> {
        match self {
            Storage::Cpu(buffer) => Ok(&buffer.data),
            Storage::Gpu(buffer) => buffer.read(),
        }
    }

    /// The GPU's buffer, if the elements are on a GPU.
    pub(super) fn buffer(&self) -> Option<&Arc<Buffer>> {
        match self {
            Storage::Cpu(_) => None,
            Storage::Gpu(buffer) => Some(&buffer.buffer),
        }
    }

    /// The elements for writing. They are copied first if they are shared, and packed copies of them are dropped.
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

    /// The result of `pack`, cached for each instruction set, layout and shape.
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
        let cache = || buffer.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |p: &&Packed| p.isa == isa && p.layout == layout && p.shape == *shape;
        if let Some(packed) = cache().iter().find(same) {
            return packed.panels.clone();
        }
        // `pack` runs on the thread pool, and a thread that waits there may run a task that calls this function. So the
        // lock is not held while packing.
        let panels = Arc::new(pack(&buffer.data));
        let mut cache = cache();
        if let Some(packed) = cache.iter().find(same) {
            return packed.panels.clone();
        }
        cache.push(Packed {
            isa,
            layout,
            shape: shape.clone(),
            panels: panels.clone(),
        });
        panels
    }

    /// The result of `pack` on the GPU, cached for each order and shape; `None` if the elements are not on a GPU.
    pub(super) fn packed_on_gpu(
        &self,
        order: usize,
        shape: &Shape,
        pack: impl FnOnce(&Slice) -> Result<Arc<Buffer>>,
    ) -> Option<Result<Slice>> {
        let Storage::Gpu(buffer) = self else {
            return None;
        };
        let mut cache = buffer.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cache.iter().find(|(o, s, _)| *o == order && s == shape);
        if let Some((_, _, packed)) = found {
            return Some(Ok(packed.clone().into()));
        }
        let packed = match pack(&buffer.buffer.clone().into()) {
            Ok(packed) => packed,
            Err(e) => return Some(Err(e)),
        };
        cache.push((order, shape.clone(), packed.clone()));
        Some(Ok(packed.into()))
    }
}
