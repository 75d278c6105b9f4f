//! Every kind of image file against what Pillow reads from it, and every way in which one can be damaged.
//!
//! `tests/fixtures/images` is made by `tools/make_image_fixtures.py`.

mod odd;

use std::fs;
use std::path::{Path, PathBuf};

use glimpse::data::{Image, Limits, Recipe};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/images")
        .join(name)
}

/// The largest and the mean difference between two pictures, in levels of 255.
fn difference(a: &Image, b: &Image) -> (u8, f64) {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let differences = a
        .pixels()
        .iter()
        .zip(b.pixels())
        .map(|(a, b)| a.abs_diff(*b));
    let total: f64 = differences.clone().map(f64::from).sum();
    (
        differences.max().unwrap_or(0),
        total / a.pixels().len() as f64,
    )
}

/// The fixtures, and how far from Pillow each may be at its worst pixel. Lossless formats are exact but
/// for the rounding of 16 bits and of transparency; in JPEG and lossy WebP two correct decoders differ by
/// how they round the cosine transform and how they widen halved colour channels.
const FIXTURES: [(&str, u8); 36] = [
    ("rgb.jpg", 3),
    ("subsampled.jpg", 4),
    ("progressive.jpg", 4),
    ("grey.jpg", 2),
    ("cmyk.jpg", 3),
    ("ycck.jpg", 4),
    ("thumbnail.jpg", 3),
    ("orientation-1.jpg", 4),
    ("orientation-2.jpg", 4),
    ("orientation-3.jpg", 4),
    ("orientation-4.jpg", 4),
    ("orientation-5.jpg", 4),
    ("orientation-6.jpg", 4),
    ("orientation-7.jpg", 4),
    ("orientation-8.jpg", 4),
    ("orientation-6.png", 0),
    ("orientation-6.webp", 0),
    ("rgb.png", 0),
    ("rgba.png", 1),
    ("grey.png", 0),
    ("grey-alpha.png", 1),
    ("bilevel.png", 0),
    ("palette.png", 0),
    ("palette-transparent.png", 1),
    ("key-transparent.png", 0),
    ("grey-16.png", 1),
    ("rgb-16.png", 1),
    ("rgba-16.png", 1),
    ("animated.gif", 0),
    ("transparent.gif", 0),
    ("lossy.webp", 1),
    ("lossless.webp", 0),
    ("alpha.webp", 1),
    ("animated.webp", 0),
    ("rgb.bmp", 0),
    ("palette.bmp", 0),
];

#[test]
fn every_kind_of_file_reads_as_pillow_reads_it() {
    let mut wrong = Vec::new();
    for (name, tolerance) in FIXTURES {
        let image = Image::open(fixture(name)).unwrap();
        let expected = Image::open(fixture(&format!("{name}.rgb.png"))).unwrap();
        let (largest, mean) = difference(&image, &expected);
        println!("{name}: at most {largest}, on average {mean:.3} levels");
        if largest > tolerance || mean > 1.0 {
            wrong.push(format!("{name}: {largest} levels, {mean:.3} on average"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn recipes_prepare_as_pillow_and_torchvision_do() {
    for picture in ["wide", "tall"] {
        let image = Image::open(fixture(&format!("prepared/{picture}.png"))).unwrap();
        for (method, tolerance) in [("torchvision", 1), ("squash", 1), ("keras-nearest", 0)] {
            for size in [56, 63] {
                let recipe: Recipe = format!("{method}:{size}").parse().unwrap();
                let expected = format!("prepared/{picture}.{method}-{size}.png");
                let expected = Image::open(fixture(&expected)).unwrap();
                let (largest, mean) = difference(&recipe.square(&image).unwrap(), &expected);
                println!("{picture} {recipe}: at most {largest}, on average {mean:.4} levels");
                assert!(largest <= tolerance, "{picture} {recipe}: {largest} levels");
            }
        }
    }
}

#[test]
fn normalised_values_are_torchvisions_to_the_bit() {
    let levels = Image::open(fixture("prepared/levels.png")).unwrap();
    let expected = fs::read(fixture("prepared/levels.f32")).unwrap();
    let tensor = glimpse::data::preprocess::batch(std::slice::from_ref(&levels));
    assert!(tensor.is_ok());
    let (expected, _) = expected.as_chunks::<4>();
    // One row of 256 pixels, read through the recipe as 256 pictures of one pixel.
    let recipe: Recipe = "squash:1".parse().unwrap();
    for (pixel, expected) in levels
        .pixels()
        .chunks_exact(3)
        .zip(expected.chunks_exact(3))
    {
        let pixel = Image::from_rgb(1, 1, pixel.to_vec()).unwrap();
        let expected: Vec<f32> = expected
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        assert_eq!(recipe.apply(&pixel).unwrap(), expected);
    }
}

fn refusal(bytes: &[u8]) -> String {
    Image::decode(bytes, "photo", Limits::default())
        .unwrap_err()
        .to_string()
}

/// A PNG file without image data that claims to be of this size.
fn claiming(width: u32, height: u32) -> Vec<u8> {
    let mut png = fs::read(fixture("rgb.png")).unwrap();
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            (c >> 1) ^ if c & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn what_is_no_image_is_refused_in_one_line() {
    let jpeg = fs::read(fixture("rgb.jpg")).unwrap();
    let cases: [(&[u8], &str); 7] = [
        (b"", "photo: is empty (0 bytes); copy or download it again"),
        (
            b"hello, world",
            "photo: is not an image (JPEG, PNG, WebP, GIF, BMP",
        ),
        (
            b"II*\0\x08\0\0\0",
            "photo: is cut off: the TIFF file ends within its header",
        ),
        (
            b"\0\0\0\x18ftypavif\0\0\0\0",
            "photo: is AVIF, a format that is not supported; convert it first",
        ),
        (
            &jpeg[..jpeg.len() * 9 / 10],
            "photo: is cut off: 13 of 29 rows of pixels are missing",
        ),
        (
            &claiming(60_000, 60_000),
            "photo: claims 60000 x 60000 pixels, more than the 250 megapixels",
        ),
        (&claiming(0, 5), "photo: "),
    ];
    for (bytes, expected) in cases {
        let message = refusal(bytes);
        assert!(message.starts_with(expected), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn paths_that_are_no_file_are_refused() {
    let message = Image::open(fixture("")).unwrap_err().to_string();
    assert!(
        message.ends_with("is a folder, where an image file was expected"),
        "{message}"
    );
    let message = Image::open(fixture("missing.jpg")).unwrap_err().to_string();
    assert!(
        message.ends_with("missing.jpg: does not exist; check the path"),
        "{message}"
    );
}

#[test]
fn limits_hold_for_files_and_pixels() {
    let png = fs::read(fixture("rgb.png")).unwrap();
    let small = Limits {
        pixels: 1000,
        ..Limits::default()
    };
    let message = Image::decode(&png, "-", small).unwrap_err().to_string();
    assert_eq!(
        message,
        "-: claims 45 x 29 pixels, more than the 1000 pixels that are accepted; scale it down first"
    );
    let short = Limits {
        file_bytes: 100,
        ..Limits::default()
    };
    let message = Image::read(std::io::repeat(7), "-", short)
        .unwrap_err()
        .to_string();
    assert_eq!(message, "-: is larger than 100 bytes; scale it down first");
    assert!(Image::read(png.as_slice(), "-", Limits::default()).is_ok());
}

#[test]
fn a_file_cut_anywhere_is_an_error_or_whole() {
    for (name, _) in FIXTURES {
        let bytes = fs::read(fixture(name)).unwrap();
        let whole = Image::decode(&bytes, name, Limits::default()).unwrap();
        let mut accepted = Vec::new();
        for length in 0..bytes.len() {
            match Image::decode(&bytes[..length], name, Limits::default()) {
                Ok(image) if image.pixels() == whole.pixels() => {}
                // All of the pixels, but not what says how the camera was held.
                Ok(image) if image.warnings().join("").contains("may lie on its side") => {}
                Ok(_) => accepted.push(length),
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            }
        }
        assert!(
            accepted.is_empty(),
            "{name} of {} bytes was accepted when cut to {accepted:?}",
            bytes.len()
        );
    }
}

/// `GLIMPSE_FUZZ_CASES` sets how many damaged copies of each file are tried.
#[test]
fn damaged_bytes_never_panic() {
    let cases = std::env::var("GLIMPSE_FUZZ_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(500);
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    // What a few changed bytes can claim is still decoded quickly below this.
    let limits = Limits {
        pixels: 100_000,
        ..Limits::default()
    };
    for (name, _) in FIXTURES {
        let original = fs::read(fixture(name)).unwrap();
        for _ in 0..cases {
            let mut bytes = original.clone();
            for _ in 0..rng.random_range(1..=6) {
                // Headers are where the decisions are, so half of the damage goes there.
                let end = if rng.random_bool(0.5) {
                    bytes.len().min(64)
                } else {
                    bytes.len()
                };
                let at = rng.random_range(0..end);
                match rng.random_range(0..4) {
                    0 => bytes[at] = rng.random(),
                    1 => bytes[at] ^= 1 << rng.random_range(0..8),
                    2 => drop(bytes.remove(at)),
                    _ => bytes.insert(
                        at,
                        *[0, 1, 0x7F, 0x80, 0xFF]
                            .get(rng.random_range(0..5))
                            .unwrap(),
                    ),
                }
            }
            if let Ok(image) = Image::decode(&bytes, name, limits) {
                let pixels = u64::from(image.width()) * u64::from(image.height());
                assert!(pixels <= limits.pixels && image.pixels().len() as u64 == pixels * 3);
            }
        }
    }
}
