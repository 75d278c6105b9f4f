//! The confidence, learnt from the captions of the dev split.

use std::collections::BTreeMap;
use std::path::Path;

use super::encode;
use super::logistic::newton;
use crate::caption::{Caption, Search, search};
use crate::cpu::threads;
use crate::data::Example;
use crate::error::Result;
use crate::metrics::calibration::{Bin, auroc, calibration_error, reliability};
use crate::metrics::precision::is_mostly_right;
use crate::model::Captioner;
use crate::model::recognition::{Confidence, Signal};

/// Mini-batch size of the captioner.
const BATCH: usize = 25;

/// Weight decay of the regression on standardised signals.
const DECAY: f64 = 0.005;

/// Number of folds of the cross-validation.
const PARTS: usize = 5;

/// Confidence of the captions of the dev split, and its calibration.
pub(super) struct FittedConfidence {
    pub(super) captions: usize,
    pub(super) mostly_right: f64,
    pub(super) error: f64,
    pub(super) auroc: Option<f64>,
    pub(super) reliability: Vec<Bin>,
}

/// Captions the pictures of `dev`, and fits the captioner's confidence to which captions are right.
pub(super) fn learn(
    captioner: &mut Captioner,
    dev: &[Example],
    beam: usize,
) -> Result<FittedConfidence> {
    let paths: Vec<&Path> = dev.iter().map(|example| example.image.as_path()).collect();
    let captions = captions(captioner, &paths, beam)?;
    let judged = captions.iter().zip(dev).map(|(caption, example)| Judged {
        signals: caption.signals.clone(),
        is_right: is_mostly_right(&caption.text, &example.captions),
    });
    let judged: Vec<Judged> = judged.collect();
    let mut pairs = Vec::with_capacity(judged.len());
    for part in 0..PARTS {
        let learnt = judged.iter().enumerate().filter(|(i, _)| i % PARTS != part);
        let confidence = regression(learnt.map(|(_, judged)| judged));
        for held_out in judged.iter().skip(part).step_by(PARTS) {
            pairs.push((confidence.probability(&held_out.signals), held_out.is_right));
        }
    }
    let confidence = regression(judged.iter());
    if let Some(recognition) = &mut captioner.recognition {
        recognition.set_confidence(confidence);
    }
    let right = judged.iter().filter(|j| j.is_right).count();
    Ok(FittedConfidence {
        captions: judged.len(),
        mostly_right: right as f64 / judged.len().max(1) as f64,
        error: calibration_error(&pairs),
        auroc: auroc(&pairs),
        reliability: reliability(&pairs),
    })
}

/// The signals of a caption, and whether it is right.
struct Judged {
    signals: BTreeMap<Signal, f64>,
    is_right: bool,
}

/// Fits the regression from the signals of captions to whether they are right.
fn regression<'a>(judged: impl Iterator<Item = &'a Judged>) -> Confidence {
    // The map iterates over the signals in the order of `Signal::ALL`.
    let (rows, right): (Vec<Vec<f64>>, Vec<bool>) = judged
        .map(|j| (j.signals.values().copied().collect(), j.is_right))
        .unzip();
    let (offset, weights) = newton(&rows, &right, DECAY);
    let weights: BTreeMap<Signal, f64> = Signal::ALL.into_iter().zip(weights).collect();
    Confidence { offset, weights }
}

/// Returns the best caption of each picture.
fn captions(captioner: &Captioner, paths: &[&Path], beam: usize) -> Result<Vec<Caption>> {
    let how = Search {
        beam,
        ..Search::default()
    };
    let mut captions = Vec::with_capacity(paths.len());
    for group in paths.chunks(BATCH) {
        let features = encode(captioner, group)?;
        let found = threads::run(|| search(captioner, &features, &how))?;
        captions.extend(
            found
                .into_iter()
                .filter_map(|of_image| of_image.into_iter().next()),
        );
    }
    Ok(captions)
}
