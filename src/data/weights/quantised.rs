//! Quantises matrices to 8-bit integers with a scale for each row.
//!
//! ```text
//! q[r, i] = round(x[r, i] / s[r])  in -127 ..= 127        x'[r, i] = q[r, i] s[r]
//! ```
//!
//! A row is everything under one index of the first axis: one output channel of a convolution `[O, C, kh, kw]`, one
//! output of a linear layer `[out, in]`, one word of an embedding `[V, E]`. The quantisation is symmetric (zero stays
//! zero) and rounds to the nearest integer.
//!
//! `s = max |x| / 127` keeps every element within half a step. A smaller scale cuts off the largest elements and rounds
//! all others more finely. [`quantise`] tries a few and takes the one with the smallest squared error. On weights with a
//! bell-shaped distribution this lowers the error by a few percent at no cost for the reader.
//!
//! Scales are rounded to 16 significant bits. A product `q s` then fits the 24 bits of an `f32` exactly, and the
//! largest element divided by 127 yields `s` exactly. Quantising quantised numbers therefore changes nothing: a model
//! can be read and written any number of times.

use crate::cpu::{Isa, formats, threads};

/// The largest integer that is used: the range is symmetric, -128 is not written.
const MAX_INTEGER: f32 = 127.0;

/// Scales that are tried for a row: `max |x| / 127` times `1 - i / STEPS` for `i < CANDIDATES`.
const CANDIDATES: usize = 20;
const STEPS: f32 = 64.0;

/// The smallest number of elements that one task quantises.
const PIECE: usize = 1 << 15;

/// A quantised matrix.
#[derive(Debug, PartialEq)]
pub(super) struct Quantised {
    /// The integers as bytes, row by row.
    pub(super) numbers: Vec<u8>,
    /// The scale of each row.
    pub(super) scales: Vec<f32>,
}

/// Quantises `rows` rows of equal length. Every element must be finite.
pub(super) fn quantise(rows: usize, data: &[f32]) -> Quantised {
    let row = (data.len() / rows.max(1)).max(1);
    let together = PIECE.div_ceil(row) * row;
    let pieces = threads::map(data.len().div_ceil(together), |i| {
        let piece = &data[i * together..data.len().min((i + 1) * together)];
        let mut numbers = Vec::with_capacity(piece.len());
        let scales = piece.chunks(row).map(|x| quantise_row(x, &mut numbers));
        let scales: Vec<f32> = scales.collect();
        (numbers, scales)
    });
    let mut quantised = Quantised {
        numbers: Vec::with_capacity(data.len()),
        scales: Vec::with_capacity(rows),
    };
    for (numbers, scales) in pieces {
        quantised.numbers.extend(numbers);
        quantised.scales.extend(scales);
    }
    // Rows without elements have a scale too.
    quantised.scales.resize(rows, 0.0);
    quantised
}

/// Appends the row's integers to `numbers` and returns its scale.
fn quantise_row(x: &[f32], numbers: &mut Vec<u8>) -> f32 {
    let largest = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let scale = best_scale(x, largest);
    if scale == 0.0 {
        numbers.resize(numbers.len() + x.len(), 0);
    } else {
        numbers.extend(x.iter().map(|&x| integer(x, 1.0 / scale) as i8 as u8));
    }
    scale
}

/// Returns the candidate scale with the smallest squared error; zero if all elements are too small for any scale.
fn best_scale(x: &[f32], largest: f32) -> f32 {
    let mut best = (f64::INFINITY, 0.0);
    for i in 0..CANDIDATES {
        let scale = shorten(largest / MAX_INTEGER * (1.0 - i as f32 / STEPS));
        // The reciprocal of a subnormal number may be infinite.
        if scale < f32::MIN_POSITIVE {
            break;
        }
        // A scale must keep the reader's products finite.
        if !is_scale(scale) {
            continue;
        }
        let error = squared_error(x, scale);
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

/// Rounds `scale` to 16 significant bits.
fn shorten(scale: f32) -> f32 {
    f32::from_bits((scale.to_bits() + 0x80) & !0xff)
}

/// Returns the integer that represents `x`, as a float.
fn integer(x: f32, reciprocal: f32) -> f32 {
    // From 1.5 * 2^23 on floats are 1 apart: the addition rounds to the nearest integer, ties to even.
    const ROUND: f32 = 12_582_912.0;
    (x * reciprocal).clamp(-MAX_INTEGER, MAX_INTEGER) + ROUND - ROUND
}

fn squared_error(x: &[f32], scale: f32) -> f64 {
    let reciprocal = 1.0 / scale;
    // In units of the scale, so that no square overflows; in several sums side by side, because these are independent
    // of each other.
    let mut sums = [0.0f32; 8];
    let mut total = 0.0;
    for block in x.chunks(1024) {
        for x in block.chunks(sums.len()) {
            for (sum, &x) in sums.iter_mut().zip(x) {
                let error = (x - integer(x, reciprocal) * scale) * reciprocal;
                *sum += error * error;
            }
        }
        total += sums.iter().map(|&s| f64::from(s)).sum::<f64>();
        sums = [0.0; 8];
    }
    total * f64::from(scale) * f64::from(scale)
}

/// Whether `scale` is valid: not negative, and no integer times it is infinite or NaN.
pub(super) fn is_scale(scale: f32) -> bool {
    scale >= 0.0 && (scale * 128.0).is_finite()
}

/// Decodes rows of 8-bit integers, one scale each, into `to`.
pub(super) fn dequantise(isa: Isa, numbers: &[u8], scales: &[f32], to: &mut [f32]) {
    let row = (numbers.len() / scales.len().max(1)).max(1);
    let rows = to.chunks_mut(row).zip(numbers.chunks(row));
    for ((to, numbers), &scale) in rows.zip(scales) {
        formats::i8_to_f32(isa, numbers, scale, to);
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::data::weights::WeightFile;

    fn back(q: &Quantised) -> Vec<f32> {
        let mut x = vec![f32::NAN; q.numbers.len()];
        dequantise(Isa::current(), &q.numbers, &q.scales, &mut x);
        x
    }

    /// Returns bell-shaped numbers: sums of uniform ones.
    fn bell(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut uniform = || rng.random::<f32>() - 0.5;
        (0..len).map(|_| (0..12).map(|_| uniform()).sum()).collect()
    }

    fn squares(x: impl Iterator<Item = f32>) -> f64 {
        x.map(|x| f64::from(x).powi(2)).sum()
    }

    #[test]
    fn the_error_is_small_and_no_larger_than_that_of_the_full_range() {
        let (mut chosen, mut plain) = (0.0, 0.0);
        for (rows, row) in [(64, 9), (7, 147), (40, 512), (3, 5000)] {
            let x = bell(rows * row, row as u64);
            let q = quantise(rows, &x);
            assert_eq!((q.numbers.len(), q.scales.len()), (x.len(), rows));
            let y = back(&q);
            for ((x, y), scale) in x.chunks(row).zip(y.chunks(row)).zip(&q.scales) {
                let error = squares(x.iter().zip(y).map(|(x, y)| x - y));
                let largest = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                let full = shorten(largest / MAX_INTEGER);
                let of_full = squares(x.iter().map(|&x| x - integer(x, 1.0 / full) * full));
                assert!(error <= of_full * (1.0 + 1e-4), "{error} {of_full}");
                // Uniform errors of up to half a step have a variance of a twelfth of its square; allow a quarter.
                assert!(of_full <= f64::from(full).powi(2) / 4.0 * 1.001 * row as f64);
                assert!(*scale <= full && *scale > 0.6 * full);
                chosen += error;
                plain += of_full;
            }
            let relative =
                (squares(x.iter().zip(&y).map(|(x, y)| x - y)) / squares(x.iter().copied())).sqrt();
            assert!(relative < 0.01, "{rows} x {row}: {relative}");
        }
        println!("squared error {chosen:.3e}, of the full range {plain:.3e}");
    }

    #[test]
    fn trained_weights_in_eight_bits_come_back_as_they_were() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/glimpse.safetensors");
        let file = WeightFile::open(path).unwrap();
        let mut matrices = 0;
        for entry in file.entries().unwrap() {
            let &[rows, _, ..] = &entry.shape[..] else {
                continue;
            };
            if entry.dtype != "I8" {
                continue;
            }
            let x = file.tensor(&entry.name).unwrap().into_vec();
            let y = back(&quantise(rows, &x));
            assert_eq!(x, y, "{}", entry.name);
            matrices += 1;
        }
        assert!(matrices > 100, "{matrices}");
    }

    #[test]
    fn to_quantise_again_changes_nothing() {
        let mut state = 1u32;
        for seed in 0..200 {
            let mut x = bell(5 * 61, seed);
            // Rows of all magnitudes, down to those too small for a scale.
            for row in x.chunks_mut(61) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let power = (state >> 24) as i32 % 76 - 38;
                row.iter_mut().for_each(|x| *x *= 10f32.powi(power) * 0.05);
            }
            let once = quantise(5, &x);
            let y = back(&once);
            let twice = quantise(5, &y);
            assert_eq!(once, twice);
            assert_eq!(y, back(&twice));
        }
    }

    #[test]
    fn rows_without_a_scale_and_without_elements() {
        let tiny = f32::from_bits(1);
        let x = [
            0.0,
            -0.0,
            0.0,
            tiny,
            -tiny,
            tiny,
            1.0,
            -2.0,
            0.5,
            -0.5,
            0.0,
            f32::MAX,
        ];
        let q = quantise(4, &x);
        assert_eq!(q.scales[..2], [0.0, 0.0]);
        let y = back(&q);
        assert_eq!(y[..6], [0.0; 6]);
        assert!((y[7] + 2.0).abs() < 1e-3);
        assert!(y[11] > 0.98 * f32::MAX && q.scales.iter().all(|&s| is_scale(s)));

        assert_eq!(quantise(3, &[]).scales, [0.0; 3]);
        assert!(back(&quantise(0, &[])).is_empty());
        let bad = [f32::NAN, f32::INFINITY, -1e-9, f32::MAX / 100.0];
        assert!(bad.iter().all(|&s| !is_scale(s)));
        assert!(is_scale(0.0) && is_scale(f32::MAX / 128.0));
    }
}
