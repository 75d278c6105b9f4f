//! The inputs of a cache: encoder, recipe, views and pictures.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cpu::{memory, threads};
use crate::data::{Image, Recipe, hex, preprocess};
use crate::error::{Error, Result};
use crate::model::DenseNet;
use crate::nn::Module;
use crate::tensor::{Device, Tensor};

/// A picture whose features are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Name in the data set.
    pub name: String,
    /// Path of its file.
    pub path: PathBuf,
}

/// How a picture is shown to the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// As the recipe prepares it.
    Plain,
    /// Prepared, then mirrored horizontally.
    Mirrored,
}

/// All inputs that the features depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Digest of the encoder's sizes and weights; see [`digest`].
    pub encoder: String,
    /// Preprocessing recipe.
    pub recipe: Recipe,
    /// Views of each picture, by index.
    pub views: Vec<View>,
    /// Pictures, by index.
    pub pictures: Vec<Picture>,
    /// Whether a row is a map `[P, C]` rather than an average `[C]`.
    pub maps: bool,
}

impl Source {
    /// Returns the prepared images of these pictures in this view: `[n, size, size, 3]`.
    pub(super) fn images(&self, pictures: &[usize], view: View) -> Result<Tensor> {
        let squares = threads::map(pictures.len(), |i| {
            let image = Image::open(&self.pictures[pictures[i]].path)?;
            Ok(self.recipe.square(&image)?.into_owned())
        });
        let images = preprocess::batch(&squares.into_iter().collect::<Result<Vec<_>>>()?)?;
        match view {
            View::Plain => Ok(images),
            View::Mirrored => mirrored(&images),
        }
    }
}

/// Returns the images `[N, H, W, C]` with the order of the columns reversed.
fn mirrored(images: &Tensor) -> Result<Tensor> {
    let &[_, _, width, channels] = images.dims() else {
        return Err(Error::shape("mirrored", "[N, H, W, C]", images.shape()));
    };
    let mut data = memory::unset(images.len());
    let line = width * channels;
    threads::for_each_chunk(&mut data, line, |i, to| {
        let from = images.data()[i * line..(i + 1) * line].chunks_exact(channels);
        for (to, from) in to.chunks_exact_mut(channels).zip(from.rev()) {
            to.copy_from_slice(from);
        }
    });
    Tensor::from_vec(data, images.dims())
}

/// Computes a digest of an encoder's sizes and weights.
///
/// # Errors
/// Fails if its weights are on a GPU that does not respond.
pub fn digest(encoder: &mut DenseNet) -> Result<String> {
    let mut hash = Sha256::new();
    let mut result = Ok(());
    hash.update(format!("{:?}", encoder.config()));
    encoder.visit("", &mut |name, _, tensor| {
        hash.update(name.as_bytes());
        hash.update([0]);
        match tensor.to(&Device::Cpu) {
            Ok(here) => {
                for part in here.data().chunks(1 << 12) {
                    let bytes: Vec<u8> = part.iter().flat_map(|x| x.to_le_bytes()).collect();
                    hash.update(bytes);
                }
            }
            Err(e) => result = Err(e),
        }
    });
    result.map(|()| hex(&hash.finalize()))
}

/// Size and modification time of a picture's file, from the file system's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) size: u64,
    /// Modification time in nanoseconds since 1970; -1 if unknown.
    pub(super) modified: i64,
}

impl Stat {
    pub(super) fn of(path: &Path) -> Result<Self> {
        let meta = fs::metadata(path).map_err(|e| cannot_be_read(path, e))?;
        let since = meta.modified().ok().map(|t| t.duration_since(UNIX_EPOCH));
        let nanos = since.and_then(|d| i64::try_from(d.ok()?.as_nanos()).ok());
        Ok(Stat {
            size: meta.len(),
            modified: nanos.unwrap_or(-1),
        })
    }
}

fn cannot_be_read(path: &Path, e: std::io::Error) -> Error {
    Error::unread(path, &e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DenseNetConfig;
    use crate::nn::Init;

    #[test]
    fn mirroring_twice_changes_nothing() {
        let data: Vec<f32> = (0..2 * 2 * 3 * 3).map(|i| i as f32).collect();
        let images = Tensor::from_vec(data, &[2, 2, 3, 3]).unwrap();
        let once = mirrored(&images).unwrap();
        assert_eq!(once.data()[..9], [6., 7., 8., 3., 4., 5., 0., 1., 2.]);
        assert_eq!(mirrored(&once).unwrap().data(), images.data());
        assert!(mirrored(&Tensor::zeros(&[2, 3])).is_err());
    }

    #[test]
    fn every_weight_and_size_is_in_the_digest() {
        let sizes = |eps| DenseNetConfig {
            growth: 2,
            blocks: vec![1, 1],
            stem: 4,
            bottleneck: 2,
            eps,
        };
        let net = |eps| DenseNet::new(&sizes(eps), &mut Init::new(1)).unwrap();
        let first = digest(&mut net(1e-5)).unwrap();
        assert_eq!(first, digest(&mut net(1e-5)).unwrap());
        assert_ne!(first, digest(&mut net(1.001e-5)).unwrap());
        let mut tensors = 0;
        net(1e-5).visit("", &mut |_, _, _| tensors += 1);
        for changed in 0..tensors {
            let (mut other, mut i) = (net(1e-5), 0);
            other.visit("", &mut |_, _, tensor| {
                if i == changed {
                    *tensor.data_mut().last_mut().unwrap() += 0.5;
                }
                i += 1;
            });
            assert_ne!(first, digest(&mut other).unwrap(), "tensor {changed}");
        }
    }
}
