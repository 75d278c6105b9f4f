use super::*;
use crate::ops::testing::{assert_close, here, on_every_device, random};
use crate::ops::{CrossEntropy, cross_entropy};

/// The hidden size may equal the size of a word's vector. If it does, a tied output layer has no projection.
fn configs() -> Vec<DecoderConfig> {
    let mut all = Vec::new();
    for kind in DecoderKind::ALL {
        for (layers, tied, hidden) in [
            (1, false, 7),
            (2, false, 7),
            (1, true, 7),
            (1, true, 6),
            (2, true, 7),
        ] {
            if layers > 1 && kind == DecoderKind::Attention {
                continue;
            }
            all.push(DecoderConfig {
                features: 5,
                embedding: 6,
                hidden,
                vocabulary: 11,
                dropout: 0.5,
                kind,
                layers,
                tied,
                attention: if kind == DecoderKind::Attention { 3 } else { 0 },
            });
        }
    }
    all
}

fn build(config: &DecoderConfig) -> Decoder {
    let mut decoder = Decoder::new(config, &mut Init::new(3)).unwrap();
    decoder.to(&crate::ops::testing::device()).unwrap();
    decoder
}

/// The features of `n` random images, in the form that the decoder takes.
fn images(config: &DecoderConfig, n: usize) -> Tensor {
    match config.takes_map() {
        true => random(&[n, 4, config.features], 1),
        false => random(&[n, config.features], 1),
    }
}

#[test]
fn parameters_are_as_many_as_the_sizes_say() {
    for config in configs() {
        let mut decoder = build(&config);
        let mut elements = 0;
        let mut names = Vec::new();
        decoder.visit("", &mut |name, _, t| {
            elements += t.len() as u128;
            names.push(name.to_string());
        });
        assert_eq!(config.elements(), elements, "{config:?}");
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "each has a name of its own: {config:?}");
    }
}

#[test]
fn teacher_forcing_and_single_steps_say_the_same() {
    on_every_device(|| {
        for config in configs() {
            let decoder = build(&config);
            let image = images(&config, 2);
            // Two captions of the second image around one of the first.
            let image_of = [1, 0, 1];
            let words = [[1, 4, 5, 6], [1, 7, 8, 9], [1, 10, 4, 4]];
            let forced = decoder
                .forward(&image, &image_of, &words.concat(), Mode::Inference)
                .unwrap();
            assert_eq!(forced.logits.dims(), &[3, 4, 11]);
            let mut state = decoder.start(&image).unwrap().select(&image_of).unwrap();
            assert!(state.attention().is_none());
            for step in 0..4 {
                let (next, logits) = decoder.step(&state, &words.map(|w| w[step])).unwrap();
                // The rows are reordered and ordered back, as a search reorders its sentences.
                state = next.select(&[2, 0, 1]).unwrap().select(&[1, 2, 0]).unwrap();
                let compare = |what: &str, all: &Tensor, one: &Tensor| {
                    let width = one.dims()[1];
                    for sentence in 0..3 {
                        let all = &all.data()[(sentence * 4 + step) * width..][..width];
                        let one = &one.data()[sentence * width..][..width];
                        assert_close(&format!("{what} of {config:?}"), one, all, 1e-5);
                    }
                };
                compare("logits", &forced.logits, &logits);
                match (&forced.attention, next.attention()) {
                    (Some(all), Some(one)) => compare("attention", all, one),
                    (None, None) => assert!(!config.takes_map()),
                    _ => panic!("attention either way or neither: {config:?}"),
                }
            }
        }
    });
}

#[test]
fn attention_weights_add_up_to_one_and_differ_from_step_to_step() {
    on_every_device(|| {
        for config in configs().iter().filter(|c| c.takes_map()) {
            let decoder = build(config);
            let forced = decoder
                .forward(
                    &images(config, 2),
                    &[1, 0, 1],
                    &[1, 4, 1, 5, 1, 6],
                    Mode::Inference,
                )
                .unwrap();
            let weights = forced.attention.unwrap();
            assert_eq!(weights.dims(), &[3, 2, 4]);
            let rows: Vec<&[f32]> = weights.data().chunks(4).collect();
            for row in &rows {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
            }
            assert_close("one image, the same words so far", rows[0], rows[4], 1e-6);
            assert_ne!(rows[0], rows[1], "another state looks elsewhere");
            assert_ne!(rows[0], rows[2], "another image");
        }
    });
}

#[test]
fn sentences_share_what_was_computed_of_their_image() {
    for config in configs().iter().filter(|c| c.takes_map()) {
        let decoder = build(config);
        let start = decoder.start(&images(config, 2)).unwrap();
        let state = start.select(&[1, 1, 0, 1]).unwrap();
        let (state, _) = decoder.step(&state, &[1, 1, 1, 1]).unwrap();
        let (before, after) = (start.images.iter(), state.images.iter());
        for (before, after) in before.zip(after) {
            let [before, after] = [before, after].map(|t| t.data().as_ptr());
            assert_eq!(before, after, "the elements are not copied");
        }
    }
}

#[test]
fn the_image_matters() {
    for config in configs() {
        let decoder = build(&config);
        let image = images(&config, 2);
        let forced = |of: usize| {
            let forced = decoder.forward(&image, &[of], &[1, 4], Mode::Inference);
            forced.unwrap().logits.into_vec()
        };
        assert_ne!(forced(0), forced(1), "{config:?}");
    }
}

#[test]
fn dropout_is_for_training_and_follows_its_seed() {
    for config in configs() {
        let decoder = build(&config);
        let image = images(&config, 1);
        let run = |mode| {
            let forced = decoder.forward(&image, &[0], &[1, 4, 5], mode);
            forced.unwrap().logits.into_vec()
        };
        let training = |seed| run(Mode::Training { seed });
        assert_eq!(run(Mode::Inference), run(Mode::Inference));
        assert_eq!(training(1), training(1));
        assert_ne!(training(1), training(2));
        assert_ne!(training(1), run(Mode::Inference));
    }
}

/// Two captions of one image and one caption of another: the words that the decoder reads, and those that follow.
const IMAGE_OF: [usize; 3] = [0, 1, 1];
const SAID: [usize; 9] = [1, 4, 5, 1, 6, 7, 1, 8, 4];
const NEXT: [usize; 9] = [4, 5, 2, 6, 7, 2, 8, 4, 2];

/// The gradient of the loss with respect to each parameter, by name.
fn gradients(decoder: &mut Decoder, image: &Tensor) -> Vec<(String, Tensor)> {
    decoder.track(true);
    let forced = decoder.forward(image, &IMAGE_OF, &SAID, Mode::Inference);
    let loss = cross_entropy(&forced.unwrap().logits, &NEXT, CrossEntropy::default()).unwrap();
    let mut grads = loss.backward().unwrap();
    let mut all = Vec::new();
    decoder.visit("", &mut |name, _, t| {
        let grad = grads
            .take(t)
            .unwrap_or_else(|| panic!("{name} has no gradient"));
        assert_eq!(grad.dims(), t.dims());
        all.push((name.to_string(), grad));
    });
    decoder.track(false);
    all
}

/// The loss, summed in `f64`.
fn loss(decoder: &Decoder, image: &Tensor) -> f64 {
    let forced = decoder.forward(image, &IMAGE_OF, &SAID, Mode::Inference);
    let logits = forced.unwrap().logits;
    let rows = logits.data().chunks_exact(logits.dims()[2]).zip(NEXT);
    let losses = rows.map(|(row, target)| {
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        sum.ln() - f64::from(row[target])
    });
    losses.sum::<f64>() / NEXT.len() as f64
}

/// Moves one parameter by `by` times `grad`; a tied table moves in both of its uses.
fn moved(decoder: &mut Decoder, which: &str, grad: &Tensor, by: f32) {
    decoder.visit("", &mut |name, _, t| {
        if name == which {
            let pairs = t.data().iter().zip(grad.data());
            let data = pairs.map(|(x, g)| x + by * g).collect();
            *t = here(Tensor::from_vec(data, t.dims()).unwrap());
        }
    });
}

#[test]
fn every_gradient_is_the_difference_quotient() {
    on_every_device(|| {
        for config in configs() {
            let mut decoder = build(&config);
            let image = images(&config, 2);
            for (name, grad) in gradients(&mut decoder, &image) {
                let square: f64 = grad.data().iter().map(|&g| f64::from(g).powi(2)).sum();
                // The step is large enough to change the `f32` logits, and small enough that few ReLUs change sign.
                let by = (0.002 / square.sqrt().max(1e-4)) as f32;
                let at = |by: f32| {
                    let mut decoder = build(&config);
                    moved(&mut decoder, &name, &grad, by);
                    loss(&decoder, &image)
                };
                let quotient = (at(by) - at(-by)) / (2.0 * f64::from(by));
                assert!(
                    (quotient - square).abs() <= 0.02 * square + 5e-7 / f64::from(by),
                    "{name} of {config:?}: the quotient is {quotient}, the gradient says {square}"
                );
            }
        }
    });
}

#[test]
fn a_tied_table_stays_one_tensor() {
    on_every_device(|| {
        for config in configs().iter().filter(|c| c.tied) {
            let mut decoder = build(config);
            let table = |decoder: &mut Decoder| {
                let mut found = Vec::new();
                decoder.visit("", &mut |name, _, t| {
                    if t.dims()[0] == config.vocabulary && t.dims().len() == 2 {
                        found.push((name.to_string(), t.clone()));
                    }
                });
                assert_eq!(found.len(), 1, "{config:?}");
                found.remove(0)
            };
            let (name, before) = table(&mut decoder);
            assert_eq!(name, "embedding.weight");
            // A visitor that replaces it (an optimizer, a file, another device) changes both of its uses.
            let image = images(config, 1);
            let logits = |decoder: &Decoder| {
                let forced = decoder.forward(&image, &[0], &[1], Mode::Inference);
                forced.unwrap().logits.into_vec()
            };
            let word = 9;
            let first = logits(&decoder);
            decoder.visit("", &mut |visited, _, t| {
                if visited == name {
                    let mut data = before.data().to_vec();
                    data[word * config.embedding..][..config.embedding].fill(0.0);
                    *t = here(Tensor::from_vec(data, t.dims()).unwrap());
                }
            });
            let second = logits(&decoder);
            // The word is not in the sentence, so only its own logit changes: to its bias, which is zero.
            assert_eq!(second[word], 0.0);
            assert_ne!(first[word], 0.0);
            assert_eq!(first[..word], second[..word]);
        }
    });
}

#[test]
fn mistakes_are_errors() {
    for config in configs() {
        let decoder = build(&config);
        let image = images(&config, 1);
        let run = |f: &Tensor, images: &[usize], words: &[usize]| {
            decoder.forward(f, images, words, Mode::Inference).is_err()
        };
        assert!(run(&image, &[0], &[11]), "a word that does not exist");
        assert!(run(&image, &[1], &[1]), "an image that does not exist");
        assert!(run(&image, &[0, 0], &[1, 2, 3]), "a sentence cut off");
        assert!(run(&image, &[], &[]), "nothing");
        for shape in [&[1usize, 4][..], &[1, 4, 4], &[5], &[1, 4, 5], &[1, 5]] {
            let other = random(shape, 1);
            let fits = shape.len() == image.dims().len() && shape.last() == Some(&5);
            assert_eq!(run(&other, &[0], &[1]), !fits, "{shape:?} for {config:?}");
            assert_eq!(decoder.start(&other).is_err(), !fits);
        }
        let state = decoder.start(&image).unwrap();
        assert!(
            decoder.step(&state, &[1, 1]).is_err(),
            "two words, one sentence"
        );
        assert!(decoder.step(&state, &[11]).is_err());
        assert!(state.select(&[1]).is_err());
    }
}
