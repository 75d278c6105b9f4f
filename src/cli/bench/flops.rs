//! How many floating-point operations the networks take, a multiplication and an addition being two.
//!
//! Only convolutions and matrix products are counted; everything else is below a percent of them. A training
//! step is three forward passes: backwards there are two products for each one, for the gradients of the weights
//! and of the input.

use crate::model::{DecoderConfig, DenseNetConfig};

/// Forward passes that a training step is worth.
pub const TRAINING: f64 = 3.0;

/// The product of an `[m, k]` and a `[k, n]` matrix.
pub fn product([m, k, n]: [usize; 3]) -> f64 {
    2.0 * m as f64 * k as f64 * n as f64
}

/// The features of one square image of `size` pixels a side.
pub fn densenet(config: &DenseNetConfig, size: usize) -> f64 {
    let DenseNetConfig {
        growth,
        blocks,
        stem,
        bottleneck,
        ..
    } = config;
    let mut side = (size - 1) / 2 + 1;
    let mut flops = product([side * side, 7 * 7 * 3, *stem]);
    side = (side - 1) / 2 + 1;
    let mut channels = *stem;
    for (i, layers) in blocks.iter().enumerate() {
        for _ in 0..*layers {
            let middle = bottleneck * growth;
            flops += product([side * side, channels, middle]);
            flops += product([side * side, 3 * 3 * middle, *growth]);
            channels += growth;
        }
        if i + 1 < blocks.len() {
            flops += product([side * side, channels, channels / 2]);
            channels /= 2;
            side /= 2;
        }
    }
    flops
}

/// Bringing an image's features to the size of a word.
pub fn image(config: &DecoderConfig) -> f64 {
    product([1, config.features, config.embedding])
}

/// A step of the LSTM for one sentence.
pub fn lstm(config: &DecoderConfig) -> f64 {
    product([1, config.embedding + config.hidden, 4 * config.hidden])
}

/// What the LSTM's output says of every word, for one sentence.
pub fn words(config: &DecoderConfig) -> f64 {
    product([1, config.hidden, config.vocabulary])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densenets_take_what_is_known_of_them() {
        // Billions of multiply-adds at 224, as torchvision's documentation has them.
        for (name, known) in [
            ("densenet121", 2.83),
            ("densenet161", 7.73),
            ("densenet169", 3.36),
            ("densenet201", 4.29),
        ] {
            let config = DenseNetConfig::named(name).unwrap();
            let ours = densenet(&config, 224) / 2e9;
            assert!((ours - known).abs() < 0.02 * known, "{name}: {ours}");
        }
    }
}
