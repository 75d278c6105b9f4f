//! Floor 5: the networks.
//!
//! [`DenseNet`] turns an image tensor into a feature vector, [`Decoder`] a feature vector into words, and
//! [`Captioner`] joins the two with the vocabulary and the preprocessing recipe that they were trained with.
//! [`mod@file`] keeps all of that in one safetensors file that describes itself.

mod captioner;
mod decoder;
mod densenet;
pub mod file;
pub mod tags;

pub use captioner::Captioner;
pub use decoder::{Decoder, DecoderConfig, DecoderState};
pub use densenet::{DenseNet, DenseNetConfig, Tuning};
pub use file::{Description, Kind, Origin};
pub use tags::{Tag, Tags};
