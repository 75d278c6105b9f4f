//! Floor 5: the networks.
//!
//! [`DenseNet`], the encoder, computes a feature map of an image and its average. The decoders of [`mod@decoder`] generate
//! words from one of these. [`Captioner`] joins encoder and decoder with the vocabulary and the preprocessing recipe that
//! they were trained with. [`mod@file`] saves all of that in one self-describing safetensors file.

mod captioner;
pub mod decoder;
mod densenet;
pub mod file;
pub mod principal;
pub mod recognition;
pub mod tags;

pub use captioner::Captioner;
pub use decoder::{Decoder, DecoderConfig, DecoderKind, DecoderState, Forced};
pub use densenet::{DenseNet, DenseNetConfig, Trained, Tuning};
pub use file::{Description, Kind, Origin};
pub use recognition::{Recognition, RecognitionConfig};
pub use tags::{Tag, Tags};
