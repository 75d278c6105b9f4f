//! Recognises a file's format by its first bytes.

use super::fault::{Fault, Unreadable};

/// The formats that this build decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bmp,
    Gif,
    #[cfg(feature = "heic")]
    Heic,
    Jpeg,
    Png,
    Tiff,
    WebP,
}

/// The supported formats, for messages.
const READABLE: &str = match cfg!(feature = "heic") {
    true => "JPEG, PNG, WebP, GIF, BMP, TIFF and HEIC",
    false => "JPEG, PNG, WebP, GIF, BMP and TIFF",
};

/// Recognises the format by the signature at the beginning, never by a file's name.
///
/// # Errors
/// If the bytes are not an image, or an image in another format; the message names it and says what to do.
pub(super) fn recognise(bytes: &[u8]) -> Result<Kind, Unreadable> {
    match bytes {
        [0xFF, 0xD8, ..] => Ok(Kind::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Ok(Kind::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Kind::Gif),
        [b'B', b'M', ..] => Ok(Kind::Bmp),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Ok(Kind::WebP),
        _ => match named(bytes) {
            // A camera's raw file begins like a TIFF file, so raw formats are checked first.
            None if is_tiff(bytes) => Ok(Kind::Tiff),
            None => {
                Err(Fault::Foreign.because(format!("is not an image ({READABLE} are recognised)")))
            }
            #[cfg(feature = "heic")]
            Some(("HEIC", _)) => Ok(Kind::Heic),
            Some((name, advice)) => Err(Fault::Foreign.because(format!(
                "is {name}, a format that is not supported; {advice}"
            ))),
        },
    }
}

/// Whether this is classic TIFF or BigTIFF, in either byte order.
fn is_tiff(bytes: &[u8]) -> bool {
    const SIGNATURES: [&[u8; 4]; 4] = [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];
    SIGNATURES.iter().any(|s| bytes.starts_with(*s))
}

/// Returns the name of a format that is not supported, and advice.
fn named(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const CONVERT: &str = "convert it to JPEG or PNG first";
    let found = match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', rest @ ..] => return media_container(rest),
        [0xFF, 0x0A, ..] | [0, 0, 0, 0x0C, b'J', b'X', b'L', b' ', ..] => (
            "JPEG XL",
            "convert it first, for example with: djxl photo.jxl photo.jpg",
        ),
        [0, 0, 0, 0x0C, b'j', b'P', b' ', b' ', ..] | [0xFF, 0x4F, 0xFF, 0x51, ..] => {
            ("JPEG 2000", CONVERT)
        }
        [b'8', b'B', b'P', b'S', ..] => ("a Photoshop document", "export it as JPEG or PNG first"),
        [b'%', b'P', b'D', b'F', b'-', ..] => ("PDF", "export its page as PNG first"),
        [0, 0, 1, 0, ..] => ("an icon (ICO)", CONVERT),
        [0x76, 0x2F, 0x31, 0x01, ..] => ("OpenEXR", CONVERT),
        [b'#', b'?', b'R' | b'r', ..] => ("Radiance HDR", CONVERT),
        [b'q', b'o', b'i', b'f', ..] => ("QOI", CONVERT),
        [b'D', b'D', b'S', b' ', ..] => ("DDS", CONVERT),
        [b'g', b'i', b'm', b'p', b' ', b'x', b'c', b'f', ..] => {
            ("a GIMP document (XCF)", "export it as JPEG or PNG first")
        }
        [b'f', b'a', b'r', b'b', b'f', b'e', b'l', b'd', ..] => ("farbfeld", CONVERT),
        [b'P', b'1'..=b'7', b'\n' | b' ' | b'\r' | b'\t', ..] => ("PNM", CONVERT),
        [b'F', b'U', b'J', b'I', b'F', b'I', b'L', b'M', b'C', ..] => ("RAW (Fujifilm RAF)", RAW),
        [b'I', b'I', b'*', 0, _, _, _, _, b'C', b'R', ..] => ("RAW (Canon CR2)", RAW),
        [b'I', b'I', b'R', b'O' | b'S', ..] => ("RAW (Olympus ORF)", RAW),
        [b'I', b'I', b'U', 0, ..] => ("RAW (Panasonic RW2)", RAW),
        [b'F', b'O', b'V', b'b', ..] => ("RAW (Sigma X3F)", RAW),
        _ => return is_svg(bytes).then_some(("SVG", "export it as PNG first")),
    };
    Some(found)
}

/// Advice for a camera's raw file.
pub(super) const RAW: &str =
    "export it as JPEG first, or caption the JPEG that the camera wrote beside it";

/// Recognises HEIC, AVIF, Canon's CR3 and videos, which share one container. They differ in the four letters after
/// `ftyp`; if those only say that the file holds images, the list of compatible brands decides.
fn media_container(brands: &[u8]) -> Option<(&'static str, &'static str)> {
    const HEIC: &str = "convert it first, for example with: heif-convert photo.heic photo.jpg";
    const AVIF: &str = "convert it first, for example with: avifdec photo.avif photo.png";
    let brand = brands.get(..4)?;
    let lists = |name: &[u8]| brands[..brands.len().min(64)].windows(4).any(|w| w == name);
    Some(match brand {
        b"avif" | b"avis" => ("AVIF", AVIF),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => ("HEIC", HEIC),
        b"mif1" | b"msf1" | b"miaf" if lists(b"avif") => ("AVIF", AVIF),
        b"mif1" | b"msf1" | b"miaf" => ("HEIC", HEIC),
        b"crx " => ("RAW (Canon CR3)", RAW),
        _ => ("a video", "save one of its frames as JPEG or PNG first"),
    })
}

/// Whether a text begins like SVG, perhaps after an XML declaration and comments.
fn is_svg(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(1024)];
    let trimmed = start.trim_ascii_start();
    let is_text = trimmed.starts_with(b"<") || trimmed.starts_with(b"\xEF\xBB\xBF<");
    is_text && start.windows(4).any(|window| window == b"<svg")
}
