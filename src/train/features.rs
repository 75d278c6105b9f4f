//! The features of a frozen encoder, computed once and kept in a file.
//!
//! The file knows what it was made from: a digest of the encoder's weights, the preprocessing recipe and the
//! images' names. A file that was made from anything else is not used but made anew.

use std::collections::HashMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::batches::Samples;
use crate::data::weights::{Precision, WeightFile, write_weights};
use crate::data::{Recipe, hex};
use crate::error::Result;
use crate::model::DenseNet;
use crate::nn::{Mode, Module};
use crate::tensor::{Device, Tensor};

// Images that are encoded at a time.
const BATCH: usize = 32;

/// A digest of everything that features depend on.
pub fn digest<'a>(
    encoder: &mut DenseNet,
    recipe: Recipe,
    names: impl Iterator<Item = &'a str>,
) -> String {
    let mut hash = Sha256::new();
    encoder.visit("", &mut |name, _, tensor| {
        hash.update(name.as_bytes());
        hash.update([0]);
        for x in tensor.data() {
            hash.update(x.to_le_bytes());
        }
    });
    hash.update(encoder.config().eps.to_le_bytes());
    hash.update(recipe.to_string());
    for name in names {
        hash.update([0]);
        hash.update(name.as_bytes());
    }
    hex(&hash.finalize())
}

/// The features of all images, `[N, F]`: from the file at `cache` where it was made from the same things, else
/// computed, and then kept there. `progress` is called with the number of images done; it may refuse to go on.
///
/// # Errors
/// Where an image cannot be read or the file cannot be written, or `progress` refuses.
pub fn cached(
    cache: &Path,
    encoder: &mut DenseNet,
    recipe: Recipe,
    samples: &Samples,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Tensor> {
    let digest = digest(encoder, recipe, samples.names());
    if let Some(features) = read(cache, &digest) {
        return Ok(features);
    }
    let mut data = Vec::new();
    for first in (0..samples.len()).step_by(BATCH) {
        let indices: Vec<usize> = (first..(first + BATCH).min(samples.len())).collect();
        let images = samples.tensor(&indices, recipe)?;
        let features = encoder.features(&images, Mode::Inference)?;
        data.extend(features.to(&Device::Cpu)?.into_vec());
        progress(first + indices.len())?;
    }
    let size = data.len() / samples.len();
    let features = Tensor::from_vec(data, &[samples.len(), size])?;
    let tensors = [("features".to_string(), features.clone())];
    write_weights(
        cache,
        &tensors,
        Precision::F32,
        HashMap::from([("digest".to_string(), digest)]),
    )?;
    Ok(features)
}

/// The features in the file at `cache`, where it bears this digest. A file that is broken is as good as none.
fn read(cache: &Path, digest: &str) -> Option<Tensor> {
    let file = WeightFile::open(cache).ok()?;
    (file.metadata("digest").ok()??.as_str() == digest).then(|| file.tensor("features").ok())?
}
