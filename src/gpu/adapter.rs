//! The GPUs of this machine, and the choice of one.

use super::choice::ON_THE_CPU;
pub use super::choice::{Choice, Kind, VARIABLE};
use crate::error::{Error, Result};

/// Limits that the kernels need: invocations and bytes of workgroup memory of a workgroup, and storage buffers that a shader
/// may use at a time.
const NEEDED: [(&str, u64); 3] = [
    ("invocations in a workgroup", 256),
    ("bytes of workgroup memory", 16_384),
    ("storage buffers in a shader", 8),
];

/// A GPU of this machine.
pub struct Adapter {
    pub(super) raw: wgpu::Adapter,
    /// Its index in the result of [`adapters`].
    pub index: usize,
    /// The driver's name for it.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// The API that it is used with: Vulkan, Metal or DirectX 12.
    pub api: String,
    /// The driver and its version.
    pub driver: String,
}

/// Returns the GPUs of this machine, the best first.
pub fn adapters() -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let instance = wgpu::Instance::new(descriptor);
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let mut all: Vec<Adapter> = found.into_iter().map(Adapter::new).collect();
    all.sort_by_key(|a| a.kind);
    for (index, adapter) in all.iter_mut().enumerate() {
        adapter.index = index;
    }
    all
}

/// Returns the GPU that `choice` describes.
///
/// # Errors
/// Where there is none; the message lists the GPUs of this machine.
pub fn choose(choice: &Choice) -> Result<Adapter> {
    let all = adapters();
    if all.is_empty() {
        return Err(Error::gpu(
            "GPU",
            format_args!(
                "no GPU was found; install its driver (on Linux with Vulkan), or {ON_THE_CPU}"
            ),
        ));
    }
    let names: Vec<String> = all
        .iter()
        .map(|a| format!("{} {} ({})", a.index, a.name, a.kind))
        .collect();
    let chosen = match choice {
        Choice::Real => all.into_iter().find(|a| a.kind != Kind::Software),
        Choice::Best => all.into_iter().next(),
        Choice::Named(text) => {
            // The text may be an index or a part of a name. An index is tried first. "4090" is still found as a part of a
            // name, because no machine has 4091 GPUs.
            let wanted = text.to_lowercase();
            let index = text.parse::<usize>().ok();
            let by_index = all.iter().position(|a| Some(a.index) == index);
            let by_name = |a: &Adapter| a.name.to_lowercase().contains(&wanted);
            let place = by_index.or_else(|| all.iter().position(by_name));
            place.and_then(|place| all.into_iter().nth(place))
        }
    };
    chosen.ok_or_else(|| {
        let wanted = match choice {
            Choice::Named(text) => format!("no GPU is called {text:?}"),
            _ => "no GPU here is real hardware".to_string(),
        };
        Error::gpu(
            "GPU",
            format_args!("{wanted}; there are: {}", names.join(", ")),
        )
    })
}

/// Returns whether the machine may have a hardware GPU. It only looks for device files, because asking the driver takes
/// as long as captioning a small image.
pub fn may_be_real() -> bool {
    // Linux has these files for GPUs (`dxg` in the Windows Subsystem for Linux). Without them, a driver offers software
    // only.
    if cfg!(target_os = "linux") {
        let exists = |path: &str| std::path::Path::new(path).exists();
        return [
            "/dev/dri",
            "/dev/nvidiactl",
            "/dev/dxg",
            "/dev/kgsl-3d0",
            "/dev/mali0",
        ]
        .into_iter()
        .any(exists);
    }
    true
}

impl Adapter {
    fn new(raw: wgpu::Adapter) -> Self {
        let info = raw.get_info();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => Kind::Discrete,
            wgpu::DeviceType::IntegratedGpu => Kind::Integrated,
            wgpu::DeviceType::VirtualGpu => Kind::Virtual,
            wgpu::DeviceType::Cpu => Kind::Software,
            wgpu::DeviceType::Other => Kind::Unknown,
        };
        Adapter {
            raw,
            index: 0,
            name: info.name,
            kind,
            api: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info),
        }
    }

    /// The largest buffer that a shader can use, in bytes.
    pub fn largest_buffer(&self) -> u64 {
        let limits = self.raw.limits();
        limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size)
    }

    /// Bytes of workgroup memory.
    pub fn workgroup_memory(&self) -> u64 {
        self.raw.limits().max_compute_workgroup_storage_size.into()
    }

    /// Its optional features that Glimpse uses: `f16`, `subgroups`, `timestamps`, `cooperative matrices`.
    pub fn features(&self) -> Vec<&'static str> {
        let features = self.raw.features();
        [
            (wgpu::Features::SHADER_F16, "f16"),
            (wgpu::Features::SUBGROUP, "subgroups"),
            (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
            (
                wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
                "cooperative matrices",
            ),
        ]
        .into_iter()
        .filter_map(|(feature, name)| features.contains(feature).then_some(name))
        .collect()
    }

    /// Returns the largest size of the square f16 matrices that its matrix units multiply with sums in `f32`, and the
    /// invocations of a subgroup, which do that together. `None` where it has no such units, or where the size of its subgroups
    /// varies.
    pub(super) fn matrices(&self) -> Option<(usize, usize)> {
        let info = self.raw.get_info();
        let threads = info.subgroup_min_size;
        let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
            | wgpu::Features::SHADER_F16
            | wgpu::Features::SUBGROUP;
        if !self.raw.features().contains(needed) || threads != info.subgroup_max_size {
            return None;
        }
        let suits = |p: &wgpu::CooperativeMatrixProperties| {
            let [m, n, k] = [p.m_size, p.n_size, p.k_size];
            let types = p.ab_type == wgpu::CooperativeScalarType::F16
                && p.cr_type == wgpu::CooperativeScalarType::F32;
            types && m == n && n == k && (m == 8 || m == 16)
        };
        let all = self.raw.cooperative_matrix_properties();
        let largest = all.iter().filter(|p| suits(p)).map(|p| p.m_size).max()?;
        Some((largest as usize, threads as usize))
    }

    /// Returns an error where the GPU is too small for the kernels.
    pub(super) fn check(&self) -> Result<()> {
        let limits = self.raw.limits();
        let offered = [
            limits.max_compute_invocations_per_workgroup,
            limits.max_compute_workgroup_storage_size,
            limits.max_storage_buffers_per_shader_stage,
        ];
        for ((what, needed), offered) in NEEDED.iter().zip(offered) {
            if u64::from(offered) < *needed {
                return Err(Error::gpu(
                    &self.name,
                    format_args!("has {offered} {what}, {needed} are needed; {ON_THE_CPU}"),
                ));
            }
        }
        Ok(())
    }
}
