//! A pool of GPU buffers.
//!
//! A network needs the same sizes again and again, and a driver is slow to allocate memory. So a buffer that is dropped
//! goes to the pool, and the next request for its size takes it from there. Sizes are rounded up to an eighth of a power
//! of two, so that sizes that differ little become equal. The pool holds at most as many bytes as were ever in use at
//! once. Where the GPU has no memory left, the pool is freed and the allocation is tried again.

use std::collections::BTreeMap;

// Bytes of the smallest buffer.
const MIN_BYTES: u64 = 256;

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
pub(super) fn rounded(bytes: u64) -> u64 {
    let bytes = bytes.max(MIN_BYTES);
    bytes.next_multiple_of((bytes.next_power_of_two() / 16).max(4))
}

impl Pool {
    pub(super) fn take(&mut self, size: u64) -> Option<(wgpu::Buffer, u64)> {
        // The one that was dropped last: its memory is the likeliest to be in a cache.
        let found = self.unused.get_mut(&size)?.pop()?;
        self.unused_bytes -= size;
        Some((found.raw, found.last_use))
    }

    pub(super) fn count_used(&mut self, size: u64) {
        self.used_bytes += size;
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
    }

    pub(super) fn add(&mut self, raw: wgpu::Buffer, last_use: u64) {
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

    pub(super) fn clear(&mut self) {
        self.unused.clear();
        self.unused_bytes = 0;
    }

    /// Returns the bytes in use now, in use at most so far, and unused.
    pub(super) fn bytes(&self) -> [u64; 3] {
        [self.used_bytes, self.peak_bytes, self.unused_bytes]
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
