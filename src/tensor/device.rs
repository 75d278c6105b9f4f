//! The devices that tensors are on, and how tensors move between them.

use super::{Storage, Tensor};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Slice};
use std::sync::Arc;

/// A device that holds a tensor's elements and runs operations on it.
///
/// An operation runs on the GPU if one of its inputs is there; the other inputs are uploaded. So a model runs on the device
/// of its parameters, whatever device its input is on.
#[derive(Clone, Debug, PartialEq)]
pub enum Device {
    /// The CPU.
    Cpu,
    /// A GPU.
    Gpu(Gpu),
}

// Floats of the feature maps that are processed together on the CPU: three megabytes, which stay in the processor's caches
// until they are read again.
const CACHED: usize = 3 << 18;

impl Device {
    /// The device on which an operation on these inputs runs.
    pub(crate) fn of(inputs: &[&Tensor]) -> Device {
        inputs
            .iter()
            .find_map(|t| t.gpu())
            .map_or(Device::Cpu, |gpu| Device::Gpu(gpu.clone()))
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        match self {
            Device::Cpu => "cpu",
            Device::Gpu(gpu) => gpu.name(),
        }
    }

    /// The number of images to process together, at least 1: on the CPU as many as fit the caches, on the GPU as many as
    /// fit one buffer. `elements` is the number of elements of the largest feature map of one image.
    pub(crate) fn images_together(&self, elements: usize) -> usize {
        let room = match self {
            Device::Cpu => CACHED,
            Device::Gpu(gpu) => gpu.max_elements(),
        };
        (room / elements.max(1)).max(1)
    }
}

impl Tensor {
    /// The device that holds the elements.
    pub fn device(&self) -> Device {
        Device::of(&[self])
    }

    pub(crate) fn gpu(&self) -> Option<&Gpu> {
        self.storage.buffer().map(|buffer| buffer.gpu())
    }

    /// The elements on `device`, copied if they are on another one. The copy is recorded on the tape, so gradients flow
    /// back through it.
    ///
    /// ```
    /// use glimpse::tensor::{Device, Tensor};
    /// let t = Tensor::full(&[2], 1.0);
    /// assert_eq!(t.to(&Device::Cpu)?.data(), &[1.0, 1.0]);
    /// # Ok::<(), glimpse::error::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the GPU has no memory for them, or does not answer.
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
        moved.record(&[self], |grad, _| Ok(vec![Some(grad.clone())]))
    }

    /// The elements on `gpu`, uploaded if they are on another device.
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

    /// A tensor that an operation has computed on the GPU.
    pub(crate) fn from_gpu(buffer: Arc<Buffer>, shape: &[usize]) -> Tensor {
        let shape = super::Shape::new(shape);
        Tensor {
            storage: Storage::gpu(buffer, shape.len()),
            offset: 0,
            shape,
            node: None,
        }
    }

    /// The result of `pack`, which rearranges the elements for a kernel on `gpu`. It is cached if the tensor is not
    /// tracked, as weights are in inference. `order` identifies the way of packing.
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

    /// A tensor with the elements of `of` that is the same leaf of the tape as `self`: a parameter after a step of the
    /// optimizer.
    pub(crate) fn with_elements(&self, of: &Tensor) -> Tensor {
        Tensor {
            storage: of.storage.clone(),
            offset: of.offset,
            shape: self.shape.clone(),
            node: self.node.clone(),
        }
    }
}
