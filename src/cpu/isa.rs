//! The vector instructions of this processor: detected once, proven by a token, overridable for tests.
//!
//! [`Isa::new`] is the only way to get an [`Isa`], and it asks the processor first. So a function that has one may execute
//! instructions that would otherwise be undefined behaviour.

use std::cell::Cell;
use std::sync::OnceLock;

use super::Precision;
#[cfg(target_arch = "aarch64")]
use super::simd::Neon;
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Portable, WithSimd};

/// The instruction sets that kernels are compiled for. Those of one architecture are in order, slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No vectors: every operation runs its plain-loop definition, the reference of the tests.
    Naive,
    /// 256-bit vectors of the `wide` crate, compiled for the build's target.
    Portable,
    /// NEON, on AArch64: 4 floats per vector, 32 registers.
    Neon,
    /// AVX2 with fused multiply-add: 8 floats per vector, 16 registers.
    Avx2,
    /// AVX-512F: 16 floats per vector, 32 registers.
    Avx512,
}

impl Level {
    /// Every level, in the order of the type.
    pub const ALL: [Level; 5] = [
        Level::Naive,
        Level::Portable,
        Level::Neon,
        Level::Avx2,
        Level::Avx512,
    ];

    /// The name that `GLIMPSE_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Level::Naive => "naive",
            Level::Portable => "portable",
            Level::Neon => "neon",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    fn detected(self) -> bool {
        match self {
            Level::Naive | Level::Portable => true,
            #[cfg(target_arch = "aarch64")]
            Level::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(not(target_arch = "aarch64"))]
            Level::Neon => false,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => is_x86_feature_detected!("avx512f") && Level::Avx2.detected(),
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => false,
        }
    }
}

/// An instruction set that this processor is known to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

/// The environment variable that forces an instruction set: `naive`, `portable`, `neon`, `avx2` or `avx512`.
pub const ISA_VARIABLE: &str = "GLIMPSE_ISA";

thread_local! {
    static SCOPED: Cell<Option<Isa>> = const { Cell::new(None) };
}

impl Isa {
    /// Returns the token for `level`, if this processor has it.
    pub fn new(level: Level) -> Option<Isa> {
        level.detected().then_some(Isa(level))
    }

    /// Returns every instruction set of this processor, the naive one first; only the forced one where [`ISA_VARIABLE`] names
    /// one.
    pub fn available() -> Vec<Isa> {
        match forced() {
            Some(isa) => vec![isa],
            None => Level::ALL.into_iter().filter_map(Isa::new).collect(),
        }
    }

    /// Returns the instruction set of operations called from this thread: that of the innermost [`Isa::scope`], else the
    /// forced one, else the best that the processor has.
    pub fn current() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        SCOPED.get().unwrap_or_else(|| {
            *BEST.get_or_init(|| {
                forced().unwrap_or_else(|| {
                    Level::ALL
                        .into_iter()
                        .rev()
                        .find_map(Isa::new)
                        .unwrap_or(Isa(Level::Portable))
                })
            })
        })
    }

    /// Runs `body` with this instruction set. Only the calling thread is affected. An operation chooses once, when it is
    /// called, and passes its choice to the threads that help it.
    pub fn scope<R>(self, body: impl FnOnce() -> R) -> R {
        struct Restore(Option<Isa>);
        impl Drop for Restore {
            fn drop(&mut self) {
                SCOPED.set(self.0);
            }
        }
        let _restore = Restore(SCOPED.replace(Some(self)));
        body()
    }

    /// The level that this token stands for.
    pub fn level(self) -> Level {
        self.0
    }

    /// Returns whether operations should run their plain-loop definition.
    pub fn is_naive(self) -> bool {
        self.0 == Level::Naive
    }

    /// Runs `work`, compiled for this instruction set.
    #[inline]
    pub fn dispatch<W: WithSimd>(self, work: W) -> W::Output {
        match self.0 {
            Level::Naive | Level::Portable => work.run(Portable::new()),
            #[cfg(target_arch = "aarch64")]
            // SAFETY: an `Isa` of this level exists only after the processor said that it has the features.
            Level::Neon => unsafe { run_neon(work) },
            #[cfg(not(target_arch = "aarch64"))]
            Level::Neon => unreachable!("no such token can be built on this processor"),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this level exists only after the processor said that it has the features.
            Level::Avx2 => unsafe { run_avx2(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this level exists only after the processor said that it has the features.
            Level::Avx512 => unsafe { run_avx512(work) },
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => {
                unreachable!("no such token can be built on this processor")
            }
        }
    }

    /// Returns whether this instruction set multiplies pairs of bf16 in one instruction.
    pub fn has_bf16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 == Level::Avx512 && is_x86_feature_detected!("avx512bf16");
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Runs `work`, which multiplies pairs of bf16, with the bf16 instructions where the processor has them.
    #[inline]
    pub fn dispatch_pairs<W: WithSimd>(self, work: W) -> W::Output {
        #[cfg(target_arch = "x86_64")]
        if self.has_bf16() {
            // SAFETY: the processor was just found to have AVX512-BF16; this token proves that it has the other features.
            return unsafe { run_avx512_bf16(work) };
        }
        self.dispatch(work)
    }

    /// Runs `work` on operands of this precision.
    #[inline]
    pub fn dispatch_on<W: WithSimd>(self, precision: Precision, work: W) -> W::Output {
        match precision {
            Precision::F32 => self.dispatch(work),
            Precision::Bf16 => self.dispatch_pairs(work),
        }
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

/// The instruction set that [`ISA_VARIABLE`] names. A name that is unknown or that this processor lacks is ignored here;
/// [`check_forced`] returns an error for it.
fn forced() -> Option<Isa> {
    let name = std::env::var(ISA_VARIABLE).ok()?;
    Level::ALL
        .into_iter()
        .find(|l| l.name() == name)
        .and_then(Isa::new)
}

/// Returns an error where [`ISA_VARIABLE`] names an instruction set that this processor lacks.
///
/// # Errors
/// One line with the names that this processor has.
pub fn check_forced() -> crate::error::Result<()> {
    match std::env::var(ISA_VARIABLE) {
        Ok(name) if forced().is_none() => {
            let have: Vec<_> = Level::ALL
                .into_iter()
                .filter(|l| l.detected())
                .map(Level::name)
                .collect();
            Err(crate::error::Error::usage(format!(
                "{ISA_VARIABLE}={name}: this processor has {}; unset the variable or name one of these",
                have.join(", ")
            )))
        }
        _ => Ok(()),
    }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn run_neon<W: WithSimd>(work: W) -> W::Output {
    // SAFETY: this function may only be called where NEON is present.
    work.run(unsafe { Neon::new_unchecked() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<W: WithSimd>(work: W) -> W::Output {
    // SAFETY: this function may only be called where AVX2 and FMA are present.
    work.run(unsafe { Avx2::new_unchecked() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f")]
unsafe fn run_avx512<W: WithSimd>(work: W) -> W::Output {
    // SAFETY: this function may only be called where AVX-512F is present.
    work.run(unsafe { Avx512::<false>::new_unchecked() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bf16")]
unsafe fn run_avx512_bf16<W: WithSimd>(work: W) -> W::Output {
    // SAFETY: this function may only be called where AVX-512F and AVX512-BF16 are present.
    work.run(unsafe { Avx512::<true>::new_unchecked() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::Simd;

    #[test]
    fn the_level_asked_for_is_the_one_that_runs() {
        struct Lanes;
        impl WithSimd for Lanes {
            type Output = (usize, &'static str);
            fn run<S: Simd>(self, _: S) -> Self::Output {
                (S::LANES, S::NAME)
            }
        }
        for isa in Isa::available() {
            let want = match isa.level() {
                Level::Naive | Level::Portable => (8, "portable"),
                Level::Neon => (4, "neon"),
                Level::Avx2 => (8, "avx2"),
                Level::Avx512 => (16, "avx512"),
            };
            assert_eq!(isa.dispatch(Lanes), want);
            println!("ran on {isa}");
        }
    }

    #[test]
    fn a_scope_ends_with_its_body() {
        let outside = Isa::current();
        let portable = Isa::new(Level::Portable).unwrap();
        assert_eq!(portable.scope(Isa::current), portable);
        assert_eq!(Isa::current(), outside);
    }
}
