//! A pool of GPU buffers.
//!
//! A network asks for the same sizes over and over, and a driver is slow to allocate memory. So a buffer that is dropped goes
//! to the pool, and the next request for its size takes it from there. Sizes are rounded up to an eighth of a power of two,
//! so that sizes that differ little become equal. The pool holds at most as many bytes as were ever in use at once. Where
//! the GPU has no memory left, the pool is freed and the allocation is tried again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Gpu;
use super::device::lock;
pub use super::slice::Slice;
use crate::error::Result;

// The usages of every buffer of the pool.
const USAGES: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);
// Bytes of the smallest buffer.
const MIN_BYTES: u64 = 256;

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

/// The unused buffers, and how many bytes are in use.
#[derive(Default)]
pub(super) struct Pool {
    /// The unused buffers by their size in bytes; the oldest first.
    unused: BTreeMap<u64, Vec<Unused>>,
    unused_bytes: u64,
    used_bytes: u64,
    peak_bytes: u64,
    clock: u64,
}

struct Unused {
    raw: wgpu::Buffer,
    last_use: u64,
    added: u64,
}

/// Returns the size of the buffer for `bytes`.
fn rounded(bytes: u64) -> u64 {
    let bytes = bytes.max(MIN_BYTES);
    bytes.next_multiple_of((bytes.next_power_of_two() / 16).max(4))
}

impl Pool {
    fn take(&mut self, size: u64) -> Option<(wgpu::Buffer, u64)> {
        // The one that was dropped last: its memory is the likeliest to be in a cache.
        let found = self.unused.get_mut(&size)?.pop()?;
        self.unused_bytes -= size;
        Some((found.raw, found.last_use))
    }

    fn count_used(&mut self, size: u64) {
        self.used_bytes += size;
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
    }

    fn add(&mut self, raw: wgpu::Buffer, last_use: u64) {
        let size = raw.size();
        self.clock += 1;
        self.used_bytes -= size;
        self.unused_bytes += size;
        let added = self.clock;
        self.unused.entry(size).or_default().push(Unused {
            raw,
            last_use,
            added,
        });
        while self.unused_bytes > self.peak_bytes {
            let oldest = self
                .unused
                .iter()
                .filter_map(|(&size, all)| Some((all.first()?.added, size)));
            let Some((_, size)) = oldest.min() else {
                return;
            };
            if let Some(all) = self.unused.get_mut(&size) {
                all.remove(0);
            }
            self.unused_bytes -= size;
        }
    }

    fn clear(&mut self) {
        self.unused.clear();
        self.unused_bytes = 0;
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
            let pool = lock(&self.0.pool);
            pool.used_bytes + pool.unused_bytes
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

    /// Limits the bytes of all pooled buffers together, as on a smaller GPU.
    pub fn limit_memory(&self, bytes: u64) {
        self.0.max_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Megabytes in use now, in use at most so far, and unused in the pool.
    pub fn memory(&self) -> [f64; 3] {
        let pool = lock(&self.0.pool);
        [pool.used_bytes, pool.peak_bytes, pool.unused_bytes].map(|bytes| bytes as f64 * 1e-6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_waste_little_and_repeat() {
        assert_eq!(rounded(0), MIN_BYTES);
        assert_eq!(rounded(256), 256);
        for bytes in (1..100_000).step_by(37) {
            let size = rounded(bytes);
            assert!(size >= bytes && size.is_multiple_of(4));
            assert!(
                size <= bytes.max(MIN_BYTES) * 9 / 8 + 64,
                "{bytes} became {size}"
            );
            assert_eq!(rounded(size), size);
        }
    }
}
