//! Times of each kernel by the GPU's own clock: a table, switched on by the environment variable `GLIMPSE_PROFILE`.
//!
//! The GPU records the time of its clock before and after each dispatch. That takes a compute pass for each dispatch, and
//! a wait after each command buffer. So the program takes longer while it is measured, but the kernels do not.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The environment variable that switches the table on, with any value except `0` and the empty one.
pub const VARIABLE: &str = "GLIMPSE_PROFILE";

// Timestamps in a command buffer at most.
pub(super) const QUERIES: u32 = 256;

/// Returns whether the environment variable asks for timing.
pub fn enabled() -> bool {
    std::env::var(VARIABLE).is_ok_and(|value| !value.is_empty() && value != "0")
}

/// The name and the floating-point operations of a dispatch.
#[derive(Clone)]
pub(super) struct Label {
    pub(super) entry: &'static str,
    pub(super) flops: f64,
}

#[derive(Clone, Copy, Default)]
struct Line {
    dispatches: u64,
    seconds: f64,
    flops: f64,
}

/// The timestamps of the current command buffer, and the table.
pub(super) struct Timing {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    read_back: wgpu::Buffer,
    labels: Vec<Label>,
    // Seconds per tick.
    period: f64,
    lines: BTreeMap<&'static str, Line>,
}

/// The timestamps of one dispatch.
pub(super) struct Writes {
    pub(super) queries: wgpu::QuerySet,
    pub(super) first: u32,
}

impl Timing {
    /// Returns `None` where the GPU has no clock.
    pub(super) fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Option<Self> {
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: u64::from(QUERIES) * 8,
                usage,
                mapped_at_creation: false,
            })
        };
        Some(Timing {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: QUERIES,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            read_back: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            labels: Vec::new(),
            period: f64::from(queue.get_timestamp_period()) * 1e-9,
            lines: BTreeMap::new(),
        })
    }

    /// Reserves the timestamps of the next dispatch.
    pub(super) fn begin(&mut self, label: Label) -> Writes {
        let first = self.labels.len() as u32 * 2;
        self.labels.push(label);
        Writes {
            queries: self.queries.clone(),
            first,
        }
    }

    /// Records the copy of the timestamps to memory that the CPU can read, at the end of a command buffer.
    pub(super) fn resolve(&mut self, encoder: &mut wgpu::CommandEncoder) {
        let count = self.labels.len() as u32 * 2;
        if count > 0 {
            encoder.resolve_query_set(&self.queries, 0..count, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(
                &self.resolved,
                0,
                &self.read_back,
                0,
                u64::from(count) * 8,
            );
        }
    }

    /// Waits for the submitted command buffer and adds its times to the table. If the GPU does not answer, it adds none.
    pub(super) fn collect(&mut self, device: &wgpu::Device) {
        let labels = std::mem::take(&mut self.labels);
        if labels.is_empty() {
            return;
        }
        let view = self.read_back.slice(..labels.len() as u64 * 16);
        view.map_async(wgpu::MapMode::Read, |_| {});
        let all = wgpu::PollType::Wait {
            submission_index: None,
            timeout: None,
        };
        if device.poll(all).is_err() {
            return;
        }
        if let Ok(mapped) = view.get_mapped_range() {
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&mapped);
            for (label, pair) in labels.iter().zip(ticks.chunks_exact(2)) {
                let line = self.lines.entry(label.entry).or_default();
                line.dispatches += 1;
                line.seconds += pair[1].saturating_sub(pair[0]) as f64 * self.period;
                line.flops += label.flops;
            }
        }
        self.read_back.unmap();
    }

    pub(super) fn total_ms(&self) -> f64 {
        self.lines.values().map(|line| line.seconds).sum::<f64>() * 1e3
    }

    /// Returns the table, the slowest kernel first.
    pub(super) fn report(&self, device: &str) -> String {
        let mut lines: Vec<_> = self.lines.iter().collect();
        lines.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
        let total = self.total_ms() * 1e-3;
        let mut text = format!(
            "{device}: {:.3} ms\n{:<28} {:>7} {:>12} {:>10} {:>7}\n",
            total * 1e3,
            "kernel",
            "runs",
            "ms",
            "GFLOP/s",
            "share"
        );
        for (entry, line) in lines {
            let rate = match line.flops > 0.0 && line.seconds > 0.0 {
                true => format!("{:.1}", line.flops / line.seconds * 1e-9),
                false => String::new(),
            };
            let _ = writeln!(
                text,
                "{entry:<28} {:>7} {:>12.3} {rate:>10} {:>6.1}%",
                line.dispatches,
                line.seconds * 1e3,
                100.0 * line.seconds / total.max(f64::MIN_POSITIVE),
            );
        }
        text
    }
}
