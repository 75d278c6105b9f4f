//! Shared by the operations' tests: values recorded from PyTorch, difference quotients, and functions that run one test
//! body with the definition, on every instruction set, and on the GPU.

use std::cell::RefCell;
use std::sync::{Mutex, OnceLock, PoisonError};

use safetensors::SafeTensors;

use crate::cpu::{Isa, Level};
use crate::error::Result;
use crate::gpu::{self, Choice, Gpu};
use crate::tensor::{self, Device, Tensor};

/// The environment variable that turns a missing GPU into a failure of the tests.
const REQUIRED: &str = "GLIMPSE_TEST_GPU";

// The tolerance on the GPU as a multiple of that on the CPU: a GPU may round its exponentials, roots and quotients less
// exactly.
const SLACK: f64 = 10.0;

thread_local! {
    // The device on which this thread's test tensors are created.
    static DEVICE: RefCell<Device> = const { RefCell::new(Device::Cpu) };
}

/// The device on which this thread's test tensors are created.
pub(crate) fn device() -> Device {
    DEVICE.with_borrow(Device::clone)
}

/// The GPU that all tests share: the one that the environment names, else the best one, which may be emulated in software.
pub(crate) fn test_gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    let open = || {
        let named = std::env::var(gpu::adapter::VARIABLE).ok();
        let opened = Gpu::open(&named.map_or(Choice::Best, Choice::Named));
        match opened {
            Ok(gpu) => {
                gpu.expose_shader_bugs();
                Some(gpu)
            }
            Err(e) if std::env::var_os(REQUIRED).is_some() => panic!("{e}"),
            Err(e) => {
                println!("skipped on the GPU: {e}");
                None
            }
        }
    };
    GPU.get_or_init(open).as_ref()
}

/// Runs `body` with tensors on the GPU and asserts that it dispatched work there. Does nothing without a GPU, or if the
/// environment forces one instruction set, because that asks for the CPU.
pub(crate) fn on_gpu(body: impl FnOnce()) {
    // One body at a time, because dispatches are counted.
    static ALONE: Mutex<()> = Mutex::new(());
    if std::env::var_os(crate::cpu::isa::ISA_VARIABLE).is_some() {
        return;
    }
    let Some(gpu) = test_gpu() else { return };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = gpu.dispatches();
    DEVICE.set(Device::Gpu(gpu.clone()));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    DEVICE.set(Device::Cpu);
    fail_naming(gpu.name(), result);
    gpu.wait().unwrap();
    assert!(
        gpu.dispatches() > before,
        "the body dispatched nothing on {}",
        gpu.name()
    );
    println!("passed on {}", gpu.name());
}

/// If a test body has panicked, prints where it ran and resumes its panic.
fn fail_naming(place: impl std::fmt::Display, result: std::thread::Result<()>) {
    if let Err(panic) = result {
        println!("failed on {place}");
        std::panic::resume_unwind(panic);
    }
}

/// Runs `body` on every instruction set, then on the GPU.
pub(crate) fn on_every_device(body: impl Fn()) {
    on_every_isa(&body);
    on_gpu(body);
}

/// Runs `body` with the definition and on each instruction set of this processor (only the forced one where
/// `GLIMPSE_ISA` is set), and prints each.
pub(crate) fn on_every_isa(body: impl Fn()) {
    for isa in Isa::available() {
        let body = || {
            assert_eq!(
                Isa::current(),
                isa,
                "the instruction set asked for is the one that runs"
            );
            body();
        };
        let body = std::panic::AssertUnwindSafe(|| isa.scope(body));
        fail_naming(isa, std::panic::catch_unwind(body));
        println!("passed on {isa}");
    }
}

/// Runs `body` with the definitions of all operations, the plain loops.
pub(crate) fn by_definition<T>(body: impl FnOnce() -> T) -> T {
    let naive = Isa::new(Level::Naive).expect("every processor runs the definition");
    naive.scope(body)
}

/// Fails where the numbers that `run` returns on some instruction set or on the GPU are not those of the definition, within a
/// relative `tolerance`.
#[track_caller]
pub(crate) fn agrees_with_the_definition(what: &str, tolerance: f64, run: impl Fn() -> Vec<f32>) {
    let want = by_definition(&run);
    on_every_device(|| assert_close(what, &run(), &want, tolerance));
}

/// Reproducible numbers in `[-1, 1)`.
pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let data = (0..shape.iter().product())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    here(Tensor::from_vec(data, shape).unwrap())
}

/// Moves `tensor` to this thread's device.
#[track_caller]
pub(crate) fn here(tensor: Tensor) -> Tensor {
    tensor.to(&device()).unwrap()
}

/// Fails where the relative distance `|got - want| / |want|`, over whole tensors, exceeds `tolerance`.
#[track_caller]
pub(crate) fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of elements");
    let tolerance = match device() {
        Device::Cpu => tolerance,
        Device::Gpu(_) => tolerance * SLACK,
    };
    let square = |x: f32| f64::from(x) * f64::from(x);
    let distance: f64 = got
        .iter()
        .zip(want)
        .map(|(&g, &w)| square(g - w))
        .sum::<f64>()
        .sqrt();
    let norm = want.iter().map(|&w| square(w)).sum::<f64>().sqrt();
    let relative = distance / norm.max(1e-12);
    assert!(
        relative <= tolerance || distance <= 1e-9,
        "{what}: relative distance {relative:.2e} exceeds {tolerance:.0e}"
    );
}

/// A case of `tests/fixtures/ops.safetensors`.
pub(crate) struct Case {
    name: &'static str,
    file: &'static SafeTensors<'static>,
}

/// The case called `name`.
pub(crate) fn fixture(name: &'static str) -> Case {
    static FILE: OnceLock<SafeTensors<'static>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        SafeTensors::deserialize(include_bytes!("../../tests/fixtures/ops.safetensors")).unwrap()
    });
    Case { name, file }
}

impl Case {
    /// The tensor recorded under `key`.
    #[track_caller]
    pub(crate) fn tensor(&self, key: &str) -> Tensor {
        let view = self
            .file
            .tensor(&format!("{}/{key}", self.name))
            .unwrap_or_else(|e| panic!("{}/{key}: {e}", self.name));
        let data = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        here(Tensor::from_vec(data.collect(), view.shape()).unwrap())
    }

    /// The tensor recorded under `key`, as a leaf of the tape.
    #[track_caller]
    pub(crate) fn tracked(&self, key: &str) -> Tensor {
        self.tensor(key).tracked()
    }

    /// The integers recorded under `key`.
    #[track_caller]
    pub(crate) fn integers(&self, key: &str) -> Vec<usize> {
        let view = self.file.tensor(&format!("{}/{key}", self.name)).unwrap();
        let data = view
            .data()
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()));
        data.map(|i| i as usize).collect()
    }

    /// Fails where `got` is not the tensor recorded under `key`, within a relative `tolerance`.
    #[track_caller]
    pub(crate) fn close(&self, key: &str, got: &Tensor, tolerance: f64) {
        let want = self.tensor(key);
        let dims = if want.dims() == [1] && got.dims().is_empty() {
            &[1]
        } else {
            got.dims()
        };
        assert_eq!(dims, want.dims(), "{}/{key}: shape", self.name);
        assert_close(
            &format!("{}/{key}", self.name),
            got.data(),
            want.data(),
            tolerance,
        );
    }

    /// Runs `output` backward from the recorded cotangent and compares with the recorded gradients.
    #[track_caller]
    pub(crate) fn check_grads(&self, output: &Tensor, leaves: &[(&str, &Tensor)], tolerance: f64) {
        let cotangent = self.tensor("grad_output").reshape(output.dims()).unwrap();
        let grads = output.backward_from(&cotangent).unwrap();
        for (name, leaf) in leaves {
            let grad = grads
                .get(leaf)
                .unwrap_or_else(|| panic!("{name} has no gradient"));
            self.close(&format!("grad_{name}"), grad, tolerance);
        }
    }
}

/// Compares an operation's gradients with difference quotients, as [`tensor::check_gradients`] does, on this thread's device.
#[track_caller]
pub(crate) fn check_gradients(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let inputs: Vec<Tensor> = inputs.iter().map(|x| here(x.clone())).collect();
    if let Err(e) = tensor::check_gradients(&inputs, f) {
        panic!("{e}");
    }
}
