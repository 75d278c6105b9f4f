//! The definition: composite functions and concatenations.

use super::{DenseLayerWeights, Job, LayerMoments, PARAMETERS, Saved, SavedLayer, X, input};
use crate::ops::norm_relu_conv;
use crate::tensor::{Tensor, Wanted};

/// `x_l = [x_{l-1}, H_l(x_{l-1})]`
pub(super) fn forward(
    job: &Job,
    x: &Tensor,
    layers: &[DenseLayerWeights],
) -> (Tensor, Saved, Vec<LayerMoments>) {
    let (mut saved, mut moments) = (Vec::new(), Vec::new());
    let mut x = x.detach();
    for (l, layer) in layers.iter().enumerate() {
        let one = composite(job, l, 0, &x);
        let (bottleneck, folded1, first) = norm_relu_conv::naive::forward(&one, &layer.norm1);
        let three = composite(job, l, 1, &bottleneck);
        let (h, folded2, second) = norm_relu_conv::naive::forward(&three, &layer.norm2);
        x = concatenate(job, &x, &h);
        moments.push(first.zip(second).map(|(first, second)| [first, second]));
        saved.push(SavedLayer {
            bottleneck,
            folded: [folded1, folded2],
        });
    }
    let saved = Saved {
        buffer: x.clone(),
        layers: saved,
    };
    (x, saved, moments)
}

/// `dx_{l-1} = dx_l[first channels] + (gradient of H_l, applied to dx_l[next channels])`, from the last layer to the first,
/// and with it the gradients with respect to the layer's parameters
pub(super) fn backward(
    job: &Job,
    saved: Saved,
    dy: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let mut dx = dy.detach();
    let mut of_layers = Vec::new();
    for (l, layer) in saved.layers.into_iter().enumerate().rev() {
        let channels = job.layers[l][0].shape.channels;
        let [x, _] = split(job, &saved.buffer, channels);
        let [dx_direct, dh] = split(job, &dx, channels);
        let [folded1, folded2] = &layer.folded;

        let three = composite(job, l, 1, &layer.bottleneck);
        let gradients = norm_relu_conv::naive::gradients(&three, folded2, &dh);
        let [dbottleneck, dgamma2, dbeta2, dw2] = gradients;
        let one = composite(job, l, 0, &x);
        let gradients = norm_relu_conv::naive::gradients(&one, folded1, &dbottleneck);
        let [dx_of_h, dgamma1, dbeta1, dw1] = gradients;

        let sums = dx_direct.data().iter().zip(dx_of_h.data());
        dx = Tensor::computed(sums.map(|(a, b)| a + b).collect(), x.dims());
        of_layers.push([dgamma1, dbeta1, dw1, dgamma2, dbeta2, dw2]);
    }
    let mut gradients = vec![wanted.has(X).then_some(dx)];
    for (l, of_layer) in of_layers.into_iter().rev().enumerate() {
        let of_layer = (0..PARAMETERS).zip(of_layer);
        gradients.extend(of_layer.map(|(p, gradient)| wanted.has(input(l, p)).then_some(gradient)));
    }
    gradients
}

/// The composite function of layer `l` with its 1x1 (`convolution` 0) or 3x3 convolution (1), of `x`.
fn composite(job: &Job, l: usize, convolution: usize, x: &Tensor) -> norm_relu_conv::Job {
    let conv = &job.layers[l][convolution];
    norm_relu_conv::Job {
        x: x.clone(),
        weight: conv.weight.clone(),
        shape: conv.shape,
        precision: job.precision,
    }
}

/// `[a, b]`: the channels of `a`, and then those of `b`, in each pixel.
fn concatenate(job: &Job, a: &Tensor, b: &Tensor) -> Tensor {
    let (a_channels, b_channels) = (a.dims()[3], b.dims()[3]);
    let mut both = Vec::with_capacity(a.len() + b.len());
    for i in 0..job.pixels() {
        both.extend(&a.data()[i * a_channels..][..a_channels]);
        both.extend(&b.data()[i * b_channels..][..b_channels]);
    }
    Tensor::computed(both, &job.map_dims(a_channels + b_channels))
}

/// The first `channels` channels of each pixel, and the others.
fn split(job: &Job, both: &Tensor, channels: usize) -> [Tensor; 2] {
    let total = both.dims()[3];
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for i in 0..job.pixels() {
        let pixel = &both.data()[i * total..][..total];
        a.extend(&pixel[..channels]);
        b.extend(&pixel[channels..]);
    }
    [
        Tensor::computed(a, &job.map_dims(channels)),
        Tensor::computed(b, &job.map_dims(total - channels)),
    ]
}
