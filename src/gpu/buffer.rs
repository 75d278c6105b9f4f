//! Memory of the graphics device.
//!
//! A network asks for the same sizes over and over, and a driver takes its time to find memory. So a buffer that is
//! dropped waits here for the next who asks for its size. Sizes are rounded up to an eighth of a power of two, so that
//! sizes that differ little are the same. What waits is at most what was ever in use at once; where the device has no
//! memory left, all that waits is given back to it and it is asked again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Gpu;
use super::device::lock;
use crate::error::Result;

// What lent memory is for.
const LENT: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);
// The smallest that is lent, in bytes.
const SMALLEST: u64 = 256;

/// Memory of a graphics device, which goes back to its pool when dropped.
pub struct Buffer {
    raw: Option<wgpu::Buffer>,
    gpu: Gpu,
    /// The list of runs that used it last, by number.
    pub(super) touched: AtomicU64,
}

/// A buffer from some element on.
#[derive(Clone)]
pub struct Slice {
    /// The whole buffer.
    pub buffer: Arc<Buffer>,
    /// The first element's place in it.
    pub offset: usize,
}

impl Slice {
    /// The same from `elements` further on.
    pub fn after(&self, elements: usize) -> Slice {
        Slice {
            buffer: self.buffer.clone(),
            offset: self.offset + elements,
        }
    }

    /// The first element's place, as shaders count.
    pub fn start(&self) -> u32 {
        self.offset as u32
    }
}

impl From<Arc<Buffer>> for Slice {
    fn from(buffer: Arc<Buffer>) -> Self {
        Slice { buffer, offset: 0 }
    }
}

impl Buffer {
    /// The device that it is memory of.
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
            let touched = self.touched.load(Ordering::Relaxed);
            lock(&self.gpu.0.pool).give(raw, touched);
        }
    }
}

/// What waits to be lent again, and how much of it there is.
#[derive(Default)]
pub(super) struct Pool {
    /// By size in bytes; the longest waiting first.
    waiting: BTreeMap<u64, Vec<Waiting>>,
    waiting_bytes: u64,
    lent_bytes: u64,
    most_lent: u64,
    clock: u64,
}

struct Waiting {
    raw: wgpu::Buffer,
    touched: u64,
    since: u64,
}

/// The size that is lent to whoever asks for `bytes`.
fn rounded(bytes: u64) -> u64 {
    let bytes = bytes.max(SMALLEST);
    bytes.next_multiple_of((bytes.next_power_of_two() / 16).max(4))
}

impl Pool {
    fn find(&mut self, size: u64) -> Option<(wgpu::Buffer, u64)> {
        // The one that came last: its memory is the likeliest to be in a cache.
        let found = self.waiting.get_mut(&size)?.pop()?;
        self.waiting_bytes -= size;
        Some((found.raw, found.touched))
    }

    fn lend(&mut self, size: u64) {
        self.lent_bytes += size;
        self.most_lent = self.most_lent.max(self.lent_bytes);
    }

    fn give(&mut self, raw: wgpu::Buffer, touched: u64) {
        let size = raw.size();
        self.clock += 1;
        self.lent_bytes -= size;
        self.waiting_bytes += size;
        let since = self.clock;
        self.waiting.entry(size).or_default().push(Waiting {
            raw,
            touched,
            since,
        });
        while self.waiting_bytes > self.most_lent {
            let oldest = self
                .waiting
                .iter()
                .filter_map(|(&size, all)| Some((all.first()?.since, size)));
            let Some((_, size)) = oldest.min() else {
                return;
            };
            if let Some(all) = self.waiting.get_mut(&size) {
                all.remove(0);
            }
            self.waiting_bytes -= size;
        }
    }

    fn clear(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
    }
}

impl Gpu {
    /// A buffer for `elements` numbers of 32 bits; what it holds before is unspecified.
    ///
    /// # Errors
    /// Where that is more than the device can bind or has left.
    pub fn unset(&self, elements: usize) -> Result<Arc<Buffer>> {
        self.check()?;
        let size = self.size_of(elements)?;
        let found = lock(&self.0.pool).find(size);
        let (raw, touched) = match found {
            Some(found) => found,
            None => (self.create(size, LENT)?, 0),
        };
        lock(&self.0.pool).lend(size);
        let buffer = Buffer {
            raw: Some(raw),
            gpu: self.clone(),
            touched: touched.into(),
        };
        if self.poisons() {
            self.write(&buffer, &vec![f32::NAN; size as usize / 4])?;
        }
        Ok(Arc::new(buffer))
    }

    /// The bytes to lend for `elements` numbers.
    fn size_of(&self, elements: usize) -> Result<u64> {
        let most = self.most_elements();
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

    /// A buffer of the device's, for which what waits makes room.
    pub(super) fn create(&self, size: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        if let Some(raw) = self.try_create(size, usage) {
            return Ok(raw);
        }
        // What waits is given back when the device has done with it.
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

    /// A buffer of the device's, or `None` where it has no memory for it.
    fn try_create(&self, size: u64, usage: wgpu::BufferUsages) -> Option<wgpu::Buffer> {
        let held = {
            let pool = lock(&self.0.pool);
            pool.lent_bytes + pool.waiting_bytes
        };
        if usage == LENT && held + size > self.0.most_bytes.load(Ordering::Relaxed) {
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

    /// Lets buffers that are lent take up no more than so many bytes together, as a smaller device would.
    pub fn limit_memory(&self, bytes: u64) {
        self.0.most_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Megabytes in use now, in use at most so far, and waiting to be lent again.
    pub fn memory(&self) -> [f64; 3] {
        let pool = lock(&self.0.pool);
        [pool.lent_bytes, pool.most_lent, pool.waiting_bytes].map(|bytes| bytes as f64 * 1e-6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_waste_little_and_repeat() {
        assert_eq!(rounded(0), SMALLEST);
        assert_eq!(rounded(256), 256);
        for bytes in (1..100_000).step_by(37) {
            let size = rounded(bytes);
            assert!(size >= bytes && size.is_multiple_of(4));
            assert!(
                size <= bytes.max(SMALLEST) * 9 / 8 + 64,
                "{bytes} became {size}"
            );
            assert_eq!(rounded(size), size);
        }
    }
}
