//! Preprocessing: from a picture of any size to the numbers that an encoder takes.
//!
//! An encoder's weights expect exactly the preprocessing that they were trained with. It is therefore a named
//! [`Recipe`] that is stored with the weights:
//!
//! | name | operation at size 224 |
//! |---|---|
//! | `torchvision` | the shorter side to 256 by antialiased bilinear, then the 224 x 224 pixels in the centre |
//! | `squash` | both sides to 224 by antialiased bilinear, without keeping the aspect ratio |
//! | `keras-nearest` | both sides to 224, nearest pixel |
//!
//! All recipes end in the same normalisation: `(x / 255 - mean) / std` for each channel, with ImageNet's [`MEAN`] and
//! [`STD`]. Keras calls it the `torch` mode and uses it for its DenseNets too.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::image::Image;
use super::resize::{self, Region};
use crate::cpu::{memory, threads};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// ImageNet's mean of red, green and blue, on a scale from 0 to 1.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// ImageNet's standard deviation of red, green and blue, on a scale from 0 to 1.
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The side of the square that ImageNet encoders take, in pixels.
pub const DEFAULT_SIZE: u32 = 224;

/// The largest side that a recipe accepts, in pixels.
pub const MAX_SIZE: u32 = 4096;

/// The way in which a picture becomes a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Resizes the shorter side to 8/7 of the size (bilinear), then crops the centre.
    Torchvision,
    /// Resizes both sides to the size (bilinear).
    Squash,
    /// Resizes both sides to the size (nearest pixel).
    KerasNearest,
}

/// The preprocessing of an encoder's input: a [`Method`] and the side of the square in pixels.
///
/// Written `torchvision`, or `torchvision:192` for a size other than 224; in JSON
/// `{"method": "torchvision", "size": 224}`.
///
/// ```
/// use glimpse::data::{Image, Recipe};
///
/// let recipe: Recipe = "squash:8".parse()?;
/// let grey = Image::from_rgb(20, 10, vec![128; 20 * 10 * 3])?;
/// let input = recipe.apply(&grey)?;
/// assert_eq!(input.len(), 8 * 8 * 3);
/// assert!((input[0] - (128.0 / 255.0 - 0.485) / 0.229).abs() < 1e-6);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "UncheckedRecipe")]
pub struct Recipe {
    method: Method,
    size: u32,
}

/// A recipe as read from a file, before its size is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedRecipe {
    method: Method,
    #[serde(default = "default_size")]
    size: u32,
}

fn default_size() -> u32 {
    DEFAULT_SIZE
}

impl TryFrom<UncheckedRecipe> for Recipe {
    type Error = Error;

    fn try_from(unchecked: UncheckedRecipe) -> Result<Recipe> {
        Recipe::new(unchecked.method, unchecked.size)
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            method: Method::Torchvision,
            size: DEFAULT_SIZE,
        }
    }
}

impl Recipe {
    /// Creates a recipe for inputs of `size x size` pixels.
    ///
    /// # Errors
    ///
    /// If the size is zero or above [`MAX_SIZE`].
    pub fn new(method: Method, size: u32) -> Result<Recipe> {
        if !(1..=MAX_SIZE).contains(&size) {
            return Err(Error::usage(format_args!(
                "an image size of {size} pixels: must be 1 to {MAX_SIZE}"
            )));
        }
        Ok(Recipe { method, size })
    }

    /// Returns the way in which the picture becomes a square.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns the side of the square, in pixels.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Returns the square picture that the encoder sees, `size x size`; the picture itself if it has that size already.
    ///
    /// # Errors
    ///
    /// None for an image that [`Image`] allows.
    pub fn square<'a>(&self, image: &'a Image) -> Result<Cow<'a, Image>> {
        let size = self.size;
        if self.method != Method::Torchvision && (image.width(), image.height()) == (size, size) {
            return Ok(Cow::Borrowed(image));
        }
        let square = match self.method {
            Method::Torchvision => resize::bilinear_region(image, self.region(image), size, size),
            Method::Squash => resize::bilinear(image, size, size),
            Method::KerasNearest => resize::nearest(image, size, size),
        };
        square.map(Cow::Owned)
    }

    /// Returns the part of `image` that the square shows, in pixels of `image`. It is the whole image, except for
    /// `torchvision`, which crops the centre.
    pub fn region(&self, image: &Image) -> Region {
        match self.method {
            Method::Torchvision => torchvision_region(image, self.size),
            Method::Squash | Method::KerasNearest => Region {
                left: 0.0,
                top: 0.0,
                width: f64::from(image.width()),
                height: f64::from(image.height()),
            },
        }
    }

    /// Returns the normalised numbers of one picture, `[size, size, 3]`.
    ///
    /// # Errors
    ///
    /// None for an image that [`Image`] allows.
    pub fn apply(&self, image: &Image) -> Result<Vec<f32>> {
        let square = self.square(image)?;
        let mut values = vec![0.0; square.pixels().len()];
        normalise_into(&square, &mut values);
        Ok(values)
    }

    /// Returns the batch of several pictures, `[N, size, size, 3]`.
    ///
    /// # Errors
    ///
    /// If there are no pictures.
    pub fn tensor(&self, images: &[Image]) -> Result<Tensor> {
        let squares = images
            .iter()
            .map(|image| self.square(image))
            .collect::<Result<Vec<_>>>()?;
        stack(&squares)
    }
}

/// Normalises pictures that already have the size that an encoder takes: `N` of `[H, W, 3]` to `[N, H, W, 3]`.
///
/// # Errors
///
/// If there are no pictures, or they have different sizes.
pub fn batch(images: &[Image]) -> Result<Tensor> {
    stack(&images.iter().map(Cow::Borrowed).collect::<Vec<_>>())
}

fn stack(images: &[Cow<'_, Image>]) -> Result<Tensor> {
    const OP: &str = "batch of images";
    let Some(first) = images.first() else {
        return Err(Error::value(OP, "no image was given"));
    };
    let (width, height) = (first.width(), first.height());
    for image in images {
        if (image.width(), image.height()) != (width, height) {
            let got = format!("one of {} x {}", image.width(), image.height());
            return Err(Error::shape(
                OP,
                format!("all images of {width} x {height}"),
                got,
            ));
        }
    }
    let size = first.pixels().len();
    let mut values = memory::unset(size * images.len());
    threads::for_each_chunk(&mut values, size, |i, values| {
        normalise_into(&images[i], values);
    });
    Tensor::from_vec(values, &[images.len(), height as usize, width as usize, 3])
}

/// `(x / 255 - mean) / std` for each of the 256 levels of each channel. The order of operations, and with it the
/// rounding, is that of torchvision's `ToTensor` and `Normalize`.
static LEVELS: LazyLock<[[f32; 256]; 3]> = LazyLock::new(|| {
    std::array::from_fn(|c| std::array::from_fn(|level| (level as f32 / 255.0 - MEAN[c]) / STD[c]))
});

fn normalise_into(image: &Image, values: &mut [f32]) {
    let [red, green, blue] = &*LEVELS;
    let (values, _) = values.as_chunks_mut::<3>();
    let (pixels, _) = image.pixels().as_chunks::<3>();
    for (value, &[r, g, b]) in values.iter_mut().zip(pixels) {
        *value = [red[r as usize], green[g as usize], blue[b as usize]];
    }
}

/// Returns the part of `image` that remains after torchvision's resize and centre crop.
fn torchvision_region(image: &Image, size: u32) -> Region {
    let (width, height) = (u64::from(image.width()), u64::from(image.height()));
    // ImageNet's 256 for 224, and in proportion for other sizes.
    let target = u64::from(size) * 256 / 224;
    let shorter = width.min(height);
    let axis = |side: u64| {
        // The longer side is rounded down, as torchvision's `int()` does.
        let resized = target * side / shorter;
        // Python's `round` takes a half to the even neighbour.
        let before = ((resized - u64::from(size)) as f64 / 2.0).round_ties_even();
        let scale = side as f64 / resized as f64;
        let start = before * scale;
        (start, (f64::from(size) * scale).min(side as f64 - start))
    };
    let ((left, width), (top, height)) = (axis(width), axis(height));
    Region {
        left,
        top,
        width,
        height,
    }
}

impl Method {
    const ALL: [Method; 3] = [Method::Torchvision, Method::Squash, Method::KerasNearest];

    /// Returns the name that the command line and files use.
    pub fn name(self) -> &'static str {
        match self {
            Method::Torchvision => "torchvision",
            Method::Squash => "squash",
            Method::KerasNearest => "keras-nearest",
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            DEFAULT_SIZE => f.write_str(self.method.name()),
            size => write!(f, "{}:{size}", self.method.name()),
        }
    }
}

impl FromStr for Recipe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Recipe> {
        let unknown = || {
            let names = Method::ALL.map(Method::name).join(", ");
            Error::usage(format_args!(
                "unknown preprocessing '{text}': use one of {names}, or NAME:SIZE"
            ))
        };
        let (name, size) = match text.split_once(':') {
            Some((name, size)) => (name, size.parse().map_err(|_| unknown())?),
            None => (text, DEFAULT_SIZE),
        };
        let method = Method::ALL
            .into_iter()
            .find(|m| m.name() == name)
            .ok_or_else(unknown)?;
        Recipe::new(method, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: u32, height: u32) -> Image {
        Image::from_rgb(width, height, vec![7; (width * height * 3) as usize]).unwrap()
    }

    #[test]
    fn a_recipe_reads_back_as_it_is_written() {
        for text in [
            "torchvision",
            "squash",
            "keras-nearest",
            "torchvision:192",
            "squash:96",
        ] {
            let recipe: Recipe = text.parse().unwrap();
            assert_eq!(recipe.to_string(), text);
            let json = serde_json::to_string(&recipe).unwrap();
            assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
        }
        assert_eq!(
            serde_json::to_string(&Recipe::default()).unwrap(),
            r#"{"method":"torchvision","size":224}"#
        );
        assert_eq!(
            serde_json::from_str::<Recipe>(r#"{"method":"squash"}"#)
                .unwrap()
                .size(),
            224
        );
    }

    #[test]
    fn recipes_that_make_no_sense_are_refused() {
        for text in [
            "",
            "resize",
            "squash:",
            "squash:0",
            "squash:-1",
            "squash:99999",
            "Squash",
        ] {
            assert!(text.parse::<Recipe>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Recipe>(r#"{"method":"squash","size":0}"#).is_err());
        assert!(serde_json::from_str::<Recipe>(r#"{"method":"squash","sise":9}"#).is_err());
    }

    #[test]
    fn a_picture_of_the_right_size_is_not_copied() {
        let image = plain(224, 224);
        assert!(matches!(
            "squash".parse::<Recipe>().unwrap().square(&image).unwrap(),
            Cow::Borrowed(_)
        ));
        assert!(matches!(
            "keras-nearest"
                .parse::<Recipe>()
                .unwrap()
                .square(&image)
                .unwrap(),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn halves_are_rounded_to_the_even_pixel() {
        // The longer side becomes 259: (259 - 224) / 2 = 17.5, and 18 is even.
        let region = torchvision_region(&plain(259, 256), 224);
        assert_eq!((region.left, region.top), (18.0, 16.0));
        // 257 - 224 leaves 16.5, and 16 is even.
        assert_eq!(torchvision_region(&plain(257, 256), 224).left, 16.0);
    }

    #[test]
    fn thin_pictures_cost_no_more_than_others() {
        for (width, height) in [(1, 60_000), (60_000, 1), (1, 1), (2, 3)] {
            let values = Recipe::default().apply(&plain(width, height)).unwrap();
            assert_eq!(values.len(), 224 * 224 * 3);
        }
    }

    #[test]
    fn a_batch_stacks_pictures_of_one_size() {
        let tensor = Recipe::new(Method::Squash, 4)
            .unwrap()
            .tensor(&[plain(9, 3), plain(2, 2)]);
        assert!(tensor.is_ok());
        assert!(batch(&[]).is_err());
        let error = batch(&[plain(2, 2), plain(3, 2)]).err().unwrap();
        assert_eq!(
            error.to_string(),
            "batch of images: expected all images of 2 x 2, got one of 3 x 2"
        );
    }
}
