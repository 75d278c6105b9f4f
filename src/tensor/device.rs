//! Where tensors are, and how they get there.

use super::{Storage, Tensor};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Slice};
use std::sync::Arc;

/// Where a tensor's elements are and operations on it run.
///
/// An operation runs on a graphics device where one of its inputs is there; the others are brought along. So a model
/// whose parameters were moved computes where they are, whatever it is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// A graphics device.
    Gpu(Gpu),
}

// Floats of maps that may be under way together on a processor: three megabytes, which stay in its caches until they
// have been used.
const CACHED: usize = 3 << 18;

impl Device {
    /// Where an operation on these inputs runs.
    pub(crate) fn of(inputs: &[&Tensor]) -> Device {
        inputs
            .iter()
            .find_map(|t| t.gpu())
            .map_or(Device::Cpu, |gpu| Device::Gpu(gpu.clone()))
    }

    /// As it is called.
    pub fn name(&self) -> &str {
        match self {
            Device::Cpu => "cpu",
            Device::Gpu(gpu) => gpu.name(),
        }
    }

    /// How many images to take at a time whose largest maps have so many elements each: on the processor as many as
    /// leave them in a cache, on a graphics device as many as fit one of its buffers.
    pub(crate) fn images_together(&self, elements: usize) -> usize {
        let room = match self {
            Device::Cpu => CACHED,
            Device::Gpu(gpu) => gpu.max_elements(),
        };
        (room / elements.max(1)).max(1)
    }
}

impl Tensor {
    /// Where the elements are.
    pub fn device(&self) -> Device {
        Device::of(&[self])
    }

    pub(crate) fn gpu(&self) -> Option<&Gpu> {
        self.storage.buffer().map(|buffer| buffer.gpu())
    }

    /// The same elements on `device`, where they are not there already. Gradients find their way back.
    ///
    /// ```
    /// use glimpse::tensor::{Device, Tensor};
    /// let t = Tensor::full(&[2], 1.0);
    /// assert_eq!(t.to(&Device::Cpu)?.data(), &[1.0, 1.0]);
    /// # Ok::<(), glimpse::error::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the graphics device has no memory for them, or does not answer.
    pub fn to(&self, device: &Device) -> Result<Tensor> {
        if self.device() == *device {
            return Ok(self.clone());
        }
        let moved = match device {
            Device::Cpu => {
                let range = self.offset..self.offset + self.len();
                Tensor::computed(self.storage.read()?[range].to_vec(), self.dims())
            }
            Device::Gpu(gpu) => Tensor::from_gpu(self.on(gpu)?.buffer, self.dims()),
        };
        moved.record(&[self], |grad| Ok(vec![Some(grad.clone())]))
    }

    /// The elements on `gpu`, brought there where they are somewhere else.
    pub(crate) fn on(&self, gpu: &Gpu) -> Result<Slice> {
        match self.storage.buffer() {
            Some(buffer) if buffer.gpu() == gpu => Ok(Slice {
                buffer: buffer.clone(),
                offset: self.offset,
            }),
            _ => {
                let range = self.offset..self.offset + self.len();
                Ok(gpu.upload(&self.storage.read()?[range])?.into())
            }
        }
    }

    /// A tensor that an operation has computed on a graphics device.
    pub(crate) fn from_gpu(buffer: Arc<Buffer>, shape: &[usize]) -> Tensor {
        let shape = super::Shape::new(shape);
        Tensor {
            storage: Storage::gpu(buffer, shape.len()),
            offset: 0,
            shape,
            node: None,
        }
    }

    /// These elements as `pack` makes them for a kernel on `gpu`; kept where the tensor is not tracked, as a trained
    /// weight is not. `order` tells one way of packing from another.
    pub(crate) fn packed_on(
        &self,
        gpu: &Gpu,
        order: usize,
        pack: impl Fn(&Slice) -> Result<Arc<Buffer>>,
    ) -> Result<Slice> {
        let whole = self.len() == self.storage.len() && self.gpu() == Some(gpu);
        if !self.is_tracked()
            && whole
            && let Some(kept) = self.storage.packed_on_gpu(order, &self.shape, &pack)
        {
            return kept;
        }
        Ok(pack(&self.on(gpu)?)?.into())
    }

    /// The same place on the tape with other elements, as an optimizer leaves them.
    pub(crate) fn with_elements(&self, of: &Tensor) -> Tensor {
        Tensor {
            storage: of.storage.clone(),
            offset: of.offset,
            shape: self.shape.clone(),
            node: self.node.clone(),
        }
    }
}
