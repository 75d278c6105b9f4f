//! Encodes small JPEGs for display.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mozjpeg::{ColorSpace, Compress};

use super::super::Image;

impl Image {
    /// Encodes the picture as a JPEG of this `quality`, 1 to 100; `None` if it is too large for one.
    pub fn jpeg(&self, quality: u8) -> Option<Vec<u8>> {
        const MAX_SIDE: u32 = 65_500;
        if self.width() > MAX_SIDE || self.height() > MAX_SIDE {
            return None;
        }
        // The library reports errors by unwinding.
        let encoding = AssertUnwindSafe(|| {
            let mut compress = Compress::new(ColorSpace::JCS_RGB);
            compress.set_fastest_defaults();
            compress.set_size(self.width() as usize, self.height() as usize);
            compress.set_quality(f32::from(quality));
            let mut started = compress.start_compress(Vec::new()).ok()?;
            started.write_scanlines(self.pixels()).ok()?;
            started.finish().ok()
        });
        catch_unwind(encoding).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Image, Limits};

    #[test]
    fn what_is_written_is_the_picture() {
        let pixels = (0..40u32 * 30).flat_map(|i| [(i % 40 * 6) as u8, (i / 40 * 8) as u8, 90]);
        let image = Image::from_rgb(40, 30, pixels.collect()).unwrap();
        let bytes = image.jpeg(90).unwrap();
        let again = Image::from_bytes(&bytes, Limits::default()).unwrap();
        assert_eq!((again.width(), again.height()), (40, 30));
        let far = |(a, b): (&u8, &u8)| u32::from(a.abs_diff(*b));
        let sum: u32 = image.pixels().iter().zip(again.pixels()).map(far).sum();
        assert!(sum < 6 * 3600, "{sum}");
    }
}
