//! The device to compute on: options, and the list of devices.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::output;
use crate::cpu::{Isa, threads};
use crate::error::{Error, Result};
use crate::gpu::adapter::{self, VARIABLE};
use crate::gpu::{Choice, Gpu};
use crate::tensor::Device;

/// The device to compute on.
#[derive(Args, Clone)]
pub struct DeviceArgs {
    /// The device to compute on [default: auto, or the value of the environment variable GLIMPSE_DEVICE]
    #[arg(long, global = true, value_enum, display_order = 100)]
    device: Option<Kind>,
    /// The GPU, by its number or a part of its name; `glimpse devices` lists them [default: the best, or the one that
    /// the environment variable GLIMPSE_GPU names]
    #[arg(long, global = true, value_name = "NAME|INDEX", display_order = 101)]
    gpu: Option<String>,
}

/// The environment variable that sets the device; its values are those of `--device`.
const DEVICE_VARIABLE: &str = "GLIMPSE_DEVICE";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The GPU if a real one is found, else the CPU
    Auto,
    /// The CPU
    Cpu,
    /// A GPU, or a software driver that acts as one
    Gpu,
}

impl DeviceArgs {
    /// Whether a GPU is named although the CPU is asked for.
    pub fn contradict(&self) -> bool {
        self.device == Some(Kind::Cpu) && self.gpu.is_some()
    }

    /// Opens the device.
    ///
    /// # Errors
    /// If a device was asked for that does not exist or cannot be used.
    pub fn open(&self) -> Result<Device> {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let named = self.gpu.clone().or_else(|| variable(VARIABLE));
        let kind = match (self.device, &self.gpu, variable(DEVICE_VARIABLE)) {
            (Some(kind), _, _) => kind,
            (None, Some(_), _) => Kind::Gpu,
            (None, None, Some(text)) => Kind::from_str(&text, true).map_err(|_| {
                Error::usage(format_args!(
                    "{DEVICE_VARIABLE}={text}: must be auto, cpu or gpu"
                ))
            })?,
            (None, None, None) => Kind::Auto,
        };
        match (kind, named.map(Choice::Named)) {
            (Kind::Cpu, _) => Ok(Device::Cpu),
            (Kind::Gpu, None) => open(&Choice::Best),
            (_, Some(named)) => open(&named),
            // A GPU that cannot be opened does not count as found.
            (Kind::Auto, None) if adapter::may_be_real() => {
                Ok(open(&Choice::Real).unwrap_or(Device::Cpu))
            }
            (Kind::Auto, None) => Ok(Device::Cpu),
        }
    }
}

fn open(choice: &Choice) -> Result<Device> {
    quietly(|| Gpu::open(choice)).map(Device::Gpu)
}

/// Runs `find` with standard error redirected to `/dev/null`: drivers and their loaders write to it while they look
/// for GPUs. A message of the program stays one line.
#[cfg(unix)]
fn quietly<T>(find: impl FnOnce() -> T) -> T {
    let silence = || {
        let stderr = rustix::io::dup(std::io::stderr()).ok()?;
        let null = std::fs::File::options()
            .write(true)
            .open("/dev/null")
            .ok()?;
        rustix::stdio::dup2_stderr(&null).ok()?;
        Some(stderr)
    };
    let stderr = silence();
    let found = find();
    if let Some(stderr) = stderr {
        let _ = rustix::stdio::dup2_stderr(&stderr);
    }
    found
}

#[cfg(not(unix))]
fn quietly<T>(find: impl FnOnce() -> T) -> T {
    find()
}

/// List the devices that can compute: the processor, and the GPUs with their limits
#[derive(Args)]
pub struct DevicesArgs {
    /// Print a JSON object for each
    #[arg(long)]
    json: bool,
}

/// The JSON object that is printed for a GPU.
#[derive(Serialize)]
struct Line<'a> {
    device: &'static str,
    index: usize,
    name: &'a str,
    kind: String,
    real: bool,
    api: &'a str,
    driver: &'a str,
    largest_buffer_mb: f64,
    workgroup_memory: u64,
    features: Vec<&'static str>,
}

pub fn run(args: &DevicesArgs) -> Result<ExitCode> {
    let (threads, isa) = (threads::count(), Isa::current().to_string());
    match args.json {
        true => output::json(&serde_json::json!({
            "device": "cpu", "name": processor(), "threads": threads, "isa": isa,
        }))?,
        false => output::line(format_args!(
            "cpu  {}, {threads} threads, {isa}",
            processor()
        ))?,
    }
    for adapter in quietly(adapter::adapters) {
        let line = Line {
            device: "gpu",
            index: adapter.index,
            name: &adapter.name,
            kind: adapter.kind.to_string(),
            real: adapter.kind != adapter::Kind::Software,
            api: &adapter.api,
            driver: &adapter.driver,
            largest_buffer_mb: adapter.largest_buffer() as f64 * 1e-6,
            workgroup_memory: adapter.workgroup_memory(),
            features: adapter.features(),
        };
        match args.json {
            true => output::json(&line)?,
            false => output::line(format_args!(
                "gpu {}  {}, {}, {}, {}; buffers up to {:.0} MB, workgroups with {} KiB; {}",
                line.index,
                line.name,
                line.kind,
                line.api,
                line.driver,
                line.largest_buffer_mb,
                line.workgroup_memory / 1024,
                line.features.join(", "),
            ))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The processor's name, if the system tells it.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(
        || std::env::consts::ARCH.to_string(),
        |(_, name)| name.trim().to_string(),
    )
}
