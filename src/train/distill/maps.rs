//! A teacher's last maps as targets: averaged over the places of the student's map.
//!
//! Teacher and student divide the same view into places, but into different numbers of them: 7 x 7 for a teacher at 224
//! pixels, 4 x 4 for a student at 128 and 3 x 3 at 96. The target of a student's place is the mean of the teacher's map `t` over the
//! area of that place. A teacher's place counts by the share of the area that it covers:
//!
//! ```text
//! z[n, i, j, m] = sum over u, v of a(i, u) b(j, v) t[n, u, v, m]
//! a(i, u) = h |[i/h, (i+1)/h] and [u/H, (u+1)/H]|     the length of their common part; for each i they add up to 1
//! ```
//!
//! for maps of `H x W` and `h x w` places; `b` is `a` for the columns. Where `h` divides `H`, this is average pooling.

use std::ops::Range;

use crate::cpu::memory;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Averages maps `[N, H, W, M]` over the places of a map of `height` x `width`: `[N, height, width, M]`.
///
/// # Errors
/// Fails if `maps` is no such tensor, or one of the sizes is 0.
pub fn average(maps: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let &[n, from_height, from_width, m] = maps.dims() else {
        return Err(Error::shape("maps", "[N, H, W, M]", maps.shape()));
    };
    if [from_height, from_width, height, width, m].contains(&0) {
        return Err(Error::shape(
            "maps",
            "sizes above 0",
            format_args!("{} to {height} x {width} places", maps.shape()),
        ));
    }
    let (rows, columns) = (shares(from_height, height), shares(from_width, width));
    let mut out = memory::unset(n * height * width * m);
    let images = maps.data().chunks_exact(from_height * from_width * m);
    for (image, out) in images.zip(out.chunks_exact_mut(height * width * m)) {
        for (place, sum) in out.chunks_exact_mut(m).enumerate() {
            sum.fill(0.0);
            for &(u, a) in &rows[place / width] {
                for &(v, b) in &columns[place % width] {
                    let t = &image[(u * from_width + v) * m..][..m];
                    sum.iter_mut().zip(t).for_each(|(z, t)| *z += a * b * t);
                }
            }
        }
    }
    Tensor::from_vec(out, &[n, height, width, m])
}

/// Returns for each of `to` equal parts of a line the parts of `from` that overlap it, and the share of it that each covers.
fn shares(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    // In units of 1 / (from * to) of the line all ends are whole numbers.
    let overlap = |a: Range<usize>, b: Range<usize>| a.end.min(b.end) - a.start.max(b.start);
    let part = |i: usize| {
        let own = i * from..(i + 1) * from;
        let overlapping = own.start / to..own.end.div_ceil(to);
        overlapping
            .map(|u| {
                let common = overlap(own.clone(), u * to..(u + 1) * to);
                (u, common as f32 / from as f32)
            })
            .collect()
    };
    (0..to).map(part).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::testing::{assert_close, random};

    #[test]
    fn shares_are_overlaps() {
        let thirds = 1.0 / 3.0;
        assert_eq!(shares(2, 1), [[(0, 0.5), (1, 0.5)]]);
        assert_eq!(shares(1, 2), [[(0, 1.0)], [(0, 1.0)]]);
        assert_eq!(
            shares(3, 2),
            [
                [(0, 2.0 * thirds), (1, thirds)],
                [(1, thirds), (2, 2.0 * thirds)]
            ]
        );
    }

    #[test]
    fn equal_sizes_change_nothing_and_one_place_is_the_mean() {
        let maps = random(&[2, 3, 4, 5], 1);
        let same = average(&maps, 3, 4).unwrap();
        assert_close("equal sizes", same.data(), maps.data(), 1e-6);
        let one = average(&maps, 1, 1).unwrap();
        let mean = crate::ops::global_avg_pool(&maps).unwrap();
        assert_close("one place", one.data(), mean.data(), 1e-6);
    }

    #[test]
    fn what_is_no_map_is_refused() {
        assert!(average(&random(&[2, 3], 1), 1, 1).is_err());
        assert!(average(&random(&[1, 2, 2, 3], 1), 0, 1).is_err());
        assert!(average(&Tensor::zeros(&[1, 0, 2, 3]), 1, 1).is_err());
    }

    proptest! {
        /// Each image is divided into many small squares, each inside one place of either map: the mean of those inside a
        /// student's place is the target.
        #[test]
        fn targets_are_means_over_the_area(n in 0usize..3, from in (1usize..8, 1usize..8), to in (1usize..6, 1usize..6)) {
            let ((fh, fw), (h, w), k) = (from, to, 2);
            let maps = random(&[n, fh, fw, k], 7);
            let got = average(&maps, h, w).unwrap();
            prop_assert_eq!(got.dims(), &[n, h, w, k]);
            for (at, &z) in got.data().iter().enumerate() {
                let (c, j, i, image) = (at % k, at / k % w, at / k / w % h, at / k / w / h);
                let mut sum = 0.0f64;
                for y in i * fh..(i + 1) * fh {
                    for x in j * fw..(j + 1) * fw {
                        sum += f64::from(maps.data()[((image * fh + y / h) * fw + x / w) * k + c]);
                    }
                }
                let mean = sum / (fh * fw) as f64;
                prop_assert!((f64::from(z) - mean).abs() < 1e-5, "{} and {}", z, mean);
            }
        }
    }
}
