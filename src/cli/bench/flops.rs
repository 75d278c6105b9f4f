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

/// What a decoder that attends computes of one image with so many positions, once: values, keys and the first state.
pub fn map(config: &DecoderConfig, positions: usize) -> f64 {
    let DecoderConfig {
        features,
        hidden,
        attention,
        ..
    } = *config;
    product([positions, features, hidden])
        + product([positions, hidden, attention])
        + 2.0 * product([1, hidden, hidden])
}

/// A step of a decoder that attends for one sentence: state to query, gate and LSTM; scores and mean over the
/// positions; word and context to the LSTM; state and context to all words.
pub fn attention(config: &DecoderConfig, positions: usize) -> f64 {
    let DecoderConfig {
        embedding,
        hidden,
        vocabulary,
        attention,
        ..
    } = *config;
    product([1, hidden, attention + 5 * hidden])
        + product([positions, attention + hidden, 1])
        + product([1, embedding + hidden, 4 * hidden])
        + product([1, 2 * hidden, vocabulary])
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
