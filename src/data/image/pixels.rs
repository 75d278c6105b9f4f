//! Converts the samples of a decoder to upright rows of 8-bit RGB.

use ::image::metadata::Orientation;
use ::image::{DynamicImage, RgbImage};

/// Converts to 8-bit RGB; an alpha channel is composed over white.
pub(super) fn flatten(decoded: DynamicImage) -> RgbImage {
    if !decoded.color().has_alpha() {
        return decoded.into_rgb8();
    }
    let rgba = decoded.into_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0;
        ::image::Rgb([r, g, b].map(|c| over_white(c, alpha)))
    })
}

/// Computes `alpha * c + (1 - alpha) * white`, rounded to the nearest level.
pub(super) fn over_white(c: u8, alpha: u8) -> u8 {
    let (c, alpha) = (u32::from(c), u32::from(alpha));
    ((c * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// Composes a colour that is multiplied by its alpha already over white.
pub(super) fn multiplied_over_white(c: u8, alpha: u8) -> u8 {
    c.saturating_add(255 - alpha)
}

/// Computes `a * b / 255`, rounded to the nearest level: the colour that an ink leaves.
pub(super) fn times(a: u8, b: u8) -> u8 {
    ((u32::from(a) * u32::from(b) + 127) / 255) as u8
}

/// Converts a 16-bit channel to 8 bits, rounded to the nearest level.
pub(super) fn narrow(wide: u16) -> u8 {
    ((u32::from(wide) + 128) / 257) as u8
}

/// Rotates and mirrors the picture by the camera's orientation.
pub(super) fn turn(picture: RgbImage, orientation: Orientation) -> RgbImage {
    if orientation == Orientation::NoTransforms {
        return picture;
    }
    let mut upright = DynamicImage::ImageRgb8(picture);
    upright.apply_orientation(orientation);
    upright.into_rgb8()
}
