//! Vectors for any processor, from the `wide` crate.
//!
//! `wide` picks its instructions when the crate is compiled: a build for plain x86-64 gets two SSE halves, one for AArch64
//! two NEON halves, and any other build an array.

use wide::{f32x8, i32x8};

use super::Simd;

/// The token of the portable vectors, which need no particular processor.
#[derive(Clone, Copy)]
pub struct Portable(());

impl Portable {
    /// Returns the token.
    #[inline(always)]
    pub fn new() -> Self {
        Portable(())
    }
}

impl Default for Portable {
    fn default() -> Self {
        Self::new()
    }
}

impl Simd for Portable {
    type V = f32x8;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 1;
    const NAME: &'static str = "portable";

    #[inline(always)]
    fn splat(self, x: f32) -> f32x8 {
        f32x8::splat(x)
    }
    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> f32x8 {
        // SAFETY: the caller vouches for eight readable floats; an array of floats has their alignment.
        f32x8::new(unsafe { *p.cast::<[f32; 8]>() })
    }
    #[inline(always)]
    unsafe fn store_ptr(self, p: *mut f32, v: f32x8) {
        // SAFETY: the caller vouches for eight writable floats.
        unsafe { *p.cast::<[f32; 8]>() = v.to_array() }
    }
    #[inline(always)]
    fn add(self, a: f32x8, b: f32x8) -> f32x8 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32x8, b: f32x8) -> f32x8 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32x8, b: f32x8) -> f32x8 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32x8, b: f32x8) -> f32x8 {
        a / b
    }
    #[inline(always)]
    fn sqrt(self, a: f32x8) -> f32x8 {
        a.sqrt()
    }
    #[inline(always)]
    fn mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn max(self, a: f32x8, b: f32x8) -> f32x8 {
        b.simd_lt(a).select(a, b)
    }
    #[inline(always)]
    fn min(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_lt(b).select(a, b)
    }
    #[inline(always)]
    fn round(self, a: f32x8) -> f32x8 {
        a.round_ties_even()
    }
    #[inline(always)]
    fn scale_by_power_of_two(self, a: f32x8, n: f32x8) -> f32x8 {
        // 2^n is the float whose exponent field is n + 127.
        let bits: i32x8 = (n.fast_round_int() + i32x8::splat(127)) << 23;
        a * bytemuck::cast::<i32x8, f32x8>(bits)
    }
    #[inline(always)]
    fn upper_halves(self, a: f32x8) -> f32x8 {
        a & f32x8::splat(f32::from_bits(0xffff_0000))
    }
    #[inline(always)]
    fn lower_halves(self, a: f32x8) -> f32x8 {
        bytemuck::cast(bytemuck::cast::<f32x8, i32x8>(a) << 16)
    }
    #[inline(always)]
    fn select_less(self, a: f32x8, b: f32x8, yes: f32x8, no: f32x8) -> f32x8 {
        a.simd_lt(b).select(yes, no)
    }
}
