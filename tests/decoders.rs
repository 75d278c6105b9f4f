//! Test that every decoder learns the captions of twenty pictures by heart: it is trained by the trainer, decoded by
//! beam search and scored by BLEU, before and after its model was stored in a file.

use std::collections::BTreeSet;

use glimpse::caption::{Search, search};
use glimpse::data::Vocabulary;
use glimpse::data::vocabulary::PAD;
use glimpse::data::weights::NumberFormat;
use glimpse::metrics::{Segment, bleu};
use glimpse::model::{Captioner, Decoder, DecoderConfig, DecoderKind, DenseNet, DenseNetConfig};
use glimpse::nn::{Init, Mode, Module};
use glimpse::ops::{CrossEntropy, cross_entropy};
use glimpse::tensor::Tensor;
use glimpse::train::config::{OptimizerConfig, OptimizerKind};
use glimpse::train::optimizer::Optimizer;
use glimpse::train::schedule::schedule;

const PICTURES: usize = 20;
/// The number of places in a map.
const PLACES: usize = 9;
const STEPS: u64 = 300;

/// Captions that all differ but begin alike, so that a decoder must look at the picture to choose between them.
fn captions() -> Vec<String> {
    let who = ["dog", "cat", "man", "woman", "child"];
    let what = [
        "runs over the grass",
        "sits on a red chair",
        "looks at the sea",
        "jumps",
    ];
    let colours = ["brown", "small", "old", "happy", "white"];
    (0..PICTURES)
        .map(|i| {
            let (colour, who, what) = (colours[i / 4], who[(i + i / 4) % 5], what[i % 4]);
            format!("a {colour} {who} {what} near {} people", i % 3 + 2)
        })
        .collect()
}

fn captioner(kind: DecoderKind, layers: usize, tied: bool) -> Captioner {
    let mut init = Init::new(11);
    // Not used: the pictures are random features.
    let encoder = DenseNetConfig {
        growth: 8,
        blocks: vec![1],
        stem: 24,
        bottleneck: 1,
        eps: 1e-5,
    };
    let vocabulary = Vocabulary::build(captions(), 1).unwrap();
    let decoder = DecoderConfig {
        features: encoder.features(),
        embedding: 32,
        hidden: 48,
        vocabulary: vocabulary.len(),
        dropout: 0.0,
        kind,
        layers,
        tied,
        attention: if kind == DecoderKind::Attention {
            16
        } else {
            0
        },
    };
    Captioner {
        tags: None,
        recognition: None,
        encoder: DenseNet::new(&encoder, &mut init).unwrap(),
        decoder: Decoder::new(&decoder, &mut init).unwrap(),
        vocabulary,
        recipe: "squash:32".parse().unwrap(),
        training: Default::default(),
        metrics: Default::default(),
        origin: None,
    }
}

/// Random features in place of pictures.
fn pictures(captioner: &Captioner) -> Tensor {
    let channels = captioner.decoder.config().features;
    let mut init = Init::new(5);
    match captioner.decoder.takes_map() {
        true => init.normal(&[PICTURES, PLACES, channels], 1.0),
        false => init.normal(&[PICTURES, channels], 1.0),
    }
}

/// The words that the decoder reads and the words that it must predict, padded to one length.
fn batch(vocabulary: &Vocabulary) -> (Vec<usize>, Vec<usize>) {
    let sentences: Vec<Vec<u32>> = captions()
        .iter()
        .map(|caption| vocabulary.encode_sentence(caption))
        .collect();
    let steps = sentences.iter().map(Vec::len).max().unwrap() - 1;
    let (mut words, mut targets) = (Vec::new(), Vec::new());
    for sentence in &sentences {
        let at = |i: usize| sentence.get(i).map_or(PAD as usize, |&word| word as usize);
        words.extend((0..steps).map(at));
        targets.extend((1..=steps).map(at));
    }
    (words, targets)
}

/// Trains the decoder, and returns the first and the last loss.
fn train(captioner: &mut Captioner, pictures: &Tensor) -> (f32, f32) {
    let config = OptimizerConfig {
        kind: OptimizerKind::Adam,
        lr: 0.01,
        warmup: 0.0,
        weight_decay: 0.0,
        clip: 5.0,
        ..OptimizerConfig::default()
    };
    let (words, targets) = batch(&captioner.vocabulary);
    let image_of: Vec<usize> = (0..PICTURES).collect();
    let decoder = &mut captioner.decoder;
    decoder.track(true);
    let mut optimizer = Optimizer::new(&config, decoder);
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let mode = Mode::Training { seed: step };
        let forced = decoder.forward(pictures, &image_of, &words, mode).unwrap();
        let options = CrossEntropy {
            ignore_index: Some(PAD as usize),
            ..CrossEntropy::default()
        };
        let loss = cross_entropy(&forced.logits, &targets, options).unwrap();
        losses.push(loss.item().unwrap());
        let grads = loss.backward().unwrap();
        let share = schedule(&config, step, STEPS);
        optimizer.step(decoder, grads, share).unwrap();
    }
    decoder.track(false);
    (losses[0], losses[losses.len() - 1])
}

fn said(captioner: &Captioner, pictures: &Tensor) -> Vec<String> {
    let found = search(captioner, pictures, &Search::default()).unwrap();
    found.into_iter().map(|c| c[0].text.clone()).collect()
}

fn bleu4(said: &[String]) -> f64 {
    let words = |text: &String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let pairs = said.iter().zip(captions());
    let segments: Vec<Segment> = pairs
        .map(|(hypothesis, reference)| Segment {
            hypothesis: words(hypothesis),
            references: vec![words(&reference)],
        })
        .collect();
    100.0 * bleu::corpus(&segments)[3]
}

/// Trains one decoder to recite the captions, and checks the model again after it was saved and loaded.
fn recites(kind: DecoderKind, layers: usize, tied: bool) {
    let what = format!("{} of {layers} layers, tied {tied}", kind.name());
    let mut captioner = captioner(kind, layers, tied);
    let pictures = pictures(&captioner);
    let before = bleu4(&said(&captioner, &pictures));
    let (first, last) = train(&mut captioner, &pictures);
    let learnt = said(&captioner, &pictures);
    let after = bleu4(&learnt);
    println!("{what}: loss {first:.3} to {last:.4}, BLEU-4 {before:.1} to {after:.1}");
    assert!(before < 20.0, "{what} knew the captions untrained");
    assert!(after > 95.0, "{what}: BLEU-4 is {after}, the loss {last}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    captioner.save(&path, NumberFormat::F32).unwrap();
    let loaded = Captioner::load(&path).unwrap();
    assert_eq!(loaded.decoder.config(), captioner.decoder.config());
    assert_eq!(said(&loaded, &pictures), learnt, "{what} out of its file");
}

#[test]
fn captions_to_learn_are_all_different() {
    let all: BTreeSet<String> = captions().into_iter().collect();
    assert_eq!(all.len(), PICTURES);
}

#[test]
fn inject_recites() {
    recites(DecoderKind::Inject, 1, false);
    recites(DecoderKind::Inject, 2, true);
}

#[test]
fn par_inject_recites() {
    recites(DecoderKind::ParInject, 1, false);
    recites(DecoderKind::ParInject, 2, true);
}

#[test]
fn merge_recites() {
    recites(DecoderKind::Merge, 1, false);
    recites(DecoderKind::Merge, 2, true);
}

#[test]
fn attention_recites() {
    recites(DecoderKind::Attention, 1, false);
    recites(DecoderKind::Attention, 1, true);
}
