//! Benchmark of matrix products, compared with the matrixmultiply crate.

use super::{Bench, Peer, Report, Spread, flops};
use crate::cpu::Isa;
use crate::cpu::gemm::{Matrix, Product, gemm};
use crate::error::{Error, Result};
use crate::nn::Init;
use crate::ops::matmul;
use crate::tensor::Device;

/// `[m, k, n]`: three squares, then the products of DenseNet-121 at 224 pixels: its first convolution, and a layer's
/// 1x1 and 3x3 convolutions in each block.
pub const SHAPES: [[usize; 3]; 12] = [
    [256, 256, 256],
    [512, 512, 512],
    [1024, 1024, 1024],
    [12544, 147, 64],
    [3136, 128, 128],
    [3136, 1152, 32],
    [784, 256, 128],
    [784, 1152, 32],
    [196, 512, 128],
    [196, 1152, 32],
    [49, 768, 128],
    [49, 1152, 32],
];

/// Measures the product of random matrices.
pub fn product(bench: &Bench, shape: [usize; 3]) -> Result<Report> {
    let [m, k, n] = shape;
    let mut init = Init::new(1);
    let (a, b) = (init.uniform(&[m, k], 1.0), init.uniform(&[k, n], 1.0));
    let (mut ours, mut theirs) = (vec![0.0; m * n], vec![0.0; m * n]);
    let (ms, device_ms) = match bench.device {
        Device::Cpu => bench.measure(1, || {
            let (a, b) = (Matrix::new(a.data(), m, k), Matrix::new(b.data(), k, n));
            gemm(Isa::current(), a, b, Product::into(&mut ours, n));
            Ok(())
        })?,
        Device::Gpu(gpu) => {
            let (a, b) = (a.to(bench.device)?, b.to(bench.device)?);
            let measured = bench.measure(1, || matmul(&a, &b).and_then(|_| gpu.wait()))?;
            ours = matmul(&a, &b)?.to(&Device::Cpu)?.into_vec();
            measured
        }
    };
    let peer = Spread::measure(bench.args.runs, 1, || {
        multiply(a.data(), b.data(), &mut theirs, shape);
        Ok(())
    })?;
    let off = ours
        .iter()
        .zip(&theirs)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f32::max);
    if off.is_nan() || off > 1e-5 * k as f32 {
        return Err(Error::value(
            "bench",
            format_args!("the products of {shape:?} differ by {off}"),
        ));
    }
    let flops = flops::product(shape);
    let peer = Peer {
        ms: peer,
        gflops: peer.gflops(flops),
    };
    Ok(Report {
        shape: Some(shape),
        matrixmultiply: Some(peer),
        device_ms,
        ..Report::new("gemm", ms, flops, bench.device)
    })
}

/// Computes `C = A B` with matrixmultiply; all matrices are row-major.
fn multiply(a: &[f32], b: &[f32], c: &mut [f32], [m, k, n]: [usize; 3]) {
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    let (row_a, row_b) = (k as isize, n as isize);
    // SAFETY: the sizes were checked, the strides are those of row-major matrices, and C overlaps no other matrix.
    unsafe {
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        matrixmultiply::sgemm(m, k, n, 1.0, a, row_a, 1, b, row_b, 1, 0.0, c, row_b, 1);
    }
}
