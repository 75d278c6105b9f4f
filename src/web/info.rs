use serde::Serialize;
use utoipa::ToSchema;

use super::Options;
use crate::cpu::threads;
use crate::model::Captioner;
use crate::nn::Module;
use crate::tensor::Device;

/// What the service is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Info {
    /// Of the program.
    pub version: &'static str,
    /// `cpu`, or the name of the graphics device.
    pub device: String,
    /// That share the work.
    pub threads: usize,
    /// What answers.
    pub model: ModelInfo,
    /// What a request may hold.
    pub limits: LimitsInfo,
    /// Whether the model can say where it looks for each word; `/api/caption?attention=1` asks for it.
    pub attention: bool,
}

/// What the model is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModelInfo {
    /// The name of its architecture, or `densenet` where it has none of its own.
    pub encoder: String,
    /// How an image becomes the encoder's input.
    pub recipe: String,
    /// How the decoder uses the image: `inject`, `par-inject`, `merge` or `attention`.
    pub decoder: &'static str,
    /// LSTM layers of the decoder.
    pub layers: usize,
    /// Elements of an image's features; with attention, of each place of its map.
    pub features: usize,
    /// Elements of a word's vector.
    pub embedding: usize,
    /// Cells of the LSTM.
    pub hidden: usize,
    /// Words that it knows, marks included.
    pub vocabulary: usize,
    /// Numbers that were learnt.
    pub parameters: usize,
}

/// What a request may hold.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LimitsInfo {
    /// Of a request, in megabytes of 1024 x 1024 bytes.
    pub upload_mb: f64,
    /// Of an image.
    pub pixels: u64,
    /// At most.
    pub images_per_request: usize,
    /// The widest.
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
