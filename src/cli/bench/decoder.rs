//! Benchmarks of the decoders: a training step, and the captioning of an image.

use super::{Bench, Report, flops};
use crate::caption::{Search, search};
use crate::data::{Recipe, Vocabulary};
use crate::error::Result;
use crate::model::{Captioner, Decoder, DecoderConfig, DecoderKind, DenseNet, DenseNetConfig};
use crate::nn::{Init, Mode, Module};
use crate::ops::{CrossEntropy, cross_entropy};
use crate::train::config::OptimizerConfig;
use crate::train::optimizer::Optimizer;

const SENTENCES: usize = 64;
/// Words of a sentence; with the image that makes 21 time steps.
const WORDS: usize = 20;
const CONFIG: DecoderConfig = DecoderConfig {
    features: 1024,
    embedding: 256,
    hidden: 512,
    vocabulary: 2500,
    dropout: 0.0,
    kind: DecoderKind::Inject,
    layers: 1,
    tied: false,
    attention: 0,
};

/// Words per sentence that the decoder with attention gets, and positions of its map.
const ATTENTION_WORDS: usize = 21;
const POSITIONS: usize = 49;
const ATTENTION: DecoderConfig = DecoderConfig {
    kind: DecoderKind::Attention,
    attention: 256,
    ..CONFIG
};

/// Measures forward, backward and AdamW of a mini-batch.
pub fn train(bench: &Bench) -> Result<Report> {
    let image = [SENTENCES, CONFIG.features];
    let sentence = flops::image(&CONFIG)
        + (WORDS + 1) as f64 * flops::lstm(&CONFIG)
        + WORDS as f64 * flops::words(&CONFIG);
    training_step(bench, "train-decoder", &CONFIG, &image, WORDS, sentence)
}

/// Measures forward, backward and AdamW of a mini-batch, with attention.
pub fn train_attention(bench: &Bench) -> Result<Report> {
    let (config, words) = (&ATTENTION, ATTENTION_WORDS);
    let map = [SENTENCES, POSITIONS, config.features];
    let sentence =
        flops::map(config, POSITIONS) + words as f64 * flops::attention(config, POSITIONS);
    training_step(bench, "train-attention", config, &map, words, sentence)
}

/// Measures a training step on sentences of `words` words about images of this shape. The forward pass of a sentence
/// takes `flops` operations.
fn training_step(
    bench: &Bench,
    what: &'static str,
    config: &DecoderConfig,
    image: &[usize],
    words: usize,
    flops: f64,
) -> Result<Report> {
    let mut init = Init::new(1);
    let mut decoder = Decoder::new(config, &mut init)?;
    decoder.to(bench.device)?;
    decoder.track(true);
    let mut optimizer = Optimizer::new(&OptimizerConfig::default(), &mut decoder);
    let image = init.normal(image, 1.0);
    let image_of: Vec<usize> = (0..SENTENCES).collect();
    let words: Vec<usize> = (0..SENTENCES * words)
        .map(|i| i * 7919 % config.vocabulary)
        .collect();
    let targets: Vec<usize> = words.iter().map(|w| (w + 1) % config.vocabulary).collect();
    let (ms, device_ms) = bench.measure(1, || {
        let mode = Mode::Training { seed: 1 };
        let logits = decoder.forward(&image, &image_of, &words, mode)?.logits;
        let loss = cross_entropy(&logits, &targets, CrossEntropy::default())?;
        let grads = loss.backward()?;
        drop((logits, loss));
        optimizer.step(&mut decoder, grads, 1.0).map(|_| ())
    })?;
    let flops = flops::TRAINING * SENTENCES as f64 * flops;
    Ok(Report {
        batch: Some(SENTENCES),
        device_ms,
        ..Report::new(what, ms, flops, bench.device)
    })
}

/// Measures the captioning of one image from its features.
pub fn decode(bench: &Bench) -> Result<Report> {
    // The image and the start mark once, then one word in each sentence of the beam.
    let steps = words_of_a_search();
    let flops = flops::image(&CONFIG)
        + (steps + 2.0) * flops::lstm(&CONFIG)
        + (steps + 1.0) * flops::words(&CONFIG);
    captioning(bench, "decode", &CONFIG, &[1, CONFIG.features], flops)
}

/// Measures the captioning of one image from its map, with attention.
pub fn decode_attention(bench: &Bench) -> Result<Report> {
    let config = &ATTENTION;
    // The start mark once, then one word in each sentence of the beam.
    let flops = flops::map(config, POSITIONS)
        + (words_of_a_search() + 1.0) * flops::attention(config, POSITIONS);
    let map = [1, POSITIONS, config.features];
    captioning(bench, "decode-attention", config, &map, flops)
}

/// The number of words that a search feeds to the decoder, if no sentence ends early.
fn words_of_a_search() -> f64 {
    let how = Search::default();
    (how.max_words * how.beam) as f64
}

fn captioning(
    bench: &Bench,
    what: &'static str,
    config: &DecoderConfig,
    image: &[usize],
    flops: f64,
) -> Result<Report> {
    let mut init = Init::new(1);
    let mut captioner = captioner(config, &mut init)?;
    captioner.to(bench.device)?;
    let image = init.normal(image, 1.0);
    let how = Search::default();
    let (ms, device_ms) = bench.measure(1, || search(&captioner, &image, &how).map(|_| ()))?;
    Ok(Report {
        batch: Some(1),
        device_ms,
        ..Report::new(what, ms, flops, bench.device)
    })
}

/// A captioner with this decoder and random weights. Its encoder is the smallest possible one and is never used.
fn captioner(config: &DecoderConfig, init: &mut Init) -> Result<Captioner> {
    let encoder = DenseNetConfig {
        growth: 1,
        blocks: vec![1],
        stem: 1,
        bottleneck: 1,
        eps: 1e-5,
    };
    let specials = Vocabulary::build(["word"], 1)?.len() - 1;
    let words: Vec<String> = (specials..config.vocabulary)
        .map(|i| format!("word{i}"))
        .collect();
    Ok(Captioner {
        encoder: DenseNet::new(&encoder, init)?,
        decoder: Decoder::new(config, init)?,
        vocabulary: Vocabulary::build(&words, 1)?,
        recipe: Recipe::default(),
        tags: None,
        recognition: None,
        training: Default::default(),
        metrics: Default::default(),
        origin: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_is_as_large_as_the_decoder_says() {
        for config in [CONFIG, ATTENTION] {
            let captioner = captioner(&config, &mut Init::new(1)).unwrap();
            assert_eq!(captioner.vocabulary.len(), config.vocabulary);
        }
    }
}
