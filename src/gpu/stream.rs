//! What the device has still to be told.
//!
//! Runs of kernels are appended to one list. It is handed over when something is read, or when enough has gathered to
//! keep the device busy while the next ones are written down. Each run's parameters have a place in one small buffer,
//! whose contents travel with the list: what the device reads there is what was written for this very list, because a
//! queue's writes and lists are done in the order in which they were handed over.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use bytemuck::Pod;

use super::Gpu;
use super::buffer::{Buffer, Slice};
use super::device::lock;
use super::kernel::Binding;
use super::shaders::Pipeline;
use super::timing::{Label, Timing};
use crate::error::Result;

// Runs that are handed over together at most. The device begins with the first while the next are written down.
pub(super) const MOST: u32 = 48;
/// Bytes of a run's parameters at most.
pub(super) const PARAMS: u64 = 256;

/// The list that is being written.
pub(super) struct Stream {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    params: Vec<u8>,
    ring: wgpu::Buffer,
    step: usize,
    runs: u32,
    all_runs: u64,
    /// The number of the list.
    number: u64,
    read_back: Vec<wgpu::Buffer>,
    pub(super) timing: Option<Timing>,
}

/// A run, ready to be appended.
pub(super) struct Run<'a> {
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
        let ring = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: step * u64::from(MOST),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Stream {
            encoder: None,
            pass: None,
            params: Vec::new(),
            ring,
            step: step as usize,
            runs: 0,
            all_runs: 0,
            number: 1,
            read_back: Vec::new(),
            timing,
        }
    }

    fn encoder(&mut self, device: &wgpu::Device) -> &mut wgpu::CommandEncoder {
        self.encoder
            .get_or_insert_with(|| device.create_command_encoder(&Default::default()))
    }

    /// The encoder with no pass open, as copies need it.
    fn between_passes(&mut self, device: &wgpu::Device) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.encoder(device)
    }

    fn append(&mut self, device: &wgpu::Device, run: &Run) {
        let offset = self.params.len();
        self.params.extend_from_slice(run.params);
        self.params.resize(offset + self.step, 0);
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &self.ring,
                offset: 0,
                size: NonZeroU64::new(PARAMS),
            }),
        }];
        entries.extend(run.bindings.iter().map(|b| wgpu::BindGroupEntry {
            binding: b.number,
            resource: b.buffer.raw().as_entire_binding(),
        }));
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &run.pipeline.layout,
            entries: &entries,
        });
        for binding in run.bindings {
            binding.buffer.touched.store(self.number, Ordering::Relaxed);
        }
        if self.timing.is_some() {
            self.pass = None;
        }
        if self.pass.is_none() {
            let writes = self.timing.as_mut().map(|t| t.begin(run.label.clone()));
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
        pass.set_pipeline(&run.pipeline.raw);
        pass.set_bind_group(0, &group, &[offset as u32]);
        let [x, y, z] = run.groups;
        pass.dispatch_workgroups(x, y, z);
        self.runs += 1;
        self.all_runs += 1;
    }

    /// Hands the list over.
    fn submit(&mut self, device: &wgpu::Device, queue: &wgpu::Queue) {
        self.pass = None;
        let Some(mut encoder) = self.encoder.take() else {
            return;
        };
        if let Some(timing) = &mut self.timing {
            timing.resolve(&mut encoder);
        }
        if !self.params.is_empty() {
            queue.write_buffer(&self.ring, 0, &self.params);
        }
        queue.submit([encoder.finish()]);
        if let Some(timing) = &mut self.timing {
            timing.collect(device);
        }
        self.params.clear();
        self.runs = 0;
        self.number += 1;
    }
}

impl Gpu {
    pub(super) fn append(&self, run: &Run) -> Result<()> {
        self.check()?;
        let mut stream = lock(&self.0.stream);
        stream.append(&self.0.device, run);
        if stream.runs == MOST {
            stream.submit(&self.0.device, &self.0.queue);
        }
        Ok(())
    }

    /// How many kernels were started so far.
    pub fn runs(&self) -> u64 {
        lock(&self.0.stream).all_runs
    }

    /// Hands over what has gathered.
    pub fn flush(&self) {
        lock(&self.0.stream).submit(&self.0.device, &self.0.queue);
    }

    /// Hands over what has gathered and waits until it is done.
    ///
    /// # Errors
    /// What has gone wrong until then.
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
        self.0
            .device
            .poll(all)
            .map_err(|_| self.error("does not answer; start again, or use --device cpu"))?;
        Ok(())
    }

    /// A buffer that holds `data`.
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
        // A write is done before the list that is still being written; whatever that does with this memory comes first.
        if buffer.touched.load(Ordering::Relaxed) == stream.number {
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

    /// A buffer of `elements` zeros.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub fn zeros(&self, elements: usize) -> Result<Arc<Buffer>> {
        let buffer = self.unset(elements)?;
        let mut stream = lock(&self.0.stream);
        buffer.touched.store(stream.number, Ordering::Relaxed);
        stream
            .between_passes(&self.0.device)
            .clear_buffer(buffer.raw(), 0, None);
        Ok(buffer)
    }

    /// Copies `len` elements, which must lie in two different buffers.
    ///
    /// # Errors
    /// Where the device is lost.
    pub fn copy(&self, from: &Slice, to: &Slice, len: usize) -> Result<()> {
        self.check()?;
        if len == 0 {
            return Ok(());
        }
        let mut stream = lock(&self.0.stream);
        for slice in [from, to] {
            slice.buffer.touched.store(stream.number, Ordering::Relaxed);
        }
        let [start, end] = [from, to].map(|s| s.offset as u64 * 4);
        let encoder = stream.between_passes(&self.0.device);
        let (from, to) = (from.buffer.raw(), to.buffer.raw());
        encoder.copy_buffer_to_buffer(from, start, to, end, len as u64 * 4);
        Ok(())
    }

    /// `len` elements, when everything before is done.
    ///
    /// # Errors
    /// Where the device is lost or something before this went wrong.
    pub fn read<T: Pod>(&self, from: &Slice, len: usize) -> Result<Vec<T>> {
        self.check()?;
        if len == 0 {
            return Ok(Vec::new());
        }
        let bytes = len as u64 * 4;
        let kept = {
            let waiting = &mut lock(&self.0.stream).read_back;
            let place = waiting.iter().position(|b| b.size() >= bytes);
            place.map(|i| waiting.swap_remove(i))
        };
        let staging = match kept {
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
            // Nobody waits any longer where the device did not answer.
            let _ = done.send(result);
        });
        self.poll()?;
        self.check()?;
        let failed = || self.error("its memory cannot be read; start again, or use --device cpu");
        let arrived = wait.recv().map_err(|_| failed())?;
        arrived.map_err(|_| failed())?;
        let mapped = view.get_mapped_range().map_err(|_| failed())?;
        let data = bytemuck::pod_collect_to_vec(&mapped);
        drop(mapped);
        staging.unmap();
        lock(&self.0.stream).read_back.push(staging);
        Ok(data)
    }

    /// The table of what was timed, where timing is on; see [`timing`](super::timing).
    pub fn timings(&self) -> Option<String> {
        self.flush();
        lock(&self.0.stream)
            .timing
            .as_ref()
            .map(|t| t.report(self.name()))
    }

    /// Starts timing, from nothing; `false` where the device has no clock.
    pub fn start_timing(&self) -> bool {
        self.flush();
        let timing = Timing::new(&self.0.device, &self.0.queue);
        let mut stream = lock(&self.0.stream);
        stream.timing = timing;
        stream.timing.is_some()
    }

    /// Milliseconds of all kernels since timing started, where it did.
    pub fn timed_ms(&self) -> Option<f64> {
        self.flush();
        lock(&self.0.stream).timing.as_ref().map(Timing::total_ms)
    }
}
