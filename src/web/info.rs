//! The answer of `/api/info`: the program, the model, the device and the limits.

use serde::Serialize;
use utoipa::ToSchema;

use super::Options;
use crate::cpu::threads;
use crate::model::Captioner;
use crate::nn::Module;
use crate::tensor::Device;

/// The description of the service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Info {
    /// Version of the program.
    pub version: &'static str,
    /// `cpu`, or the name of the GPU.
    pub device: String,
    /// Number of threads that share the work.
    pub threads: usize,
    /// The model.
    pub model: ModelInfo,
    /// Limits of a request.
    pub limits: LimitsInfo,
    /// Whether the model can return its attention for each word; `/api/caption?attention=1` asks for it.
    pub attention: bool,
}

/// The description of the model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModelInfo {
    /// Name of the encoder's architecture, or `densenet` if it has no published name.
    pub encoder: String,
    /// Preprocessing of the encoder's input.
    pub recipe: String,
    /// Use of the image by the decoder: `inject`, `par-inject`, `merge` or `attention`.
    pub decoder: &'static str,
    /// Number of LSTM layers of the decoder.
    pub layers: usize,
    /// Number of elements of an image's features; with attention, of each position of its map.
    pub features: usize,
    /// Number of elements of a word's embedding.
    pub embedding: usize,
    /// Number of hidden units of the LSTM.
    pub hidden: usize,
    /// Number of words in the vocabulary, special tokens included.
    pub vocabulary: usize,
    /// Number of parameters.
    pub parameters: usize,
}

/// The limits of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LimitsInfo {
    /// Size of a request, in megabytes of 1024 x 1024 bytes.
    pub upload_mb: f64,
    /// Pixels of an image.
    pub pixels: u64,
    /// Images in a request.
    pub images_per_request: usize,
    /// Width of the beam.
    pub beam: usize,
}

impl Info {
    pub fn new(captioner: &mut Captioner, device: &Device, options: &Options) -> Self {
        let decoder = captioner.decoder.config().clone();
        Info {
            version: env!("CARGO_PKG_VERSION"),
            device: device.name().into(),
            threads: threads::count(),
            model: ModelInfo {
                encoder: captioner
                    .encoder
                    .config()
                    .name()
                    .unwrap_or("densenet")
                    .into(),
                recipe: captioner.recipe.to_string(),
                decoder: decoder.kind.name(),
                layers: decoder.layers,
                features: decoder.features,
                embedding: decoder.embedding,
                hidden: decoder.hidden,
                vocabulary: decoder.vocabulary,
                parameters: captioner.parameter_count(),
            },
            limits: LimitsInfo {
                upload_mb: options.upload_bytes as f64 / f64::from(1 << 20),
                pixels: options.pixels,
                images_per_request: options.images,
                beam: options.beam,
            },
            attention: decoder.takes_map(),
        }
    }
}
