//! The detectors: a basis of the features, the labels of each picture, and the regression from features to labels.

use std::collections::BTreeSet;
use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate, s};

use super::Settings;
use super::kinds;
use super::logistic::{Descent, Label, fit};
use super::material::{Material, kinds_in};
use crate::data::Vocabulary;
use crate::data::function_words::is_content;
use crate::data::vocabulary::{UNKNOWN, words};
use crate::error::{Error, Result};
use crate::metrics::calibration::auroc;
use crate::model::recognition::{Confidence, Kind, sigmoid};
use crate::model::{Captioner, Recognition, RecognitionConfig, principal};
use crate::nn::Linear;
use crate::tensor::Tensor;

/// Smallest number of pictures of an animal kind from which its detector is learnt.
const LEAST_OF_KIND: usize = 60;

/// Assumed prior of an animal kind. Training pictures show far more dogs than the world has.
const PRIOR_OF_KIND: f32 = 0.05;

/// Weight of a picture that is no photograph, relative to a photograph. Taking a page for a photograph is worse than
/// the reverse.
const IMPORTANCE_OF_OTHERS: f32 = 2.0;

/// Training of the detectors of words and kinds; values found on the dev split. Words are hard to tell from features,
/// so a strong decay is better than a weak one.
const DETECTORS: Descent = Descent {
    steps: 150,
    rate: 0.01,
    decay: 0.003,
};

/// Training of the detectors of photographs and of familiar pictures, which are those like the captioned ones.
const QUESTIONS: Descent = Descent {
    steps: 500,
    rate: 0.02,
    decay: 1e-4,
};

/// Quality of the detectors.
pub(super) struct DetectorQuality {
    pub(super) photographs_auroc: Option<f64>,
    pub(super) mean_of_others: f64,
    pub(super) mean_of_photographs: f64,
    pub(super) kinds: Vec<(String, Option<f64>)>,
}

/// Returns the words with a detector: the most frequent content words of the captions.
fn detected_words(material: &Material, vocabulary: &Vocabulary, most: usize) -> Vec<u32> {
    let mut counts = vec![0usize; vocabulary.len()];
    for example in &material.train {
        for id in ids(&example.captions, vocabulary) {
            counts[id as usize] += 1;
        }
    }
    let is_named = |id: &u32| vocabulary.word(*id).is_some_and(is_content);
    let mut common: Vec<u32> = (UNKNOWN + 1..vocabulary.len() as u32)
        .filter(is_named)
        .collect();
    common.sort_by_key(|id| (std::cmp::Reverse(counts[*id as usize]), *id));
    common.truncate(most);
    common.retain(|id| counts[*id as usize] > 0);
    common.sort_unstable();
    common
}

/// Returns the distinct token ids of the words in `captions`.
fn ids(captions: &[String], vocabulary: &Vocabulary) -> BTreeSet<u32> {
    let words = captions.iter().flat_map(|caption| words(caption));
    words.map(|word| vocabulary.id(&word)).collect()
}

/// Learns the basis and the detectors.
pub(super) fn recognise(
    captioner: &Captioner,
    material: &Material,
    features: &Tensor,
    settings: Settings,
) -> Result<(Recognition, DetectorQuality)> {
    let vocabulary = &captioner.vocabulary;
    let photographs = material.train.len() + material.photos.len();
    let basis = basis(&features.narrow(0, photographs)?, settings.rank)?;
    let x = basis.forward(features)?;
    let x = x.view();
    let x: ArrayView2<f32> = x
        .into_dimensionality()
        .map_err(|_| Error::usage("features are no matrix"))?;

    let words = detected_words(material, vocabulary, settings.words);
    let kinds = learnable_kinds(material, vocabulary);
    let labels = labels(material, vocabulary, &words, &kinds);
    let importance = importance(material, photographs);
    let kinds_at = words.len();
    let photograph = kinds_at + kinds.len();
    let learn = |columns: Range<usize>, how: Descent| {
        fit(
            x,
            &labels.slice(s![.., columns]).to_owned(),
            &importance,
            how,
        )
    };
    let (words_weight, words_bias) = learn(0..photograph, DETECTORS);
    let (questions_weight, questions_bias) = learn(photograph..photograph + 2, QUESTIONS);
    let weight = concatenate![Axis(0), words_weight, questions_weight];
    let mut bias = concatenate![Axis(0), words_bias, questions_bias];
    even_priors(&labels, words.len(), kinds.len(), &mut bias);
    let quality = measure(
        x,
        &labels,
        &importance,
        (&weight, &bias),
        (kinds_at, photograph),
        &kinds,
    );
    let rows = weight.nrows();
    let detectors = Linear {
        weight: Tensor::from_vec(weight.iter().copied().collect(), &[rows, settings.rank])?,
        bias: Tensor::from_vec(bias.to_vec(), &[rows])?,
    };
    let config = RecognitionConfig {
        rank: settings.rank,
        words,
        kinds: kinds.into_iter().map(|(_, kind)| kind).collect(),
        confidence: Confidence::default(),
    };
    Ok((Recognition::new(config, &basis, &detectors)?, quality))
}

/// Computes the `rank` principal directions of features `[N, F]`, each feature first scaled to a variance of 1. Returns
/// them as a layer `[rank, F]`.
fn basis(features: &Tensor, rank: usize) -> Result<Linear> {
    let width = features.dims()[1];
    let rows = features.dims()[0] as f64;
    let mut deviation = vec![0.0f64; width];
    let mut mean = vec![0.0f64; width];
    for row in features.data().chunks(width) {
        mean.iter_mut()
            .zip(row)
            .for_each(|(m, v)| *m += f64::from(*v) / rows);
    }
    for row in features.data().chunks(width) {
        let squares = row
            .iter()
            .zip(&mean)
            .map(|(v, m)| (f64::from(*v) - m).powi(2));
        deviation
            .iter_mut()
            .zip(squares)
            .for_each(|(d, square)| *d += square / rows);
    }
    deviation.iter_mut().for_each(|d| *d = d.sqrt().max(1e-6));
    let scaled = features.data().chunks(width).flat_map(|row| {
        row.iter()
            .zip(mean.iter().zip(&deviation))
            .map(|(v, (m, d))| ((f64::from(*v) - m) / d) as f32)
    });
    let scaled = Tensor::from_vec(scaled.collect(), features.dims())?;
    let (_, directions) = principal::directions(&scaled, rank)?;
    let mut weight = directions.data().to_vec();
    let mut bias = vec![0.0f32; rank];
    for (row, bias) in weight.chunks_mut(width).zip(&mut bias) {
        for ((w, m), d) in row.iter_mut().zip(&mean).zip(&deviation) {
            *w = (f64::from(*w) / d) as f32;
            *bias -= *w * *m as f32;
        }
    }
    Ok(Linear {
        weight: Tensor::from_vec(weight, &[rank, width])?,
        bias: Tensor::from_vec(bias, &[rank])?,
    })
}

/// Returns the kinds that enough pictures show and that the captioner has words for, each with its index.
fn learnable_kinds(material: &Material, vocabulary: &Vocabulary) -> Vec<(usize, Kind)> {
    let in_captions = material
        .train
        .iter()
        .map(|example| kinds_in(&example.captions));
    let in_photos = material
        .photos
        .iter()
        .filter_map(|photo| photo.kinds.clone());
    let mut counts = vec![0usize; kinds::KINDS.len()];
    for kind in in_captions.chain(in_photos).flatten() {
        counts[kind] += 1;
    }
    let kind = |(number, (name, words)): (usize, &(&str, &[&str]))| {
        let ids = words
            .iter()
            .map(|word| vocabulary.id(word))
            .filter(|id| *id != UNKNOWN);
        let kind = Kind {
            name: name.to_string(),
            words: ids.collect(),
        };
        (number, kind)
    };
    let all = kinds::KINDS.iter().enumerate().map(kind);
    all.filter(|(number, kind)| counts[*number] >= LEAST_OF_KIND && !kind.words.is_empty())
        .collect()
}

/// Returns the labels: one row per picture, one column per detector.
fn labels(
    material: &Material,
    vocabulary: &Vocabulary,
    words: &[u32],
    kinds: &[(usize, Kind)],
) -> Array2<Label> {
    let rows = material.train.len() + material.photos.len() + material.others.len();
    let (first_kind, columns) = (words.len(), words.len() + kinds.len() + 2);
    let (photograph, familiar) = (columns - 2, columns - 1);
    let mut labels = Array2::from_elem((rows, columns), Label::Unknown);
    let known = |yes: bool| if yes { Label::Yes } else { Label::No };
    for (row, example) in material.train.iter().enumerate() {
        let used = ids(&example.captions, vocabulary);
        for (column, word) in words.iter().enumerate() {
            labels[[row, column]] = known(used.contains(word));
        }
        let shown = kinds_in(&example.captions);
        for (column, (kind, _)) in kinds.iter().enumerate() {
            labels[[row, first_kind + column]] = known(shown.contains(kind));
        }
        labels[[row, photograph]] = Label::Yes;
        labels[[row, familiar]] = Label::Yes;
    }
    for (i, photo) in material.photos.iter().enumerate() {
        let row = material.train.len() + i;
        if let Some(shown) = &photo.kinds {
            for (column, (kind, _)) in kinds.iter().enumerate() {
                labels[[row, first_kind + column]] = known(shown.contains(kind));
            }
        }
        labels[[row, photograph]] = Label::Yes;
        labels[[row, familiar]] = Label::No;
    }
    labels
        .slice_mut(s![rows - material.others.len().., photograph])
        .fill(Label::No);
    labels
}

/// Returns whether a picture without captions is held out to measure the detectors: one of five.
fn is_held_out(row: usize) -> bool {
    row % 5 == 4
}

/// Returns the weight of each picture in the regression.
fn importance(material: &Material, photographs: usize) -> Vec<f32> {
    let rows = photographs + material.others.len();
    let weight = |row: usize| match row {
        // Held out. Captioned pictures are too valuable for that.
        row if row >= material.train.len() && is_held_out(row) => 0.0,
        row if row >= photographs => IMPORTANCE_OF_OTHERS,
        _ => 1.0,
    };
    (0..rows).map(weight).collect()
}

/// Shifts the biases of the kinds so that each has the prior [`PRIOR_OF_KIND`].
fn even_priors(labels: &Array2<Label>, first: usize, kinds: usize, bias: &mut Array1<f32>) {
    let odds = |p: f32| (p / (1.0 - p)).ln();
    for column in first..first + kinds {
        let of = |label: Label| {
            labels
                .column(column)
                .iter()
                .filter(|l| **l == label)
                .count() as f32
        };
        let (yes, no) = (of(Label::Yes), of(Label::No));
        bias[column] += odds(PRIOR_OF_KIND) - (yes / no.max(1.0)).ln();
    }
}

/// Measures the detectors on held-out pictures.
fn measure(
    x: ArrayView2<f32>,
    labels: &Array2<Label>,
    importance: &[f32],
    (weight, bias): (&Array2<f32>, &Array1<f32>),
    (first_kind, photograph): (usize, usize),
    kinds: &[(usize, Kind)],
) -> DetectorQuality {
    let held: Vec<usize> = (0..x.nrows())
        .filter(|&row| importance[row] == 0.0)
        .collect();
    let pairs = |column: usize, rows: &dyn Fn(usize) -> bool| -> Vec<(f64, bool)> {
        let odds = |row: usize| f64::from(x.row(row).dot(&weight.row(column)) + bias[column]);
        let known = held
            .iter()
            .filter(|&&row| labels[[row, column]] != Label::Unknown && rows(row));
        known
            .map(|&row| (sigmoid(odds(row)), labels[[row, column]] == Label::Yes))
            .collect()
    };
    let photos = pairs(photograph, &|_| true);
    let mean = |wanted: bool| {
        let of: Vec<f64> = photos
            .iter()
            .filter(|(_, is)| *is == wanted)
            .map(|(p, _)| *p)
            .collect();
        of.iter().sum::<f64>() / of.len().max(1) as f64
    };
    let shows_any = |row: usize| {
        (first_kind..first_kind + kinds.len()).any(|column| labels[[row, column]] == Label::Yes)
    };
    let kind = |(i, (_, kind)): (usize, &(usize, Kind))| {
        (kind.name.clone(), auroc(&pairs(first_kind + i, &shows_any)))
    };
    DetectorQuality {
        photographs_auroc: auroc(&photos),
        mean_of_others: mean(false),
        mean_of_photographs: mean(true),
        kinds: kinds.iter().enumerate().map(kind).collect(),
    }
}
