//! The features of a frozen encoder: computed before the first step, or opened from a file of an earlier run.

use std::path::Path;

use super::batches::Samples;
use super::captions::Captions;
use super::checkpoint;
use super::config::TrainConfig;
use super::events::{Control, Event, Watch};
use super::features::{FeatureCache, Picture, Progress, Source, View, digest};
use crate::error::{self, Error, Result};
use crate::model::Captioner;

/// Opens or computes the features of the training and dev images, in files beside `out`. If the configuration mirrors
/// training images at random, both views have features.
///
/// # Errors
/// Fails if an image cannot be read, a file cannot be written, or the watcher stops the run.
pub(super) fn prepare(
    work: &mut Captions,
    config: &TrainConfig,
    out: &Path,
    watch: Watch,
) -> Result<()> {
    if work.features.is_none() {
        let views: &[View] = match config.augment.flip > 0.0 {
            true => &[View::Plain, View::Mirrored],
            false => &[View::Plain],
        };
        let path = checkpoint::features_beside(out);
        let features = cached(&mut work.captioner, &work.train, views, &path, watch)?;
        work.features = Some(features);
    }
    if let Some(dev) = &mut work.dev
        && dev.features.is_none()
    {
        let path = checkpoint::dev_features_beside(out);
        let features = cached(
            &mut work.captioner,
            &dev.samples,
            &[View::Plain],
            &path,
            watch,
        )?;
        dev.features = Some(features);
    }
    Ok(())
}

fn cached(
    captioner: &mut Captioner,
    samples: &Samples,
    views: &[View],
    path: &Path,
    watch: Watch,
) -> Result<FeatureCache> {
    let pictures = (0..samples.len()).map(|i| Picture {
        name: samples.name(i).to_string(),
        path: samples.path(i).to_path_buf(),
    });
    let source = Source {
        encoder: digest(&mut captioner.encoder)?,
        recipe: captioner.recipe,
        views: views.to_vec(),
        pictures: pictures.collect(),
        maps: captioner.decoder.takes_map(),
    };
    let images = samples.len();
    let mut progress = |progress| {
        let event = match progress {
            Progress::Stale { why } => Event::Notice(format!(
                "{} {why}; it is computed again",
                error::name(&path)
            )),
            Progress::Resumed { pictures } => Event::Notice(format!(
                "{}: features of {pictures} of {images} images are there from an earlier run",
                error::name(&path)
            )),
            Progress::Encoded { pictures } => Event::Features {
                done: pictures,
                images,
            },
        };
        match watch(event) {
            Control::Continue => Ok(()),
            Control::Stop => Err(Error::Interrupted(
                "stopped while computing features; what was computed is kept, start again".into(),
            )),
        }
    };
    let encode = |images: &_| captioner.encode(images);
    FeatureCache::open_or_compute_knowing(path, &source, samples.sums(), &encode, &mut progress)
}
