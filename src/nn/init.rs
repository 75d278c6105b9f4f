//! What parameters are before training: random, from a seed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::tensor::Tensor;

/// A source of initial parameters. The same seed gives the same ones, everywhere.
pub struct Init(Option<ChaCha8Rng>);

impl Init {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Init(Some(ChaCha8Rng::seed_from_u64(seed)))
    }

    /// Zeros, for parameters that are about to be read from a file: to draw millions of numbers takes longer than that.
    pub fn blank() -> Self {
        Init(None)
    }

    /// Uniform in `[-bound, bound)`.
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

    /// Normal with mean zero.
    pub fn normal(&mut self, shape: &[usize], std: f32) -> Tensor {
        let Some(rng) = &mut self.0 else {
            return Tensor::zeros(shape);
        };
        let len: usize = shape.iter().product();
        let mut data = Vec::with_capacity(len + 1);
        while data.len() < len {
            // Box and Muller (1958): two uniform numbers make two normal ones.
            let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
            let (r, angle) = ((-2.0 * u.ln()).sqrt(), std::f64::consts::TAU * v);
            data.push((r * angle.cos()) as f32 * std);
            data.push((r * angle.sin()) as f32 * std);
        }
        data.truncate(len);
        Tensor::computed(data, shape)
    }

    /// For a convolution `[O, C, kh, kw]` before ReLU: normal with variance `2 / (C kh kw)` (He et al., 2015,
    /// arXiv 1502.01852), so that activations keep their size from layer to layer.
    pub fn kaiming(&mut self, shape: &[usize]) -> Tensor {
        let fan_in: usize = shape[1..].iter().product();
        self.normal(shape, (2.0 / fan_in.max(1) as f32).sqrt())
    }
}
