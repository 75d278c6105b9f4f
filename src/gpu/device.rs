//! An opened graphics device.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::adapter::{self, Adapter, Choice, Kind};
use super::buffer::Pool;
use super::detail;
use super::shaders::Pipelines;
use super::stream::Stream;
use super::timing::{self, Timing};
use crate::error::{Error, Result};

/// A graphics device, opened. Cloning one copies a pointer.
#[derive(Clone)]
pub struct Gpu(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) limits: wgpu::Limits,
    most_elements: AtomicUsize,
    pub(super) most_bytes: AtomicU64,
    most_groups: AtomicUsize,
    poisons: AtomicBool,
    subgroups: AtomicBool,
    subgroups_there: bool,
    matrices: Option<(usize, usize)>,
    name: String,
    kind: Kind,
    features: wgpu::Features,
    fault: Arc<Fault>,
    pub(super) pool: Mutex<Pool>,
    pub(super) pipelines: Mutex<Pipelines>,
    pub(super) stream: Mutex<Stream>,
}

fn most_elements(limits: &wgpu::Limits) -> usize {
    let bytes = limits
        .max_storage_buffer_binding_size
        .min(limits.max_buffer_size);
    (bytes / 4) as usize
}

/// The environment variable that, set to 1, lets 16-bit products be taken on matrix units (tensor cores), which is
/// experimental in the library that speaks to them.
pub const MATRICES_VARIABLE: &str = "GLIMPSE_MATRICES";

fn matrices_wanted() -> bool {
    std::env::var(MATRICES_VARIABLE).is_ok_and(|value| value == "1")
}

/// What went wrong where nobody was asking, for whoever asks next.
#[derive(Default)]
struct Fault(Mutex<Option<String>>);

impl Fault {
    /// Keeps the first, of which the others usually follow.
    fn keep(&self, what: String) {
        lock(&self.0).get_or_insert(what);
    }
}

/// A lock that a thread's panic has not spoilt: what it guards is whole between any two statements.
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
    /// Opens the device of `choice`.
    ///
    /// # Errors
    /// Where there is none, it is too small, or it refuses.
    pub fn open(choice: &Choice) -> Result<Self> {
        Self::from_adapter(&adapter::choose(choice)?)
    }

    /// Opens this device.
    ///
    /// # Errors
    /// Where it is too small or refuses.
    pub fn from_adapter(adapter: &Adapter) -> Result<Self> {
        adapter.check()?;
        let features = adapter.raw.features()
            & (wgpu::Features::TIMESTAMP_QUERY
                | wgpu::Features::SUBGROUP
                | wgpu::Features::SHADER_F16);
        let limits = adapter.raw.limits();
        let matrices = matrices_wanted().then(|| adapter.matrices()).flatten();
        let (features, experimental_features) = match matrices {
            None => (features, wgpu::ExperimentalFeatures::disabled()),
            Some(_) => (
                features | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
                // SAFETY: of what is experimental only cooperative matrices are used, by one shader, whose loads and
                // stores lie within its buffers; a fault in them would be the library's, and whoever sets the variable
                // is told so.
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
        let refused = |_| {
            Error::gpu(
                &adapter.name,
                "its driver does not open it; update the driver, or use --device cpu",
            )
        };
        let (device, queue) =
            pollster::block_on(adapter.raw.request_device(&descriptor)).map_err(refused)?;
        // A workgroup of 256 threads leaves room for what 64 subgroups have to say.
        let subgroups = features.contains(wgpu::Features::SUBGROUP)
            && adapter.raw.get_info().subgroup_min_size >= 4;
        let fault = Arc::new(Fault::default());
        let (uncaptured, lost) = (fault.clone(), fault.clone());
        device.on_uncaptured_error(Arc::new(move |e| {
            uncaptured.keep(match &e {
                wgpu::Error::OutOfMemory { .. } => {
                    "its memory does not suffice; take a smaller batch, or use --device cpu".into()
                }
                _ => format!(
                    "its driver refuses the work{}; update the driver, or use --device cpu",
                    detail(&e)
                ),
            });
        }));
        device.set_device_lost_callback(move |_, why| {
            lost.keep(format!(
                "the graphics device was lost{}; start again, from the last checkpoint where there is one",
                detail(&why)
            ));
        });
        let timing = timing::wanted()
            .then(|| Timing::new(&device, &queue))
            .flatten();
        let stream = Stream::new(&device, &limits, timing);
        Ok(Gpu(Arc::new(Inner {
            device,
            queue,
            most_elements: most_elements(&limits).into(),
            most_bytes: u64::MAX.into(),
            most_groups: (limits.max_compute_workgroups_per_dimension as usize).into(),
            poisons: false.into(),
            subgroups: subgroups.into(),
            subgroups_there: subgroups,
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

    /// As its driver calls it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What sort it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The most elements that one buffer holds.
    pub fn most_elements(&self) -> usize {
        self.0.most_elements.load(Ordering::Relaxed)
    }

    /// Lets a buffer hold no more than so many elements, as a smaller device would.
    pub fn limit(&self, elements: usize) {
        let most = most_elements(&self.0.limits);
        self.0
            .most_elements
            .store(elements.min(most), Ordering::Relaxed);
    }

    /// The most workgroups that are started side by side.
    pub fn most_groups(&self) -> usize {
        self.0.most_groups.load(Ordering::Relaxed)
    }

    /// Makes mistakes in shaders show that a device may hide: memory that nobody has written holds no numbers, and more
    /// than a few workgroups are laid out in a rectangle, as otherwise only very many are.
    pub fn be_strict(&self) {
        self.0.poisons.store(true, Ordering::Relaxed);
        self.0.most_groups.store(4, Ordering::Relaxed);
    }

    pub(super) fn poisons(&self) -> bool {
        self.0.poisons.load(Ordering::Relaxed)
    }

    /// Whether the threads of a subgroup can compare and add up without going through memory.
    pub fn has_subgroups(&self) -> bool {
        self.0.subgroups.load(Ordering::Relaxed)
    }

    /// Does without subgroups, as on a device that has none; or uses them again, where it has.
    pub fn use_subgroups(&self, wanted: bool) {
        let there = self.0.subgroups_there;
        self.0.subgroups.store(there && wanted, Ordering::Relaxed);
    }

    /// Whether shaders can compute with 16-bit floats.
    pub fn has_f16(&self) -> bool {
        self.0.features.contains(wgpu::Features::SHADER_F16)
    }

    /// Rows and columns of the matrices that its units multiply, and threads of a subgroup, where the device has such
    /// units and they are [wanted](MATRICES_VARIABLE).
    pub fn matrices(&self) -> Option<(usize, usize)> {
        self.0.matrices
    }

    /// An error of this device.
    pub(super) fn error(&self, what: impl fmt::Display) -> Error {
        Error::gpu(&self.0.name, what)
    }

    /// Whether all is well so far.
    ///
    /// # Errors
    /// What went wrong first: the device was lost, or did not accept something.
    pub fn check(&self) -> Result<()> {
        match &*lock(&self.0.fault.0) {
            None => Ok(()),
            Some(what) => Err(self.error(what)),
        }
    }

    /// Gives the device up, as if it were unplugged; everything after this is an error.
    pub fn lose(&self) {
        self.0.device.destroy();
        self.0.fault.keep(
            "the graphics device was lost (given up); start again, from the last checkpoint where there is one"
                .to_string(),
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A device for one test, where there is any.
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
