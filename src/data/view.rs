//! A view of a picture: the part that is shown, whether it is mirrored, and how bright it is.
//!
//! In distillation, teacher and student must see exactly the same view of a picture. A view is therefore stored as six
//! numbers instead of being drawn at random during training. `tools/teacher_targets.py` renders the view for the
//! teacher, and [`View::render`] renders it for the student, both in these steps:
//!
//! 1. The crop box: `left` and `width` times the picture's width, `top` and `height` times its height. Its sides may fall
//!    between pixels.
//! 2. The box is scaled to a square by antialiased bilinear filtering, as Pillow's `resize(size, BILINEAR, box)` does it;
//!    [`resize::bilinear_region`] agrees with that to one level of 255.
//! 3. If `flip` is set, left and right are exchanged.
//! 4. Every level is multiplied by `brightness`, rounded to the nearest, and clipped at 255.

use super::augment::{brighten, mirror};
use super::image::Image;
use super::resize::{self, Region};
use crate::error::Result;

/// Tolerance for a box that exceeds the picture, as a fraction of its side: the numbers are stored as `f32`.
const ROUNDING: f32 = 1e-5;

/// The largest brightness factor of a view.
const BRIGHTEST: f32 = 16.0;

/// A view of a picture. Lengths are fractions of the picture's width and height, measured from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Distance of the box from the left edge, as a fraction of the width.
    pub left: f32,
    /// Distance of the box from the upper edge, as a fraction of the height.
    pub top: f32,
    /// Width of the box as a fraction of the picture's, above 0 and at most 1.
    pub width: f32,
    /// Height of the box as a fraction of the picture's, above 0 and at most 1.
    pub height: f32,
    /// Whether left and right are exchanged.
    pub flip: bool,
    /// The factor of every level; 1 changes nothing.
    pub brightness: f32,
}

impl View {
    /// The whole picture, unchanged.
    pub const WHOLE: View = View {
        left: 0.0,
        top: 0.0,
        width: 1.0,
        height: 1.0,
        flip: false,
        brightness: 1.0,
    };

    /// Creates a view from six numbers: `left, top, width, height, flip, brightness`, where `flip` is 0 or 1.
    ///
    /// # Errors
    /// If the numbers are not a view. The message does not say where they were found.
    pub fn from_numbers(numbers: [f32; 6]) -> Result<View, String> {
        let [left, top, width, height, flip, brightness] = numbers;
        let inside = |start: f32, extent: f32| {
            start >= 0.0 && extent > 0.0 && start + extent <= 1.0 + ROUNDING
        };
        if numbers.iter().any(|x| !x.is_finite()) {
            return Err("holds a number that is not finite".into());
        }
        if !inside(left, width) || !inside(top, height) {
            return Err(format!(
                "shows a box beyond the picture: left {left}, top {top}, width {width}, height {height} (as shares of \
                 its sides)"
            ));
        }
        if flip != 0.0 && flip != 1.0 {
            return Err(format!("has a flip of {flip}; it must be 0 or 1"));
        }
        if !(0.0..=BRIGHTEST).contains(&brightness) {
            return Err(format!(
                "has a brightness of {brightness}; it must be 0 to {BRIGHTEST}"
            ));
        }
        Ok(View {
            left,
            top,
            width,
            height,
            flip: flip == 1.0,
            brightness,
        })
    }

    /// Returns the six numbers that [`View::from_numbers`] takes.
    pub fn numbers(&self) -> [f32; 6] {
        let flip = if self.flip { 1.0 } else { 0.0 };
        [
            self.left,
            self.top,
            self.width,
            self.height,
            flip,
            self.brightness,
        ]
    }

    /// Returns the box in pixels of `image`.
    fn region(&self, image: &Image) -> Region {
        let (left, width) = span(self.left, self.width, image.width());
        let (top, height) = span(self.top, self.height, image.height());
        Region {
            left,
            top,
            width,
            height,
        }
    }

    /// Renders the view of `image` as a square of `size` pixels a side.
    ///
    /// # Errors
    /// If `size` is zero or the box does not lie in the picture.
    pub fn render(&self, image: &Image, size: u32) -> Result<Image> {
        let mut shown = resize::bilinear_region(image, self.region(image), size, size)?;
        if self.flip {
            mirror(&mut shown);
        }
        if self.brightness != 1.0 {
            brighten(&mut shown, f64::from(self.brightness));
        }
        Ok(shown)
    }
}

/// Converts start and extent from fractions of a side to pixels. An excess due to rounding is cut off.
fn span(start: f32, extent: f32, side: u32) -> (f64, f64) {
    let side = f64::from(side);
    let start = f64::from(start) * side;
    let mut extent = (f64::from(extent) * side).min(side - start);
    while extent > 0.0 && start + extent > side {
        extent = extent.next_down();
    }
    (start, extent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> Image {
        let pixels = (0..height).flat_map(|y| {
            (0..width).flat_map(move |x| [(x * 7 % 251) as u8, (y * 5 % 241) as u8, (x + y) as u8])
        });
        Image::from_rgb(width, height, pixels.collect()).unwrap()
    }

    #[test]
    fn numbers_and_back() {
        let view = View {
            left: 0.25,
            top: 0.125,
            width: 0.5,
            height: 0.75,
            flip: true,
            brightness: 1.25,
        };
        assert_eq!(View::from_numbers(view.numbers()), Ok(view));
        assert_eq!(View::from_numbers(View::WHOLE.numbers()), Ok(View::WHOLE));
    }

    #[test]
    fn views_that_cannot_be_are_refused() {
        for (numbers, part) in [
            ([0.6, 0.0, 0.5, 1.0, 0.0, 1.0], "beyond the picture"),
            ([0.0, -0.1, 1.0, 1.0, 0.0, 1.0], "beyond the picture"),
            ([0.0, 0.0, 0.0, 1.0, 0.0, 1.0], "beyond the picture"),
            ([0.0, 0.0, 1.0, 1.0, 0.5, 1.0], "flip of 0.5"),
            ([0.0, 0.0, 1.0, 1.0, 0.0, -1.0], "brightness of -1"),
            ([0.0, 0.0, 1.0, 1.0, 0.0, 99.0], "brightness of 99"),
            ([0.0, 0.0, f32::NAN, 1.0, 0.0, 1.0], "not finite"),
            ([0.0, 0.0, 1.0, 1.0, 0.0, f32::INFINITY], "not finite"),
        ] {
            let message = View::from_numbers(numbers).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn the_whole_picture_at_its_size_is_the_picture() {
        let image = gradient(19, 19);
        assert_eq!(View::WHOLE.render(&image, 19).unwrap(), image);
    }

    #[test]
    fn a_box_of_whole_pixels_is_that_part() {
        let image = gradient(64, 32);
        let view = View {
            left: 0.25,
            top: 0.5,
            width: 0.25,
            height: 0.5,
            ..View::WHOLE
        };
        let shown = view.render(&image, 16).unwrap();
        for y in 0..16usize {
            let row = &image.pixels()[((y + 16) * 64 + 16) * 3..][..48];
            assert_eq!(&shown.pixels()[y * 48..][..48], row);
        }
    }

    #[test]
    fn mirrored_and_brighter() {
        let image = gradient(8, 8);
        let view = View {
            flip: true,
            brightness: 1.5,
            ..View::WHOLE
        };
        let shown = view.render(&image, 8).unwrap();
        for y in 0..8 {
            for x in 0..8 {
                for c in 0..3 {
                    let level = image.pixels()[(y * 8 + 7 - x) * 3 + c];
                    let want = (f64::from(level) * 1.5).round().min(255.0) as u8;
                    assert_eq!(shown.pixels()[(y * 8 + x) * 3 + c], want);
                }
            }
        }
    }

    #[test]
    fn boxes_at_the_edge_never_leave_the_picture() {
        for side in [1u32, 3, 7, 224, 375, 500, 4001] {
            for i in 0..400 {
                let start = i as f32 / 401.0;
                let (left, width) = span(start, 1.0 - start, side);
                assert!(width > 0.0 && left + width <= f64::from(side));
                let (left, width) = span(start, 1.0 - start + ROUNDING / 2.0, side);
                assert!(width > 0.0 && left + width <= f64::from(side));
            }
        }
    }
}
