//! Conversions between `f32` and the number formats of files: 16-bit floats, and 8-bit integers with a scale.
//!
//! The loops have no branches, so the compiler turns them into vector instructions of the [`Isa`] that they are compiled
//! for. Each conversion is exact or rounded once, so every instruction set gives the same bits.
//!
//! An f16 has a sign, 5 bits of exponent with bias 15 and 10 bits of fraction; an `f32` has 8 with bias 127 and 23. Both
//! have subnormal numbers below their smallest exponent. [`f16_to_f32`] moves the fraction up by 13 bits and adds
//! `127 - 15` to the exponent. A subnormal f16 is `m * 2^-24` with the fraction `m`; it is computed as
//! `(2^-14 + m * 2^-24) - 2^-14`, which is exact. [`f32_to_f16`] does the reverse and rounds to the nearest, ties to
//! even.

use super::Isa;
use super::simd::{Simd, WithSimd};

/// Places `n` in the exponent field of an `f32`: `n << 23`.
const fn exponent(n: u32) -> u32 {
    n << 23
}

const INFINITY: u32 = exponent(255);

/// Converts f16 to `f32`, exactly: `to[i]` comes from the little-endian bytes `2 i` and `2 i + 1` of `from`.
///
/// # Panics
/// Where `from` is not twice as long as `to`.
pub fn f16_to_f32(isa: Isa, from: &[u8], to: &mut [f32]) {
    isa.dispatch(Widen(from, to, of_f16));
}

/// Converts bf16 to `f32`, exactly: `to[i]` comes from the little-endian bytes `2 i` and `2 i + 1` of `from`.
///
/// # Panics
/// Where `from` is not twice as long as `to`.
pub fn bf16_to_f32(isa: Isa, from: &[u8], to: &mut [f32]) {
    isa.dispatch(Widen(from, to, |h| f32::from_bits(u32::from(h) << 16)));
}

/// Converts `f32` to little-endian f16, rounded to the nearest; numbers beyond the range of f16 become infinite.
///
/// # Panics
/// Where `to` is not twice as long as `from`.
pub fn f32_to_f16(isa: Isa, from: &[f32], to: &mut [u8]) {
    isa.dispatch(Narrow(from, to));
}

/// Converts signed bytes to `f32`: `to[i] = from[i] * scale`.
///
/// # Panics
/// Where the lengths differ.
pub fn i8_to_f32(isa: Isa, from: &[u8], scale: f32, to: &mut [f32]) {
    isa.dispatch(Scale(from, scale, to));
}

/// Returns whether every element is finite.
pub fn all_finite(isa: Isa, x: &[f32]) -> bool {
    isa.dispatch(AllFinite(x))
}

struct Widen<'a, F>(&'a [u8], &'a mut [f32], F);

impl<F: Fn(u16) -> f32> WithSimd for Widen<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Widen(from, to, convert) = self;
        let (from, rest) = from.as_chunks::<2>();
        assert!(rest.is_empty() && from.len() == to.len());
        for (to, &bytes) in to.iter_mut().zip(from) {
            *to = convert(u16::from_le_bytes(bytes));
        }
    }
}

#[inline(always)]
fn of_f16(h: u16) -> f32 {
    let sign = u32::from(h & 0x8000) << 16;
    let magnitude = u32::from(h & 0x7fff) << 13;
    let normal = magnitude + exponent(127 - 15);
    let smallest = exponent(127 - 14);
    let subnormal = (f32::from_bits(magnitude + smallest) - f32::from_bits(smallest)).to_bits();
    let special = magnitude | INFINITY;
    let magnitude = if magnitude < exponent(1) {
        subnormal
    } else if magnitude >= exponent(31) {
        special
    } else {
        normal
    };
    f32::from_bits(sign | magnitude)
}

struct Narrow<'a>(&'a [f32], &'a mut [u8]);

impl WithSimd for Narrow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Narrow(from, to) = self;
        let (to, rest) = to.as_chunks_mut::<2>();
        assert!(rest.is_empty() && from.len() == to.len());
        for (to, &x) in to.iter_mut().zip(from) {
            *to = to_f16(x).to_le_bytes();
        }
    }
}

#[inline(always)]
fn to_f16(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16) & 0x8000;
    let magnitude = x.to_bits() & !(1 << 31);
    // The 13 low bits are cut off. Adding 0xfff, or 0x1000 where the last kept bit is odd, rounds ties to even. A carry
    // moves into the exponent, as it should; from 65520 on that gives infinity.
    let odd = (magnitude >> 13) & 1;
    let rounded = magnitude.wrapping_add(0xfff + odd);
    let normal = rounded.wrapping_sub(exponent(127 - 15)) >> 13;
    // The numbers from 1/2 to 1 are 2^-24 apart, as subnormal f16 are: the addition rounds.
    let subnormal = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0.5f32.to_bits());
    let magnitude = if magnitude > INFINITY {
        0x7e00
    } else if magnitude >= exponent(127 + 16) {
        0x7c00
    } else if magnitude < exponent(127 - 14) {
        subnormal
    } else {
        normal
    };
    (sign | magnitude) as u16
}

struct Scale<'a>(&'a [u8], f32, &'a mut [f32]);

impl WithSimd for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Scale(from, scale, to) = self;
        assert!(from.len() == to.len());
        for (to, &byte) in to.iter_mut().zip(from) {
            *to = f32::from(byte as i8) * scale;
        }
    }
}

struct AllFinite<'a>(&'a [f32]);

impl WithSimd for AllFinite<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        // The exponent field of infinities and NaNs is all ones, larger than any other.
        let largest = self.0.iter().fold(0, |most: u32, x| {
            let magnitude = x.to_bits() & !(1 << 31);
            if magnitude > most { magnitude } else { most }
        });
        largest < INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_becomes_the_right_f32_and_comes_back() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for isa in Isa::available() {
            let mut wide = vec![0.0; 1 << 16];
            f16_to_f32(isa, &all, &mut wide);
            let mut bytes = vec![0; 2 << 16];
            f32_to_f16(isa, &wide, &mut bytes);
            for (i, h) in (0..=u16::MAX).enumerate() {
                let want = half::f16::from_bits(h);
                if want.is_nan() {
                    assert!(wide[i].is_nan(), "{isa}: {h:#x}");
                    let back = half::f16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]);
                    assert!(back.is_nan(), "{isa}: {h:#x}");
                } else {
                    assert_eq!(wide[i].to_bits(), want.to_f32().to_bits(), "{isa}: {h:#x}");
                    assert_eq!(bytes[2 * i..2 * i + 2], h.to_le_bytes(), "{isa}: {h:#x}");
                }
            }
        }
    }

    #[test]
    fn floats_are_rounded_to_the_nearest_f16() {
        // Every 997th of all floats, and the neighbours of every tie between two f16.
        let spread = (0..=u32::MAX).step_by(997).map(f32::from_bits);
        let ties = (0..0x7c00u16).flat_map(|h| {
            let [a, b] = [h, h + 1].map(|h| f64::from(half::f16::from_bits(h).to_f32()));
            let tie = if h == 0x7bff { 65520.0 } else { (a + b) / 2.0 } as f32;
            [tie.next_down(), tie, tie.next_up(), -tie]
        });
        let numbers: Vec<f32> = spread.chain(ties).collect();
        for isa in Isa::available() {
            let mut bytes = vec![0; 2 * numbers.len()];
            f32_to_f16(isa, &numbers, &mut bytes);
            for (x, &got) in numbers.iter().zip(bytes.as_chunks::<2>().0) {
                let (got, want) = (half::f16::from_le_bytes(got), half::f16::from_f32(*x));
                let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                assert!(same, "{isa}: {x:e} became {got}, not {want}");
            }
        }
    }

    #[test]
    fn other_formats_and_odd_lengths() {
        for isa in Isa::available() {
            for len in [0, 1, 7, 8, 31, 100] {
                let numbers: Vec<f32> = (0..len).map(|i| (i as f32 - 20.0) * 0.37).collect();
                let rounded: Vec<half::bf16> =
                    numbers.iter().map(|&x| half::bf16::from_f32(x)).collect();
                let bytes: Vec<u8> = rounded.iter().flat_map(|h| h.to_le_bytes()).collect();
                let mut wide = vec![f32::NAN; len];
                bf16_to_f32(isa, &bytes, &mut wide);
                let want: Vec<f32> = rounded.iter().map(|h| h.to_f32()).collect();
                assert_eq!(wide, want);

                let bytes: Vec<u8> = (0..len).map(|i| (i * 37) as u8).collect();
                i8_to_f32(isa, &bytes, 0.75, &mut wide);
                let want: Vec<f32> = bytes.iter().map(|&b| f32::from(b as i8) * 0.75).collect();
                assert_eq!(wide, want);

                assert!(all_finite(isa, &numbers));
                for (at, bad) in [(0, f32::NAN), (len / 2, -f32::INFINITY)] {
                    let mut numbers = numbers.clone();
                    if let Some(x) = numbers.get_mut(at) {
                        *x = bad;
                        assert!(!all_finite(isa, &numbers));
                    }
                }
            }
        }
    }
}
