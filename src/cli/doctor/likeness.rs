//! Finds pictures that look alike although their files differ.

use crate::cpu::threads;
use crate::data::Image;

/// The side of the reduced picture that is compared.
const SIDE: usize = 9;

/// Maximum number of the 144 comparisons in which two alike pictures may differ.
const MOST_BITS: u32 = 6;

/// Maximum mean difference of brightness between two reduced pictures, on a scale of 255.
const MOST_DIFFERENCE: u32 = 6;

/// Minimum range of brightness. A picture with less has nothing to be recognised by.
const LEAST_CONTRAST: u8 = 24;

/// A reduced picture: the brightness of 81 parts, and for each part which of its neighbours are brighter.
#[derive(Clone, Debug)]
pub struct Look {
    grey: [u8; SIDE * SIDE],
    /// Comparisons with the right neighbours, then with the lower ones.
    brighter: [u128; 2],
}

impl Look {
    /// Reduces a picture; `None` if it is nearly one colour.
    pub fn of(image: &Image) -> Option<Look> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let mut sums = [0u64; SIDE * SIDE];
        let mut counts = [0u64; SIDE * SIDE];
        for (y, row) in image.rows().enumerate() {
            let line = y * SIDE / height * SIDE;
            for (x, pixel) in row.chunks_exact(3).enumerate() {
                let part = line + x * SIDE / width;
                sums[part] += u64::from(pixel[0]) + 2 * u64::from(pixel[1]) + u64::from(pixel[2]);
                counts[part] += 4;
            }
        }
        let mut grey = [0u8; SIDE * SIDE];
        for (part, (sum, count)) in sums.iter().zip(counts).enumerate() {
            // A picture with fewer pixels than parts cannot be compared.
            grey[part] = sum.checked_div(count)? as u8;
        }
        let (least, most) = (grey.iter().min()?, grey.iter().max()?);
        if most - least < LEAST_CONTRAST {
            return None;
        }
        let at = |x: usize, y: usize| grey[y * SIDE + x];
        let mut brighter = [0u128; 2];
        for y in 0..SIDE {
            for x in 0..SIDE - 1 {
                brighter[0] = brighter[0] << 1 | u128::from(at(x + 1, y) > at(x, y));
                brighter[1] = brighter[1] << 1 | u128::from(at(y, x + 1) > at(y, x));
            }
        }
        Some(Look { grey, brighter })
    }

    fn is_like(&self, other: &Look) -> bool {
        let [a, b] = [0, 1].map(|i| (self.brighter[i] ^ other.brighter[i]).count_ones());
        if a + b > MOST_BITS {
            return false;
        }
        let pairs = self.grey.iter().zip(&other.grey);
        let difference: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        difference <= MOST_DIFFERENCE * (SIDE * SIDE) as u32
    }
}

/// The pairs of indices of pictures that look alike, the smaller index first.
pub fn pairs(looks: &[Option<Look>]) -> Vec<(usize, usize)> {
    let found = threads::map(looks.len(), |first| {
        let Some(look) = &looks[first] else {
            return Vec::new();
        };
        let others = looks.iter().enumerate().skip(first + 1);
        others
            .filter(|(_, other)| other.as_ref().is_some_and(|other| look.is_like(other)))
            .map(|(second, _)| (first, second))
            .collect()
    });
    found.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, pixel: impl Fn(f32, f32) -> u8) -> Option<Look> {
        let mut pixels = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let level = pixel(x as f32 / width as f32, y as f32 / height as f32);
                pixels.extend([level, level / 2, 255 - level]);
            }
        }
        Look::of(&Image::from_rgb(width, height, pixels).unwrap())
    }

    #[test]
    fn a_picture_looks_like_itself_in_another_size() {
        let waves =
            |x: f32, y: f32| (120.0 + 60.0 * (9.0 * x).sin() + 60.0 * (7.0 * y).cos()) as u8;
        let looks = [
            picture(90, 90, waves),
            picture(200, 140, waves),
            picture(90, 90, |x, y| waves(y, x)),
            picture(90, 90, |x, y| waves(x, y).saturating_add(2)),
            picture(90, 90, |_, _| 90),
            picture(4, 4, waves),
        ];
        assert!(looks[4].is_none() && looks[5].is_none());
        assert_eq!(pairs(&looks), [(0, 1), (0, 3), (1, 3)]);
    }
}
