//! The commands that a GPU takes: dispatches, and copies to, from and between buffers. All are recorded in its
//! [stream](super::stream).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use bytemuck::Pod;

use super::buffer::Buffer;
use super::device::lock;
use super::slice::Slice;
use super::stream::{Dispatch, MAX_DISPATCHES};
use super::timing::Timing;
use super::{Gpu, ON_THE_CPU};
use crate::error::Result;

impl Gpu {
    pub(super) fn append(&self, dispatch: &Dispatch) -> Result<()> {
        self.check()?;
        let mut stream = lock(&self.0.stream);
        stream.append(&self.0.device, dispatch);
        if stream.dispatches == MAX_DISPATCHES {
            stream.submit(&self.0.device, &self.0.queue);
        }
        Ok(())
    }

    /// Returns the number of dispatches so far.
    pub fn dispatches(&self) -> u64 {
        lock(&self.0.stream).all_dispatches
    }

    /// Submits the dispatches recorded so far.
    pub fn flush(&self) {
        lock(&self.0.stream).submit(&self.0.device, &self.0.queue);
    }

    /// Submits the dispatches recorded so far and waits until they are finished.
    ///
    /// # Errors
    /// The first error until then.
    pub fn wait(&self) -> Result<()> {
        self.flush();
        self.poll()?;
        self.check()
    }

    fn poll(&self) -> Result<()> {
        let all = wgpu::PollType::Wait {
            submission_index: None,
            timeout: None,
        };
        self.0.device.poll(all).map_err(|_| {
            self.error(format_args!(
                "does not answer; start again, or {ON_THE_CPU}"
            ))
        })?;
        Ok(())
    }

    /// Returns a new buffer that holds `data`.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub fn upload<T: Pod>(&self, data: &[T]) -> Result<Arc<Buffer>> {
        let buffer = self.unset(size_of_val(data).div_ceil(4))?;
        self.write(&buffer, data)?;
        Ok(buffer)
    }

    /// Writes `data` to the beginning of a buffer.
    pub(super) fn write<T: Pod>(&self, buffer: &Buffer, data: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let mut stream = lock(&self.0.stream);
        // The queue executes a write before the command buffer that is still being recorded. If that command buffer uses
        // this memory, it must be submitted first.
        if buffer.last_use.load(Ordering::Relaxed) == stream.number {
            stream.submit(&self.0.device, &self.0.queue);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let device = &self.0.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        self.0.queue.write_buffer(buffer.raw(), 0, bytes);
        match pollster::block_on(scope.pop()) {
            None => Ok(()),
            Some(_) => Err(self.error(format_args!(
                "no memory is left to bring {:.1} MB there; take a smaller batch",
                bytes.len() as f64 * 1e-6
            ))),
        }
    }

    /// Returns a buffer of `elements` zeros.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub fn zeros(&self, elements: usize) -> Result<Arc<Buffer>> {
        let buffer = self.unset(elements)?;
        let mut stream = lock(&self.0.stream);
        buffer.last_use.store(stream.number, Ordering::Relaxed);
        stream
            .between_passes(&self.0.device)
            .clear_buffer(buffer.raw(), 0, None);
        Ok(buffer)
    }

    /// Copies `len` elements between two different buffers.
    ///
    /// # Errors
    /// Where the GPU is lost.
    pub fn copy(&self, from: &Slice, to: &Slice, len: usize) -> Result<()> {
        self.check()?;
        if len == 0 {
            return Ok(());
        }
        let mut stream = lock(&self.0.stream);
        for slice in [from, to] {
            slice
                .buffer
                .last_use
                .store(stream.number, Ordering::Relaxed);
        }
        let [start, end] = [from, to].map(|s| s.offset as u64 * 4);
        let encoder = stream.between_passes(&self.0.device);
        let (from, to) = (from.buffer.raw(), to.buffer.raw());
        encoder.copy_buffer_to_buffer(from, start, to, end, len as u64 * 4);
        Ok(())
    }

    /// Reads `len` elements, after all dispatches recorded so far.
    ///
    /// # Errors
    /// Where the GPU is lost or an earlier dispatch failed.
    pub fn read<T: Pod>(&self, from: &Slice, len: usize) -> Result<Vec<T>> {
        self.check()?;
        if len == 0 {
            return Ok(Vec::new());
        }
        let bytes = len as u64 * 4;
        let reused = {
            let unused = &mut lock(&self.0.stream).read_back;
            let place = unused.iter().position(|b| b.size() >= bytes);
            place.map(|i| unused.swap_remove(i))
        };
        let staging = match reused {
            Some(staging) => staging,
            None => {
                let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                self.create(bytes.next_power_of_two().max(4096), usage)?
            }
        };
        let mut stream = lock(&self.0.stream);
        let encoder = stream.between_passes(&self.0.device);
        encoder.copy_buffer_to_buffer(
            from.buffer.raw(),
            from.offset as u64 * 4,
            &staging,
            0,
            bytes,
        );
        stream.submit(&self.0.device, &self.0.queue);
        drop(stream);

        let (done, wait) = mpsc::channel();
        let view = staging.slice(..bytes);
        view.map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is gone where the GPU did not answer.
            let _ = done.send(result);
        });
        self.poll()?;
        self.check()?;
        let failed = || {
            self.error(format_args!(
                "its memory cannot be read; start again, or {ON_THE_CPU}"
            ))
        };
        let arrived = wait.recv().map_err(|_| failed())?;
        arrived.map_err(|_| failed())?;
        let mapped = view.get_mapped_range().map_err(|_| failed())?;
        let data = bytemuck::pod_collect_to_vec(&mapped);
        drop(mapped);
        staging.unmap();
        lock(&self.0.stream).read_back.push(staging);
        Ok(data)
    }

    /// Returns the table of timings, where timing is on; see [`timing`](super::timing).
    pub fn timings(&self) -> Option<String> {
        self.flush();
        lock(&self.0.stream)
            .timing
            .as_ref()
            .map(|t| t.report(self.name()))
    }

    /// Starts timing with an empty table; `false` where the GPU has no clock.
    pub fn start_timing(&self) -> bool {
        self.flush();
        let timing = Timing::new(&self.0.device, &self.0.queue);
        let mut stream = lock(&self.0.stream);
        stream.timing = timing;
        stream.timing.is_some()
    }

    /// Milliseconds of all kernels since timing started; `None` where it is off.
    pub fn timed_ms(&self) -> Option<f64> {
        self.flush();
        lock(&self.0.stream).timing.as_ref().map(Timing::total_ms)
    }
}
