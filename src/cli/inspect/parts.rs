//! Parts of a report that only some files have.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::data::weights::{Entry, WeightFile};
use crate::train::distill::header::Header;
use crate::train::provenance::Provenance;

/// Whether a file matches its checksums. A file whose header does not match cannot be read at all.
#[derive(Serialize)]
pub(super) struct Checksums {
    pub(super) hold: bool,
    /// The tensors that do not match.
    pub(super) damaged: Vec<String>,
}

impl Checksums {
    /// Returns `None` for a file without checksums.
    pub(super) fn of(file: &WeightFile) -> Option<Self> {
        let damaged = file.damaged();
        file.has_checksums().then_some(Checksums {
            hold: damaged.is_empty(),
            damaged,
        })
    }
}

/// The data on which a checkpoint's run is trained.
#[derive(Serialize)]
pub(super) struct Data {
    digest: String,
    /// Number of pictures of each split.
    pictures: BTreeMap<String, usize>,
}

impl Data {
    pub(super) fn line(&self) -> String {
        let pictures = self.pictures.iter();
        let pictures: Vec<String> = pictures
            .map(|(split, n)| format!("{n} {split} pictures"))
            .collect();
        format!("{}, SHA-256 {}", pictures.join(", "), self.digest)
    }

    pub(super) fn of(data: Provenance) -> Self {
        let splits = data.splits.into_iter();
        Data {
            digest: data.digest,
            pictures: splits.map(|s| (s.split, s.pictures)).collect(),
        }
    }
}

/// The contents of a target file.
#[derive(Serialize)]
pub(super) struct Targets {
    teacher: String,
    source: String,
    licence: String,
    pictures: usize,
    views: usize,
    /// Number of elements of the teacher's features.
    features: Option<usize>,
    classes: Option<usize>,
}

impl Targets {
    pub(super) fn of(header: Header, entries: &[Entry]) -> Self {
        let side = |name: &str, at: usize| {
            let entry = entries.iter().find(|e| e.name == name)?;
            entry.shape.get(at).copied()
        };
        let classes = ["logits", "probabilities"]
            .iter()
            .find_map(|name| side(name, 1));
        Targets {
            teacher: header.teacher,
            source: header.source,
            licence: header.licence,
            pictures: header.names.len(),
            views: side("picture", 0).unwrap_or(0),
            features: side("features", 1),
            classes: classes.or_else(|| side("classifier.bias", 0)),
        }
    }

    pub(super) fn source(&self) -> String {
        format!("{}, {}", self.source, self.licence)
    }

    pub(super) fn line(&self) -> String {
        let mut line = format!(
            "{}: {} views of {} pictures",
            self.teacher, self.views, self.pictures
        );
        for (count, what) in [(self.features, "features"), (self.classes, "classes")] {
            if let Some(count) = count {
                line += &format!(", {count} {what}");
            }
        }
        line
    }
}
