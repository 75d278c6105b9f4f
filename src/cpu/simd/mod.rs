//! A small trait over vectors of `f32`, implemented in one file for each instruction set: AVX2 and AVX-512 on x86-64, NEON on
//! AArch64, and portable vectors anywhere.
//!
//! A kernel is written once, generic over [`Simd`]. [`Isa::dispatch`](super::Isa::dispatch) compiles it for each instruction
//! set, in functions that carry `#[target_feature]`. Everything here is `#[inline(always)]`, so it ends up inside those
//! functions and becomes single instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use portable::Portable;

use super::precision::pair;

/// Work that can be compiled for any instruction set.
pub trait WithSimd {
    /// The result of the work.
    type Output;
    /// Does the work with the vectors of `S`. Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// Vectors of [`LANES`](Simd::LANES) `f32`s. A value of the implementing type proves that the processor
/// has the instructions.
pub trait Simd: Copy + Send + Sync + 'static {
    /// The vector type.
    type V: Copy;
    /// Floats in a vector.
    const LANES: usize;
    /// Rows of the matrix-product tile whose accumulators fill the register file.
    const TILE_ROWS: usize;
    /// Vectors in a row of that tile.
    const TILE_VECTORS: usize;
    /// The instruction set's name.
    const NAME: &'static str;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// Loads the vector at `p`, of any alignment.
    ///
    /// # Safety
    /// `p` points to at least [`LANES`](Simd::LANES) readable floats.
    unsafe fn load_ptr(self, p: *const f32) -> Self::V;
    /// Writes `v` to `p`, of any alignment.
    ///
    /// # Safety
    /// `p` points to at least [`LANES`](Simd::LANES) writable floats.
    unsafe fn store_ptr(self, p: *mut f32, v: Self::V);
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The square root of each lane.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the processor can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger of each lane; `b` where `a` is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller of each lane; `b` where `a` is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The nearest integer, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// `a * 2^n` for integral `n` with a normal result.
    fn scale_by_power_of_two(self, a: Self::V, n: Self::V) -> Self::V;
    /// `yes` where `a < b`, else `no`.
    fn select_less(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;

    /// The upper half of each lane, the lower one zero: the second bf16 of a pair as an `f32`.
    fn upper_halves(self, a: Self::V) -> Self::V;
    /// The lower half of each lane moved up: the first bf16 of a pair as an `f32`.
    fn lower_halves(self, a: Self::V) -> Self::V;

    /// `c + a1 b1 + a0 b0`, where the lanes of `a` and `b` are pairs of bf16; see [`Precision`](super::Precision).
    #[inline(always)]
    fn dot_pairs(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        let c = self.mul_add(self.upper_halves(a), self.upper_halves(b), c);
        self.mul_add(self.lower_halves(a), self.lower_halves(b), c)
    }

    /// Rounds two vectors to bf16 and packs neighbours into pairs: the numbers of `low`, then those of `high`.
    #[inline(always)]
    fn pairs(self, low: Self::V, high: Self::V) -> Self::V {
        pairs_in_software(self, low, high)
    }

    /// Prefetches the cache line at `p`. `p` may point anywhere.
    #[inline(always)]
    fn prefetch(self, _p: *const f32) {}

    /// Loads the first [`LANES`](Simd::LANES) floats of `x`; panics if there are fewer.
    #[inline(always)]
    fn load(self, x: &[f32]) -> Self::V {
        assert!(x.len() >= Self::LANES);
        // SAFETY: the length was just checked.
        unsafe { self.load_ptr(x.as_ptr()) }
    }

    /// Writes `v` to the first [`LANES`](Simd::LANES) floats of `x`; panics if there are fewer.
    #[inline(always)]
    fn store(self, x: &mut [f32], v: Self::V) {
        assert!(x.len() >= Self::LANES);
        // SAFETY: the length was just checked.
        unsafe { self.store_ptr(x.as_mut_ptr(), v) }
    }

    /// Loads at most [`LANES`](Simd::LANES) floats; lanes beyond the end of `x` are `fill`.
    #[inline(always)]
    fn load_part(self, x: &[f32], fill: f32) -> Self::V {
        let mut lanes = [fill; 16];
        let n = x.len().min(Self::LANES);
        lanes[..n].copy_from_slice(&x[..n]);
        self.load(&lanes)
    }

    /// Writes the first `x.len()` lanes, at most [`LANES`](Simd::LANES).
    #[inline(always)]
    fn store_part(self, x: &mut [f32], v: Self::V) {
        let mut lanes = [0.0; 16];
        self.store(&mut lanes, v);
        let n = x.len().min(Self::LANES);
        x[..n].copy_from_slice(&lanes[..n]);
    }

    /// The sum of all lanes, in a fixed order.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(&mut lanes, v);
        let mut width = Self::LANES;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
        }
        lanes[0]
    }

    /// The largest lane.
    #[inline(always)]
    fn largest(self, v: Self::V) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; 16];
        self.store(&mut lanes, v);
        lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// Packs neighbours into pairs, without bf16 instructions: the numbers of `low`, then those of `high`, as one vector.
#[inline(always)]
fn pairs_in_software<S: Simd>(s: S, low: S::V, high: S::V) -> S::V {
    let (mut numbers, mut lanes) = ([0.0; 32], [0.0; 16]);
    s.store(&mut numbers, low);
    s.store(&mut numbers[S::LANES..], high);
    for (lane, numbers) in lanes.iter_mut().zip(numbers.as_chunks::<2>().0) {
        *lane = pair(numbers[0], numbers[1]);
    }
    s.load(&lanes)
}
