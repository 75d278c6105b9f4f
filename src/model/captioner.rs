//! The captioner: everything that turns pictures into captions, as one file holds it.

use std::collections::BTreeMap;
use std::path::Path;

use super::file::{self, Description, FORMAT, Kind, Origin};
use super::{Decoder, DenseNet, Recognition, Tag, Tags};
use crate::data::weights::{NumberFormat, WeightFile};
use crate::data::{Recipe, Vocabulary};
use crate::error::{Error, Result};
use crate::nn::{Init, Mode, Module, Role};
use crate::tensor::Tensor;

/// A captioner: encoder, decoder, vocabulary, preprocessing and provenance.
pub struct Captioner {
    /// Computes features of an image.
    pub encoder: DenseNet,
    /// Generates words from features.
    pub decoder: Decoder,
    /// Words and their ids.
    pub vocabulary: Vocabulary,
    /// How an image becomes the encoder's input.
    pub recipe: Recipe,
    /// The classes that the encoder recognises, if it has any.
    pub tags: Option<Tags>,
    /// Detectors of words and the confidence of captions, if `glimpse calibrate` has learnt them.
    pub recognition: Option<Recognition>,
    /// The source of the encoder's weights, if they were converted.
    pub origin: Option<Origin>,
    /// How the model was trained.
    pub training: BTreeMap<String, serde_json::Value>,
    /// Scores of the model.
    pub metrics: BTreeMap<String, serde_json::Value>,
}

static BUNDLED: &[u8] = include_bytes!("../../weights/glimpse.safetensors");

impl Captioner {
    /// The model that is embedded in the program.
    ///
    /// # Errors
    /// None, if the program was built with an intact model; otherwise those of [`Captioner::load`].
    pub fn bundled() -> Result<Self> {
        Self::read(&WeightFile::embedded("the bundled model", BUNDLED)?)
    }

    /// Returns the bytes of the embedded model's file, which is `weights/glimpse.safetensors` in the source.
    pub fn bundled_file() -> &'static [u8] {
        BUNDLED
    }

    /// Loads the model in the file at `path`.
    ///
    /// # Errors
    /// If the file is not a captioner, or its tensors do not fit its description.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::read(&WeightFile::open(path)?)
    }

    /// Reads the model in an opened file.
    ///
    /// # Errors
    /// The errors of [`Captioner::load`].
    pub fn read(weights: &WeightFile) -> Result<Self> {
        let refuse = |what: &str| Err(Error::file(weights.path(), what));
        let Some(description) = Description::read(weights)? else {
            return refuse(
                "holds weights but no captioner; train one on it with `glimpse train --encoder`",
            );
        };
        let (Some(config), Some(vocabulary)) = (&description.decoder, &description.vocabulary)
        else {
            return refuse(
                "holds an encoder but no decoder; train one on it with `glimpse train --encoder`",
            );
        };
        if config.vocabulary != vocabulary.len()
            || config.features != description.encoder.features()
        {
            return refuse("its encoder, decoder and vocabulary do not fit together");
        }
        let elements = description.encoder.elements() + config.elements();
        file::check_size(weights, elements + description.more_elements())?;
        let mut init = Init::blank();
        let mut captioner = Captioner {
            encoder: DenseNet::new(&description.encoder, &mut init)?,
            decoder: Decoder::new(config, &mut init)?,
            vocabulary: vocabulary.clone(),
            recipe: description.recipe,
            tags: None,
            recognition: None,
            origin: description.origin.clone(),
            training: description.training.clone(),
            metrics: description.metrics.clone(),
        };
        file::load_module(weights, "", &mut captioner)?;
        captioner.tags = file::load_tags(weights, &description)?;
        captioner.recognition = file::load_recognition(weights, &description)?;
        Ok(captioner)
    }

    /// The description of a file of this kind with this model.
    pub fn description(&self, kind: Kind) -> Description {
        Description {
            format: FORMAT,
            kind,
            encoder: self.encoder.config().clone(),
            decoder: Some(self.decoder.config().clone()),
            vocabulary: Some(self.vocabulary.clone()),
            recipe: self.recipe,
            tags: self.tags.as_ref().map(|tags| tags.names().to_vec()),
            recognition: self.recognition.as_ref().map(|r| r.config().clone()),
            origin: self.origin.clone(),
            training: self.training.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// Writes the model to `path`, atomically.
    ///
    /// # Errors
    /// If the file cannot be written; a file that was there before stays as it was.
    pub fn save(&mut self, path: &Path, format: NumberFormat) -> Result<()> {
        let description = self.description(Kind::Captioner);
        file::write(path, &description, &file::module_tensors("", self), format)
    }

    /// Rows and columns of the feature map over which the decoder attends, for images prepared by the recipe; `None` for a
    /// decoder without attention.
    pub fn attention_grid(&self) -> Option<[usize; 2]> {
        let side = self.encoder.config().map_side(self.recipe.size() as usize);
        self.decoder.takes_map().then_some([side, side])
    }

    /// The decoder's input for preprocessed images `[N, H, W, 3]`: `[N, C]`, the average over the encoder's last map, or
    /// `[N, P, C]`, its `P` positions row by row, if the decoder [takes the map](Decoder::takes_map).
    ///
    /// # Errors
    /// The errors of [`DenseNet::spatial`].
    pub fn encode(&self, images: &Tensor) -> Result<Tensor> {
        self.encode_in(images, Mode::Inference)
    }

    /// Computes [`Captioner::encode`] in this mode. In training, batch norms use the statistics of the mini-batch, unless
    /// [`Tuning`](super::Tuning) says otherwise.
    ///
    /// # Errors
    /// The errors of [`DenseNet::spatial`].
    pub fn encode_in(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        if !self.decoder.takes_map() {
            return self.encoder.features(images, mode);
        }
        let map = self.encoder.spatial(images, mode)?;
        let &[n, rows, columns, channels] = map.dims() else {
            return Err(Error::shape("encode", "a map [N, H, W, C]", map.shape()));
        };
        map.reshape(&[n, rows * columns, channels])
    }
}

impl Captioner {
    /// The classes recognised in each image, from the features that [`Captioner::encode`] returns; empty lists if the model
    /// has no classes.
    ///
    /// # Errors
    /// If the features are those of another encoder.
    pub fn tags(&self, features: &Tensor) -> Result<Vec<Vec<Tag>>> {
        let images = features.dims().first().copied().unwrap_or(0);
        match &self.tags {
            Some(tags) => tags.of(features),
            None => Ok(vec![Vec::new(); images]),
        }
    }
}

impl Module for Captioner {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.encoder.visit(&format!("{prefix}encoder."), f);
        self.decoder.visit(&format!("{prefix}decoder."), f);
        if let Some(tags) = &mut self.tags {
            tags.visit(&format!("{prefix}tags."), f);
        }
        if let Some(recognition) = &mut self.recognition {
            recognition.visit(&format!("{prefix}recognition."), f);
        }
    }
}
