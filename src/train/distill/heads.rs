//! The layers from the student's features to its teachers' targets, and the distillation losses.
//!
//! For a teacher with features `t` `[D]`, of mean `m` and standard deviation `d` over all views, and a last layer
//! `W t + b`:
//!
//! ```text
//! z = (t - m) / d                          target: the teacher's standardised features
//! y = H f + h                              prediction from the student's features f [F], by its own linear layer
//! features = 1/(N D) sum of (y - z)^2
//! classes  = T^2 mean over views of KL(softmax(l(z) / T) || softmax(l(y) / T))
//! l(y) = W (d y + m) + b = (W diag(d)) y + (W m + b)
//! ```
//!
//! The right-hand form of `l` is the one that is computed: a fixed linear layer on standardised features, for teacher
//! and student alike. If the target file holds `logits` or `probabilities`, they give the teacher's logits in place of
//! `l(z)`. Without a last layer the student's logits are `C f + c`, by another linear layer of its own.
//!
//! Features are means over a map, and do not say what is where. If the target file holds the teacher's maps, of mean 0 and
//! mean square 1, another linear layer predicts them at each place of the student's last map `f` `[h, w, F]`:
//!
//! ```text
//! y[i, j] = G f[i, j] + g
//! maps = 1/(N h w M) sum of (y - z)^2,  z: the teacher's maps [h, w, M], averaged over the student's places
//! ```
//!
//! The loss of a view is the sum of `weight (features_weight features + classes_weight classes + maps_weight maps)` over the
//! teachers that saw it; the loss of a batch is the mean over its views. After training the layers are dropped, except those that
//! give the model's [`Tags`](crate::model::Tags).

use super::config::TargetLoss;
use super::file::TargetFile;
use super::maps;
use crate::error::{Error, Result};
use crate::nn::{Init, Linear, Module, Role};
use crate::ops;
use crate::tensor::Tensor;

/// The student's layers for one teacher.
pub struct Head {
    /// `[F]` to `[D]`: predicts the teacher's standardised features.
    pub features: Option<Linear>,
    /// `[F]` to `[K]`: predicts the logits of a teacher without a known last layer.
    pub classes: Option<Linear>,
    /// `[F]` to `[M]`: predicts the teacher's map at a place.
    pub maps: Option<Linear>,
}

/// The student's layers for all teachers, in the order of the target files.
pub struct Heads(pub Vec<Head>);

impl Module for Heads {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        for (i, head) in self.0.iter_mut().enumerate() {
            if let Some(features) = &mut head.features {
                features.visit(&format!("{prefix}{i}.features."), f);
            }
            if let Some(classes) = &mut head.classes {
                classes.visit(&format!("{prefix}{i}.classes."), f);
            }
            if let Some(maps) = &mut head.maps {
                maps.visit(&format!("{prefix}{i}.maps."), f);
            }
        }
    }
}

/// Targets of one teacher for the views of a batch that it saw.
pub struct TeacherRows {
    /// Indices of these views in the batch.
    pub places: Vec<usize>,
    /// `[n, D]`, standardised.
    pub features: Option<Tensor>,
    /// `[n, K]`, if the file holds classes.
    pub logits: Option<Tensor>,
    /// `[n, H, W, M]`, if the file holds maps and they are learnt.
    pub maps: Option<Tensor>,
}

/// The loss of one teacher: its terms and their weights.
pub struct Objective {
    pub(super) name: String,
    pub(super) loss: TargetLoss,
    /// Size of the teacher's features, if the student learns them.
    pub(super) features: Option<usize>,
    /// The teacher's last layer, on standardised features.
    pub(super) classifier: Option<Linear>,
    /// Whether the file holds the teacher's classes.
    pub(super) has_logits: bool,
    /// Number of classes, if the student predicts them by a layer of its own.
    pub(super) own_classes: Option<usize>,
    /// Height, width and directions of the teacher's maps, if the student learns them.
    pub(super) maps: Option<[usize; 3]>,
}

/// The names of a teacher's losses, in the order of [`Part::losses`].
pub const LOSSES: [&str; 3] = ["features", "classes", "maps"];

/// Unweighted losses of one teacher in a batch; means over the views that it saw.
pub struct Part {
    /// Name of the teacher.
    pub teacher: String,
    /// Number of views of the batch that it saw.
    pub views: usize,
    /// For each of [`LOSSES`], a scalar: the mean squared error of the standardised features, the KL divergence from the
    /// teacher's classes, and the mean squared error of the maps.
    pub losses: [Option<Tensor>; LOSSES.len()],
}

/// The losses of a batch.
pub struct Losses {
    /// The loss that is minimised: a scalar.
    pub total: Tensor,
    /// Its parts for the log, untracked.
    pub parts: Vec<Part>,
}

impl Objective {
    pub(super) fn new(file: &TargetFile, loss: TargetLoss) -> Self {
        let classifier = file.classifier().zip(file.standard());
        let classifier = classifier.map(|(classifier, standard)| {
            let (k, d) = (classifier.bias.len(), standard.mean.len());
            let (mut weight, mut bias) = (classifier.weight.data().to_vec(), Vec::with_capacity(k));
            for (row, &b) in weight.chunks_mut(d).zip(classifier.bias.data()) {
                let mut sum = f64::from(b);
                for ((w, &mean), &deviation) in
                    row.iter_mut().zip(&standard.mean).zip(&standard.deviation)
                {
                    sum += f64::from(*w) * f64::from(mean);
                    *w *= deviation;
                }
                bias.push(sum as f32);
            }
            Linear {
                weight: Tensor::computed(weight, &[k, d]),
                bias: Tensor::computed(bias, &[k]),
            }
        });
        let learns_classes = loss.classes > 0.0;
        let needs_features = loss.features > 0.0 || (learns_classes && classifier.is_some());
        let own = learns_classes && file.has_class_rows() && classifier.is_none();
        Objective {
            name: file.header().teacher.clone(),
            loss,
            features: file.features().filter(|_| needs_features),
            has_logits: learns_classes && file.has_class_rows(),
            own_classes: file.classes().filter(|_| own),
            classifier,
            maps: file.maps().filter(|_| loss.maps > 0.0),
        }
    }

    pub(super) fn head(&self, inputs: usize, init: &mut Init) -> Head {
        Head {
            features: self.features.map(|size| Linear::new(init, inputs, size)),
            classes: self.own_classes.map(|size| Linear::new(init, inputs, size)),
            maps: self.maps.map(|[.., size]| Linear::new(init, inputs, size)),
        }
    }

    /// Computes the weighted and the unweighted losses of the views that this teacher saw, from the student's features of them
    /// `[n, F]` and, if the maps are learnt, its last maps `[n, h, w, F]`.
    pub(super) fn loss(
        &self,
        head: &Head,
        features: &Tensor,
        map: Option<&Tensor>,
        rows: &TeacherRows,
    ) -> Result<(Option<Tensor>, Part)> {
        let predicted = head
            .features
            .as_ref()
            .map(|head| head.forward(features))
            .transpose()?;
        let mut losses = [None, None, None];
        if let (Some(predicted), Some(wanted)) = (&predicted, &rows.features)
            && self.loss.features > 0.0
        {
            losses[0] = Some(ops::mse(predicted, wanted)?);
        }
        if self.loss.classes > 0.0
            && let Some((student, teacher)) =
                self.logits(head, features, predicted.as_ref(), rows)?
        {
            losses[1] = Some(ops::kl_div(&student, &teacher, self.loss.temperature)?);
        }
        if let (Some(head), Some(map), Some(wanted)) = (&head.maps, map, &rows.maps) {
            let predicted = head.forward(map)?;
            let &[_, height, width, _] = predicted.dims() else {
                return Err(Error::shape("maps", "[n, h, w, M]", predicted.shape()));
            };
            let wanted = maps::average(wanted, height, width)?;
            losses[2] = Some(ops::mse(&predicted, &wanted)?);
        }
        let mut total = None;
        let weights = [self.loss.features, self.loss.classes, self.loss.maps];
        for (loss, weight) in losses.iter().zip(weights) {
            if let Some(loss) = loss {
                total = add(total, &ops::scale(loss, weight * self.loss.weight)?)?;
            }
        }
        let part = Part {
            teacher: self.name.clone(),
            views: rows.places.len(),
            losses: losses.map(|loss| loss.map(|loss| loss.detach())),
        };
        Ok((total, part))
    }

    /// Returns the student's and the teacher's logits, both `[n, K]`, if the file has classes.
    fn logits(
        &self,
        head: &Head,
        features: &Tensor,
        predicted: Option<&Tensor>,
        rows: &TeacherRows,
    ) -> Result<Option<(Tensor, Tensor)>> {
        let student = match (&self.classifier, predicted, &head.classes) {
            (Some(classifier), Some(predicted), _) => classifier.forward(predicted)?,
            (None, _, Some(own)) => own.forward(features)?,
            _ => return Ok(None),
        };
        let teacher = match (&rows.logits, &self.classifier, &rows.features) {
            (Some(logits), ..) => logits.clone(),
            (None, Some(classifier), Some(wanted)) => classifier.forward(wanted)?,
            _ => return Ok(None),
        };
        Ok(Some((student, teacher)))
    }
}

/// Returns the views `places` of `x` `[N, ..]`: `[n, ..]`.
pub(super) fn views_of(x: &Tensor, places: &[usize]) -> Result<Tensor> {
    let dims = x.dims();
    if places.len() == dims[0] {
        return Ok(x.clone());
    }
    let rows = x.reshape(&[dims[0], dims[1..].iter().product()])?;
    ops::embedding(&rows, places)?.reshape(&[&[places.len()], &dims[1..]].concat())
}

/// Adds `more` to the sum, if there is one.
pub(super) fn add(sum: Option<Tensor>, more: &Tensor) -> Result<Option<Tensor>> {
    match sum {
        Some(sum) => ops::add(&sum, more).map(Some),
        None => Ok(Some(more.clone())),
    }
}
