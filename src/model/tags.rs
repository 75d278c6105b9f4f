//! Tags: the classes that an encoder recognises, learnt from a teacher.
//!
//! In distillation the student, the encoder with features `f`, predicts the teacher's standardised features `y = H f + h`.
//! The teacher's last layer computes the logits `l = W y + b` from them. The composition of two linear layers is linear:
//!
//! ```text
//! l = W (H f + h) + b = (W H) f + (W h + b)
//! ```
//!
//! So the classes need one matrix `[K, F]` and one vector `[K]`, the tensors `tags.weight` and `tags.bias` of the file. The
//! classes' names are `tags` of its description. Training a decoder does not change them. Training the encoder further
//! makes them less accurate, because its features change and the tags do not.
//!
//! The logits of many classes are correlated, so a few directions have nearly all of their variance. With the `R`
//! directions `U` `[K, R]` in which the logits vary most, [`Tags::compress`] replaces the matrix by a product of two:
//!
//! ```text
//! l ~ mean(l) + U U^T (l - mean(l)) = U (U^T W) f + (b + (I - U U^T) W mean(f))
//! ```
//!
//! Then `tags.basis.weight [R, F]` is `U^T W`, and `tags.weight [K, R]` is `U`.

use serde::Serialize;

use super::principal;
use super::recognition::pooled;
use crate::error::{Error, Result};
use crate::nn::{Linear, Module, Role};
use crate::ops;
use crate::tensor::{Device, Tensor};

/// Tags with a lower probability are not reported.
pub const LEAST_PROBABILITY: f32 = 0.3;

/// Maximum number of classes in a file, far above that of any classifier.
const MAX_CLASSES: usize = 1 << 20;

/// The classes that an encoder recognises.
pub struct Tags {
    names: Vec<String>,
    /// The first of the two matrices of compressed tags, `[R, F]`.
    basis: Option<Tensor>,
    linear: Linear,
}

/// A class that was recognised.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Tag {
    /// The class's name.
    pub name: String,
    /// Its probability, 0 to 1.
    pub p: f32,
}

impl Tags {
    /// Classes whose logits `[K]` a linear layer computes from the encoder's features `[F]`.
    ///
    /// # Errors
    /// If the layer does not have one output for each name, or a name is empty or has control characters.
    pub fn new(names: Vec<String>, linear: &Linear) -> Result<Self> {
        Self::check(&names)?;
        if linear.weight.dims().first() != Some(&names.len()) || linear.bias.len() != names.len() {
            let got = linear.weight.shape();
            return Err(Error::shape(
                "tags",
                format_args!("[{}, F]", names.len()),
                got,
            ));
        }
        Ok(Tags {
            names,
            basis: None,
            linear: Linear {
                weight: linear.weight.detach().to(&Device::Cpu)?,
                bias: linear.bias.detach().to(&Device::Cpu)?,
            },
        })
    }

    /// Classes from the composition of two linear layers: `head` from the encoder's features to a teacher's, and
    /// `classifier` from those to the logits of the teacher's classes.
    ///
    /// # Errors
    /// If the sizes of the layers do not fit together, or there are not as many classes as names.
    pub fn compose(names: Vec<String>, head: &Linear, classifier: &Linear) -> Result<Self> {
        let to_cpu = |x: &Tensor| x.detach().to(&Device::Cpu);
        let (w, b) = (to_cpu(&classifier.weight)?, to_cpu(&classifier.bias)?);
        let (h, bias) = (to_cpu(&head.weight)?, to_cpu(&head.bias)?);
        let bias = ops::linear(&bias.reshape(&[1, bias.len()])?, &w, Some(&b))?;
        let composed = Linear {
            weight: ops::matmul(&w, &h)?,
            bias: bias.reshape(&[b.len()])?,
        };
        Tags::new(names, &composed)
    }

    /// Tags with zeros for weights, which are then loaded from a file; compressed if a `rank` is given.
    pub(super) fn blank(names: Vec<String>, features: usize, rank: Option<usize>) -> Self {
        let linear = Linear {
            weight: Tensor::zeros(&[names.len(), rank.unwrap_or(features)]),
            bias: Tensor::zeros(&[names.len()]),
        };
        Tags {
            names,
            basis: rank.map(|rank| Tensor::zeros(&[rank, features])),
            linear,
        }
    }

    /// Checks the number of classes, and that no name is empty or has characters that a terminal would interpret.
    pub(crate) fn check(names: &[String]) -> Result<()> {
        if !(1..=MAX_CLASSES).contains(&names.len()) {
            let what = format_args!("{} classes; there must be 1 to {MAX_CLASSES}", names.len());
            return Err(Error::value("tags", what));
        }
        match names
            .iter()
            .find(|name| name.is_empty() || name.contains(char::is_control))
        {
            Some(odd) => Err(Error::value(
                "tags",
                format_args!("{odd:?} is no name of a class"),
            )),
            None => Ok(()),
        }
    }

    /// The number of elements of the weight and the bias of uncompressed tags.
    pub(super) fn elements(names: usize, features: usize) -> u128 {
        names as u128 * (features as u128 + 1)
    }

    /// The classes' names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The layer that computes the logits, from the features or, for compressed tags, from their projections.
    pub fn linear(&self) -> &Linear {
        &self.linear
    }

    /// The number of directions of compressed tags; `None` if they are not compressed.
    pub fn rank(&self) -> Option<usize> {
        self.basis.as_ref().map(|basis| basis.dims()[0])
    }

    /// Replaces the matrix by a product of two of this `rank`, which keeps most of the variance of the logits of pictures
    /// with these `features` `[N, F]`. The [module](self) has the formula.
    ///
    /// # Errors
    /// If the rank is 0 or not below the number of classes and of features, or the tags are compressed already.
    pub fn compress(&mut self, features: &Tensor, rank: usize) -> Result<()> {
        let (classes, width) = (
            self.names.len(),
            features.dims().last().copied().unwrap_or(0),
        );
        if self.basis.is_some() || rank == 0 || rank >= classes.min(width) {
            let what = format_args!(
                "a rank of {rank}: {classes} classes of {width} features that are not compressed yet take 1 to {}",
                classes.min(width).saturating_sub(1)
            );
            return Err(Error::value("tags", what));
        }
        let logits = self.linear.forward(features)?;
        let (mean, directions) = principal::directions(&logits, rank)?;
        let basis = ops::matmul(&directions, &self.linear.weight)?;
        // The new bias: mean + U U^T (b - mean).
        let from_mean = Tensor::from_vec(
            self.linear
                .bias
                .data()
                .iter()
                .zip(&mean)
                .map(|(b, m)| b - m)
                .collect(),
            &[1, classes],
        )?;
        let within = ops::linear(&from_mean, &directions, None)?;
        let up = principal::transposed(&directions)?;
        let back = ops::linear(&within, &up, None)?;
        let bias = mean.iter().zip(back.data()).map(|(m, b)| m + b).collect();
        self.linear = Linear {
            weight: up,
            bias: Tensor::from_vec(bias, &[classes])?,
        };
        self.basis = Some(basis);
        Ok(())
    }

    /// The logits of pooled features `[N, F]`: `[N, K]`.
    ///
    /// # Errors
    /// If the features are those of another encoder.
    pub fn logits(&self, features: &Tensor) -> Result<Tensor> {
        match &self.basis {
            Some(basis) => self.linear.forward(&ops::linear(features, basis, None)?),
            None => self.linear.forward(features),
        }
    }

    /// Divides the weights, and so all logits, by `temperature`, which calibrates the classes' probabilities after training
    /// (Guo et al. 2017, arXiv 1706.04599).
    ///
    /// # Errors
    /// If the temperature is not a finite number above 0.
    pub fn calibrate(&mut self, temperature: f32) -> Result<()> {
        if !(temperature.is_finite() && temperature > 0.0) {
            let what = format_args!("temperature {temperature} is not a finite number above 0");
            return Err(Error::value("tags", what));
        }
        self.linear.weight = ops::scale(&self.linear.weight, 1.0 / temperature)?;
        self.linear.bias = ops::scale(&self.linear.bias, 1.0 / temperature)?;
        Ok(())
    }

    /// The probabilities of all classes, `[N, K]`, from the encoder's features: pooled `[N, F]`, or maps `[N, P, F]`, of
    /// which the means over the positions are taken.
    ///
    /// # Errors
    /// If the features are those of another encoder.
    pub fn probabilities(&self, features: &Tensor) -> Result<Tensor> {
        let log_p = ops::log_softmax(&self.logits(&pooled(features)?)?)?.to(&Device::Cpu)?;
        let p = log_p.data().iter().map(|x| x.exp()).collect();
        Tensor::from_vec(p, log_p.dims())
    }

    /// For each image the classes with a probability of at least [`LEAST_PROBABILITY`], the most likely first.
    ///
    /// # Errors
    /// The errors of [`Tags::probabilities`].
    pub fn of(&self, features: &Tensor) -> Result<Vec<Vec<Tag>>> {
        let p = self.probabilities(features)?;
        let rows = p.data().chunks(self.names.len().max(1));
        let tags = |row: &[f32]| {
            let named = row
                .iter()
                .zip(&self.names)
                .filter(|(p, _)| **p >= LEAST_PROBABILITY);
            let mut tags: Vec<Tag> = named
                .map(|(&p, name)| Tag {
                    name: name.clone(),
                    p,
                })
                .collect();
            tags.sort_by(|a, b| b.p.total_cmp(&a.p));
            tags
        };
        Ok(rows.map(tags).collect())
    }
}

impl Module for Tags {
    /// All tensors have the role of a statistic: they are saved with the model, but no optimizer updates them.
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        if let Some(basis) = &mut self.basis {
            f(&format!("{prefix}basis.weight"), Role::Statistic, basis);
        }
        f(
            &format!("{prefix}weight"),
            Role::Statistic,
            &mut self.linear.weight,
        );
        f(
            &format!("{prefix}bias"),
            Role::Statistic,
            &mut self.linear.bias,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::weights::NumberFormat;
    use crate::model::{Captioner, Kind, file};
    use crate::ops::testing::{assert_close, here, on_every_device, random};

    fn linear(out: usize, inputs: usize, seed: u64) -> Linear {
        Linear {
            weight: random(&[out, inputs], seed),
            bias: random(&[out], seed + 1),
        }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("class {i}")).collect()
    }

    #[test]
    fn two_layers_are_one() {
        on_every_device(|| {
            let (head, classifier) = (linear(7, 5, 1), linear(4, 7, 3));
            let mut tags = Tags::compose(names(4), &head, &classifier).unwrap();
            tags.to(&crate::ops::testing::device()).unwrap();
            let f = random(&[3, 5], 9);
            let both = classifier.forward(&head.forward(&f).unwrap()).unwrap();
            let one = tags.linear().forward(&f).unwrap();
            assert_close("logits", one.data(), both.data(), 1e-5);
        });
    }

    #[test]
    fn likely_classes_are_named_and_a_map_is_averaged() {
        on_every_device(|| {
            let weight = vec![4.0, 0.0, 0.0, 4.0, 0.0, 0.0];
            let layer = Linear {
                weight: Tensor::from_vec(weight, &[3, 2]).unwrap(),
                bias: Tensor::zeros(&[3]),
            };
            let mut tags = Tags::new(names(3), &layer).unwrap();
            tags.to(&crate::ops::testing::device()).unwrap();
            let f =
                |values: Vec<f32>, dims: &[usize]| here(Tensor::from_vec(values, dims).unwrap());
            let pooled = f(vec![0.0, 2.0, 1.0, 1.0, 0.0, 0.0], &[3, 2]);
            let found = tags.of(&pooled).unwrap();
            assert_eq!(found[0].len(), 1);
            assert_eq!(found[0][0].name, "class 1");
            assert!(found[0][0].p > 0.99);
            assert_eq!(found[1].len(), 2);
            // Three equal classes are each above the least probability.
            assert_eq!(found[2].len(), 3);
            let map = f(
                vec![0.0, 4.0, 0.0, 0.0, 2.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0],
                &[3, 2, 2],
            );
            let of_map = tags.of(&map).unwrap();
            for (a, b) in found.iter().flatten().zip(of_map.iter().flatten()) {
                assert_eq!(a.name, b.name);
                assert!((a.p - b.p).abs() < 1e-5);
            }
        });
    }

    #[test]
    fn calibration_flattens_and_changes_no_order() {
        let mut tags = Tags::new(names(4), &linear(4, 5, 1)).unwrap();
        let f = random(&[2, 5], 3);
        let before = tags.probabilities(&f).unwrap();
        tags.calibrate(2.0).unwrap();
        let after = tags.probabilities(&f).unwrap();
        let largest = |t: &Tensor| {
            let row = t.data()[..4].iter().enumerate();
            row.max_by(|a, b| a.1.total_cmp(b.1))
                .map(|(i, &p)| (i, p))
                .unwrap()
        };
        let (a, b) = (largest(&before), largest(&after));
        assert_eq!(a.0, b.0);
        assert!(b.1 < a.1);
        assert!(tags.calibrate(0.0).is_err());
    }

    #[test]
    fn two_small_matrices_say_nearly_what_one_large_one_says() {
        // The features vary in three directions, so three directions describe the logits completely.
        let (few, spread) = (random(&[50, 3], 5), random(&[8, 3], 6));
        let features = ops::linear(&few, &spread, Some(&random(&[8], 7))).unwrap();
        let mut tags = Tags::new(names(20), &linear(20, 8, 1)).unwrap();
        let before = tags.logits(&features).unwrap();
        assert!(tags.compress(&features, 0).is_err());
        assert!(tags.compress(&features, 8).is_err());
        tags.compress(&features, 3).unwrap();
        assert_eq!(tags.rank(), Some(3));
        assert_eq!(tags.linear().weight.dims(), [20, 3]);
        let after = tags.logits(&features).unwrap();
        assert_close("logits", after.data(), before.data(), 1e-3);
        assert!(tags.compress(&features, 2).is_err());

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        let mut captioner = Captioner::bundled().unwrap();
        let width = captioner.encoder.config().features();
        let mut tags = Tags::new(names(20), &linear(20, width, 1)).unwrap();
        tags.compress(&random(&[60, width], 9), 4).unwrap();
        let want = tags.logits(&random(&[2, width], 3)).unwrap();
        captioner.tags = Some(tags);
        captioner.save(&path, NumberFormat::F32).unwrap();
        let read = Captioner::load(&path).unwrap().tags.unwrap();
        let got = read.logits(&random(&[2, width], 3)).unwrap();
        assert_close("logits of the file", got.data(), want.data(), 1e-5);
    }

    #[test]
    fn a_file_keeps_them_with_the_encoder_and_with_the_captioner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        let mut captioner = Captioner::bundled().unwrap();
        let features = captioner.encoder.config().features();
        captioner.tags = Some(Tags::new(names(4), &linear(4, features, 1)).unwrap());
        captioner.save(&path, NumberFormat::F16).unwrap();
        let same = |tags: &Tags| {
            assert_eq!(tags.names(), names(4));
            let want = linear(4, features, 1).weight;
            assert_close("weight", tags.linear().weight.data(), want.data(), 1e-3);
        };
        let mut read = Captioner::load(&path).unwrap();
        same(read.tags.as_ref().unwrap());
        // No optimizer moves them.
        read.track(true);
        assert!(!read.tags.unwrap().linear().weight.is_tracked());
        same(&file::read_encoder(&path).unwrap().tags.unwrap());
        assert!(file::load_encoder(&path).is_ok());

        let mut description = captioner.description(Kind::Encoder);
        (description.decoder, description.vocabulary) = (None, None);
        description.recognition = None;
        let mut tensors = file::module_tensors("", &mut captioner.encoder);
        tensors.extend(file::module_tensors(
            "tags.",
            captioner.tags.as_mut().unwrap(),
        ));
        file::write(&path, &description, &tensors, NumberFormat::F32).unwrap();
        same(&file::read_encoder(&path).unwrap().tags.unwrap());
        tensors.pop();
        file::write(&path, &description, &tensors, NumberFormat::F32).unwrap();
        let message = file::read_encoder(&path).err().unwrap().to_string();
        assert!(message.contains("tags.bias"), "{message}");
    }

    #[test]
    fn mistakes_are_errors() {
        assert!(Tags::new(names(3), &linear(4, 5, 1)).is_err());
        assert!(Tags::compose(names(4), &linear(7, 5, 1), &linear(4, 6, 3)).is_err());
        let tags = Tags::new(names(4), &linear(4, 5, 1)).unwrap();
        assert!(tags.of(&random(&[2, 6], 1)).is_err());
        assert!(Tags::check(&[]).is_err());
        assert!(Tags::check(&["a\u{1b}[2J".into()]).is_err());
        assert!(Tags::check(&names(2)).is_ok());
    }
}
