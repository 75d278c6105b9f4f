//! File name extensions and leading bytes of images, supported or not.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The extensions of supported image formats; matched without regard to case.
pub const EXTENSIONS: [&str; 13] = [
    "jpg",
    "jpeg",
    "jpe",
    "jfif",
    "jpg_large",
    "png",
    "apng",
    "webp",
    "gif",
    "bmp",
    "dib",
    "tif",
    "tiff",
];

/// Image formats that are not supported: the format's name and its extensions.
const FOREIGN: [(&str, &[&str]); 14] = [
    ("HEIC", &["heic", "heif", "heics", "heifs", "hif"]),
    ("AVIF", &["avif", "avifs"]),
    ("JPEG XL", &["jxl"]),
    ("JPEG 2000", &["jp2", "j2k", "j2c", "jpf", "jpx"]),
    (
        "raw",
        &[
            "3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "iiq", "kdc", "mrw", "nef",
            "nrw", "orf", "pef", "raf", "rw2", "rwl", "sr2", "srf", "srw", "x3f",
        ],
    ),
    ("PSD", &["psd", "psb"]),
    ("SVG", &["svg", "svgz"]),
    ("ICO", &["ico", "cur"]),
    ("TGA", &["tga"]),
    ("PPM", &["ppm", "pgm", "pbm", "pnm", "pam"]),
    ("EXR", &["exr"]),
    ("HDR", &["hdr"]),
    ("DDS", &["dds"]),
    ("QOI", &["qoi"]),
];

/// The kind of file that a name indicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// An image in a supported format.
    Image,
    /// An image in this format, which is not supported.
    Foreign(&'static str),
    /// Another kind of file.
    Other,
    /// Unknown: the name has no extension.
    Nothing,
}

/// Returns the kind of file that the name of `path` indicates; the file is not opened.
pub fn named(path: &Path) -> Named {
    let Some(extension) = path.extension() else {
        return Named::Nothing;
    };
    let is = |known: &&str| extension.eq_ignore_ascii_case(known);
    if EXTENSIONS.iter().any(is) {
        return Named::Image;
    }
    let foreign = FOREIGN.iter().find(|(_, all)| all.iter().any(is));
    foreign.map_or(Named::Other, |(kind, _)| Named::Foreign(kind))
}

/// Whether the name of `path` is that of an image, supported or not.
pub fn is_picture_name(path: &Path) -> bool {
    matches!(named(path), Named::Image | Named::Foreign(_))
}

/// Whether the file at `path` begins like an image; reads its first bytes. False if it cannot be read.
pub fn begins_as_picture(path: &Path) -> bool {
    const BYTES_READ: u64 = 16;
    let mut bytes = Vec::with_capacity(BYTES_READ as usize);
    let read = File::open(path).and_then(|file| file.take(BYTES_READ).read_to_end(&mut bytes));
    read.is_ok() && is_beginning(&bytes)
}

fn is_beginning(bytes: &[u8]) -> bool {
    const MARKS: [&[u8]; 10] = [
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF87a",
        b"GIF89a",
        b"II*\0",
        b"MM\0*",
        b"8BPS\0\x01",
        // JPEG XL and JPEG 2000, in boxes.
        b"\0\0\0\x0cJXL \r\n\x87\n",
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"qoif",
    ];
    const BRANDS: [&[u8]; 8] = [
        b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis",
    ];
    let at = |start: usize, wanted: &[u8]| bytes.get(start..start + wanted.len()) == Some(wanted);
    MARKS.iter().any(|mark| bytes.starts_with(mark))
        || (at(0, b"RIFF") && at(8, b"WEBP"))
        // Two letters are weak evidence; a BMP also has the length of its second header here, which is small.
        || (at(0, b"BM") && matches!(bytes.get(14..16), Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0])))
        || (at(4, b"ftyp") && BRANDS.iter().any(|brand| at(8, brand)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_files_are() {
        for (name, expected) in [
            ("a.jpg", Named::Image),
            ("A.JPE", Named::Image),
            ("a.jpg_large", Named::Image),
            ("b.TIFF", Named::Image),
            ("x/IMG_1.HEIC", Named::Foreign("HEIC")),
            ("a.CR2", Named::Foreign("raw")),
            ("a.jxl", Named::Foreign("JPEG XL")),
            ("notes.txt", Named::Other),
            ("a.jpg.txt", Named::Other),
            ("a.", Named::Other),
            ("README", Named::Nothing),
        ] {
            assert_eq!(named(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn beginnings_are_pictures_or_not() {
        let mut bmp = *b"BM\0\0\0\0\0\0\0\0\0\0\0\0\x28\0";
        assert!(is_beginning(&bmp));
        bmp[14] = 7;
        assert!(!is_beginning(&bmp));
        for (bytes, expected) in [
            (&b"\xff\xd8\xff\xe0\0\x10JFIF\0"[..], true),
            (b"RIFF\x10\0\0\0WEBPVP8 ", true),
            (b"RIFF\x10\0\0\0WAVEfmt ", false),
            (b"\0\0\0\x18ftypheic\0\0\0\0", true),
            (b"\0\0\0\x18ftypisom\0\0\0\0", false),
            (b"BMW is a maker of cars", false),
            (b"GIF", false),
            (b"", false),
        ] {
            assert_eq!(is_beginning(bytes), expected, "{bytes:?}");
        }
    }
}
