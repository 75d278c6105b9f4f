//! Buffers of GPU memory. They are allocated from the pool, and their memory goes back there when they are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Gpu;
use super::device::lock;
use super::pool::rounded;
use crate::error::Result;

// The usages of every buffer of the pool.
const USAGES: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

/// A buffer of GPU memory, which goes back to its pool when dropped.
pub struct Buffer {
    raw: Option<wgpu::Buffer>,
    gpu: Gpu,
    /// The number of the last command buffer that used it.
    pub(super) last_use: AtomicU64,
}

impl Buffer {
    /// The GPU that the memory belongs to.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub(super) fn raw(&self) -> &wgpu::Buffer {
        self.raw
            .as_ref()
            .expect("a buffer has memory until it is dropped")
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(raw) = self.raw.take() {
            let last_use = self.last_use.load(Ordering::Relaxed);
            lock(&self.gpu.0.pool).add(raw, last_use);
        }
    }
}

impl Gpu {
    /// Returns a buffer for `elements` numbers of 32 bits, whose contents are unspecified.
    ///
    /// # Errors
    /// Where that is more than the GPU can bind or has left.
    pub fn unset(&self, elements: usize) -> Result<Arc<Buffer>> {
        self.check()?;
        let size = self.size_of(elements)?;
        let found = lock(&self.0.pool).take(size);
        let (raw, last_use) = match found {
            Some(found) => found,
            None => (self.create(size, USAGES)?, 0),
        };
        lock(&self.0.pool).count_used(size);
        let buffer = Buffer {
            raw: Some(raw),
            gpu: self.clone(),
            last_use: last_use.into(),
        };
        if self.fills_with_nan() {
            self.write(&buffer, &vec![f32::NAN; size as usize / 4])?;
        }
        Ok(Arc::new(buffer))
    }

    /// Returns the bytes of a buffer for `elements` numbers.
    fn size_of(&self, elements: usize) -> Result<u64> {
        let most = self.max_elements();
        if elements > most {
            let what = format_args!(
                "a buffer of {:.1} MB is larger than the {:.1} MB that it can use; take a smaller batch or image",
                elements as f64 * 4e-6,
                most as f64 * 4e-6,
            );
            return Err(self.error(what));
        }
        Ok(rounded(elements as u64 * 4).min(most as u64 * 4))
    }

    /// Allocates a buffer. Where memory is short, it frees the pool and tries again.
    pub(super) fn create(&self, size: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        if let Some(raw) = self.try_create(size, usage) {
            return Ok(raw);
        }
        // The memory of freed buffers is available again when the GPU has finished with them.
        lock(&self.0.pool).clear();
        self.wait()?;
        self.try_create(size, usage).ok_or_else(|| {
            let what = format_args!(
                "no memory is left for another {:.1} MB beside the {:.1} MB in use; take a smaller batch",
                size as f64 * 1e-6,
                self.memory()[0],
            );
            self.error(what)
        })
    }

    /// Allocates a buffer, or returns `None` where the GPU has no memory for it.
    fn try_create(&self, size: u64, usage: wgpu::BufferUsages) -> Option<wgpu::Buffer> {
        let allocated = {
            let [used, _, unused] = lock(&self.0.pool).bytes();
            used + unused
        };
        if usage == USAGES && allocated + size > self.0.max_bytes.load(Ordering::Relaxed) {
            return None;
        }
        let device = &self.0.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let raw = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        });
        pollster::block_on(scope.pop()).is_none().then_some(raw)
    }

    /// Limits the bytes of all buffers together, in use or in the pool, as on a smaller GPU.
    pub fn limit_memory(&self, bytes: u64) {
        self.0.max_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Megabytes in use now, in use at most so far, and unused in the pool.
    pub fn memory(&self) -> [f64; 3] {
        let bytes = lock(&self.0.pool).bytes();
        bytes.map(|bytes| bytes as f64 * 1e-6)
    }
}
