//! Resizes images as Pillow does.
//!
//! The published encoders were trained and measured on pictures that Pillow had resized. "Bilinear" therefore means
//! Pillow's filter: a triangle filter that widens with the reduction (antialiasing), not an interpolation of the four
//! nearest pixels. Results agree with Pillow to one level of 255; a test compares them with the filter written as plain
//! loops.

use fast_image_resize as fir;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;

use super::image::Image;
use crate::error::{Error, Result};

/// A rectangular part of an image, in pixels from its upper left corner; its sides may fall between pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Distance from the left edge.
    pub left: f64,
    /// Distance from the upper edge.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Region {
    /// Returns left edge, upper edge, width and height as fractions of the width and height of `image`, of which it is
    /// a part.
    pub fn shares(&self, image: &Image) -> [f64; 4] {
        let (width, height) = (f64::from(image.width()), f64::from(image.height()));
        [
            self.left / width,
            self.top / height,
            self.width / width,
            self.height / height,
        ]
    }

    /// Returns the part of `to` that shows the same as this part of `from`, if `to` is `from` resized.
    pub fn scaled(&self, from: &Image, to: &Image) -> Region {
        let [left, top, width, height] = self.shares(from);
        let (across, down) = (f64::from(to.width()), f64::from(to.height()));
        Region {
            left: left * across,
            top: top * down,
            width: width * across,
            height: height * down,
        }
    }
}

/// Resizes `image` to `width x height` pixels by antialiased bilinear filtering.
///
/// # Errors
///
/// If a side of the result would be zero.
pub fn bilinear(image: &Image, width: u32, height: u32) -> Result<Image> {
    let (w, h) = (f64::from(image.width()), f64::from(image.height()));
    bilinear_region(
        image,
        Region {
            left: 0.0,
            top: 0.0,
            width: w,
            height: h,
        },
        width,
        height,
    )
}

/// Resizes a part of `image` to `width x height` pixels by antialiased bilinear filtering.
///
/// The filter also reads pixels beyond the part's edge, where the image has any. The result therefore has exactly the
/// pixels that resizing the whole image and cropping afterwards would give, without computing the others.
///
/// # Errors
///
/// If a side of the result would be zero or the region reaches beyond the image.
pub fn bilinear_region(image: &Image, region: Region, width: u32, height: u32) -> Result<Image> {
    const OP: &str = "bilinear";
    // These functions take the pixel type at compile time. Those that take it at run time would add the kernels of all types to
    // the program, 3 MB.
    let source = TypedImageRef::<U8x3>::from_buffer(image.width(), image.height(), image.pixels())
        .map_err(|_| Error::value(OP, "the image has no pixels"))?;
    let mut pixels = vec![0; width as usize * height as usize * 3];
    let mut result = TypedImage::<U8x3>::from_buffer(width, height, &mut pixels)
        .map_err(|_| Error::value(OP, "the image has no pixels"))?;
    let options = fir::ResizeOptions::new()
        .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear))
        .crop(region.left, region.top, region.width, region.height);
    fir::Resizer::new()
        .resize_typed(&source, &mut result, &options)
        .map_err(|_| Error::value(OP, "the region reaches beyond the image, or has no size"))?;
    Image::from_rgb(width, height, pixels)
}

/// Resizes `image` to `width x height` pixels; each takes the source pixel under its centre.
///
/// This is the default of Keras's `load_img(target_size=…)`.
///
/// # Errors
///
/// If a side of the result would be zero.
pub fn nearest(image: &Image, width: u32, height: u32) -> Result<Image> {
    let columns = nearest_sources(image.width(), width);
    let rows = nearest_sources(image.height(), height);
    let stride = image.width() as usize * 3;
    let mut pixels = Vec::with_capacity(columns.len() * rows.len() * 3);
    for row in rows {
        let line = &image.pixels()[row * stride..][..stride];
        for column in &columns {
            pixels.extend_from_slice(&line[column * 3..][..3]);
        }
    }
    Image::from_rgb(width, height, pixels)
}

/// Returns, for each of `to` pixels, which of `from` pixels lies under its centre.
fn nearest_sources(from: u32, to: u32) -> Vec<usize> {
    let step = f64::from(from) / f64::from(to);
    // The position is summed up, not multiplied out, because Pillow sums it up. If a centre falls on the border between
    // two pixels, the rounding of that sum decides.
    std::iter::successors(Some(step * 0.5), |at| Some(at + step))
        .take(to as usize)
        .map(|at| (at as usize).min(from as usize - 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Pillow's resampling written out: a triangle filter in 22-bit fixed point, rows before columns, rounded to bytes
    /// in between.
    fn oracle(image: &Image, width: u32, height: u32) -> Image {
        let (w, h) = (image.width() as usize, image.height() as usize);
        let mut wide = Vec::new();
        let horizontal = triangle_weights(w, width as usize);
        for row in 0..h {
            for (first, weights) in &horizontal {
                for channel in 0..3 {
                    let source = |k: usize| image.pixels()[(row * w + first + k) * 3 + channel];
                    wide.push(weighted(weights, source));
                }
            }
        }
        let mut pixels = Vec::new();
        for (first, weights) in &triangle_weights(h, height as usize) {
            for column in 0..width as usize * 3 {
                pixels.push(weighted(weights, |k| {
                    wide[(first + k) * width as usize * 3 + column]
                }));
            }
        }
        Image::from_rgb(width, height, pixels).unwrap()
    }

    const PRECISION: i32 = 22;

    fn weighted(weights: &[i32], source: impl Fn(usize) -> u8) -> u8 {
        let sum: i32 = weights
            .iter()
            .enumerate()
            .map(|(k, w)| w * i32::from(source(k)))
            .sum();
        ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
    }

    /// Returns, for each output pixel, the first input pixel and the weights of it and the pixels after it.
    fn triangle_weights(from: usize, to: usize) -> Vec<(usize, Vec<i32>)> {
        let scale = from as f64 / to as f64;
        let support = scale.max(1.0);
        (0..to)
            .map(|x| {
                let centre = (x as f64 + 0.5) * scale;
                let first = (centre - support + 0.5).max(0.0) as usize;
                let end = ((centre + support + 0.5) as usize).min(from);
                let raw: Vec<f64> = (first..end)
                    .map(|i| (1.0 - ((i as f64 - centre + 0.5) / support).abs()).max(0.0))
                    .collect();
                let total: f64 = raw.iter().sum();
                let fixed = raw
                    .iter()
                    .map(|w| (w / total * f64::from(1 << PRECISION)).round() as i32);
                (first, fixed.collect())
            })
            .collect()
    }

    fn noise(width: u32, height: u32, seed: u64) -> Image {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let pixels = (0..width * height * 3).map(|_| rng.random()).collect();
        Image::from_rgb(width, height, pixels).unwrap()
    }

    fn largest_difference(a: &Image, b: &Image) -> u8 {
        assert_eq!((a.width(), a.height()), (b.width(), b.height()));
        a.pixels()
            .iter()
            .zip(b.pixels())
            .map(|(a, b)| a.abs_diff(*b))
            .max()
            .unwrap()
    }

    const SIZES: [(u32, u32, u32, u32); 10] = [
        (500, 375, 224, 224),
        (375, 501, 256, 342),
        (17, 31, 5, 3),
        (3, 2, 50, 41),
        (1, 1, 7, 9),
        (1, 300, 4, 7),
        (640, 1, 33, 1),
        (64, 64, 64, 13),
        (64, 64, 13, 64),
        (1201, 801, 97, 61),
    ];

    #[test]
    fn bilinear_agrees_with_the_definition_to_one_level() {
        for (w, h, to_w, to_h) in SIZES {
            let image = noise(w, h, u64::from(w * h));
            let difference = largest_difference(
                &bilinear(&image, to_w, to_h).unwrap(),
                &oracle(&image, to_w, to_h),
            );
            assert!(
                difference <= 1,
                "{w}x{h} -> {to_w}x{to_h}: {difference} levels"
            );
        }
    }

    #[test]
    fn a_region_is_a_crop_of_the_whole() {
        let image = noise(431, 287, 1);
        let whole = bilinear(&image, 384, 256).unwrap();
        let (left, top, side) = (80, 16, 224);
        let (sx, sy) = (431.0 / 384.0, 287.0 / 256.0);
        let region = Region {
            left: f64::from(left) * sx,
            top: f64::from(top) * sy,
            width: f64::from(side) * sx,
            height: f64::from(side) * sy,
        };
        let part = bilinear_region(&image, region, side, side).unwrap();
        let crop = whole.rows().skip(top as usize).take(side as usize);
        let crop: Vec<u8> = crop
            .flat_map(|row| &row[left as usize * 3..][..side as usize * 3])
            .copied()
            .collect();
        let crop = Image::from_rgb(side, side, crop).unwrap();
        assert!(largest_difference(&part, &crop) <= 1);
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let image = noise(23, 19, 2);
        assert_eq!(bilinear(&image, 23, 19).unwrap(), image);
        assert_eq!(nearest(&image, 23, 19).unwrap(), image);
    }

    #[test]
    fn nearest_takes_the_pixel_under_the_centre() {
        assert_eq!(nearest_sources(4, 2), [1, 3]);
        assert_eq!(nearest_sources(2, 4), [0, 0, 1, 1]);
        assert_eq!(nearest_sources(5, 3), [0, 2, 4]);
        assert_eq!(nearest_sources(1, 3), [0, 0, 0]);
    }

    #[test]
    fn a_size_of_zero_is_refused() {
        let image = noise(4, 4, 3);
        assert!(bilinear(&image, 0, 4).is_err());
        assert!(nearest(&image, 4, 0).is_err());
    }
}
