//! The decoder: a step of training, and the captioning of an image.

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
/// Words of a sentence; with the image that makes 21 steps.
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

/// Forward, backward and AdamW of a batch.
pub fn train(bench: &Bench) -> Result<Report> {
    let mut init = Init::new(1);
    let mut decoder = Decoder::new(&CONFIG, &mut init)?;
    decoder.to(bench.device)?;
    decoder.track(true);
    let mut optimizer = Optimizer::new(&OptimizerConfig::default(), &mut decoder);
    let features = init.normal(&[SENTENCES, CONFIG.features], 1.0);
    let image_of: Vec<usize> = (0..SENTENCES).collect();
    let words: Vec<usize> = (0..SENTENCES * WORDS)
        .map(|i| i * 7919 % CONFIG.vocabulary)
        .collect();
    let targets: Vec<usize> = words.iter().map(|w| (w + 1) % CONFIG.vocabulary).collect();
    let (ms, device_ms) = bench.measure(1, || {
        let mode = Mode::Training { seed: 1 };
        let logits = decoder.forward(&features, &image_of, &words, mode)?.logits;
        let loss = cross_entropy(&logits, &targets, CrossEntropy::default())?;
        let grads = loss.backward()?;
        drop((logits, loss));
        optimizer.step(&mut decoder, grads, 1.0).map(|_| ())
    })?;
    let sentence = flops::image(&CONFIG)
        + (WORDS + 1) as f64 * flops::lstm(&CONFIG)
        + WORDS as f64 * flops::words(&CONFIG);
    let flops = flops::TRAINING * SENTENCES as f64 * sentence;
    Ok(Report {
        batch: Some(SENTENCES),
        device_ms,
        ..Report::new("train-decoder", ms, flops, bench.device)
    })
}

/// One image from features to captions.
pub fn decode(bench: &Bench) -> Result<Report> {
    let mut init = Init::new(1);
    let mut captioner = captioner(&mut init)?;
    captioner.to(bench.device)?;
    let features = init.normal(&[1, CONFIG.features], 1.0);
    let how = Search::default();
    let (ms, device_ms) = bench.measure(1, || search(&captioner, &features, &how).map(|_| ()))?;
    // The image and the start mark once, then a word in each sentence of the beam.
    let steps = (how.max_words * how.beam) as f64;
    let flops = flops::image(&CONFIG)
        + (steps + 2.0) * flops::lstm(&CONFIG)
        + (steps + 1.0) * flops::words(&CONFIG);
    Ok(Report {
        batch: Some(1),
        device_ms,
        ..Report::new("decode", ms, flops, bench.device)
    })
}

/// A captioner with this decoder and random weights. Its encoder, the smallest there is, is never asked.
fn captioner(init: &mut Init) -> Result<Captioner> {
    let encoder = DenseNetConfig {
        growth: 1,
        blocks: vec![1],
        stem: 1,
        bottleneck: 1,
        eps: 1e-5,
    };
    let specials = Vocabulary::build(["word"], 1)?.len() - 1;
    let words: Vec<String> = (specials..CONFIG.vocabulary)
        .map(|i| format!("word{i}"))
        .collect();
    Ok(Captioner {
        encoder: DenseNet::new(&encoder, init)?,
        decoder: Decoder::new(&CONFIG, init)?,
        vocabulary: Vocabulary::build(&words, 1)?,
        recipe: Recipe::default(),
        tags: None,
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
        assert_eq!(
            captioner(&mut Init::new(1)).unwrap().vocabulary.len(),
            CONFIG.vocabulary
        );
    }
}
