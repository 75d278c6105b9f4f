//! Floor 5: the networks.
//!
//! [`DenseNet`] turns an image into a map and its average, [`mod@decoder`] has the networks that turn one of these
//! into words, and [`Captioner`] joins the two with the vocabulary and the preprocessing recipe that they were trained with.
//! [`mod@file`] keeps all of that in one safetensors file that describes itself.

mod captioner;
pub mod decoder;
mod densenet;
pub mod file;
pub mod principal;
pub mod recognition;
pub mod tags;

pub use captioner::Captioner;
pub use decoder::{Decoder, DecoderConfig, DecoderKind, DecoderState, Forced};
pub use densenet::{DenseNet, DenseNetConfig, Tuning};
pub use file::{Description, Kind, Origin};
pub use recognition::{Recognition, RecognitionConfig};
pub use tags::{Tag, Tags};
