//! Small pictures and synthetic teachers for the tests of the files and of the stage.

use std::path::{Path, PathBuf};

use super::*;

#[path = "../../../../tests/common/targets.rs"]
mod made;

mod files;
mod maps;
mod stage;

use made::{Targets, pictures as make_pictures, targets as make_targets};

/// Creates a folder with pictures; returns it and their paths.
fn folder(count: usize) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("pictures")).unwrap();
    let paths = make_pictures(&dir.path().join("pictures"), count);
    (dir, paths)
}

fn config(dir: &Path, files: &[(&str, &Targets)]) -> DistillConfig {
    let targets = files.iter().map(|(name, targets)| {
        let path = dir.join(name);
        targets.write(&path);
        TargetConfig::new(path)
    });
    DistillConfig {
        targets: targets.collect(),
        pictures: vec![dir.join("pictures")],
        held_out: 0.2,
        ..DistillConfig::default()
    }
}

fn recipe() -> Recipe {
    Recipe::new(Method::Squash, 8).unwrap()
}

fn open(config: &DistillConfig) -> Result<Distillation> {
    Distillation::open(config, Vec::new(), recipe())
}
