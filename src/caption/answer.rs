//! What is said of an image, as the command line prints it and the service answers it.

use serde::Serialize;
use utoipa::ToSchema;

use super::Caption;
use crate::model::Tag;

/// The captions of an image.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Answer {
    /// The image's name.
    pub image: String,
    /// The best first: the likeliest, unless they were chosen by agreement.
    pub captions: Vec<Caption>,
    /// The classes that the encoder recognises, the likeliest first; empty where the model knows none.
    pub tags: Vec<Tag>,
    /// Rows and columns of the map whose places the tokens' `attention` is about; only where that was asked for and the
    /// model attends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_grid: Option<[usize; 2]>,
    /// The part of the picture that the map covers: its left edge, upper edge, width and height as shares of the
    /// picture's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_region: Option<[f64; 4]>,
    /// How long it took.
    pub ms: Times,
}

/// Milliseconds that an image took by the clock, while other images were worked on too; of what is done for
/// several at once, its share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Times {
    /// Reading it and making it the encoder's size.
    pub decode: f64,
    /// From pixels to features.
    pub encode: f64,
    /// From features to words.
    pub generate: f64,
}

/// An image that cannot be captioned.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Failure {
    /// The image's name.
    pub image: String,
    /// Why it cannot be captioned.
    pub error: String,
}
