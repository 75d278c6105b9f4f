//! What is said of an image, as the command line prints it and the service answers it.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;

use super::Caption;
use crate::model::Tag;

/// The captions of an image.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Answer {
    /// The image's name.
    pub image: String,
    /// The bytes of the name in base64 where they are not UTF-8, so that `image` cannot hold all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_bytes: Option<String>,
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
    /// What is odd about the image's file, although it holds all of its pixels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
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
    /// The bytes of the name in base64 where they are not UTF-8, so that `image` cannot hold all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_bytes: Option<String>,
    /// Why it cannot be captioned.
    pub error: String,
}

/// The fields `image` and `image_bytes` of the image at `path`. Bytes of the name that are not UTF-8 become a replacement
/// character in `image`; `image_bytes` then holds all bytes of the name in base64, which lead back to the file. (On Windows
/// these are the bytes of WTF-8.)
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
