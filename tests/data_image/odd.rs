//! Tests of odd image files: files with all of their pixels are read, others are refused with their format and their
//! fault.
//!
//! `tests/fixtures/odd` is made by `tools/make_odd_images.py`; every file there shows the scene of `shown.png`. Files
//! that need no encoder are made here.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use glimpse::data::{Fault, Image, Limits, Unreadable};

use super::{crc32, difference, fixture};

fn odd(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/odd")
        .join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(odd(name)).unwrap()
}

fn read(bytes: &[u8]) -> Result<Image, Unreadable> {
    Image::from_bytes(bytes, Limits::default())
}

/// Reads a file, checks that its picture is that of `expected`, and returns the warnings.
fn shows(bytes: &[u8], expected: &Image, what: &str) -> Vec<String> {
    let image = read(bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
    let (largest, _) = difference(&image, expected);
    assert!(largest <= 4, "{what}: {largest} levels");
    image.warnings().to_vec()
}

fn refusal(bytes: &[u8]) -> String {
    let error = read(bytes).unwrap_err();
    assert_eq!(error.fault, Fault::Damaged, "{error}");
    error.to_string()
}

#[test]
fn every_odd_file_shows_what_other_readers_show() {
    let mut count = 0;
    for entry in fs::read_dir(odd("")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let is_other = name.ends_with(".rgb.png") || name.starts_with("turned");
        if is_other || name.ends_with(".heic") {
            continue;
        }
        let own = odd(&format!("{name}.rgb.png"));
        let expected = if own.exists() { own } else { odd("shown.png") };
        let expected = Image::open(expected).unwrap();
        let warnings = shows(&bytes(&name), &expected, &name);
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
        count += 1;
    }
    assert!(count >= 65, "{count} files");
}

/// JPEGs of several codings, with their pictures.
fn jpegs() -> Vec<(&'static str, Vec<u8>, Image)> {
    let names = ["restarts.jpg", "restarts-progressive.jpg", "arithmetic.jpg"];
    let more = ["scans-012.jpg", "sampling-3x1.jpg", "motion.jpg"];
    let names = names.into_iter().chain(more);
    names
        .map(|name| {
            let bytes = bytes(name);
            let image = read(&bytes).unwrap();
            (name, bytes, image)
        })
        .collect()
}

#[test]
fn a_jpeg_without_its_end_marker_is_used_where_all_pixels_are_there() {
    for (name, jpeg, shown) in jpegs() {
        let (data, end) = jpeg.split_at(jpeg.len() - 2);
        assert_eq!(end, [0xFF, 0xD9]);
        let camera = b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data1577836800\0SEFT".as_slice();
        let half = [data, &[0xFF]].concat();
        for (what, odd) in [
            ("nothing", data.to_vec()),
            ("half of it", half),
            ("a camera's trailer", [data, camera].concat()),
        ] {
            let what = format!("{name} with {what} at its end");
            let warnings = shows(&odd, &shown, &what);
            assert_eq!(
                warnings,
                ["has no end marker, but all of its pixels"],
                "{what}"
            );
            let refused = read(&odd).unwrap().strictly().unwrap_err();
            assert!(refused.to_string().contains("no end marker"));
        }
        let trailer = [&jpeg, camera, &jpeg].concat();
        assert!(shows(&trailer, &shown, name).is_empty(), "{name}");
    }
}

#[test]
fn a_jpeg_that_lost_pixels_says_how_many() {
    for (name, jpeg, _) in jpegs() {
        let header = jpeg.windows(2).position(|w| w == [0xFF, 0xDA]).unwrap() + 14;
        for percent in [5, 30, 60, 80] {
            let cut = header + (jpeg.len() - header) * percent / 100;
            let ended = [&jpeg[..cut], &[0xFF, 0xD9]].concat();
            let filled = [&jpeg[..cut], &[0; 5000]].concat();
            for (how, odd) in [
                ("cut", &jpeg[..cut]),
                ("ended", &ended),
                ("filled", &filled),
            ] {
                let what = format!("{name} {how} at {percent} %");
                let error = read(odd).expect_err(&what);
                let message = error.to_string();
                assert_eq!(error.fault, Fault::Damaged, "{what}: {message}");
                let says_so = message.starts_with("is cut off") && message.contains("missing");
                assert!(says_so, "{what}: {message}");
            }
        }
    }
}

#[test]
fn kinds_of_jpeg_that_nobody_reads_are_named() {
    let jpeg = fs::read(fixture("rgb.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    let cases: [(&[(usize, u8)], &str); 5] = [
        (&[(1, 0xC3)], "lossless"),
        (&[(1, 0xC7)], "hierarchical"),
        (&[(4, 12)], "12 bits"),
        (&[(9, 2)], "2 colour components"),
        (&[(11, 0x31), (14, 0x21)], "sampling factors"),
    ];
    for (changes, named) in cases {
        let mut changed = jpeg.clone();
        for (at, value) in changes {
            changed[frame + at] = *value;
        }
        let error = read(&changed).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.fault, Fault::Foreign, "{text}");
        let kind = "is a kind of JPEG that is not supported";
        assert!(text.starts_with(kind) && text.contains(named), "{text}");
    }
}

/// EXIF data with the orientation 6, spelled as a BYTE (1), SHORT (3) or LONG (4).
fn exif(kind: u16, is_little: bool) -> Vec<u8> {
    let short = |n: u16| {
        if is_little {
            n.to_le_bytes()
        } else {
            n.to_be_bytes()
        }
    };
    let long = |n: u32| {
        if is_little {
            n.to_le_bytes()
        } else {
            n.to_be_bytes()
        }
    };
    let value = match kind {
        1 => vec![6, 0, 0, 0],
        3 => [short(6), [0, 0]].concat(),
        _ => long(6).to_vec(),
    };
    let head = if is_little { b"II*\0" } else { b"MM\0*" };
    let parts: [&[u8]; 8] = [
        head,
        &long(8),
        &short(1),
        &short(0x0112),
        &short(kind),
        &long(1),
        &value,
        &long(0),
    ];
    parts.concat()
}

#[test]
fn orientation_is_read_in_every_spelling() {
    let shown = Image::open(odd("shown.png")).unwrap();
    let (jpeg, png) = (bytes("turned.jpg"), bytes("turned.png"));
    let xmp = b"<rdf:Description tiff:Orientation=\"6\"/>".as_slice();
    let segment = |data: &[&[u8]]| {
        let data = data.concat();
        let length = (data.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xFF, 0xE1], &length, &data, &jpeg[2..]].concat()
    };
    let mut files = vec![(
        "JPEG with XMP".to_string(),
        segment(&[b"http://ns.adobe.com/xap/1.0/\0", xmp]),
    )];
    for kind in [1, 3, 4] {
        for is_little in [true, false] {
            let exif = exif(kind, is_little);
            let prefixed = [b"Exif\0\0".as_slice(), &exif].concat();
            files.push((format!("JPEG {kind} {is_little}"), segment(&[&prefixed])));
            for (data, place) in [(&exif, "plain"), (&prefixed, "prefixed")] {
                let before = with_chunk(&png, b"IDAT", b"eXIf", data);
                let after = with_chunk(&png, b"IEND", b"eXIf", data);
                files.push((format!("PNG {kind} {place} before"), before));
                files.push((format!("PNG {kind} {place} after"), after));
            }
        }
    }
    let digits: String = exif(3, true).iter().map(|b| format!("{b:02x}")).collect();
    let profile = format!(
        "\nexif\n{:8}\n{}\n{}\n",
        digits.len() / 2,
        &digits[..20],
        &digits[20..]
    );
    let plain = [b"Raw profile type exif\0".as_slice(), profile.as_bytes()].concat();
    let packed = [
        b"Raw profile type APP1\0\0".as_slice(),
        &deflated(profile.as_bytes()),
    ]
    .concat();
    let international = [b"XML:com.adobe.xmp\0\0\0\0\0".as_slice(), xmp].concat();
    files.push(("tEXt".into(), with_chunk(&png, b"IEND", b"tEXt", &plain)));
    files.push(("zTXt".into(), with_chunk(&png, b"IDAT", b"zTXt", &packed)));
    files.push((
        "iTXt".into(),
        with_chunk(&png, b"IDAT", b"iTXt", &international),
    ));
    for (what, file) in files {
        let image = read(&file).unwrap_or_else(|e| panic!("{what}: {e}"));
        let (_, mean) = difference(&image, &shown);
        assert!(mean < 8.0, "{what}: {mean} levels on average");
        assert!(image.warnings().is_empty(), "{what}");
    }
}

fn deflated(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [name, data].concat();
    let length = (data.len() as u32).to_be_bytes();
    [&length, named.as_slice(), &crc32(&named).to_be_bytes()].concat()
}

/// The offset of the chunk with this name.
fn find(png: &[u8], name: &[u8; 4]) -> usize {
    png.windows(4).position(|w| w == name).unwrap() - 4
}

/// A PNG with an additional chunk before the first chunk named `before`.
fn with_chunk(png: &[u8], before: &[u8; 4], name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let (head, rest) = png.split_at(find(png, before));
    [head, &chunk(name, data), rest].concat()
}

#[test]
fn a_png_that_checks_oddly_is_used_where_all_pixels_are_there() {
    let shown = Image::open(odd("shown.png")).unwrap();
    for name in ["shown.png", "interlaced.png"] {
        let png = bytes(name);
        let end = find(&png, b"IEND");
        let mut damaged = png.clone();
        damaged[end - 1] ^= 1;
        for (odd, warning) in [
            (png[..end].to_vec(), "ends without its end chunk"),
            (png[..end + 6].to_vec(), "ends without its end chunk"),
            (damaged, "has a wrong checksum in its pixels"),
            (
                with_chunk(&png, b"IDAT", b"CgBX", b"secret"),
                "has a chunk of the kind CgBX, which is not part of PNG",
            ),
            (
                with_chunk(&png, b"IEND", b"ABCD", b""),
                "has a chunk of the kind ABCD",
            ),
        ] {
            let warnings = shows(&odd, &shown, warning);
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].starts_with(warning), "{warnings:?}");
        }
        let apple = with_chunk(&png, b"IDAT", b"iDOT", &[0; 28]);
        let twice = with_chunk(&apple, b"IDAT", b"IDAT", b"");
        let trailer = [&png, b"trailer".as_slice()].concat();
        for odd in [apple, twice, trailer] {
            assert!(shows(&odd, &shown, name).is_empty());
        }
        let data = find(&png, b"IDAT");
        for cut in [data + 8, data + (end - data) / 2, end - 60] {
            assert!(
                refusal(&png[..cut]).contains("missing"),
                "{name} cut to {cut}"
            );
        }
    }
    let mut header = bytes("shown.png");
    header[29] ^= 1;
    assert!(refusal(&header).contains("wrong checksum in its IHDR chunk"));
}

#[test]
fn profiles_that_inflate_without_end_are_not_inflated() {
    // A profile of 64 MiB, and a text of 64 MiB.
    let bomb = deflated(&vec![0; 64 << 20]);
    let png = bytes("shown.png");
    let profile = [b"x\0\0".as_slice(), &bomb].concat();
    let text = [b"Raw profile type exif\0\0".as_slice(), &bomb].concat();
    let odd = with_chunk(&png, b"IDAT", b"iCCP", &profile);
    let odd = with_chunk(&odd, b"IDAT", b"zTXt", &text);
    let shown = Image::open(super::odd::odd("shown.png")).unwrap();
    let started = std::time::Instant::now();
    assert!(shows(&odd, &shown, "bomb").is_empty());
    // Only the first MiB of the text is inflated. To inflate both would take more than a second.
    assert!(
        started.elapsed().as_millis() < 500,
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_bmp_without_its_last_padding_or_end_mark_is_used() {
    for (name, cut, warning) in [
        ("top-down.bmp", 1, "lacks the padding of its last row"),
        ("core.bmp", 1, "lacks the padding of its last row"),
        ("core-palette.bmp", 3, "lacks the padding of its last row"),
        ("runs.bmp", 2, "lacks its end mark"),
        ("runs.bmp", 4, "lacks its end mark"),
    ] {
        let whole = bytes(name);
        let shown = read(&whole).unwrap();
        let warnings = shows(&whole[..whole.len() - cut], &shown, name);
        assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
        assert!(warnings[0].starts_with(warning), "{name}: {warnings:?}");
        let message = refusal(&whole[..whole.len() - 300]);
        assert!(
            message.contains("of 29 rows of pixels are missing"),
            "{message}"
        );
    }
}

#[test]
fn a_gif_without_its_trailer_is_whole() {
    let whole = bytes("whole.gif");
    let shown = read(&whole).unwrap();
    assert!(shows(&whole[..whole.len() - 1], &shown, "no trailer").is_empty());
    let message = refusal(&whole[..whole.len() / 2 + 400]);
    assert!(
        message.contains("of 29 rows of pixels are missing"),
        "{message}"
    );
}

#[test]
fn a_webp_that_lost_its_metadata_says_that_it_may_lie_on_its_side() {
    let whole = bytes("exif-long.webp");
    let upright = read(&whole).unwrap();
    let odd = read(&whole[..whole.len() - 8]).unwrap();
    assert_eq!(
        (odd.width(), odd.height()),
        (upright.height(), upright.width())
    );
    let warnings = odd.warnings().join("");
    assert!(warnings.contains("may lie on its side"), "{warnings}");
    let message = refusal(&whole[..whole.len() / 2]);
    assert!(
        message.contains("bytes of its pixels are missing"),
        "{message}"
    );
}

#[test]
fn a_tiff_that_lost_pixels_says_so() {
    for name in ["rgb.tif", "lzw.tif", "deflate.tif", "palette.tif"] {
        let whole = bytes(name);
        let odd = [&whole[..8], &vec![0; whole.len() - 8]].concat();
        assert!(read(&odd).is_err());
        for percent in [20, 50, 80] {
            let error = read(&whole[..whole.len() * percent / 100]);
            let text = error.unwrap_err().to_string();
            assert!(
                text.starts_with("is cut off") || text.starts_with("is damaged"),
                "{text}"
            );
        }
    }
}

#[test]
fn formats_that_are_not_read_are_named_with_what_to_do() {
    let cases: [(&[u8], &str); 14] = [
        (b"\0\0\0\x1Cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x1Cftypavif\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "RAW (Canon CR3)"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2", "a video"),
        (b"\xFF\x0A\xFA\x1F", "JPEG XL"),
        (b"\0\0\0\x0CJXL \x0D\x0A\x87\x0A", "JPEG XL"),
        (b"\0\0\0\x0CjP  \x0D\x0A\x87\x0A", "JPEG 2000"),
        (b"II*\0\x10\0\0\0CR\x02\0", "RAW (Canon CR2)"),
        (b"FUJIFILMCCD-RAW 0201", "RAW (Fujifilm RAF)"),
        (b"IIU\0\x18\0\0\0", "RAW (Panasonic RW2)"),
        (b"8BPS\0\x01", "a Photoshop document"),
        (b"%PDF-1.7", "PDF"),
        (b"<?xml version=\"1.0\"?>\n<svg xmlns=\"x\">", "SVG"),
        (b"P6\n4 4\n255\n", "PNM"),
    ];
    for (bytes, named) in cases {
        let error = read(bytes).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.fault, Fault::Foreign, "{text}");
        let start = format!("is {named}, a format that is not supported; ");
        assert!(
            text.starts_with(&start) && text.len() > start.len(),
            "{text}"
        );
    }
    // A camera's raw file in the TIFF format: one entry marks it as a digital negative.
    let mut negative = b"II*\0\x08\0\0\0".to_vec();
    let entries: [(u16, u16, u32); 9] = [
        (256, 3, 4),
        (257, 3, 4),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 0),
        (278, 3, 4),
        (279, 4, 16),
        (50706, 1, 1),
    ];
    negative.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, value) in entries {
        negative.extend(tag.to_le_bytes());
        negative.extend(kind.to_le_bytes());
        negative.extend(1_u32.to_le_bytes());
        negative.extend(value.to_le_bytes());
    }
    negative.extend([0; 40]);
    let text = read(&negative).unwrap_err().to_string();
    assert!(text.starts_with("is RAW (a camera's raw file)"), "{text}");
}

const HEIC: [&str; 2] = ["scene.heic", "alpha.heic"];

#[cfg(not(feature = "heic"))]
#[test]
fn heic_is_named_with_what_to_do() {
    for name in HEIC {
        let text = read(&bytes(name)).unwrap_err().to_string();
        assert_eq!(
            text,
            "is HEIC, a format that is not supported; convert it first, for example with: heif-convert photo.heic photo.jpg"
        );
    }
}

#[cfg(feature = "heic")]
#[test]
fn heic_shows_what_other_readers_show() {
    for name in HEIC {
        let expected = Image::open(odd(&format!("{name}.rgb.png"))).unwrap();
        let whole = bytes(name);
        let image = read(&whole).unwrap();
        let (largest, mean) = difference(&image, &expected);
        println!("{name}: at most {largest}, on average {mean:.3} levels");
        // Two correct decoders enlarge halved colour channels differently.
        assert!(mean < 5.0, "{name}: {mean} levels on average");
        for length in (0..whole.len()).step_by(7) {
            if let Ok(cut) = read(&whole[..length]) {
                assert_eq!(cut.pixels(), image.pixels(), "{name} cut to {length}");
            }
        }
    }
}
