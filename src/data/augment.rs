//! Data augmentation: random variation of the training pictures, against overfitting.
//!
//! A random crop of the picture is scaled to the square that the encoder takes. It may be mirrored, and its brightness
//! and contrast may change a little. All random numbers come from a generator that [`generator`] seeds with the
//! training's seed, the epoch and the picture's number. The result therefore does not depend on the order in which
//! threads reach the pictures.

use std::ops::RangeInclusive;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::image::Image;
use super::resize;
use crate::error::{Error, Result};

/// The strength of the variation. [`Augment::default`] suits captions; [`Augment::none`] only scales.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Probability of mirroring left and right, 0 to 1. Mirroring makes captions that say "left" wrong, but few
    /// captions do.
    pub flip: f64,
    /// Smallest and largest fraction of the picture's area that a crop keeps, 0 to 1.
    pub scale: [f64; 2],
    /// Smallest and largest aspect ratio (width / height) of a crop before it is scaled to a square.
    pub ratio: [f64; 2],
    /// Brightness is multiplied by a factor within `1 - brightness ..= 1 + brightness`; 0 to 1.
    pub brightness: f64,
    /// Contrast is multiplied by a factor within `1 - contrast ..= 1 + contrast`; 0 to 1.
    pub contrast: f64,
}

impl Default for Augment {
    /// Mirrors half of the pictures and keeps at least 60% of each. A tighter crop, as classifiers are trained with,
    /// often loses the object of the caption.
    fn default() -> Self {
        Augment {
            flip: 0.5,
            scale: [0.6, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            brightness: 0.0,
            contrast: 0.0,
        }
    }
}

impl Augment {
    /// Only scales the whole picture to the square.
    pub fn none() -> Self {
        Augment {
            flip: 0.0,
            scale: [1.0, 1.0],
            ratio: [1.0, 1.0],
            brightness: 0.0,
            contrast: 0.0,
        }
    }

    /// Checks that every number lies in its range. Configuration files are checked with this.
    ///
    /// # Errors
    ///
    /// If a number lies outside its range; the message names the first such field.
    pub fn validate(&self) -> Result<()> {
        let share = |name: &str, value: f64| match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err(Error::usage(format_args!(
                "augment.{name} = {value}: must be 0 to 1"
            ))),
        };
        let range = |name: &str, [low, high]: [f64; 2], limit: f64| match 0.0 < low
            && low <= high
            && high <= limit
        {
            true => Ok(()),
            false => Err(Error::usage(format_args!(
                "augment.{name} = [{low}, {high}]: must be [smallest, largest], above 0 and at most {limit}"
            ))),
        };
        share("flip", self.flip)?;
        range("scale", self.scale, 1.0)?;
        range("ratio", self.ratio, 100.0)?;
        share("brightness", self.brightness)?;
        share("contrast", self.contrast)
    }

    /// Returns a random variation of `image`, `size x size` pixels.
    ///
    /// # Errors
    ///
    /// If `size` is zero or [`Augment::validate`] refuses the numbers.
    pub fn apply(&self, image: &Image, size: u32, rng: &mut ChaCha8Rng) -> Result<Image> {
        self.validate()?;
        let crop = self.draw_crop(image.width(), image.height(), rng);
        let mut varied = resize::bilinear(&crop.cut(image)?, size, size)?;
        if rng.random_bool(self.flip) {
            mirror(&mut varied);
        }
        if self.brightness > 0.0 {
            brighten(&mut varied, rng.random_range(factors(self.brightness)));
        }
        if self.contrast > 0.0 {
            stretch(&mut varied, rng.random_range(factors(self.contrast)));
        }
        Ok(varied)
    }

    /// Draws the crop as torchvision's `RandomResizedCrop` does: area and aspect ratio are drawn up to ten times until
    /// the crop fits; if none fits, the largest central crop is taken.
    fn draw_crop(&self, width: u32, height: u32, rng: &mut ChaCha8Rng) -> Crop {
        // The draw would otherwise reject the whole picture unless it is square.
        if self.scale == [1.0, 1.0] && self.ratio == [1.0, 1.0] {
            return Crop {
                left: 0,
                top: 0,
                width,
                height,
            };
        }
        let (w, h) = (f64::from(width), f64::from(height));
        let [narrowest, widest] = self.ratio;
        for _ in 0..10 {
            let area = w * h * rng.random_range(self.scale[0]..=self.scale[1]);
            // Uniform in the logarithm, so that 3:4 is as likely as 4:3.
            let ratio = rng.random_range(narrowest.ln()..=widest.ln()).exp();
            let (crop_w, crop_h) = (
                (area * ratio).sqrt().round() as u32,
                (area / ratio).sqrt().round() as u32,
            );
            if (1..=width).contains(&crop_w) && (1..=height).contains(&crop_h) {
                let top = rng.random_range(0..=height - crop_h);
                let left = rng.random_range(0..=width - crop_w);
                return Crop {
                    left,
                    top,
                    width: crop_w,
                    height: crop_h,
                };
            }
        }
        let ratio = w / h;
        let (crop_w, crop_h) = match ratio {
            r if r < narrowest => (width, ((w / narrowest).round() as u32).clamp(1, height)),
            r if r > widest => (((h * widest).round() as u32).clamp(1, width), height),
            _ => (width, height),
        };
        Crop {
            left: (width - crop_w) / 2,
            top: (height - crop_h) / 2,
            width: crop_w,
            height: crop_h,
        }
    }
}

/// Creates the generator for one picture in one epoch of a training.
///
/// The three numbers form the seed side by side instead of being mixed into one, so no two pictures share a stream.
pub fn generator(seed: u64, epoch: u64, image: u64) -> ChaCha8Rng {
    let mut bytes = [0; 32];
    for (part, number) in bytes.chunks_exact_mut(8).zip([seed, epoch, image]) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(bytes)
}

/// A crop of a picture, in whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crop {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl Crop {
    /// Copies the crop to a picture of its own, so that the scaling filter does not see pixels beyond its edge.
    fn cut(self, image: &Image) -> Result<Image> {
        let columns = self.left as usize * 3..(self.left + self.width) as usize * 3;
        let rows = image
            .rows()
            .skip(self.top as usize)
            .take(self.height as usize);
        Image::from_rgb(
            self.width,
            self.height,
            rows.flat_map(|row| &row[columns.clone()])
                .copied()
                .collect(),
        )
    }
}

fn factors(strength: f64) -> RangeInclusive<f64> {
    1.0 - strength..=1.0 + strength
}

/// Exchanges left and right.
pub(super) fn mirror(image: &mut Image) {
    let row = image.width() as usize * 3;
    for line in image.pixels_mut().chunks_exact_mut(row) {
        let (pixels, _) = line.as_chunks_mut::<3>();
        pixels.reverse();
    }
}

/// Multiplies every level (the value of a channel, 0 to 255) by `factor`, rounds to the nearest and clips at 255.
pub(super) fn brighten(image: &mut Image, factor: f64) {
    map_levels(image, |level| level * factor);
}

/// Replaces every level by `mean + factor (level - mean)`, where `mean` is the picture's mean luminance.
fn stretch(image: &mut Image, factor: f64) {
    let luminance =
        |p: &[u8]| 0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2]);
    let total: f64 = image.pixels().chunks_exact(3).map(luminance).sum();
    let mean = total * 3.0 / image.pixels().len() as f64;
    map_levels(image, |level| mean + (level - mean) * factor);
}

fn map_levels(image: &mut Image, new_level: impl Fn(f64) -> f64) {
    let table: [u8; 256] =
        std::array::from_fn(|level| new_level(level as f64).round().clamp(0.0, 255.0) as u8);
    for level in image.pixels_mut() {
        *level = table[usize::from(*level)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> Image {
        let pixels = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, (x + y) as u8]));
        Image::from_rgb(width, height, pixels.collect()).unwrap()
    }

    const STRONG: Augment = Augment {
        flip: 0.5,
        scale: [0.08, 1.0],
        ratio: [0.75, 4.0 / 3.0],
        brightness: 0.3,
        contrast: 0.3,
    };

    #[test]
    fn the_same_numbers_give_the_same_picture() {
        let image = gradient(60, 40);
        let vary = |seed, epoch, index| {
            STRONG
                .apply(&image, 24, &mut generator(seed, epoch, index))
                .unwrap()
        };
        assert_eq!(vary(1, 2, 3), vary(1, 2, 3));
        assert_ne!(vary(1, 2, 3), vary(1, 2, 4));
        assert_ne!(vary(1, 2, 3), vary(1, 3, 3));
        assert_ne!(vary(1, 2, 3), vary(2, 2, 3));
    }

    #[test]
    fn crops_stay_inside_and_within_their_ranges() {
        let mut rng = generator(0, 0, 0);
        for (width, height) in [(100, 80), (500, 375), (3, 90), (1, 1), (7, 1)] {
            for _ in 0..500 {
                let crop = STRONG.draw_crop(width, height, &mut rng);
                assert!(
                    crop.width >= 1 && crop.left + crop.width <= width,
                    "{crop:?} in {width} x {height}"
                );
                assert!(
                    crop.height >= 1 && crop.top + crop.height <= height,
                    "{crop:?} in {width} x {height}"
                );
                if width >= 100 {
                    let share = f64::from(crop.width * crop.height) / f64::from(width * height);
                    assert!(
                        (0.07..=1.0).contains(&share),
                        "{crop:?} in {width} x {height}"
                    );
                    let ratio = f64::from(crop.width) / f64::from(crop.height);
                    assert!((0.7..=1.42).contains(&ratio), "{crop:?}");
                }
            }
        }
    }

    #[test]
    fn half_of_the_pictures_are_mirrored() {
        let image = gradient(16, 16);
        let only_flip = Augment {
            flip: 0.5,
            ..Augment::none()
        };
        let mirrored = (0..1000)
            .filter(|&i| {
                only_flip
                    .apply(&image, 16, &mut generator(7, 0, i))
                    .unwrap()
                    != image
            })
            .count();
        assert!((430..570).contains(&mirrored), "{mirrored} of 1000");
    }

    #[test]
    fn mirroring_twice_is_the_picture() {
        let image = gradient(5, 3);
        let mut twice = image.clone();
        mirror(&mut twice);
        assert_eq!(twice.pixels()[..3], image.pixels()[12..15]);
        mirror(&mut twice);
        assert_eq!(twice, image);
    }

    #[test]
    fn none_is_the_picture() {
        let image = gradient(9, 9);
        assert_eq!(
            Augment::none()
                .apply(&image, 9, &mut generator(0, 0, 0))
                .unwrap(),
            image
        );
    }

    #[test]
    fn light_moves_as_it_says() {
        let mut image = Image::from_rgb(2, 1, vec![100, 100, 100, 200, 200, 200]).unwrap();
        brighten(&mut image, 1.5);
        assert_eq!(image.pixels(), [150, 150, 150, 255, 255, 255]);
        let mut image = Image::from_rgb(2, 1, vec![100, 100, 100, 200, 200, 200]).unwrap();
        stretch(&mut image, 0.5);
        assert_eq!(image.pixels(), [125, 125, 125, 175, 175, 175]);
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        assert!(Augment::default().validate().is_ok());
        let error = Augment {
            scale: [0.9, 0.2],
            ..Augment::default()
        }
        .validate()
        .unwrap_err();
        assert!(
            error.to_string().starts_with("augment.scale = [0.9, 0.2]"),
            "{error}"
        );
        assert!(
            Augment {
                flip: f64::NAN,
                ..Augment::default()
            }
            .validate()
            .is_err()
        );
        assert!(
            Augment {
                ratio: [0.0, 1.0],
                ..Augment::default()
            }
            .validate()
            .is_err()
        );
        assert!(serde_json::from_str::<Augment>(r#"{"flip": 0.1, "zoom": 2}"#).is_err());
        assert_eq!(
            serde_json::from_str::<Augment>("{}").unwrap(),
            Augment::default()
        );
    }
}
