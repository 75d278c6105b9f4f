//! NEON, the vectors of AArch64: 4 floats per vector, 32 registers.
//!
//! Pairs of bf16 are multiplied with the multiply-adds of `f32`. Some processors have BFDOT, which multiplies a pair in one
//! instruction. It adds the two products first and rounds their sum to odd, so its results are not those that
//! [`precision`](crate::cpu::precision) states. BFMLALB and BFMLALT round as stated there, but they multiply one number of a
//! pair each, and so are no faster than `f32`.

use core::arch::aarch64::*;
use core::arch::asm;

use super::Simd;

/// Proof that the processor has NEON.
#[derive(Clone, Copy)]
pub struct Neon(());

impl Neon {
    /// Returns the token without asking the processor.
    ///
    /// # Safety
    /// The processor has NEON, and the caller is compiled for it.
    #[inline(always)]
    pub unsafe fn new_unchecked() -> Self {
        Neon(())
    }

    /// Rounds each lane to bf16 as [`Precision::round`](crate::cpu::Precision::round) does. The bf16 is the upper half of a
    /// lane; the lower half is undefined.
    #[inline(always)]
    fn round_to_bf16(self, x: float32x4_t) -> uint32x4_t {
        // SAFETY: `self` exists, so the processor has the instructions.
        unsafe {
            let bits = vreinterpretq_u32_f32(x);
            // Adds just below half of the last kept bit, and one more where that bit is odd.
            let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
            // Numbers below the normal range become a zero of their sign.
            let small = vcaltq_f32(x, vdupq_n_f32(f32::MIN_POSITIVE));
            let zero = vandq_u32(bits, vdupq_n_u32(0x8000_0000));
            let rounded = vbslq_u32(small, zero, rounded);
            // A NaN keeps its upper half and becomes a quiet one. It is the only number that differs from itself.
            let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
            vbslq_u32(vceqq_f32(x, x), rounded, quiet)
        }
    }
}

// A tile of 6 rows by 4 vectors: 24 accumulators, four vectors of B and one number of A are 29 of 32 registers. A
// multiply-add takes one lane of a register as its factor, so the number needs no instruction that broadcasts it. For each
// `k` there are 10 loads for 24 multiply-adds, 0.42 for one. 14 rows by 2 vectors would take 31 registers and 0.57 loads, and
// 7 rows by 4 vectors 33 registers. Processors with four multipliers of latency 4 need 16 independent sums. A panel of 16
// columns also cuts DenseNet's 32 and 128 outputs without a remainder, as 12 columns (three vectors) would not.
//
// SAFETY of every block below: `self` exists, so the processor has the instructions; the callers of loads and stores vouch
// for the pointers.
impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 4;
    const NAME: &'static str = "neon";

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, p: *mut f32, v: float32x4_t) {
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: float32x4_t) -> float32x4_t {
        unsafe { vsqrtq_f32(a) }
    }
    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    // FMAX gives NaN where either operand is NaN, and FMAXNM the other operand. The trait defines the result as `b` in
    // both cases.
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    fn round(self, a: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    fn scale_by_power_of_two(self, a: float32x4_t, n: float32x4_t) -> float32x4_t {
        // 2^n is the float whose exponent field is n + 127.
        unsafe {
            let exponent = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
            vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
        }
    }
    #[inline(always)]
    fn upper_halves(self, a: float32x4_t) -> float32x4_t {
        unsafe {
            let mask = vdupq_n_u32(0xffff_0000);
            vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), mask))
        }
    }
    #[inline(always)]
    fn lower_halves(self, a: float32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(a))) }
    }
    #[inline(always)]
    fn pairs(self, low: float32x4_t, high: float32x4_t) -> float32x4_t {
        let (low, high) = (self.round_to_bf16(low), self.round_to_bf16(high));
        // The first number of each pair, and the second. The shift inserts the first below the upper half of the second.
        unsafe {
            let (first, second) = (vuzp1q_u32(low, high), vuzp2q_u32(low, high));
            vreinterpretq_f32_u32(vsriq_n_u32::<16>(second, first))
        }
    }
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // Rust has no stable intrinsic for it. The instruction is a hint: an address without memory causes no fault.
        unsafe {
            asm!("prfm pldl1keep, [{0}]", in(reg) p.addr(), options(nomem, nostack, preserves_flags));
        }
    }
    #[inline(always)]
    fn select_less(
        self,
        a: float32x4_t,
        b: float32x4_t,
        yes: float32x4_t,
        no: float32x4_t,
    ) -> float32x4_t {
        unsafe { vbslq_f32(vcltq_f32(a, b), yes, no) }
    }
}
