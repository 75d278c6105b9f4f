//! The command buffer that is being recorded.
//!
//! Dispatches are appended to one command buffer. It is submitted when a result is read, or when it holds enough dispatches to
//! keep the GPU busy while the next ones are recorded. The parameters of its dispatches lie in one small buffer, which is
//! written at submission. A queue executes writes and command buffers in the order of submission, so each command buffer
//! reads its own parameters.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pipelines::{PARAMS, Pipeline};
use super::timing::{self, Label, Timing};

// Dispatches in a command buffer at most. The GPU begins with the first while the next are recorded.
pub(super) const MAX_DISPATCHES: u32 = 48;
const _: () = assert!(MAX_DISPATCHES * 2 <= timing::QUERIES);

/// The state of the recording.
pub(super) struct Stream {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    /// The parameters of the recorded dispatches, each `step` bytes after the previous ones.
    params: Vec<u8>,
    params_buffer: wgpu::Buffer,
    step: usize,
    /// Dispatches in the command buffer.
    pub(super) dispatches: u32,
    /// Dispatches since the GPU was opened.
    pub(super) all_dispatches: u64,
    /// The number of the command buffer, counted from 1.
    pub(super) number: u64,
    /// Buffers that the CPU can read, kept for later reads.
    pub(super) read_back: Vec<wgpu::Buffer>,
    pub(super) timing: Option<Timing>,
}

/// A buffer, its binding number, and the number of the last command buffer that used it.
pub(super) struct Bound<'a> {
    pub(super) number: u32,
    pub(super) raw: &'a wgpu::Buffer,
    pub(super) last_use: &'a AtomicU64,
}

/// A dispatch, ready to be appended.
pub(super) struct Dispatch<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) bindings: &'a [Bound<'a>],
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
    pub(super) fn between_passes(&mut self, device: &wgpu::Device) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.encoder(device)
    }

    pub(super) fn append(&mut self, device: &wgpu::Device, dispatch: &Dispatch) {
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
            resource: b.raw.as_entire_binding(),
        }));
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &dispatch.pipeline.layout,
            entries: &entries,
        });
        for binding in dispatch.bindings {
            binding.last_use.store(self.number, Ordering::Relaxed);
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
    pub(super) fn submit(&mut self, device: &wgpu::Device, queue: &wgpu::Queue) {
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
