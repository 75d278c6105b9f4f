use super::{BatchNorm, Init, Mode, Module, Role};
use crate::error::Result;
use crate::ops::{self, Window};
use crate::tensor::Tensor;

/// A convolution without a bias, as all of DenseNet's are: the batch norm that follows each has one.
pub struct Conv2d {
    /// `[O, C, kh, kw]`
    pub weight: Tensor,
    /// Stride and padding.
    pub window: Window,
}

impl Conv2d {
    /// Weights `[out, channels, kernel, kernel]` from [`Init::kaiming`].
    pub fn new(
        init: &mut Init,
        channels: usize,
        out: usize,
        kernel: usize,
        window: Window,
    ) -> Self {
        Conv2d {
            weight: init.kaiming(&[out, channels, kernel, kernel]),
            window,
        }
    }

    /// Convolves `x` `[N, H, W, C]`: `[N, OH, OW, O]`.
    ///
    /// # Errors
    /// The errors of [`ops::conv2d()`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv2d(x, &self.weight, None, self.window)
    }
}

/// `relu(norm(conv(x)))`, `[N, H, W, C]` to `[N, OH, OW, O]`.
///
/// # Errors
/// The errors of [`ops::conv_norm_relu()`].
pub fn conv_norm_relu(conv: &Conv2d, norm: &BatchNorm, x: &Tensor, mode: Mode) -> Result<Tensor> {
    let prepared = norm.prepare(mode)?;
    let (y, moments) = ops::conv_norm_relu(x, &conv.weight, conv.window, &prepared.norm())?;
    norm.update_running(moments.as_ref(), y.len() / norm.channels().max(1))?;
    Ok(y)
}

impl Module for Conv2d {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        f(&format!("{prefix}weight"), Role::Weight, &mut self.weight);
    }
}
