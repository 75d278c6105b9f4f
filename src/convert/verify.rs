//! Verifies a conversion, as far as that is possible without the program that made the weights.
//!
//! The report lists each layer, for comparison with another program, and the features of three photos, whose
//! distribution shows whether the network is trained. If the file has a classifier, it also lists the classes of the
//! photos: a cat is recognised only if every tensor is in its place and the pixels are preprocessed as in training.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::Converted;
use crate::data::words;
use crate::data::{Image, Limits, SAMPLES, hex};
use crate::error::{Error, Result};
use crate::nn::Mode;
use crate::ops;
use crate::tensor::Tensor;

/// The number of classes that are reported for each photo.
const LIKELIEST: usize = 5;

/// Features of two photos that differ by less than this fraction of their norm count as equal.
const EQUAL_TOLERANCE: f64 = 1e-4;

/// The result of a verification.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// All tensors.
    pub layers: Vec<Layer>,
    /// All sample photos.
    pub photos: Vec<Photo>,
    /// The number of variances that are zero: channels that were constant in training, or variances too small for the
    /// precision.
    pub zero_variances: usize,
}

/// A tensor's statistics.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Layer {
    /// The name in torchvision.
    pub name: String,
    /// The shape in torchvision.
    pub shape: Vec<usize>,
    /// The mean over all elements.
    pub mean: f64,
    /// The standard deviation over all elements.
    pub std: f64,
    /// The first 16 hexadecimal digits of the SHA-256 of its `f32`, little-endian.
    pub hash: String,
}

/// A photo's features and classes.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Photo {
    /// The file's name.
    pub image: &'static str,
    /// The distribution of its features.
    pub features: Spread,
    /// The likeliest classes and their probabilities; empty without a classifier.
    pub classes: Vec<(usize, f32)>,
}

/// The distribution of numbers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Spread {
    /// The minimum.
    pub min: f32,
    /// The maximum.
    pub max: f32,
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub std: f64,
    /// The fraction of zeros.
    pub zeros: f64,
}

impl Spread {
    fn of(numbers: &[f32]) -> Self {
        let n = numbers.len().max(1) as f64;
        let mean = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let square = |x: &f32| (f64::from(*x) - mean).powi(2);
        Spread {
            min: numbers.iter().copied().fold(f32::INFINITY, f32::min),
            max: numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            mean,
            std: (numbers.iter().map(square).sum::<f64>() / n).sqrt(),
            zeros: numbers.iter().filter(|&&x| x == 0.0).count() as f64 / n,
        }
    }
}

/// Computes the statistics of all layers, and runs the network on the sample photos.
///
/// # Errors
/// If the features are useless: not finite, all zero, or equal for all photos. `path` is the file that the message
/// names.
pub fn verify(converted: &Converted, path: &Path) -> Result<Report> {
    let layers: Vec<Layer> = converted.tensors.iter().map(layer).collect();
    let variances = converted
        .tensors
        .iter()
        .filter(|(name, _)| name.ends_with("running_var"));
    let zeros = variances.map(|(_, t)| t.data().iter().filter(|&&x| x == 0.0).count());
    let zero_variances = zeros.sum();
    let net = converted.network()?;
    let images: Vec<Image> = SAMPLES
        .iter()
        .map(|photo| Image::decode(photo.bytes, photo.name, Limits::default()))
        .collect::<Result<_>>()?;
    let input = converted.description.recipe.tensor(&images)?;
    let features = net.features(&input, Mode::Inference)?;
    check(&features).map_err(|what| Error::file(path, what))?;
    let probabilities = match &converted.classifier {
        Some([weight, bias]) => {
            let logits = ops::linear(&features, weight, Some(bias))?;
            Some(ops::log_softmax(&logits)?)
        }
        None => None,
    };
    let photos = SAMPLES.iter().enumerate().map(|(i, photo)| {
        let classes = match &probabilities {
            Some(all) => likeliest(all.index(i)?.data()),
            None => Vec::new(),
        };
        let features = Spread::of(features.index(i)?.data());
        Ok(Photo {
            image: photo.name,
            features,
            classes,
        })
    });
    Ok(Report {
        layers,
        photos: photos.collect::<Result<_>>()?,
        zero_variances,
    })
}

fn layer((name, tensor): &(String, Tensor)) -> Layer {
    let Spread { mean, std, .. } = Spread::of(tensor.data());
    let mut hash = Sha256::new();
    for x in tensor.data() {
        hash.update(x.to_le_bytes());
    }
    let mut hash = hex(&hash.finalize());
    hash.truncate(16);
    Layer {
        name: name.clone(),
        shape: tensor.dims().to_vec(),
        mean,
        std,
        hash,
    }
}

/// Refuses useless features `[N, C]`.
fn check(features: &Tensor) -> std::result::Result<(), String> {
    let all = features.data();
    if all.iter().any(|x| !x.is_finite()) {
        return Err(
            "the features of the sample photos are not finite numbers; the weights are wrong"
                .into(),
        );
    }
    if all.iter().all(|&x| x == 0.0) {
        return Err("the features of the sample photos are all zero; the weights are wrong".into());
    }
    let size = features.dims()[1].max(1);
    let rows: Vec<&[f32]> = all.chunks_exact(size).collect();
    let square = |x: f32| f64::from(x) * f64::from(x);
    let norm: f64 = rows[0].iter().map(|&x| square(x)).sum();
    let farthest = rows.iter().map(|row| {
        let apart = row.iter().zip(rows[0]).map(|(a, b)| square(a - b));
        apart.sum::<f64>()
    });
    if farthest.fold(0.0, f64::max) <= norm * EQUAL_TOLERANCE * EQUAL_TOLERANCE {
        return Err("the features of all sample photos are equal; the weights are wrong".into());
    }
    Ok(())
}

/// Returns the likeliest classes and their probabilities, from log-probabilities.
fn likeliest(log_probs: &[f32]) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..log_probs.len()).collect();
    order.sort_by(|&a, &b| log_probs[b].total_cmp(&log_probs[a]));
    order.truncate(LIKELIEST);
    order.into_iter().map(|i| (i, log_probs[i].exp())).collect()
}

/// The names of a classifier's classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes(Vec<String>);

impl Classes {
    /// Reads the names in the file at `path`: one a line, or the JSON object that Keras publishes, `{"0": ["n01440764",
    /// "tench"], …}`.
    ///
    /// # Errors
    /// If the file cannot be read, is not such JSON, or is empty.
    pub fn open(path: &Path) -> Result<Self> {
        let refuse = |what: String| Error::file(path, what);
        let text = std::fs::read_to_string(path).map_err(|e| Error::unread(path, &e))?;
        let names: Vec<String> = if text.trim_start().starts_with('{') {
            let object: std::collections::BTreeMap<usize, (String, String)> =
                serde_json::from_str(&text).map_err(|e| {
                    refuse(format!(
                        "is not a list of classes as Keras writes it: {}",
                        words::json(&e)
                    ))
                    .because(e)
                })?;
            if !object.keys().copied().eq(0..object.len()) {
                return Err(refuse("does not number its classes from 0 on".into()));
            }
            object.into_values().map(|(_, name)| name).collect()
        } else {
            text.lines().map(|line| line.trim().to_string()).collect()
        };
        match names.is_empty() {
            true => Err(refuse(
                "is empty; it should have a class in each line".into(),
            )),
            false => Ok(Classes(names)),
        }
    }

    /// Returns the name of class `index`; `None` beyond the end of the list.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.0.get(index).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_say_nothing_are_refused() {
        let features = |numbers: &[f32]| Tensor::from_vec(numbers.to_vec(), &[2, 2]).unwrap();
        assert!(check(&features(&[0.0, 1.0, 1.0, 0.0])).is_ok());
        for broken in [[f32::NAN, 0.0, 1.0, 0.0], [0.0; 4], [0.5, 1.0, 0.5, 1.0]] {
            assert!(check(&features(&broken)).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn the_likeliest_come_first() {
        let log_probs: Vec<f32> = [0.1f32, 0.2, 0.05, 0.3, 0.15, 0.2].map(f32::ln).to_vec();
        let order: Vec<usize> = likeliest(&log_probs).iter().map(|c| c.0).collect();
        assert_eq!(order, [3, 1, 5, 4, 0]);
        assert_eq!(likeliest(&[0.0]), [(0, 1.0)]);
    }

    #[test]
    fn classes_are_read_from_either_kind_of_list() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("classes");
        let open = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Classes::open(&path)
        };
        assert_eq!(open("tench\ngoldfish\n").unwrap().name(1), Some("goldfish"));
        let json = r#"{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}"#;
        let classes = open(json).unwrap();
        assert_eq!((classes.name(0), classes.name(2)), (Some("tench"), None));
        for broken in ["", "{\"1\": [\"a\", \"b\"]}", "{}", "{\"0\": 3}"] {
            assert!(open(broken).is_err(), "{broken}");
        }
    }
}
