//! A small attention model with random weights, for tests of its attention weights.

use glimpse::data::Vocabulary;
use glimpse::model::{Captioner, Decoder, DecoderConfig, DecoderKind, DenseNet, DenseNetConfig};
use glimpse::nn::{Init, Module};

/// Builds a captioner with random weights and an attention decoder, which takes images in `recipe`. Its attention is
/// concentrated on few positions of the map, which differ from image to image.
pub fn attentive(recipe: &str) -> Captioner {
    let mut init = Init::new(7);
    let sizes = DenseNetConfig {
        growth: 8,
        blocks: vec![1, 1],
        stem: 8,
        bottleneck: 2,
        eps: 1e-5,
    };
    let words = "a dog and two cats run over green grass under the wide blue sky with one red ball";
    let vocabulary = Vocabulary::build([words], 1).unwrap();
    let decoder = DecoderConfig {
        features: sizes.features(),
        embedding: 8,
        hidden: 16,
        vocabulary: vocabulary.len(),
        dropout: 0.0,
        kind: DecoderKind::Attention,
        layers: 1,
        tied: false,
        attention: 8,
    };
    let mut captioner = Captioner {
        tags: None,
        recognition: None,
        encoder: DenseNet::new(&sizes, &mut init).unwrap(),
        decoder: Decoder::new(&decoder, &mut init).unwrap(),
        vocabulary,
        recipe: recipe.parse().unwrap(),
        training: Default::default(),
        metrics: Default::default(),
        origin: None,
    };
    // An untrained decoder attends evenly to all positions; larger scores make it differ.
    let mut scaled = 0;
    captioner.decoder.visit("", &mut |name, _, tensor| {
        let factor = match name {
            "keys.weight" => 8.0,
            "lstm.score" => 20.0,
            _ => return,
        };
        scaled += 1;
        tensor.data_mut().iter_mut().for_each(|x| *x *= factor);
    });
    assert_eq!(scaled, 2, "the names of the attention's parameters");
    captioner
}
