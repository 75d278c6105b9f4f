//! An open GPU.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ON_THE_CPU;
use super::adapter::{self, Adapter, Choice, Kind};
use super::pipelines::Pipelines;
use super::pool::Pool;
use super::stream::Stream;
use super::timing::{self, Timing};
use crate::error::{Error, Result};

/// An open GPU. Cloning one copies a pointer.
#[derive(Clone)]
pub struct Gpu(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) limits: wgpu::Limits,
    max_elements: AtomicUsize,
    pub(super) max_bytes: AtomicU64,
    max_groups: AtomicUsize,
    fills_with_nan: AtomicBool,
    subgroups: AtomicBool,
    subgroups_supported: bool,
    matrices: Option<(usize, usize)>,
    name: String,
    kind: Kind,
    features: wgpu::Features,
    fault: Arc<Fault>,
    pub(super) pool: Mutex<Pool>,
    pub(super) pipelines: Mutex<Pipelines>,
    pub(super) stream: Mutex<Stream>,
}

/// The message of the error after the GPU was lost.
const LOST: &str = "the GPU was lost; start again, from the last checkpoint if there is one";

fn max_elements(limits: &wgpu::Limits) -> usize {
    let bytes = limits
        .max_storage_buffer_binding_size
        .min(limits.max_buffer_size);
    (bytes / 4) as usize
}

/// The environment variable that, set to 1, allows f16 products on matrix units (tensor cores). They are experimental in the
/// library `wgpu`.
pub const MATRICES_VARIABLE: &str = "GLIMPSE_MATRICES";

fn matrices_allowed() -> bool {
    std::env::var(MATRICES_VARIABLE).is_ok_and(|value| value == "1")
}

/// The first error that the driver reported outside a call; the next calls return it.
#[derive(Default)]
struct Fault(Mutex<Option<[String; 2]>>);

impl Fault {
    /// Records the message of an error, and the text of the driver's error that caused it. Only the first error is kept,
    /// because later ones usually follow from it.
    fn record(&self, what: String, source: String) {
        lock(&self.0).get_or_insert([what, source]);
    }
}

/// Locks a mutex, also after a panic of another thread: the guarded values are consistent between any two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PartialEq for Gpu {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl Gpu {
    /// Opens the GPU that `choice` describes.
    ///
    /// # Errors
    /// Where there is none, it is too small, or its driver refuses.
    pub fn open(choice: &Choice) -> Result<Self> {
        Self::from_adapter(&adapter::choose(choice)?)
    }

    /// Opens this GPU.
    ///
    /// # Errors
    /// Where it is too small or its driver refuses.
    pub fn from_adapter(adapter: &Adapter) -> Result<Self> {
        adapter.check()?;
        let features = adapter.raw.features()
            & (wgpu::Features::TIMESTAMP_QUERY
                | wgpu::Features::SUBGROUP
                | wgpu::Features::SHADER_F16);
        let limits = adapter.raw.limits();
        let matrices = matrices_allowed().then(|| adapter.matrices()).flatten();
        let (features, experimental_features) = match matrices {
            None => (features, wgpu::ExperimentalFeatures::disabled()),
            Some(_) => (
                features | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
                // SAFETY: the only experimental feature in use is cooperative matrices, in one shader, whose loads and stores lie
                // within its buffers. A fault in the feature itself would be the library's; the description of the variable says
                // that it is experimental.
                unsafe { wgpu::ExperimentalFeatures::enabled() },
            ),
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("glimpse"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features,
            ..Default::default()
        };
        let refused = |e: wgpu::RequestDeviceError| {
            Error::gpu(
                &adapter.name,
                format_args!("its driver does not open it; update the driver, or {ON_THE_CPU}"),
            )
            .because(e.to_string())
        };
        let (device, queue) =
            pollster::block_on(adapter.raw.request_device(&descriptor)).map_err(refused)?;
        // The shaders have room for the results of 64 subgroups in a workgroup of 256 invocations.
        let subgroups = features.contains(wgpu::Features::SUBGROUP)
            && adapter.raw.get_info().subgroup_min_size >= 4;
        let fault = Arc::new(Fault::default());
        let (uncaptured, lost) = (fault.clone(), fault.clone());
        device.on_uncaptured_error(Arc::new(move |e| {
            let what = match &e {
                wgpu::Error::OutOfMemory { .. } => {
                    format!("its memory does not suffice; take a smaller batch, or {ON_THE_CPU}")
                }
                _ => {
                    format!("its driver refuses the work; update the driver, or {ON_THE_CPU}")
                }
            };
            uncaptured.record(what, e.to_string());
        }));
        device.set_device_lost_callback(move |_, why| lost.record(LOST.to_string(), why));
        let timing = timing::enabled()
            .then(|| Timing::new(&device, &queue))
            .flatten();
        let stream = Stream::new(&device, &limits, timing);
        Ok(Gpu(Arc::new(Inner {
            device,
            queue,
            max_elements: max_elements(&limits).into(),
            max_bytes: u64::MAX.into(),
            max_groups: (limits.max_compute_workgroups_per_dimension as usize).into(),
            fills_with_nan: false.into(),
            subgroups: subgroups.into(),
            subgroups_supported: subgroups,
            matrices,
            limits,
            name: adapter.name.clone(),
            kind: adapter.kind,
            features,
            fault,
            pool: Mutex::default(),
            pipelines: Mutex::default(),
            stream: Mutex::new(stream),
        })))
    }

    /// The driver's name for it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The largest number of elements in one buffer.
    pub fn max_elements(&self) -> usize {
        self.0.max_elements.load(Ordering::Relaxed)
    }

    /// Limits the elements of one buffer, as on a smaller GPU.
    pub fn limit(&self, elements: usize) {
        let most = max_elements(&self.0.limits);
        self.0
            .max_elements
            .store(elements.min(most), Ordering::Relaxed);
    }

    /// The largest number of workgroups along the first axis of a dispatch.
    pub fn max_groups(&self) -> usize {
        self.0.max_groups.load(Ordering::Relaxed)
    }

    /// Exposes shader bugs that a GPU may hide, for tests. Memory that was never written holds NaNs, and more than four
    /// workgroups are laid out in a rectangle, as otherwise only very many are.
    pub fn expose_shader_bugs(&self) {
        self.0.fills_with_nan.store(true, Ordering::Relaxed);
        self.0.max_groups.store(4, Ordering::Relaxed);
    }

    pub(super) fn fills_with_nan(&self) -> bool {
        self.0.fills_with_nan.load(Ordering::Relaxed)
    }

    /// Returns whether the invocations of a subgroup can compare and add values without workgroup memory.
    pub fn has_subgroups(&self) -> bool {
        self.0.subgroups.load(Ordering::Relaxed)
    }

    /// Switches the use of subgroups off, as on a GPU without them, or on again where it has them.
    pub fn use_subgroups(&self, wanted: bool) {
        let supported = self.0.subgroups_supported;
        self.0
            .subgroups
            .store(supported && wanted, Ordering::Relaxed);
    }

    /// Returns whether shaders can compute in f16.
    pub fn has_f16(&self) -> bool {
        self.0.features.contains(wgpu::Features::SHADER_F16)
    }

    /// Returns the size of the square matrices that its matrix units multiply, and the invocations of a subgroup, where the GPU
    /// has such units and they are [allowed](MATRICES_VARIABLE).
    pub fn matrices(&self) -> Option<(usize, usize)> {
        self.0.matrices
    }

    /// Returns an error that names this GPU.
    pub(super) fn error(&self, what: impl fmt::Display) -> Error {
        Error::gpu(&self.0.name, what)
    }

    /// Checks that nothing has gone wrong so far.
    ///
    /// # Errors
    /// The first error: the GPU was lost, or its driver refused something.
    pub fn check(&self) -> Result<()> {
        match &*lock(&self.0.fault.0) {
            None => Ok(()),
            Some([what, source]) => Err(self.error(what).because(source.as_str())),
        }
    }

    /// Destroys the device, as if the GPU were unplugged. Every later call returns an error.
    pub fn lose(&self) {
        self.0.device.destroy();
        self.0
            .fault
            .record(LOST.to_string(), "given up".to_string());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Opens a GPU for one test; `None` if this machine has none.
    pub(crate) fn open() -> Option<Gpu> {
        let named = std::env::var(adapter::VARIABLE).ok();
        match Gpu::open(&named.map_or(Choice::Best, Choice::Named)) {
            Ok(gpu) => Some(gpu),
            Err(e) => {
                println!("skipped: {e}");
                None
            }
        }
    }
}
