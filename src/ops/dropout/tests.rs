use super::*;
use crate::ops::testing::{here, on_every_device, random};

#[test]
fn the_mask_is_the_documented_one_everywhere() {
    // A second implementation of the formula in the documentation.
    let kept = |seed: u64, i: u64| {
        let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        let mixed = |x: u64| {
            let x = x ^ (x >> 16);
            let x = (x * 0x7feb_352d) & 0xffff_ffff;
            let x = x ^ (x >> 15);
            let x = (x * 0x846c_a68b) & 0xffff_ffff;
            x ^ (x >> 16)
        };
        let bits = mixed(mixed((i ^ z) & 0xffff_ffff) ^ (i >> 32) ^ (z >> 32));
        (bits >> 8) as f64 / f64::from(1 << 24) >= f64::from(0.3f32)
    };
    let n = 200_003;
    on_every_device(|| {
        let y = dropout(&here(Tensor::full(&[n], 1.0)), 0.3, 42).unwrap();
        for (i, &y) in y.data().iter().enumerate() {
            let want = if kept(42, i as u64) { 1.0 / 0.7 } else { 0.0 };
            assert!((y - want).abs() < 1e-6, "element {i}");
        }
    });
    let share = (0..n).filter(|&i| kept(42, i as u64)).count() as f64 / n as f64;
    assert!((share - 0.7).abs() < 0.005, "{share}");
}

#[test]
fn seeds_and_neighbours_are_independent() {
    let kept = |seed| -> Vec<bool> {
        let y = dropout(&Tensor::full(&[50_000], 1.0), 0.5, seed).unwrap();
        y.data().iter().map(|&y| y > 0.0).collect()
    };
    let share = |a: &[bool], b: &[bool]| {
        a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len().min(b.len()) as f64
    };
    let (a, b) = (kept(1), kept(2));
    for same in [
        share(&a, &b),
        share(&a, &a[1..]),
        share(&a, &b[1..]),
        share(&a, &a[64..]),
    ] {
        assert!((same - 0.5).abs() < 0.012, "{same}");
    }
}

#[test]
fn the_ends_of_the_range() {
    let x = random(&[100], 1);
    assert_eq!(dropout(&x, 0.0, 1).unwrap().data(), x.data());
    for p in [1.0, -0.1, f32::NAN] {
        assert!(dropout(&x, p, 1).is_err());
    }
}
