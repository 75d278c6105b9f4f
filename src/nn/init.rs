//! Initial parameters: random numbers from a seed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::tensor::Tensor;

/// A source of initial parameters. The same seed gives the same parameters on every machine.
pub struct Init(Option<ChaCha8Rng>);

impl Init {
    /// A source of random parameters from `seed`.
    pub fn new(seed: u64) -> Self {
        Init(Some(ChaCha8Rng::seed_from_u64(seed)))
    }

    /// A source of zeros, for parameters that are read from a file next. Drawing millions of random numbers would take
    /// longer than reading the file.
    pub fn blank() -> Self {
        Init(None)
    }

    /// A tensor of this shape, uniform in `[-bound, bound)`.
    pub fn uniform(&mut self, shape: &[usize], bound: f32) -> Tensor {
        let Some(rng) = &mut self.0 else {
            return Tensor::zeros(shape);
        };
        let len = shape.iter().product();
        let data = (0..len)
            .map(|_| (rng.random::<f32>() * 2.0 - 1.0) * bound)
            .collect();
        Tensor::computed(data, shape)
    }

    /// A tensor of this shape, normal with mean zero and standard deviation `std`.
    pub fn normal(&mut self, shape: &[usize], std: f32) -> Tensor {
        let Some(rng) = &mut self.0 else {
            return Tensor::zeros(shape);
        };
        let len: usize = shape.iter().product();
        let mut data = Vec::with_capacity(len + 1);
        while data.len() < len {
            // Box and Muller (1958): two uniform numbers give two normal ones.
            let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
            let (r, angle) = ((-2.0 * u.ln()).sqrt(), std::f64::consts::TAU * v);
            data.push((r * angle.cos()) as f32 * std);
            data.push((r * angle.sin()) as f32 * std);
        }
        data.truncate(len);
        Tensor::computed(data, shape)
    }

    /// Kaiming initialisation of a convolution `[O, C, kh, kw]` next to a ReLU: normal with variance `2 / (C kh kw)`, which
    /// keeps the variance of activations from layer to layer (He et al., 2015, arXiv 1502.01852).
    pub fn kaiming(&mut self, shape: &[usize]) -> Tensor {
        let fan_in: usize = shape[1..].iter().product();
        self.normal(shape, (2.0 / fan_in.max(1) as f32).sqrt())
    }
}
