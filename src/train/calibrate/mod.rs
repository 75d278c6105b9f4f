//! Calibration: what a captioner may be trusted with, learnt after its training.
//!
//! The networks stay as they are. [`calibrate`] computes the encoder's pooled features of many pictures and learns from
//! them, in this order:
//!
//! 1. the directions in which features vary most, and in them by logistic regression the detectors of words, kinds of
//!    animals, photographs and familiar pictures ([`crate::model::recognition`]);
//! 2. the temperature of the tags, from photos whose class is known, and their compression;
//! 3. the confidence, from the captions that the model gives the dev split: which of them are mostly right
//!    ([`crate::metrics::precision`]) against their signals.
//!
//! A fifth of the pictures that are photographs or not is held out to say how well they are told apart; the confidence is
//! judged by cross-validation: each fifth of the dev split by a regression on the others.

mod kinds;
mod logistic;
mod material;
mod sureness;
mod tags;

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use serde::Serialize;

use self::logistic::{Descent, Label, fit};
use self::material::{Material, kinds_in};
use crate::cpu::threads;
use crate::data::function_words::is_content;
use crate::data::vocabulary::{UNKNOWN, words};
use crate::data::{Image, Vocabulary, preprocess};
use crate::error::{Error, Result};
use crate::metrics::calibration::{Bin, auroc};
use crate::model::recognition::{Confidence, Kind, pooled, sigmoid};
use crate::model::{Captioner, Recognition, RecognitionConfig, principal};
use crate::nn::Linear;
use crate::tensor::{Device, Tensor};

/// Pictures that are encoded at a time.
const TOGETHER: usize = 32;

/// A kind of animal needs so many pictures to be learnt.
const LEAST_OF_KIND: usize = 60;

/// How common a kind is taken to be where nothing is known of a picture; training pictures show far more dogs than the
/// world has.
const PRIOR_OF_KIND: f32 = 0.05;

/// A picture that is no photograph counts as so many photographs: to take a page for a photo is worse than the reverse.
const IMPORTANCE_OF_OTHERS: f32 = 2.0;

/// How the detectors of words and kinds learn; found on the dev split. Words are hard to tell from features, so that much
/// decay is better than little.
const DETECTORS: Descent = Descent {
    steps: 150,
    rate: 0.01,
    decay: 0.003,
};

/// How the detectors of photographs and of familiar pictures learn.
const QUESTIONS: Descent = Descent {
    steps: 500,
    rate: 0.02,
    decay: 1e-4,
};

/// Where the pictures are.
#[derive(Clone, Debug)]
pub struct Sources {
    /// A dataset with captions and a dev split.
    pub data: PathBuf,
    /// A folder of pictures that are no photographs.
    pub not_photos: PathBuf,
    /// A folder of photographs without captions.
    pub photos: Option<PathBuf>,
    /// What some of those photographs show.
    pub labels: Option<PathBuf>,
    /// How many photographs are looked at besides those that are known to show an animal or a class.
    pub most_photos: usize,
}

/// How to calibrate.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Directions that the features are reduced to; at most as many as there are features.
    pub rank: usize,
    /// Words that get a detector, at most; the commonest.
    pub words: usize,
    /// Directions that the tags are reduced to; 0 leaves them as they are.
    pub tag_rank: usize,
    /// The beam of the captions that the confidence is learnt from.
    pub beam: usize,
    /// What pictures are drawn by.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            rank: 128,
            words: 600,
            tag_rank: 128,
            beam: 5,
            seed: 1,
        }
    }
}

/// How far a calibration has come.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// So many of so many pictures are encoded.
    Encoded(usize, usize),
    /// The detectors are being learnt.
    Learning,
    /// The dev split is being captioned.
    Captioning,
}

/// How well it went, on pictures that were not learnt from.
#[derive(Clone, Debug, Serialize)]
pub struct Calibration {
    /// Photographs against pictures that are none: AUROC.
    pub photographs_auroc: Option<f64>,
    /// The mean probability of being a photograph, of those that are none.
    pub mean_of_others: f64,
    /// The mean probability of being a photograph, of photographs.
    pub mean_of_photographs: f64,
    /// Words with a detector.
    pub words: usize,
    /// Kinds of animals with a detector, each with its AUROC against other kinds.
    pub kinds: Vec<(String, Option<f64>)>,
    /// The tags' temperature and what it did, where classes were known.
    pub tags: Option<TagCalibration>,
    /// Captions of the dev split.
    pub captions: usize,
    /// The share of them that is mostly right.
    pub mostly_right: f64,
    /// The expected calibration error of their confidence, by cross-validation.
    pub calibration_error: f64,
    /// Right against wrong ones: AUROC, by cross-validation.
    pub auroc: Option<f64>,
    /// The reliability diagram, by cross-validation.
    pub reliability: Vec<Bin>,
}

/// What the tags' temperature did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TagCalibration {
    /// Photos with a known class.
    pub photos: usize,
    /// The temperature that the logits were divided by.
    pub temperature: f64,
    /// The share of photos whose class is the likeliest.
    pub right: f64,
    /// The expected calibration error of the likeliest class, before.
    pub error_before: f64,
    /// And after.
    pub error_after: f64,
}

/// Learns the recognition and the confidence of a captioner, and calibrates its tags.
///
/// # Errors
/// Where pictures are missing or cannot be read.
pub fn calibrate(
    captioner: &mut Captioner,
    sources: &Sources,
    settings: Settings,
    progress: &mut dyn FnMut(Progress),
) -> Result<Calibration> {
    let material = Material::open(sources, settings.seed)?;
    let settings = Settings {
        rank: settings.rank.min(captioner.encoder.config().features()),
        ..settings
    };
    captioner.recognition = None;
    let paths = pictures(&material);
    let features = features(captioner, &paths, progress)?;
    progress(Progress::Learning);
    let photographs = material.train.len() + material.photos.len();
    let (recognition, told) = recognise(captioner, &material, &features, settings)?;
    captioner.recognition = Some(recognition);
    let tags = tags::calibrate(
        captioner,
        &material,
        &features,
        settings.tag_rank,
        photographs,
    )?;
    progress(Progress::Captioning);
    let sure = sureness::learn(captioner, &material.dev, settings.beam)?;
    Ok(Calibration {
        photographs_auroc: told.photographs_auroc,
        mean_of_others: told.mean_of_others,
        mean_of_photographs: told.mean_of_photographs,
        words: told.words,
        kinds: told.kinds,
        tags,
        captions: sure.captions,
        mostly_right: sure.mostly_right,
        calibration_error: sure.error,
        auroc: sure.auroc,
        reliability: sure.reliability,
    })
}

/// All pictures in the order of the rows of their features: with captions, photographs, others.
fn pictures(material: &Material) -> Vec<PathBuf> {
    let train = material.train.iter().map(|example| example.image.clone());
    let photos = material.photos.iter().map(|photo| photo.path.clone());
    train
        .chain(photos)
        .chain(material.others.iter().cloned())
        .collect()
}

/// The pooled features `[N, F]` of the pictures at these paths.
fn features(
    captioner: &Captioner,
    paths: &[PathBuf],
    progress: &mut dyn FnMut(Progress),
) -> Result<Tensor> {
    let mut rows = Vec::new();
    for (first, group) in (0..).step_by(TOGETHER).zip(paths.chunks(TOGETHER)) {
        let group: Vec<&Path> = group.iter().map(PathBuf::as_path).collect();
        let features = encode(captioner, &group)?;
        rows.extend_from_slice(pooled(&features)?.to(&Device::Cpu)?.data());
        progress(Progress::Encoded(first + group.len(), paths.len()));
    }
    Tensor::from_vec(rows, &[paths.len(), captioner.encoder.config().features()])
}

/// What the encoder makes of the pictures at these paths.
fn encode(captioner: &Captioner, paths: &[&Path]) -> Result<Tensor> {
    let read = |i: usize| -> Result<Image> {
        Ok(captioner
            .recipe
            .square(&Image::open(paths[i])?)?
            .into_owned())
    };
    let images: Vec<Image> = threads::map(paths.len(), read)
        .into_iter()
        .collect::<Result<_>>()?;
    captioner.encode(&preprocess::batch(&images)?)
}

/// How well pictures are told apart.
struct Told {
    photographs_auroc: Option<f64>,
    mean_of_others: f64,
    mean_of_photographs: f64,
    words: usize,
    kinds: Vec<(String, Option<f64>)>,
}

/// The words with a detector: the commonest content words of the captions.
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

/// The ids of the words of captions, each once.
fn ids(captions: &[String], vocabulary: &Vocabulary) -> std::collections::BTreeSet<u32> {
    let words = captions.iter().flat_map(|caption| words(caption));
    words.map(|word| vocabulary.id(&word)).collect()
}

/// Learns the directions and the detectors.
fn recognise(
    captioner: &Captioner,
    material: &Material,
    features: &Tensor,
    settings: Settings,
) -> Result<(Recognition, Told)> {
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
    let learn = |columns: std::ops::Range<usize>, how: Descent| {
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
    let told = tell(
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
    let told = Told {
        words: kinds_at,
        ..told
    };
    Ok((Recognition::new(config, &basis, &detectors)?, told))
}

/// From features to their directions, scaled so that the mean square of an element is 1.
fn basis(features: &Tensor, rank: usize) -> Result<Linear> {
    let width = features.dims()[1];
    // Channels count alike, however large their values are.
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

/// The kinds that enough pictures show and that the captioner has words for, each with its number.
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

/// What is known of each picture: a row for each, a column for each detector.
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

/// Whether a picture is held out to say how well photographs are told from others.
fn is_held_out(row: usize) -> bool {
    row % 5 == 4
}

/// How much each picture counts.
fn importance(material: &Material, photographs: usize) -> Vec<f32> {
    let rows = photographs + material.others.len();
    let weight = |row: usize| match row {
        // Held out; captioned pictures are too valuable for that.
        row if row >= material.train.len() && is_held_out(row) => 0.0,
        row if row >= photographs => IMPORTANCE_OF_OTHERS,
        _ => 1.0,
    };
    (0..rows).map(weight).collect()
}

/// Moves the kinds' biases so that each is as common as the others.
fn even_priors(
    labels: &Array2<Label>,
    first: usize,
    kinds: usize,
    bias: &mut ndarray::Array1<f32>,
) {
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

/// How well held-out pictures are told apart.
fn tell(
    x: ArrayView2<f32>,
    labels: &Array2<Label>,
    importance: &[f32],
    (weight, bias): (&Array2<f32>, &ndarray::Array1<f32>),
    (first_kind, photograph): (usize, usize),
    kinds: &[(usize, Kind)],
) -> Told {
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
    Told {
        photographs_auroc: auroc(&photos),
        mean_of_others: mean(false),
        mean_of_photographs: mean(true),
        words: first_kind,
        kinds: kinds.iter().enumerate().map(kind).collect(),
    }
}
