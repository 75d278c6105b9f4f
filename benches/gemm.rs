//! Matrix products compared with the crate `matrixmultiply`, and the two ways to write a convolution as one.
//!
//! `layout` is the measurement behind the choice of `[N, H, W, C]`. The 3x3 convolution of a dense layer is the product of
//! pixels and weights. With channels last, pixels are the rows, and the 32 output channels fill two vectors exactly. With
//! channels first, pixels fill the vectors: 49 of them at 7x7, which wastes a quarter of the lanes. "Gelem/s" is to be read
//! as GFLOP/s.

mod common;

use common::random;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use glimpse::cpu::Isa;
use glimpse::cpu::gemm::{Matrix, Product, gemm};

fn reference(m: usize, k: usize, n: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    let (k_stride, n_stride) = (k as isize, n as isize);
    // SAFETY: the three matrices are row-major and have the sizes just checked.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            k_stride,
            1,
            b.as_ptr(),
            n_stride,
            1,
            0.0,
            c.as_mut_ptr(),
            n_stride,
            1,
        );
    }
}

fn shapes(c: &mut Criterion) {
    let mut group = c.benchmark_group("gemm");
    for (m, k, n) in [
        (256, 256, 256),
        (512, 512, 512),
        (1024, 1024, 1024),
        (3136, 256, 128),
        (196, 1024, 128),
        (64, 512, 2048),
        (1344, 512, 2500),
    ] {
        let (a, b) = (random(&[m, k], 1), random(&[k, n], 2));
        let isa = Isa::current();
        let ours = |c: &mut [f32]| {
            gemm(
                isa,
                Matrix::new(a.data(), m, k),
                Matrix::new(b.data(), k, n),
                Product::into(c, n),
            );
        };
        let (mut got, mut want) = (vec![0.0; m * n], vec![0.0; m * n]);
        ours(&mut got);
        reference(m, k, n, a.data(), b.data(), &mut want);
        let worst = got
            .iter()
            .zip(&want)
            .map(|(g, w)| (g - w).abs())
            .fold(0.0, f32::max);
        assert!(
            worst < 1e-5 * k as f32,
            "{m}x{k}x{n} is wrong by {worst}, nothing is timed"
        );
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        let id = format!("{m}x{k}x{n}");
        group.bench_function(BenchmarkId::new("glimpse", &id), |bench| {
            bench.iter(|| ours(&mut got))
        });
        group.bench_function(
            BenchmarkId::new("matrixmultiply, one thread", &id),
            |bench| {
                bench.iter(|| reference(m, k, n, a.data(), b.data(), &mut want));
            },
        );
    }
    group.finish();
}

fn layout(c: &mut Criterion) {
    let mut group = c.benchmark_group("layout");
    let (k, out) = (1152, 32);
    for side in [56, 28, 14, 7] {
        let pixels = side * side;
        let (patches, weights) = (random(&[pixels, k], 1), random(&[k, out], 2));
        let isa = Isa::current();
        let patches = Matrix::new(patches.data(), pixels, k);
        let weights = Matrix::new(weights.data(), k, out);
        let channels_last = |c: &mut [f32]| gemm(isa, patches, weights, Product::into(c, out));
        let channels_first =
            |c: &mut [f32]| gemm(isa, weights.t(), patches.t(), Product::into(c, pixels));
        let (mut a, mut b) = (vec![0.0; pixels * out], vec![0.0; pixels * out]);
        channels_last(&mut a);
        channels_first(&mut b);
        let transposed = |i: usize| b[i % out * pixels + i / out];
        assert!(
            (0..a.len()).all(|i| (a[i] - transposed(i)).abs() < 1e-2),
            "nothing is timed"
        );
        group.throughput(Throughput::Elements(2 * (pixels * k * out) as u64));
        group.bench_function(format!("channels last, {side}x{side}"), |x| {
            x.iter(|| channels_last(&mut a))
        });
        group.bench_function(format!("channels first, {side}x{side}"), |x| {
            x.iter(|| channels_first(&mut b))
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = shapes, layout
}
criterion_main!(benches);
