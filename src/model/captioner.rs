use std::collections::BTreeMap;
use std::path::Path;

use super::file::{self, Description, FORMAT, Kind, Origin};
use super::{Decoder, DenseNet, Recognition, Tag, Tags};
use crate::data::weights::{Precision, WeightFile};
use crate::data::{Recipe, Vocabulary};
use crate::error::{Error, Result};
use crate::nn::{Init, Mode, Module, Role};
use crate::tensor::Tensor;

/// Encoder, decoder, and what belongs to them.
pub struct Captioner {
    /// Image to features.
    pub encoder: DenseNet,
    /// Features to words.
    pub decoder: Decoder,
    /// Words and their ids.
    pub vocabulary: Vocabulary,
    /// Image file to the encoder's input.
    pub recipe: Recipe,
    /// The classes that the encoder recognises, where it does.
    pub tags: Option<Tags>,
    /// What the features say of a picture, and how far captions can be trusted, where `glimpse calibrate` has learnt it.
    pub recognition: Option<Recognition>,
    /// Where the encoder's weights come from, where they were converted.
    pub origin: Option<Origin>,
    /// How the weights came about.
    pub training: BTreeMap<String, serde_json::Value>,
    /// Scores.
    pub metrics: BTreeMap<String, serde_json::Value>,
}

const BUNDLED: &[u8] = include_bytes!("../../weights/glimpse.safetensors");

impl Captioner {
    /// The model that is part of the program.
    ///
    /// # Errors
    /// Never with the file this was built from; the same as [`Captioner::load`] otherwise.
    pub fn bundled() -> Result<Self> {
        Self::read(&WeightFile::embedded("the bundled model", BUNDLED)?)
    }

    /// The model in the file at `path`.
    ///
    /// # Errors
    /// Where it is no captioner, or its tensors do not fit what it says of itself.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::read(&WeightFile::open(path)?)
    }

    /// The model in an opened file.
    ///
    /// # Errors
    /// As [`Captioner::load`].
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

    /// What a file with this model says of itself.
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
    /// Where the file cannot be written; what was there before is then untouched.
    pub fn save(&mut self, path: &Path, precision: Precision) -> Result<()> {
        let description = self.description(Kind::Captioner);
        file::write(
            path,
            &description,
            &file::module_tensors("", self),
            precision,
        )
    }

    /// Rows and columns of the map over which the decoder attends, for images that the recipe has prepared; `None` for a
    /// decoder that does not attend.
    pub fn attention_grid(&self) -> Option<[usize; 2]> {
        let side = self.encoder.config().map_side(self.recipe.size() as usize);
        self.decoder.takes_map().then_some([side, side])
    }

    /// Preprocessed images `[N, H, W, 3]` as the decoder wants them: `[N, C]`, the average over the encoder's last map,
    /// or `[N, P, C]` where the decoder [takes the map](Decoder::takes_map), whose `P` places are in order row by row.
    ///
    /// # Errors
    /// Those of [`DenseNet::spatial`].
    pub fn encode(&self, images: &Tensor) -> Result<Tensor> {
        self.encode_in(images, Mode::Inference)
    }

    /// [`Captioner::encode`] in training, or in inference.
    ///
    /// # Errors
    /// Those of [`DenseNet::spatial`].
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
    /// What the encoder recognises in images with these features, of [`Captioner::encode`]; nothing where the model has
    /// no classes. A list for each image.
    ///
    /// # Errors
    /// Where the features are another encoder's.
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
