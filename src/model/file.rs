//! The self-describing model file: weights, architecture, vocabulary, preprocessing, provenance and scores.
//!
//! The metadata entry `glimpse` of a safetensors file holds a [`Description`] as JSON. A file without one is read as a bare
//! DenseNet with torchvision's tensor names, and its sizes are inferred from the shapes of its tensors.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DecoderConfig, DenseNet, DenseNetConfig, Recognition, RecognitionConfig, Tags};
use crate::cpu::available::{self, Bytes};
use crate::data::weights::{NumberFormat, WeightFile, write_weights};
use crate::data::words;
use crate::data::{Recipe, Vocabulary};
use crate::error::{Error, Result};
use crate::nn::{Init, Module};
use crate::tensor::Tensor;

/// The metadata entry that holds the description.
pub const METADATA_KEY: &str = "glimpse";

/// The version of the format that this program writes, and the newest that it reads. Since version 2 the tensors of a file
/// with only an encoder have torchvision's names, without a prefix.
pub const FORMAT: u32 = 2;

/// The kind of a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An encoder alone.
    Encoder,
    /// Encoder, decoder and vocabulary.
    Captioner,
    /// A captioner during its training, with the optimizer's state.
    Checkpoint,
}

/// The description of a model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The version of the format.
    pub format: u32,
    /// The kind of the file.
    pub kind: Kind,
    /// The encoder's sizes.
    pub encoder: DenseNetConfig,
    /// The decoder's sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder: Option<DecoderConfig>,
    /// The words in the order of their ids, and the rules that split captions into words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<Vocabulary>,
    /// How an image becomes the encoder's input.
    pub recipe: Recipe,
    /// The names of the classes that the encoder recognises, if it has any. The tensors `tags.weight` and `tags.bias` are
    /// the linear layer that computes their logits from the features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// The results of `glimpse calibrate` for a captioner, if it was calibrated; the tensors `recognition.*` belong to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recognition: Option<RecognitionConfig>,
    /// The source of the encoder's weights, if they were converted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// How the model was trained: data, configuration, steps, program version.
    #[serde(default)]
    pub training: BTreeMap<String, Value>,
    /// Scores, each with the split that it was measured on.
    #[serde(default)]
    pub metrics: BTreeMap<String, Value>,
}

/// The source of an encoder's weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The name of the file that they were converted from.
    pub file: String,
    /// The SHA-256 of that file.
    pub sha256: String,
    /// The format of that file.
    pub format: String,
    /// The framework whose layout and tensor names it had: `PyTorch` or `Keras`.
    pub framework: String,
    /// The address that it was downloaded from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Description {
    /// Reads the description of a file; `None` if it has none.
    ///
    /// # Errors
    /// If the description is damaged, of a newer format, or has sizes that are not allowed.
    pub fn read(file: &WeightFile) -> Result<Option<Self>> {
        let Some(text) = file.metadata(METADATA_KEY)? else {
            return Ok(None);
        };
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let broken = |e: serde_json::Error| {
            Error::file(
                file.path(),
                format_args!("its description makes no sense: {}", words::json(&e)),
            )
            .because(e)
        };
        let Version { format } = serde_json::from_str(&text).map_err(broken)?;
        if format > FORMAT {
            return Err(Error::file(
                file.path(),
                format_args!(
                    "is of format {format}, this program reads up to {FORMAT}; get a newer Glimpse"
                ),
            ));
        }
        let description: Description = serde_json::from_str(&text).map_err(broken)?;
        if description.kind == Kind::Encoder && format < 2 {
            return Err(Error::file(
                file.path(),
                format_args!(
                    "is an encoder of format {format}, this program reads {FORMAT}; fetch or convert it again"
                ),
            ));
        }
        let check = || {
            description.encoder.check()?;
            if let Some(names) = &description.tags {
                Tags::check(names)?;
            }
            if let Some(recognition) = &description.recognition {
                let vocabulary = description.vocabulary.as_ref().map_or(0, Vocabulary::len);
                recognition.check(vocabulary, description.encoder.features())?;
            }
            description
                .decoder
                .as_ref()
                .map_or(Ok(()), DecoderConfig::check)
        };
        check().map_err(|e| Error::file(file.path(), e))?;
        Ok(Some(description))
    }

    /// Maximum number of elements of the tensors other than those of encoder and decoder.
    pub(super) fn more_elements(&self) -> u128 {
        let names = self.tags.as_ref().map_or(0, Vec::len);
        let features = self.encoder.features();
        let recognition = self.recognition.as_ref();
        Tags::elements(names, features) + recognition.map_or(0, |r| r.elements(features))
    }
}

/// Loads the classes that the encoder in `file` recognises; `description` is that of the file.
pub(super) fn load_tags(file: &WeightFile, description: &Description) -> Result<Option<Tags>> {
    let Some(names) = &description.tags else {
        return Ok(None);
    };
    let features = description.encoder.features();
    let entries = file.entries()?;
    let basis = entries
        .iter()
        .find(|entry| entry.name == "tags.basis.weight");
    let rank = basis.and_then(|entry| entry.shape.first().copied());
    if rank.is_some_and(|rank| rank > features) {
        return Err(Error::file(
            file.path(),
            "tensor `tags.basis.weight` has more rows than columns",
        ));
    }
    let mut tags = Tags::blank(names.clone(), features, rank);
    load_module(file, "tags.", &mut tags)?;
    Ok(Some(tags))
}

/// Loads the recognition of the captioner in `file`; `description` is that of the file.
pub(super) fn load_recognition(
    file: &WeightFile,
    description: &Description,
) -> Result<Option<Recognition>> {
    let Some(config) = &description.recognition else {
        return Ok(None);
    };
    let mut recognition = Recognition::blank(config.clone(), description.encoder.features());
    load_module(file, "recognition.", &mut recognition)?;
    Ok(Some(recognition))
}

/// Checks, before memory is allocated, that a file holds about as many numbers as its description claims, and that they fit
/// memory. If only some tensors are missing, [`load_module`] reports them.
///
/// # Errors
/// If the file has less than a quarter of `elements` numbers, or there is too little memory.
pub(crate) fn check_size(file: &WeightFile, elements: u128) -> Result<()> {
    let held: u128 = file
        .entries()?
        .iter()
        .map(|e| e.shape.iter().map(|&d| d as u128).product::<u128>())
        .sum();
    if held.saturating_mul(4) < elements {
        return Err(Error::file(
            file.path(),
            format_args!(
                "holds {held} numbers, its architecture needs {elements}; tensors are missing or of \
                 another network"
            ),
        ));
    }
    // 4 bytes a number, once in the network and once as read from the file.
    let bytes = 2 * 4 * elements;
    available::check(bytes).map_err(|available| {
        let bytes = Bytes(bytes);
        Error::file(
            file.path(),
            format_args!("takes {bytes} of memory to load, and {available}; take a smaller model"),
        )
    })
}

/// Fills `module` with the tensors of `file` whose names begin with `prefix`.
///
/// # Errors
/// If tensors are missing, have other shapes or hold values that are not finite; the message names the first and how
/// many more there are.
pub fn load_module(file: &WeightFile, prefix: &str, module: &mut impl Module) -> Result<()> {
    let mut names = Vec::new();
    module.visit(prefix, &mut |name, _, _| names.push(name.to_string()));
    let mut found = file.load(&names)?.into_iter();
    let mut wrong = Vec::new();
    module.visit(
        prefix,
        &mut |name, _, tensor| match found.next().flatten() {
            None => wrong.push(format!("tensor `{name}` {} is missing", tensor.shape())),
            Some(found) if found.tensor.dims() != tensor.dims() => wrong.push(format!(
                "tensor `{name}` is {}, this architecture needs {}",
                found.tensor.shape(),
                tensor.shape()
            )),
            Some(found) if !found.is_finite => {
                wrong.push(format!(
                    "tensor `{name}` holds values that are not finite numbers"
                ));
            }
            Some(found) => *tensor = found.tensor,
        },
    );
    match wrong.as_slice() {
        [] => Ok(()),
        [only] => Err(Error::file(file.path(), only)),
        [first, rest @ ..] => Err(Error::file(
            file.path(),
            format_args!("{first} (and {} more like it)", rest.len()),
        )),
    }
}

/// Every tensor of `module`, with names that begin with `prefix`.
pub fn module_tensors(prefix: &str, module: &mut impl Module) -> Vec<(String, Tensor)> {
    let mut tensors = Vec::new();
    module.visit(prefix, &mut |name, _, t| {
        tensors.push((name.to_string(), t.detach()))
    });
    tensors
}

/// Writes tensors and their description to `path`, atomically.
///
/// # Errors
/// If the file cannot be written; a file that was there before stays as it was.
pub fn write(
    path: &Path,
    description: &Description,
    tensors: &[(String, Tensor)],
    format: NumberFormat,
) -> Result<()> {
    write_with(path, description, tensors, format, HashMap::new())
}

/// [`write()`] with additional metadata entries `notes`.
///
/// # Errors
/// The errors of [`write()`].
pub fn write_with(
    path: &Path,
    description: &Description,
    tensors: &[(String, Tensor)],
    format: NumberFormat,
    mut notes: HashMap<String, String>,
) -> Result<()> {
    let text = serde_json::to_string(description).map_err(|e| {
        Error::file(
            path,
            format_args!("its description cannot be written: {}", words::json(&e)),
        )
        .because(e)
    })?;
    notes.insert(METADATA_KEY.to_string(), text);
    write_weights(path, tensors, format, notes)
}

/// Infers the sizes of a DenseNet with torchvision's tensor names from the shapes of its tensors.
///
/// # Errors
/// If the tensors are not those of a DenseNet.
pub fn infer_config(file: &WeightFile, prefix: &str) -> Result<DenseNetConfig> {
    let entries = file.entries()?;
    DenseNetConfig::infer(1e-5, |name| {
        let name = format!("{prefix}{name}");
        let entry = entries.iter().find(|e| e.name == name);
        entry.map(|e| e.shape.clone())
    })
    .map_err(|what| Error::file(file.path(), what))
}

/// An encoder, with the description and the tags of its file.
pub struct EncoderFile {
    /// The encoder.
    pub encoder: DenseNet,
    /// The file's description, if Glimpse wrote the file.
    pub description: Option<Description>,
    /// The classes that the encoder recognises, if it has any.
    pub tags: Option<Tags>,
}

/// Reads the encoder in `path`, with its tags, from a Glimpse file of any kind or a bare DenseNet with torchvision's names.
///
/// # Errors
/// If the file has no encoder, or its tensors do not fit.
pub fn read_encoder(path: impl AsRef<Path>) -> Result<EncoderFile> {
    let file = WeightFile::open(path)?;
    let description = Description::read(&file)?;
    let (config, prefix) = match &description {
        Some(d) if d.kind == Kind::Encoder => (d.encoder.clone(), ""),
        Some(d) => (d.encoder.clone(), "encoder."),
        None => (infer_config(&file, "")?, ""),
    };
    let more = description.as_ref().map_or(0, Description::more_elements);
    check_size(&file, config.elements() + more)?;
    let mut encoder = DenseNet::new(&config, &mut Init::blank())?;
    load_module(&file, prefix, &mut encoder)?;
    let tags = match &description {
        Some(description) => load_tags(&file, description)?,
        None => None,
    };
    Ok(EncoderFile {
        encoder,
        description,
        tags,
    })
}

/// [`read_encoder`] without the tags.
///
/// # Errors
/// The errors of [`read_encoder`].
pub fn load_encoder(path: impl AsRef<Path>) -> Result<(DenseNet, Option<Description>)> {
    let file = read_encoder(path)?;
    Ok((file.encoder, file.description))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::data::Image;
    use crate::model::{Captioner, Decoder};

    #[test]
    fn a_captioner_in_eight_bits_says_nearly_what_it_said() {
        let mut captioner = Captioner::bundled().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let [half, eighth] = ["half", "eighth"].map(|n| dir.path().join(n));
        captioner.save(&half, NumberFormat::F16).unwrap();
        captioner.save(&eighth, NumberFormat::I8).unwrap();
        let size = |path: &Path| std::fs::metadata(path).unwrap().len() as f64;
        assert!(size(&eighth) < 0.6 * size(&half), "{}", size(&eighth));
        let small = Captioner::load(&eighth).unwrap();
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/samples");
        let photos = ["cat.jpg", "raccoon.jpg"].map(|n| Image::open(samples.join(n)).unwrap());
        let images = captioner.recipe.tensor(&photos).unwrap();
        let [want, got] = [&captioner, &small].map(|c| c.encode(&images).unwrap());
        let pairs = got.data().iter().zip(want.data());
        let distance: f32 = pairs.map(|(g, w)| (g - w).powi(2)).sum();
        let norm: f32 = want.data().iter().map(|w| w.powi(2)).sum();
        let relative = (distance / norm).sqrt();
        println!("features differ by a relative {relative:.2e}");
        assert!(relative < 0.05, "{relative}");
        if let Ok(path) = std::env::var("GLIMPSE_KEEP_I8") {
            std::fs::copy(&eighth, path).unwrap();
        }
    }

    /// `cargo test --release --lib loading_takes -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn loading_takes_milliseconds() {
        let mut captioner = Captioner::bundled().unwrap();
        let mut init = Init::new(1);
        let encoder = DenseNetConfig {
            growth: 40,
            blocks: vec![6, 12, 18, 12],
            stem: 64,
            bottleneck: 4,
            eps: 1e-5,
        };
        let decoder = DecoderConfig {
            features: encoder.features(),
            embedding: 256,
            ..captioner.decoder.config().clone()
        };
        captioner.encoder = DenseNet::new(&encoder, &mut init).unwrap();
        captioner.decoder = Decoder::new(&decoder, &mut init).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for format in [
            NumberFormat::F32,
            NumberFormat::F16,
            NumberFormat::Bf16,
            NumberFormat::I8,
        ] {
            let path = dir.path().join(format.name());
            captioner.save(&path, format).unwrap();
            let load = || {
                let start = Instant::now();
                let parameters = Captioner::load(&path).unwrap().parameter_count();
                (parameters, start.elapsed().as_secs_f64() * 1e3)
            };
            let times: Vec<_> = (0..30).map(|_| load()).collect();
            let first = times[0].1;
            let mut sorted: Vec<f64> = times.iter().map(|t| t.1).collect();
            sorted.sort_by(f64::total_cmp);
            println!(
                "{}: {} parameters, {} bytes, first {first:.1} ms, fastest {:.1}, median {:.1}",
                format.name(),
                times[0].0,
                std::fs::metadata(&path).unwrap().len(),
                sorted[0],
                sorted[15]
            );
        }
    }
}
