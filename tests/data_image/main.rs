//! Tests of every kind of image file against Pillow, and of every kind of damage.
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

/// The fixtures, each with the largest difference from Pillow that a pixel may have. Lossless formats are exact, except
/// for the rounding of 16-bit samples and of transparency. In JPEG and lossy WebP, two correct decoders may round the
/// cosine transform and enlarge halved colour channels differently.
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
                // All pixels are there, but the orientation of the camera is missing.
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

/// All fixtures of a format, odd files included.
fn of_format(extension: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = ["images", "odd"]
        .iter()
        .flat_map(|folder| fs::read_dir(fixture("..").join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .filter(|path| !path.to_str().unwrap().ends_with(".rgb.png"))
        .collect();
    files.sort();
    assert!(files.len() > 4, "{extension}: {}", files.len());
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Changes `bytes` in a few places.
fn damage(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..=6) {
        // Readers decide most things from headers, so half of the damage is there.
        let end = match rng.random_bool(0.5) {
            true => bytes.len().min(200),
            false => bytes.len(),
        };
        if end == 0 {
            return;
        }
        let at = rng.random_range(0..end);
        let to = bytes.len().min(at + rng.random_range(1..40));
        match rng.random_range(0..7) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, [0, 1, 0x7F, 0x80, 0xFF][rng.random_range(0..5)]),
            4 => drop(bytes.drain(at..to)),
            5 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
            _ if rng.random_bool(0.2) => bytes.truncate(at),
            _ => bytes[at] = [0, 0xFF, 0xD9, 0xDA, 0xC4, 0x7F][rng.random_range(0..6)],
        }
    }
}

/// Corrects the checksum of every chunk of a PNG. With a wrong checksum, the reader would stop before the damaged data.
fn mend_checksums(png: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = png.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let end = at.saturating_add(8).saturating_add(length);
        let Some(data) = png.get(at + 4..end) else {
            return;
        };
        let checksum = crc32(data).to_be_bytes();
        match png.get_mut(end..end + 4) {
            Some(old) => old.copy_from_slice(&checksum),
            None => return,
        }
        at = end + 4;
    }
}

/// `GLIMPSE_FUZZ` sets how many damaged files of each format are tried.
#[test]
fn damaged_bytes_never_panic() {
    let cases = std::env::var("GLIMPSE_FUZZ").ok();
    let cases: usize = cases.and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    // With this limit, an image whose damaged header claims a large size is still decoded quickly.
    let limits = Limits {
        pixels: 100_000,
        ..Limits::default()
    };
    for extension in ["jpg", "png", "webp", "gif", "bmp", "tif"] {
        let files = of_format(extension);
        let mut read = 0;
        for case in 0..cases {
            let mut bytes = files[rng.random_range(0..files.len())].clone();
            damage(&mut bytes, &mut rng);
            if extension == "png" && case % 4 != 0 {
                mend_checksums(&mut bytes);
            }
            match Image::decode(&bytes, "photo", limits) {
                Ok(image) => {
                    let pixels = u64::from(image.width()) * u64::from(image.height());
                    assert!(pixels <= limits.pixels);
                    assert_eq!(image.pixels().len() as u64, pixels * 3);
                    read += 1;
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(!text.contains('\n') && text.len() < 300, "{text}");
                    // Words of the messages of decoding libraries.
                    let words = ["Error", "expected", "would panic", "{", "(os ", "::"];
                    let foreign = words.iter().find(|word| text.contains(**word));
                    assert_eq!(foreign, None, "{text}");
                }
            }
        }
        println!("{extension}: {read} of {cases} could be read");
        assert!(read > 0 && read < cases, "{extension}: {read} of {cases}");
    }
    if let Some(most) = most_resident() {
        assert!(most < 600 << 20, "{} MiB", most >> 20);
    }
}

/// The peak memory of the process, or `None` if the system does not report it.
fn most_resident() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes << 10)
}
