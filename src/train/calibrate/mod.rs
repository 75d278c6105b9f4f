//! Calibration: fits confidence estimates of a trained captioner.
//!
//! The networks are not changed. [`calibrate`] computes the encoder's pooled features of many pictures and learns from
//! them, in this order:
//!
//! 1. the directions in which features vary most, and on them by logistic regression the detectors of words, kinds of
//!    animals, photographs and familiar pictures ([`crate::model::recognition`]);
//! 2. the temperature of the tags, from photographs whose class is known, and their compression;
//! 3. the confidence, from the captions that the model generates for the dev split: a regression from their signals to
//!    whether they are mostly right ([`crate::metrics::precision`]).
//!
//! The detectors are measured on a held-out fifth of the pictures without captions. The confidence is measured by
//! cross-validation: each fifth of the dev split by a regression on the others.

mod detectors;
mod kinds;
mod logistic;
mod material;
mod sureness;
mod tags;

use std::path::{Path, PathBuf};

use serde::Serialize;

use self::detectors::recognise;
use self::material::Material;
use crate::cpu::threads;
use crate::data::{Given, Image, preprocess};
use crate::error::Result;
use crate::metrics::calibration::Bin;
use crate::model::Captioner;
use crate::model::recognition::pooled;
use crate::nn::Module;
use crate::tensor::{Device, Tensor};

/// Mini-batch size of the encoder.
const BATCH: usize = 32;

/// The folders and files from which a calibration reads its pictures.
#[derive(Clone, Debug)]
pub struct Sources {
    /// A data set with captions and a dev split.
    pub data: Given,
    /// A folder of pictures that are no photographs.
    pub not_photos: PathBuf,
    /// A folder of photographs without captions.
    pub photos: Option<PathBuf>,
    /// A file of labels for some of those photographs.
    pub labels: Option<PathBuf>,
    /// Maximum number of photographs besides those with a known animal or class.
    pub most_photos: usize,
}

/// Settings of a calibration.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Number of principal directions that the features are reduced to; at most the number of features.
    pub rank: usize,
    /// Maximum number of words with a detector; the most frequent ones.
    pub words: usize,
    /// Rank that the tags' layer is compressed to; 0 leaves it as it is.
    pub tag_rank: usize,
    /// Beam width of the captions that the confidence is learnt from.
    pub beam: usize,
    /// Seed of the random choice of pictures.
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

/// Progress of a calibration.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Pictures encoded so far, and pictures in all.
    Encoded(usize, usize),
    /// The detectors are being learnt.
    Learning,
    /// The dev split is being captioned.
    Captioning,
}

/// Quality of the calibration, measured on pictures that it did not learn from.
#[derive(Clone, Debug, Serialize)]
pub struct Calibration {
    /// AUROC of photographs against other pictures.
    pub photographs_auroc: Option<f64>,
    /// Mean probability of being a photograph, over pictures that are none.
    pub mean_of_others: f64,
    /// Mean probability of being a photograph, over photographs.
    pub mean_of_photographs: f64,
    /// Number of words with a detector.
    pub words: usize,
    /// Kinds of animals with a detector, each with its AUROC against other kinds.
    pub kinds: Vec<(String, Option<f64>)>,
    /// Effect of the tags' temperature, if classes were known.
    pub tags: Option<TagCalibration>,
    /// Number of captions of the dev split.
    pub captions: usize,
    /// Share of them that is mostly right.
    pub mostly_right: f64,
    /// Expected calibration error of their confidence, by cross-validation.
    pub calibration_error: f64,
    /// AUROC of right against wrong captions, by cross-validation.
    pub auroc: Option<f64>,
    /// Reliability diagram, by cross-validation.
    pub reliability: Vec<Bin>,
}

/// Effect of the tags' temperature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TagCalibration {
    /// Number of photographs with a known class.
    pub photos: usize,
    /// The temperature that the logits were divided by.
    pub temperature: f64,
    /// Top-1 accuracy: the share of photographs whose class has the highest probability.
    pub right: f64,
    /// Expected calibration error of the most probable class, before calibration.
    pub error_before: f64,
    /// Expected calibration error of the most probable class, after calibration.
    pub error_after: f64,
}

/// Learns the recognition and the confidence of a captioner, and calibrates its tags. The captioner is on `device`
/// before and after.
///
/// # Errors
/// Fails if pictures are missing or cannot be read.
pub fn calibrate(
    captioner: &mut Captioner,
    sources: &Sources,
    settings: Settings,
    device: &Device,
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
    let words = recognition.config().words.len();
    captioner.recognition = Some(recognition);
    // The calibration is computed on the CPU, where the features are.
    if let Some(tags) = &mut captioner.tags {
        tags.to(&Device::Cpu)?;
    }
    let tags = tags::calibrate(
        captioner,
        &material,
        &features,
        settings.tag_rank,
        photographs,
    )?;
    captioner.to(device)?;
    progress(Progress::Captioning);
    let sure = sureness::learn(captioner, &material.dev, settings.beam)?;
    Ok(Calibration {
        photographs_auroc: told.photographs_auroc,
        mean_of_others: told.mean_of_others,
        mean_of_photographs: told.mean_of_photographs,
        words,
        kinds: told.kinds,
        tags,
        captions: sure.captions,
        mostly_right: sure.mostly_right,
        calibration_error: sure.error,
        auroc: sure.auroc,
        reliability: sure.reliability,
    })
}

/// Returns all pictures in the row order of their features: captioned pictures, photographs, others.
fn pictures(material: &Material) -> Vec<PathBuf> {
    let train = material.train.iter().map(|example| example.image.clone());
    let photos = material.photos.iter().map(|photo| photo.path.clone());
    train
        .chain(photos)
        .chain(material.others.iter().cloned())
        .collect()
}

/// Returns the pooled features `[N, F]` of the pictures at these paths.
fn features(
    captioner: &Captioner,
    paths: &[PathBuf],
    progress: &mut dyn FnMut(Progress),
) -> Result<Tensor> {
    let mut rows = Vec::new();
    for (first, group) in (0..).step_by(BATCH).zip(paths.chunks(BATCH)) {
        let group: Vec<&Path> = group.iter().map(PathBuf::as_path).collect();
        let features = encode(captioner, &group)?;
        rows.extend_from_slice(pooled(&features)?.to(&Device::Cpu)?.data());
        progress(Progress::Encoded(first + group.len(), paths.len()));
    }
    Tensor::from_vec(rows, &[paths.len(), captioner.encoder.config().features()])
}

/// Returns the encoder's output for the pictures at these paths.
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
