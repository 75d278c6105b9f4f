//! The batch of a step: its views as pixels, and the teachers' targets.

use std::sync::{Arc, PoisonError};

use rand::seq::SliceRandom;

use super::Distillation;
use super::file::TargetFile;
use super::heads::TeacherRows;
use crate::cpu::{memory, threads};
use crate::data::preprocess;
use crate::error::Result;
use crate::tensor::Tensor;
use crate::train::batches::stream;
use crate::train::step::purpose;

/// The views of a step and their targets.
pub struct Batch {
    /// `[N, S, S, 3]`, normalised, on the CPU.
    pub images: Tensor,
    /// Indices of the views.
    pub views: Vec<usize>,
    /// For each teacher, the targets of the views that it saw.
    pub teachers: Vec<TeacherRows>,
}

/// Order of the views in an epoch of a run.
pub(super) struct Order {
    seed: u64,
    epoch: u64,
    views: Arc<Vec<u32>>,
}

impl Distillation {
    /// Returns the number of steps in an epoch, which is one pass over the views. A last incomplete batch is left out;
    /// the next epoch's order places its views elsewhere. An epoch has at least one step.
    pub fn steps_per_epoch(&self, batch: usize) -> u64 {
        (self.train.len() / batch.max(1)).max(1) as u64
    }

    /// Returns the batch of step `step` of a run: `batch` views in the order of the epoch, which is drawn from the seed
    /// and the epoch's number. Pixels and targets are in memory when this returns.
    ///
    /// # Errors
    /// Fails if a picture cannot be read.
    pub fn batch(&self, seed: u64, step: u64, batch: usize) -> Result<Batch> {
        let steps = self.steps_per_epoch(batch);
        let order = self.order(seed, step / steps);
        let first = (step % steps) as usize * batch;
        let views = order
            .iter()
            .skip(first)
            .take(batch)
            .map(|&view| view as usize);
        self.assemble(views.collect())
    }

    fn order(&self, seed: u64, epoch: u64) -> Arc<Vec<u32>> {
        let mut kept = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(order) = &*kept
            && (order.seed, order.epoch) == (seed, epoch)
        {
            return order.views.clone();
        }
        let mut views = self.train.clone();
        views.shuffle(&mut stream(seed, epoch, purpose::VIEWS));
        let views = Arc::new(views);
        *kept = Some(Order {
            seed,
            epoch,
            views: views.clone(),
        });
        views
    }

    /// Returns pixels and targets of these views.
    pub(super) fn assemble(&self, views: Vec<usize>) -> Result<Batch> {
        let shown = threads::map(views.len(), |i| {
            let view = self.views.view(&self.files, views[i])?;
            let picture = self.views.picture(&self.files, &self.numbers, views[i]);
            self.pictures
                .with_image(picture, |image| view.render(image, self.size))
        });
        let images = preprocess::batch(&shown.into_iter().collect::<Result<Vec<_>>>()?)?;
        let teachers = (0..self.files.len()).map(|file| self.teacher_rows(file, &views));
        let teachers = teachers.collect::<Result<_>>()?;
        // The rows are scattered over the file, and reading one loads whole pages. They would add up to the file.
        self.files.iter().for_each(TargetFile::release);
        Ok(Batch {
            images,
            views,
            teachers,
        })
    }

    fn teacher_rows(&self, file: usize, views: &[usize]) -> Result<TeacherRows> {
        let (target, objective) = (&self.files[file], &self.objectives[file]);
        let seen = views.iter().enumerate();
        let seen = seen.filter_map(|(place, &view)| Some((place, self.views.row(view, file)?)));
        let (places, rows): (Vec<usize>, Vec<usize>) = seen.unzip();
        type Read = fn(&TargetFile, usize, &mut [f32]) -> Result<()>;
        let gather = |size: Option<usize>, read: Read| -> Result<Option<Tensor>> {
            let Some(size) = size.filter(|_| !rows.is_empty()) else {
                return Ok(None);
            };
            // A buffer from the pool of freed tensors: each batch reuses the memory of an earlier one.
            let mut values = memory::unset(rows.len() * size);
            for (&row, out) in rows.iter().zip(values.chunks_mut(size)) {
                read(target, row, out)?;
            }
            Tensor::from_vec(values, &[rows.len(), size]).map(Some)
        };
        let features = gather(objective.features, TargetFile::read_features)?;
        let classes = target.classes().filter(|_| objective.has_logits);
        let logits = gather(classes, TargetFile::read_logits)?;
        let size = objective.maps.map(|dims| dims.iter().product());
        let maps = match (gather(size, TargetFile::read_map)?, objective.maps) {
            (Some(maps), Some([height, width, directions])) => {
                Some(maps.reshape(&[rows.len(), height, width, directions])?)
            }
            _ => None,
        };
        Ok(TeacherRows {
            places,
            features,
            logits,
            maps,
        })
    }
}
