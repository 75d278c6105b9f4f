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

/// Pictures that are encoded at a time.
const TOGETHER: usize = 32;

/// Where the pictures are.
#[derive(Clone, Debug)]
pub struct Sources {
    /// A dataset with captions and a dev split.
    pub data: Given,
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

/// Learns the recognition and the confidence of a captioner, and calibrates its tags. The captioner is, and stays, on
/// `device`.
///
/// # Errors
/// Where pictures are missing or cannot be read.
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
    // What is learnt here is learnt on the processor, where the features are.
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
