//! Which graphics devices there are, and which one to take.

use std::fmt;

use crate::error::{Error, Result};

/// The environment variable that names the device to take, by a part of its name or its number.
pub const VARIABLE: &str = "GLIMPSE_GPU";

/// What a kernel may ask of every device: threads and bytes of shared memory of a workgroup, and buffers that a shader
/// may use at a time.
const NEEDED: [(&str, u64); 3] = [
    ("threads in a workgroup", 256),
    ("bytes of workgroup memory", 16_384),
    ("storage buffers in a shader", 8),
];

/// What sort of device it is, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A card of its own.
    Discrete,
    /// Part of the processor's chip.
    Integrated,
    /// A share of somebody else's.
    Virtual,
    /// Nobody says.
    Unknown,
    /// No graphics hardware at all: a program that behaves like some.
    Software,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Discrete => "discrete",
            Kind::Integrated => "integrated",
            Kind::Virtual => "virtual",
            Kind::Unknown => "unknown",
            Kind::Software => "software",
        })
    }
}

/// A graphics device of this machine.
pub struct Adapter {
    pub(super) raw: wgpu::Adapter,
    /// Its number in the list.
    pub index: usize,
    /// As its driver calls it.
    pub name: String,
    /// What sort it is.
    pub kind: Kind,
    /// How it is spoken to: Vulkan, Metal or DirectX 12.
    pub api: String,
    /// The driver and its version.
    pub driver: String,
}

/// Which device to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The best that is real hardware.
    Real,
    /// The best, be it software.
    Best,
    /// The one with this number, or the first whose name contains this.
    Named(String),
}

/// The graphics devices of this machine, the best first.
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

/// The device of `choice`.
///
/// # Errors
/// Where there is none; the message lists those that there are.
pub fn choose(choice: &Choice) -> Result<Adapter> {
    let all = adapters();
    if all.is_empty() {
        return Err(Error::gpu(
            "GPU",
            "no graphics device was found; install its driver (on Linux with Vulkan), or compute with --device cpu",
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
            // A name may be a number too: of a card called "... 4090" there is hardly a 4090th.
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
            Choice::Named(text) => format!("no graphics device is called {text:?}"),
            _ => "no graphics device here is real hardware".to_string(),
        };
        Error::gpu(
            "GPU",
            format_args!("{wanted}; there are: {}", names.join(", ")),
        )
    })
}

/// Whether it is worth looking for a real device: asking the driver costs a small caption as much time as making it.
pub fn may_be_real() -> bool {
    // Linux lists graphics hardware here, under Windows' subsystem as dxg; without any, what a driver finds is software.
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

    /// Bytes that the threads of a workgroup share.
    pub fn workgroup_memory(&self) -> u64 {
        self.raw.limits().max_compute_workgroup_storage_size.into()
    }

    /// What it offers of what Glimpse makes use of: `f16`, `subgroups`, `timestamps`, `cooperative matrices`.
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

    /// Rows and columns of the matrices of 16-bit floats that its units multiply with sums in `f32`, the largest, and how
    /// many threads do that together; `None` where it has no such units, or where that number is not always the same.
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

    /// Refuses a device that is too small for the kernels.
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
                    format_args!("has {offered} {what}, {needed} are needed; use --device cpu"),
                ));
            }
        }
        Ok(())
    }
}
