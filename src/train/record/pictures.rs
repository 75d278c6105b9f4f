//! The pictures of a report, embedded in the page: small JPEGs, and attention maps as small PNGs that darken the rest.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::data::resize::bilinear_region;
use crate::data::{Image, Recipe};

/// Longer side of a small picture, in pixels.
const SIDE: f64 = 176.0;
const QUALITY: u8 = 72;
/// Opacity of a position with weight 0, of 255.
const DARKEST: f32 = 200.0;

/// Returns the part of the picture at `path` that the encoder sees as a small `data:` URL; `None` if it cannot be read.
pub(super) fn thumbnail(path: &Path, recipe: Recipe) -> Option<String> {
    let image = Image::open(path).ok()?;
    let region = recipe.region(&image);
    let scale = (SIDE / region.width.max(region.height)).min(1.0);
    let scaled = |side: f64| (side * scale).round().max(1.0) as u32;
    let (width, height) = (scaled(region.width), scaled(region.height));
    let small = bilinear_region(&image, region, width, height).ok()?;
    let jpeg = small.jpeg(QUALITY)?;
    Some(format!(
        "data:image/jpeg;base64,{}",
        BASE64_STANDARD.encode(jpeg)
    ))
}

/// Returns an overlay for the photograph from the weights of a map in row-major order. It is dark where a weight is low
/// relative to the highest.
pub(super) fn shade(weights: &[f32], grid: [usize; 2]) -> Option<String> {
    let [rows, columns] = grid;
    if weights.len() != rows * columns || weights.is_empty() {
        return None;
    }
    let most = weights.iter().copied().fold(0.0, f32::max).max(1e-12);
    let pixels = weights.iter().flat_map(|weight| {
        let share = (weight / most).clamp(0.0, 1.0);
        [0, ((1.0 - share) * DARKEST).round() as u8]
    });
    let pixels: Vec<u8> = pixels.collect();
    let mut png = Vec::new();
    let size = (columns as u32, rows as u32);
    let encoder = PngEncoder::new(&mut png);
    encoder
        .write_image(&pixels, size.0, size.1, ExtendedColorType::La8)
        .ok()?;
    Some(format!(
        "data:image/png;base64,{}",
        BASE64_STANDARD.encode(png)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_picture_becomes_a_small_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        image::RgbImage::from_fn(900, 600, |x, y| image::Rgb([x as u8, y as u8, 9]))
            .save(&path)
            .unwrap();
        let small = thumbnail(&path, "squash:64".parse().unwrap()).unwrap();
        let data = small.strip_prefix("data:image/jpeg;base64,").unwrap();
        let bytes = BASE64_STANDARD.decode(data).unwrap();
        assert!(bytes.len() < 20_000, "{}", bytes.len());
        let image = Image::from_bytes(&bytes, Default::default()).unwrap();
        assert_eq!((image.width(), image.height()), (176, 117));
        assert!(thumbnail(&dir.path().join("none"), "squash".parse().unwrap()).is_none());
    }

    #[test]
    fn what_was_looked_at_is_light() {
        let shade_of = shade(&[0.5, 0.25, 0.25, 0.0], [2, 2]).unwrap();
        let data = shade_of.strip_prefix("data:image/png;base64,").unwrap();
        let bytes = BASE64_STANDARD.decode(data).unwrap();
        let png = image::load_from_memory(&bytes).unwrap().to_luma_alpha8();
        let alpha: Vec<u8> = png.pixels().map(|p| p.0[1]).collect();
        assert_eq!(alpha, [0, 100, 100, 200]);
        assert!(shade(&[0.5], [2, 2]).is_none());
    }
}
