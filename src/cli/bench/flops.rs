//! Numbers of floating-point operations of the networks. A multiplication and an addition are two operations.
//!
//! Only convolutions and matrix products are counted; everything else is below one percent of them. A training step
//! counts as three forward passes: the backward pass takes two products for each one, for the gradients with respect
//! to the weights and to the input.

use crate::model::{DecoderConfig, DenseNetConfig};

/// Number of forward passes that a training step counts as.
pub const TRAINING: f64 = 3.0;

/// Operations of the product of an `[m, k]` and a `[k, n]` matrix.
pub fn product([m, k, n]: [usize; 3]) -> f64 {
    2.0 * m as f64 * k as f64 * n as f64
}

/// Operations for the features of one square image with sides of `size` pixels.
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

/// Operations of the projection of an image's features to the size of a word embedding.
pub fn image(config: &DecoderConfig) -> f64 {
    product([1, config.features, config.embedding])
}

/// Operations of a time step of the LSTM, for one sentence.
pub fn lstm(config: &DecoderConfig) -> f64 {
    product([1, config.embedding + config.hidden, 4 * config.hidden])
}

/// Operations of the projection of the LSTM's output to the logits of all words, for one sentence.
pub fn words(config: &DecoderConfig) -> f64 {
    product([1, config.hidden, config.vocabulary])
}

/// Operations of the decoder with attention once for each image with `positions` positions: values, keys and the
/// initial state.
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

/// Operations of a time step of the decoder with attention, for one sentence: state to query, gate and LSTM; scores and
/// mean over the positions; word and context to the LSTM; state and context to the logits of all words.
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
        // Billions of multiply-adds at 224 pixels, from torchvision's documentation.
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
