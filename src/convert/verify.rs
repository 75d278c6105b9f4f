//! Whether a conversion is right, as far as that can be seen without whoever made the weights.
//!
//! The layers one by one, to hold against another program's; the features of three photos, which spread as a trained
//! network's do; and where a classifier came along, what it takes the photos for: a cat is a cat only if every tensor
//! is in its place and the pixels are prepared as they were in training.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::Converted;
use crate::data::words;
use crate::data::{Image, Limits, SAMPLES, hex};
use crate::error::{Error, Result};
use crate::nn::Mode;
use crate::ops;
use crate::tensor::Tensor;

/// How many classes are told of a photo.
const LIKELIEST: usize = 5;

/// Two photos whose features differ by less than this share of their norm are the same to a network.
const SAME: f64 = 1e-4;

/// What was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Every tensor.
    pub layers: Vec<Layer>,
    /// Every photo.
    pub photos: Vec<Photo>,
    /// Variances that are zero: channels that were always the same in training, or too small for the precision.
    pub zero_variances: usize,
}

/// What there is to say of a tensor.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Layer {
    /// By torchvision.
    pub name: String,
    /// By torchvision.
    pub shape: Vec<usize>,
    /// Over all elements.
    pub mean: f64,
    /// The standard deviation, over all elements.
    pub std: f64,
    /// The first 16 hexadecimal digits of the SHA-256 of its `f32`, little-endian.
    pub hash: String,
}

/// What there is to say of a photo.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Photo {
    /// The file's name.
    pub image: &'static str,
    /// Of its features.
    pub features: Spread,
    /// The likeliest classes and their probabilities; none without a classifier.
    pub classes: Vec<(usize, f32)>,
}

/// How numbers spread.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: f32,
    /// The largest.
    pub max: f32,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub std: f64,
    /// The share that is zero.
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

/// Looks at every layer and lets the network see the sample photos.
///
/// # Errors
/// Where it says nothing of them: features that are no numbers, none above zero, or the same for all. `path` is the
/// file that the message speaks of.
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

/// Refuses features `[N, C]` that say nothing.
fn check(features: &Tensor) -> std::result::Result<(), String> {
    let all = features.data();
    if all.iter().any(|x| !x.is_finite()) {
        return Err(
            "the features of the sample photos are no numbers; the weights are not right".into(),
        );
    }
    if all.iter().all(|&x| x == 0.0) {
        return Err(
            "the features of the sample photos are all zero; the weights are not right".into(),
        );
    }
    let size = features.dims()[1].max(1);
    let rows: Vec<&[f32]> = all.chunks_exact(size).collect();
    let square = |x: f32| f64::from(x) * f64::from(x);
    let norm: f64 = rows[0].iter().map(|&x| square(x)).sum();
    let farthest = rows.iter().map(|row| {
        let apart = row.iter().zip(rows[0]).map(|(a, b)| square(a - b));
        apart.sum::<f64>()
    });
    if farthest.fold(0.0, f64::max) <= norm * SAME * SAME {
        return Err(
            "the features of all sample photos are the same; the weights are not right".into(),
        );
    }
    Ok(())
}

/// The likeliest classes out of log-probabilities, and their probabilities.
fn likeliest(log_probs: &[f32]) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..log_probs.len()).collect();
    order.sort_by(|&a, &b| log_probs[b].total_cmp(&log_probs[a]));
    order.truncate(LIKELIEST);
    order.into_iter().map(|i| (i, log_probs[i].exp())).collect()
}

/// What a classifier's classes are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes(Vec<String>);

impl Classes {
    /// The names in the file at `path`: a line each, or the JSON object that Keras publishes,
    /// `{"0": ["n01440764", "tench"], …}`.
    ///
    /// # Errors
    /// Where it cannot be read, is no such JSON, or is empty.
    pub fn open(path: &Path) -> Result<Self> {
        let refuse = |what: String| Error::file(path, what);
        let text = std::fs::read_to_string(path).map_err(|e| Error::unread(path, &e))?;
        let names: Vec<String> = if text.trim_start().starts_with('{') {
            let object: std::collections::BTreeMap<usize, (String, String)> =
                serde_json::from_str(&text).map_err(|e| {
                    refuse(format!(
                        "is no list of classes as Keras writes it: {}",
                        words::json(&e)
                    ))
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

    /// The name of class `index`, where the list goes so far.
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
