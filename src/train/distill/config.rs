//! `[distill]` of a configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize};

use crate::data::preprocess::MAX_SIZE;
use crate::error::{self, Error, Result};

/// Settings of the distillation stage, in which an encoder learns to predict the teachers' features and classes of each
/// view.
///
/// ```toml
/// [distill]
/// targets = ["lite2.safetensors", { file = "mobilenet.safetensors", weight = 0.5 }]
/// pictures = ["../photos/images"]
/// temperature = 2.0
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistillConfig {
    /// The target files, one per teacher; see [`super::file`] for their format.
    pub targets: Vec<TargetConfig>,
    /// Folders with pictures beyond those of the data set; captions are not needed. Pictures are found by file name.
    pub pictures: Vec<PathBuf>,
    /// Weight of the features' loss, the mean squared error of standardised features. At least 0.
    pub features: f32,
    /// Weight of the classes' loss, the KL divergence from the teacher's classes at [`DistillConfig::temperature`]. At
    /// least 0; a target file without classes has no such loss.
    pub classes: f32,
    /// Weight of the maps' loss, the mean squared error of the last maps at each place. At least 0; a target file without maps
    /// has no such loss.
    pub maps: f32,
    /// Temperature that both networks' logits are divided by; above 0.
    pub temperature: f32,
    /// Share of the pictures that are held out for validation with all their views, in `[0, 1)`.
    pub held_out: f64,
    /// Maximum number of held-out views in a validation.
    pub validation_views: usize,
    /// Side of the views in pixels; without it, that of the encoder's input. Convolutions and the
    /// mean over positions work on pictures of any size. A step on smaller views costs less, so a run may begin with many
    /// small views and end with fewer views of the encoder's own size ("progressive learning", Tan and Le 2021, arXiv
    /// 2104.00298).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Memory for decoded pictures, in MiB; pictures beyond that are decoded for each view.
    pub cache_mib: usize,
    /// Whether the model keeps the learnt classes as tags.
    pub tags: bool,
}

impl Default for DistillConfig {
    fn default() -> Self {
        DistillConfig {
            targets: Vec::new(),
            pictures: Vec::new(),
            features: 1.0,
            classes: 0.5,
            maps: 0.0,
            temperature: 2.0,
            held_out: 0.01,
            validation_views: 1000,
            size: None,
            cache_mib: 1024,
            tags: true,
        }
    }
}

/// A target file and the weights of its losses. In TOML the path alone, or a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetConfig {
    /// Path of the file.
    pub file: PathBuf,
    /// Weight of this teacher's loss, relative to the other teachers; above 0.
    pub weight: f32,
    /// Weight of its features' loss, if it differs from [`DistillConfig::features`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<f32>,
    /// Weight of its classes' loss, if it differs from [`DistillConfig::classes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<f32>,
    /// Weight of its maps' loss, if it differs from [`DistillConfig::maps`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maps: Option<f32>,
    /// Temperature, if it differs from [`DistillConfig::temperature`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Whether its classes become the model's tags. If no target sets this, the first one with class names provides
    /// them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tags: bool,
}

impl TargetConfig {
    /// Creates the configuration of the target file at `file`, with defaults otherwise.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        TargetConfig {
            file: file.into(),
            weight: 1.0,
            features: None,
            classes: None,
            maps: None,
            temperature: None,
            tags: false,
        }
    }
}

impl<'de> Deserialize<'de> for TargetConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            file: PathBuf,
            #[serde(default = "one")]
            weight: f32,
            features: Option<f32>,
            classes: Option<f32>,
            maps: Option<f32>,
            temperature: Option<f32>,
            #[serde(default)]
            tags: bool,
        }
        fn one() -> f32 {
            1.0
        }
        struct PathOrTable;
        impl<'de> Visitor<'de> for PathOrTable {
            type Value = TargetConfig;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("the path of a target file, or a table with `file`")
            }
            fn visit_str<E: de::Error>(self, path: &str) -> Result<TargetConfig, E> {
                Ok(TargetConfig::new(path))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TargetConfig, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(TargetConfig {
                    file: table.file,
                    weight: table.weight,
                    features: table.features,
                    classes: table.classes,
                    maps: table.maps,
                    temperature: table.temperature,
                    tags: table.tags,
                })
            }
        }
        deserializer.deserialize_any(PathOrTable)
    }
}

impl DistillConfig {
    /// Resolves relative paths against `folder`, which contains the configuration.
    pub fn relative_to(&mut self, folder: &Path) {
        for target in &mut self.targets {
            target.file = folder.join(&target.file);
        }
        for pictures in &mut self.pictures {
            *pictures = folder.join(&*pictures);
        }
    }

    /// Reduces each path to its file name. A model file should not tell where files lay on the machine.
    pub fn forget_folders(&mut self) {
        let files = self.targets.iter_mut().map(|target| &mut target.file);
        for path in files.chain(&mut self.pictures) {
            if let Some(name) = path.file_name() {
                *path = name.into();
            }
        }
    }

    /// Returns the loss weights and the temperature of a target.
    pub fn loss_of(&self, target: &TargetConfig) -> TargetLoss {
        TargetLoss {
            weight: target.weight,
            features: target.features.unwrap_or(self.features),
            classes: target.classes.unwrap_or(self.classes),
            maps: target.maps.unwrap_or(self.maps),
            temperature: target.temperature.unwrap_or(self.temperature),
        }
    }

    /// Refuses values out of range.
    ///
    /// # Errors
    /// One line that names the first such value.
    pub fn check(&self) -> Result<()> {
        let require = |fine: bool, what: &str| match fine {
            true => Ok(()),
            false => Err(Error::usage(format_args!("distill.{what}"))),
        };
        require(
            !self.targets.is_empty(),
            "targets: names no file; write one with tools/teacher_targets.py",
        )?;
        require(
            (0.0..1.0).contains(&self.held_out),
            "held_out: must be in [0, 1)",
        )?;
        require(
            self.validation_views > 0,
            "validation_views: must be at least 1; for no validation set held_out = 0",
        )?;
        require(
            self.size.is_none_or(|size| (1..=MAX_SIZE).contains(&size)),
            "size: must be 1 to 4096",
        )?;
        for target in &self.targets {
            let loss = self.loss_of(target);
            let weights = [loss.features, loss.classes, loss.maps];
            require(
                weights.iter().all(|w| w.is_finite() && *w >= 0.0),
                "features, distill.classes, distill.maps: must not be negative",
            )?;
            require(
                weights.iter().any(|w| *w > 0.0),
                "features, distill.classes, distill.maps: one of them must be above 0",
            )?;
            require(
                loss.weight.is_finite() && loss.weight > 0.0,
                "targets: a weight must be above 0; leave out what should not count",
            )?;
            require(
                loss.temperature.is_finite() && loss.temperature > 0.0,
                "temperature: must be above 0",
            )?;
        }
        let same = |a: &TargetConfig| self.targets.iter().filter(|b| b.file == a.file).count() > 1;
        if let Some(twice) = self.targets.iter().find(|target| same(target)) {
            let file = error::name(&twice.file);
            return Err(Error::usage(format_args!(
                "distill.targets: names {file} twice"
            )));
        }
        require(
            self.targets.iter().filter(|target| target.tags).count() <= 1,
            "targets: only one of them can give the tags",
        )
    }
}

/// Loss weights and temperature of a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetLoss {
    /// Weight of the teacher's whole loss.
    pub weight: f32,
    /// Weight of the features within it.
    pub features: f32,
    /// Weight of the classes within it.
    pub classes: f32,
    /// Weight of the maps within it.
    pub maps: f32,
    /// Temperature of the classes.
    pub temperature: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_tables_are_targets() {
        let text = r#"
            targets = ["a.safetensors", { file = "b.safetensors", weight = 0.5, classes = 0.0, tags = true }]
            pictures = ["photos"]
            temperature = 3.0
        "#;
        let mut config: DistillConfig = toml::from_str(text).unwrap();
        config.check().unwrap();
        let [a, b] = &config.targets[..] else {
            panic!()
        };
        assert_eq!(a, &TargetConfig::new("a.safetensors"));
        assert_eq!((b.weight, b.tags), (0.5, true));
        assert_eq!(config.loss_of(a).temperature, 3.0);
        assert_eq!(
            (config.loss_of(a).classes, config.loss_of(b).classes),
            (0.5, 0.0)
        );

        let again = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<DistillConfig>(&again).unwrap(), config);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<DistillConfig>(&json).unwrap(),
            config
        );

        config.relative_to(Path::new("there"));
        assert_eq!(config.targets[0].file, Path::new("there/a.safetensors"));
        assert_eq!(config.pictures[0], Path::new("there/photos"));
        config.forget_folders();
        assert_eq!(config.targets[0].file, Path::new("a.safetensors"));
        assert_eq!(config.pictures[0], Path::new("photos"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "names no file"),
            ("targets = [\"a\", \"a\"]", "names a twice"),
            ("targets = [\"a\"]\nfeatures = -1.0", "must not be negative"),
            ("targets = [\"a\"]\nmaps = -1.0", "must not be negative"),
            (
                "targets = [\"a\"]\nfeatures = 0.0\nclasses = 0.0",
                "one of them must be above 0",
            ),
            ("targets = [\"a\"]\ntemperature = 0.0", "temperature"),
            ("targets = [\"a\"]\nheld_out = 1.0", "held_out"),
            (
                "targets = [\"a\"]\nvalidation_views = 0",
                "validation_views",
            ),
            (
                "targets = [{ file = \"a\", weight = 0.0 }]",
                "weight must be above 0",
            ),
            (
                "targets = [{ file = \"a\", tags = true }, { file = \"b\", tags = true }]",
                "only one",
            ),
        ] {
            let config: DistillConfig = toml::from_str(text).unwrap();
            let message = config.check().unwrap_err().to_string();
            assert!(
                message.starts_with("distill.") && message.contains(part),
                "{message}"
            );
        }
        for (text, part) in [
            ("targets = [3]", "path of a target file"),
            ("targets = [{ weight = 1.0 }]", "file"),
            ("targets = [{ file = \"a\", wieght = 1.0 }]", "wieght"),
            ("target = []", "target"),
        ] {
            let message = toml::from_str::<DistillConfig>(text)
                .unwrap_err()
                .to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
