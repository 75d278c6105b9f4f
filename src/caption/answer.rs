//! The answer for one image: what the command line prints and the service sends.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::Caption;
use crate::model::Tag;

/// An image's captions, with everything else that is reported about the image.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Answer {
    /// The image's name.
    pub image: String,
    /// The bytes of the name in base64. Present only if they are not UTF-8, for then `image` cannot hold all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_bytes: Option<String>,
    /// The captions, best first: ordered by likelihood, or by agreement where that was asked for.
    pub captions: Vec<Caption>,
    /// The classes that the encoder recognises, likeliest first. Empty if the model knows none.
    pub tags: Vec<Tag>,
    /// Rows and columns of the feature map whose positions the tokens' `attention` refers to. Present only if attention
    /// was asked for and the model attends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_grid: Option<[usize; 2]>,
    /// The part of the picture that the feature map covers: left edge, upper edge, width and height, as fractions of
    /// the picture's width and height.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_region: Option<[f64; 4]>,
    /// Oddities of the image's file that cost no pixels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Time taken, in milliseconds.
    pub ms: Times,
}

/// Wall-clock milliseconds per image. Other images may be processed at the same time. The time of a batched stage is
/// divided by the batch size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Times {
    /// Reading the file, decoding it and resizing the image to the encoder's input size.
    pub decode: f64,
    /// Encoding: pixels to features.
    pub encode: f64,
    /// Generating: features to words.
    pub generate: f64,
}

/// An image that cannot be captioned.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Failure {
    /// The image's name.
    pub image: String,
    /// The bytes of the name in base64. Present only if they are not UTF-8, for then `image` cannot hold all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_bytes: Option<String>,
    /// Why it cannot be captioned.
    pub error: String,
}

/// Returns the fields `image` and `image_bytes` for the image at `path`.
///
/// Bytes of the name that are not UTF-8 become a replacement character in `image`. In that case `image_bytes` holds all
/// bytes of the name in base64, from which the file can be found again. (On Windows these are the bytes of WTF-8.)
pub fn image_name(path: &Path) -> (String, Option<String>) {
    let bytes = || STANDARD.encode(path.as_os_str().as_encoded_bytes());
    let image_bytes = path.to_str().is_none().then(bytes);
    (path.to_string_lossy().into_owned(), image_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_utf_8_are_all_there_is() {
        let name = "photos/a\n\\b 日本.jpg";
        assert_eq!(image_name(Path::new(name)), (name.to_string(), None));
    }

    #[cfg(unix)]
    #[test]
    fn other_names_come_with_their_bytes() {
        use std::os::unix::ffi::OsStrExt;
        let bytes = b"caf\xe9/\xff.jpg";
        let (image, image_bytes) = image_name(Path::new(std::ffi::OsStr::from_bytes(bytes)));
        assert_eq!(image, "caf\u{fffd}/\u{fffd}.jpg");
        assert_eq!(STANDARD.decode(image_bytes.unwrap()).unwrap(), bytes);
    }
}
