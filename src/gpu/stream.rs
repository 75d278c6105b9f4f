//! The command buffer that is being recorded.
//!
//! Dispatches are appended to one command buffer. It is submitted when a result is read, or when it holds enough dispatches to
//! keep the GPU busy while the next ones are recorded. The parameters of its dispatches lie in one small buffer, which is
//! written at submission. A queue executes writes and command buffers in the order of submission, so each command buffer
//! reads its own parameters.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use bytemuck::Pod;

use super::buffer::{Buffer, Slice};
use super::device::lock;
use super::kernel::Binding;
use super::pipelines::Pipeline;
use super::timing::{Label, Timing};
use super::{Gpu, ON_THE_CPU};
use crate::error::Result;

// Dispatches in a command buffer at most. The GPU begins with the first while the next are recorded.
pub(super) const MAX_DISPATCHES: u32 = 48;
/// Bytes of a dispatch's parameters at most.
pub(super) const PARAMS: u64 = 256;

/// The state of the recording.
pub(super) struct Stream {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    params: Vec<u8>,
    params_buffer: wgpu::Buffer,
    step: usize,
    dispatches: u32,
    all_dispatches: u64,
    /// The number of the command buffer.
    number: u64,
    read_back: Vec<wgpu::Buffer>,
    pub(super) timing: Option<Timing>,
}

/// A dispatch, ready to be appended.
pub(super) struct Dispatch<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) bindings: &'a [Binding<'a>],
    pub(super) params: &'a [u8],
    pub(super) groups: [u32; 3],
    pub(super) label: Label,
}

impl Stream {
    pub(super) fn new(
        device: &wgpu::Device,
        limits: &wgpu::Limits,
        timing: Option<Timing>,
    ) -> Self {
        let step = u64::from(limits.min_uniform_buffer_offset_alignment).max(PARAMS);
        let params_buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: step * u64::from(MAX_DISPATCHES),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Stream {
            encoder: None,
            pass: None,
            params: Vec::new(),
            params_buffer,
            step: step as usize,
            dispatches: 0,
            all_dispatches: 0,
            number: 1,
            read_back: Vec::new(),
            timing,
        }
    }

    fn encoder(&mut self, device: &wgpu::Device) -> &mut wgpu::CommandEncoder {
        self.encoder
            .get_or_insert_with(|| device.create_command_encoder(&Default::default()))
    }

    /// Returns the encoder with no pass open, as copies need it.
    fn between_passes(&mut self, device: &wgpu::Device) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.encoder(device)
    }

    fn append(&mut self, device: &wgpu::Device, dispatch: &Dispatch) {
        let offset = self.params.len();
        self.params.extend_from_slice(dispatch.params);
        self.params.resize(offset + self.step, 0);
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &self.params_buffer,
                offset: 0,
                size: NonZeroU64::new(PARAMS),
            }),
        }];
        entries.extend(dispatch.bindings.iter().map(|b| wgpu::BindGroupEntry {
            binding: b.number,
            resource: b.buffer.raw().as_entire_binding(),
        }));
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &dispatch.pipeline.layout,
            entries: &entries,
        });
        for binding in dispatch.bindings {
            binding
                .buffer
                .last_use
                .store(self.number, Ordering::Relaxed);
        }
        if self.timing.is_some() {
            self.pass = None;
        }
        if self.pass.is_none() {
            let writes = self
                .timing
                .as_mut()
                .map(|t| t.begin(dispatch.label.clone()));
            let timestamp_writes = writes.as_ref().map(|w| wgpu::ComputePassTimestampWrites {
                query_set: &w.queries,
                beginning_of_pass_write_index: Some(w.first),
                end_of_pass_write_index: Some(w.first + 1),
            });
            let descriptor = wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes,
            };
            let pass = self
                .encoder(device)
                .begin_compute_pass(&descriptor)
                .forget_lifetime();
            self.pass = Some(pass);
        }
        let Some(pass) = &mut self.pass else { return };
        pass.set_pipeline(&dispatch.pipeline.raw);
        pass.set_bind_group(0, &group, &[offset as u32]);
        let [x, y, z] = dispatch.groups;
        pass.dispatch_workgroups(x, y, z);
        self.dispatches += 1;
        self.all_dispatches += 1;
    }

    /// Submits the command buffer.
    fn submit(&mut self, device: &wgpu::Device, queue: &wgpu::Queue) {
        self.pass = None;
        let Some(mut encoder) = self.encoder.take() else {
            return;
        };
        if let Some(timing) = &mut self.timing {
            timing.resolve(&mut encoder);
        }
        if !self.params.is_empty() {
            queue.write_buffer(&self.params_buffer, 0, &self.params);
        }
        queue.submit([encoder.finish()]);
        if let Some(timing) = &mut self.timing {
            timing.collect(device);
        }
        self.params.clear();
        self.dispatches = 0;
        self.number += 1;
    }
}

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
