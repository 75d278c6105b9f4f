//! Distillation: an encoder learns to predict the features, classes and maps that larger networks compute of many views of
//! many pictures, without captions.
//!
//! A large network, the teacher, was trained on more pictures than a captioning data set holds. Its features and
//! classes of a picture, captioned or not, teach a small network more than captions do (Hinton, Vinyals and Dean 2015,
//! arXiv 1503.02531). Two measures help: many epochs, and the same view for both networks, including crop, mirroring
//! and brightness. The student then learns the teacher as a function and not as a table (Beyer et al. 2022, arXiv
//! 2106.05237).
//!
//! The teachers' outputs are computed once, by `tools/teacher_targets.py`, and written to target files, one per
//! teacher; see [`mod@file`]. A step is then
//!
//! ```text
//! views of the batch -> pixels -> student's encoder -> last map -> features -> heads -> losses
//! ```
//!
//! - [`config`]: the table `[distill]` of a configuration;
//! - [`mod@file`]: the target file, mapped into memory, its [`header`], and [`statistics`] over all of its rows;
//! - [`pictures`]: the picture files, found by name and checked by digest;
//! - [`views`]: the views of all files, joined where teachers saw the same ones;
//! - [`batch`]: the views of a step as pixels, with the teachers' targets;
//! - [`heads`]: the layers that predict the targets, and the losses;
//! - [`maps`]: a teacher's maps, averaged over the places of the student's;
//! - [`validation`]: the losses on held-out views;
//! - [`ahead`]: the next batch, assembled during the current step.
//!
//! [`Distillation`] joins these. Its only sources of randomness are the seed and the step's number, so a resumed run
//! sees the same batches as an uninterrupted one.

pub mod ahead;
pub mod batch;
pub mod config;
pub mod file;
pub mod header;
pub mod heads;
pub mod maps;
pub mod pictures;
pub mod statistics;
pub mod validation;
pub mod views;

use std::sync::Mutex;

pub use ahead::Ahead;
pub use batch::Batch;
pub use config::{DistillConfig, TargetConfig, TargetLoss};
pub use file::TargetFile;
pub use heads::{Heads, Losses, Part};
pub use pictures::{Picture, Pictures};
pub use validation::Validation;

use self::batch::Order;
use self::heads::{Objective, add, views_of};
use self::views::Views;
use super::batches::mix;
use super::provenance::{Item, Provenance};
use crate::data::dataset::name_hash;
use crate::data::{Method, Recipe};
use crate::error::{self, Error, Result};
use crate::model::Tags;
use crate::nn::{Init, Module};
use crate::ops;
use crate::tensor::{Device, Tensor};

/// Target files, pictures, and the views that training and validation go through.
pub struct Distillation {
    files: Vec<TargetFile>,
    /// For each file, the index of each of its pictures in `pictures`.
    numbers: Vec<Vec<u32>>,
    objectives: Vec<Objective>,
    pictures: Pictures,
    views: Views,
    /// Views for training.
    train: Vec<u32>,
    /// Views for validation.
    held_out: Vec<u32>,
    /// Side of the square views, in pixels.
    size: u32,
    /// Index of the file whose classes become tags.
    tags: Option<usize>,
    /// Order of the epoch that was requested last.
    order: Mutex<Option<Order>>,
}

impl Distillation {
    /// Opens the target files of `config` and finds their pictures among `pictures`, those of the data set, and in the
    /// folders of `config.pictures`. `recipe` is the student's; views are rendered at its size, unless `config.size` is set.
    ///
    /// # Errors
    /// One line about a configuration that makes no sense, a target file with a fault (see [`TargetFile::open`]), a
    /// picture that is missing or differs from the one that the teacher saw, or a recipe that shows other pixels.
    pub fn open(
        config: &DistillConfig,
        mut pictures: Vec<Picture>,
        recipe: Recipe,
    ) -> Result<Self> {
        config.check()?;
        if recipe.method() == Method::KerasNearest {
            return Err(Error::usage(format_args!(
                "distill: views are scaled by antialiased bilinear filtering, but the recipe {recipe} takes the nearest \
                 pixel; set image.method = \"squash\""
            )));
        }
        pictures.extend(pictures::in_folders(&config.pictures)?);
        let opened = config
            .targets
            .iter()
            .map(|target| TargetFile::open(&target.file));
        let files: Vec<TargetFile> = opened.collect::<Result<_>>()?;
        let objectives = objectives(config, &files)?;
        let (pictures, numbers) = Pictures::find(&files, pictures, config.cache_mib)?;
        let views = Views::join(&files, &numbers)?;
        let tags = tags_of(config, &files)?;
        let mut distillation = Distillation {
            files,
            numbers,
            objectives,
            pictures,
            views,
            train: Vec::new(),
            held_out: Vec::new(),
            size: config.size.unwrap_or(recipe.size()),
            tags,
            order: Mutex::new(None),
        };
        distillation.set_apart(config)?;
        Ok(distillation)
    }

    /// Splits the views into those for training and those for validation.
    fn set_apart(&mut self, config: &DistillConfig) -> Result<()> {
        let count = self.pictures.len();
        let mut held_out: Vec<bool> = (0..count).map(|i| self.pictures.get(i).held_out).collect();
        // The choice depends on the names alone, so every run holds out the same pictures. The hash of similar names differs
        // little in its highest bits, by which it is ranked; `mix` spreads it.
        let mut ranked: Vec<(u64, usize)> = (0..count)
            .filter(|&i| !held_out[i])
            .map(|i| (mix(name_hash(&self.pictures.get(i).name), 0, 0), i))
            .collect();
        ranked.sort_unstable();
        let most = ranked.len().saturating_sub(1);
        let share = (config.held_out * ranked.len() as f64).ceil() as usize;
        for &(_, i) in &ranked[..share.min(most)] {
            held_out[i] = true;
        }
        let all = 0..self.views.len() as u32;
        let (kept, train): (Vec<u32>, Vec<u32>) = all.partition(|&view| {
            held_out[self
                .views
                .picture(&self.files, &self.numbers, view as usize)]
        });
        if train.is_empty() {
            return Err(Error::usage(
                "distill: all views are held out; name target files with pictures of the train split, or folders in \
                 distill.pictures",
            ));
        }
        self.train = train;
        // Spread over all held-out views, because neighbours are views of one picture.
        let most = config.validation_views.min(kept.len());
        self.held_out = (0..most).map(|i| kept[i * kept.len() / most]).collect();
        Ok(())
    }

    /// Returns the number of views for training.
    pub fn len(&self) -> usize {
        self.train.len()
    }

    /// Returns whether there are no such views; always false after [`Distillation::open`].
    pub fn is_empty(&self) -> bool {
        self.train.is_empty()
    }

    /// Returns the number of pictures.
    pub fn picture_count(&self) -> usize {
        self.pictures.len()
    }

    /// Returns the number of views in a validation.
    pub fn validation_len(&self) -> usize {
        self.held_out.len()
    }

    /// Returns the target files, in the order of the configuration.
    pub fn files(&self) -> &[TargetFile] {
        &self.files
    }

    /// Returns lines for the log: the contents of each file, and which of them are learnt.
    pub fn summary(&self) -> Vec<String> {
        let line = |(file, objective): (&TargetFile, &Objective)| {
            let learnt = match (
                objective.features,
                objective.loss.classes > 0.0,
                file.classes(),
            ) {
                (Some(d), true, Some(k)) => format!("{d} features and {k} classes"),
                (Some(d), true, None) => format!("{d} features (the file holds no classes)"),
                (Some(d), false, _) => format!("{d} features"),
                (None, _, k) => format!("{} classes", k.unwrap_or(0)),
            };
            let maps = objective.maps.map_or_else(String::new, |[h, w, m]| {
                format!(" and maps of {h} x {w} places in {m} directions")
            });
            let (name, path) = (&objective.name, error::name(file.path()));
            let (views, pictures) = (file.len(), file.header().names.len());
            format!("{name} ({path}): {views} views of {pictures} pictures, {learnt}{maps}")
        };
        self.files.iter().zip(&self.objectives).map(line).collect()
    }

    /// Returns the digests of all target files ([`TargetFile::digest`]), by which a resumed run recognises changed
    /// files.
    pub fn digest(&self) -> String {
        let digests: Vec<&str> = self.files.iter().map(TargetFile::digest).collect();
        digests.join("-")
    }

    /// Returns the provenance of the run's data. Its picture files have been read and compared by digest.
    pub(in crate::train) fn provenance(&self) -> Provenance {
        let items = |held_out: bool| -> Vec<Item> {
            let all = (0..self.pictures.len()).map(|i| (i, self.pictures.get(i)));
            all.filter(|(_, picture)| picture.held_out == held_out)
                .map(|(i, picture)| Item {
                    name: &picture.name,
                    captions: &[],
                    contents: self.pictures.digest(i).as_bytes(),
                })
                .collect()
        };
        Provenance::of(&[("train", items(false)), ("dev", items(true))])
    }

    /// Creates new layers on features of size `inputs`. The caller visits them under a prefix of its choice, such as
    /// `distill.`.
    pub fn heads(&self, inputs: usize, init: &mut Init) -> Heads {
        Heads(
            self.objectives
                .iter()
                .map(|objective| objective.head(inputs, init))
                .collect(),
        )
    }

    /// Moves the teachers' last layers to `device`, which saves a transfer in every step.
    ///
    /// # Errors
    /// Fails if the device has no memory for them.
    pub fn to(&mut self, device: &Device) -> Result<()> {
        for objective in &mut self.objectives {
            if let Some(classifier) = &mut objective.classifier {
                classifier.to(device)?;
            }
        }
        Ok(())
    }

    /// Computes the losses of a batch. `map` `[N, h, w, F]` holds the student's last maps of its views.
    ///
    /// # Errors
    /// Fails if `map` or `heads` do not fit the batch.
    pub fn loss(&self, heads: &Heads, map: &Tensor, batch: &Batch) -> Result<Losses> {
        let n = batch.views.len();
        let fits = matches!(*map.dims(), [images, _, _, _] if images == n);
        if !fits || heads.0.len() != self.objectives.len() {
            return Err(Error::shape(
                "distillation",
                format_args!("maps [{n}, h, w, F] and {} heads", self.objectives.len()),
                format_args!("{} and {}", map.shape(), heads.0.len()),
            ));
        }
        let features = ops::global_avg_pool(map)?;
        let (mut total, mut parts) = (None, Vec::new());
        for ((objective, head), rows) in self.objectives.iter().zip(&heads.0).zip(&batch.teachers) {
            let seen = rows.places.len();
            if seen == 0 {
                continue;
            }
            let features = views_of(&features, &rows.places)?;
            let learnt = objective.maps.map(|_| views_of(map, &rows.places));
            let (loss, part) =
                objective.loss(head, &features, learnt.transpose()?.as_ref(), rows)?;
            parts.push(part);
            if let Some(loss) = loss {
                total = add(total, &ops::scale(&loss, seen as f32 / n as f32)?)?;
            }
        }
        let total = total.ok_or_else(|| Error::value("distillation", "the batch has no views"))?;
        Ok(Losses { total, parts })
    }

    /// Returns the tags of the model: the classes of one teacher, as `heads` have learnt them. `None` if no target file
    /// names its classes, or its classes are not learnt.
    ///
    /// # Errors
    /// Fails if the heads do not fit.
    pub fn tags(&self, heads: &Heads) -> Result<Option<Tags>> {
        let Some(at) = self.tags else {
            return Ok(None);
        };
        let (Some(head), objective) = (heads.0.get(at), &self.objectives[at]) else {
            return Ok(None);
        };
        let Some(names) = self.files[at].header().class_names.clone() else {
            return Ok(None);
        };
        match (&head.classes, &head.features, &objective.classifier) {
            (Some(own), ..) => Tags::new(names, own).map(Some),
            (None, Some(features), Some(classifier)) => {
                Tags::compose(names, features, classifier).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Creates the objective of each file.
fn objectives(config: &DistillConfig, files: &[TargetFile]) -> Result<Vec<Objective>> {
    let pairs = config.targets.iter().zip(files);
    pairs
        .map(|(target, file)| {
            if target.classes.is_some_and(|w| w > 0.0) && file.classes().is_none() {
                let what = "holds no classes, but distill.targets gives their loss a weight; leave `classes` out";
                return Err(Error::file(file.path(), what));
            }
            if target.maps.is_some_and(|w| w > 0.0) && file.maps().is_none() {
                let what = "holds no maps, but distill.targets gives their loss a weight; write them with \
                            tools/teacher_targets.py --maps, or leave `maps` out";
                return Err(Error::file(file.path(), what));
            }
            let objective = Objective::new(file, config.loss_of(target));
            let learns_features = objective.loss.features > 0.0 && objective.features.is_some();
            let learns_classes = objective.loss.classes > 0.0 && file.classes().is_some();
            if !learns_features && !learns_classes && objective.maps.is_none() {
                let what = "holds nothing that has a weight: set distill.features, distill.classes or distill.maps above 0";
                return Err(Error::file(file.path(), what));
            }
            Ok(objective)
        })
        .collect()
}

/// Returns the file whose classes become tags: the one that the configuration selects, otherwise the first with class
/// names.
fn tags_of(config: &DistillConfig, files: &[TargetFile]) -> Result<Option<usize>> {
    let named = |file: &TargetFile| file.header().class_names.is_some();
    match config.targets.iter().position(|target| target.tags) {
        _ if !config.tags => Ok(None),
        Some(at) if !named(&files[at]) => {
            let what = "has no `class_names`, but distill.targets asks for tags of it";
            Err(Error::file(files[at].path(), what))
        }
        Some(at) => Ok(Some(at)),
        None => Ok(files.iter().position(named)),
    }
}

#[cfg(test)]
mod tests;
