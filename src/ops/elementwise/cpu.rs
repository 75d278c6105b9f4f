//! SIMD kernels. Each task takes one chunk of the elements.

use super::{Pair, Single};
use crate::cpu::math::{self, Function};
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, elements, memory, threads};
use crate::tensor::Tensor;

// Elements per task: a quarter of a megabyte.
const CHUNK: usize = 1 << 16;

/// `f(a, b)` of every two elements
pub(crate) fn pair(isa: Isa, f: Pair, a: &Tensor, b: &Tensor) -> Tensor {
    let (dims, a, b) = (a.dims(), a.data(), b.data());
    let mut y = memory::unset(a.len());
    threads::for_each_chunk(&mut y, CHUNK, |i, y| {
        let n = y.len();
        let (a, b) = (&a[i * CHUNK..][..n], &b[i * CHUNK..][..n]);
        isa.dispatch(PairChunk { f, a, b, y });
    });
    Tensor::computed(y, dims)
}

struct PairChunk<'a> {
    f: Pair,
    a: &'a [f32],
    b: &'a [f32],
    y: &'a mut [f32],
}

impl PairChunk<'_> {
    #[inline(always)]
    fn map(self, f: impl Fn(f32, f32) -> f32) {
        for ((y, &a), &b) in self.y.iter_mut().zip(self.a).zip(self.b) {
            *y = f(a, b);
        }
    }
}

impl WithSimd for PairChunk<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.f {
            Pair::Add => self.map(|a, b| a + b),
            Pair::Sub => self.map(|a, b| a - b),
            Pair::Mul => self.map(|a, b| a * b),
            Pair::TanhGrad => self.map(|a, b| a * (1.0 - b * b)),
            Pair::SigmoidGrad => self.map(|a, b| a * b * (1.0 - b)),
        }
    }
}

/// `f(x)` of every element
pub(crate) fn single(isa: Isa, f: Single, x: &Tensor) -> Tensor {
    let mut y = x.data().to_vec();
    let mut apply = |function| {
        threads::for_each_chunk(&mut y, CHUNK, |_, y| math::apply(isa, function, y));
    };
    match f {
        Single::Scale(k) => elements::scale(isa, &mut y, k),
        Single::Tanh => apply(Function::Tanh),
        Single::Sigmoid => apply(Function::Sigmoid),
    }
    Tensor::computed(y, x.dims())
}
