//! Reads a camera's orientation from a file's metadata.
//!
//! The TIFF 6.0 and EXIF 2.3 specifications number the eight ways in which the first row and column of the stored
//! pixels can lie in the scene (tag 0x0112, `Orientation`): 1 is upright, 2 mirrored, 3 upside down, 4 both, and 5 to 8
//! are those four after swapping rows and columns. The tag should be a SHORT, but telephones and old encoders also
//! write it as a LONG or a BYTE, put `Exif\0\0` in front where the container does not allow it, or store it in XMP
//! only. All of these are read. Malformed metadata counts as upright, because it is no reason to refuse pixels that are
//! whole.

use ::image::metadata::Orientation;

/// The tag of the orientation, in EXIF and TIFF.
const ORIENTATION: u16 = 0x0112;

/// Returns the orientation from EXIF data; if there is none, from XMP data.
pub(super) fn read(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    exif.and_then(from_exif)
        .or_else(|| xmp.and_then(from_xmp))
        .unwrap_or(Orientation::NoTransforms)
}

/// Reads the orientation from EXIF data: a TIFF header and its first directory, with or without `Exif\0\0` before it.
fn from_exif(exif: &[u8]) -> Option<Orientation> {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let directory = Directory::first(tiff)?;
    let at = directory.entry(ORIENTATION)?;
    // BYTE, SHORT and LONG, unsigned and signed: all are left-aligned in the four bytes of the value.
    let value = match directory.u16_at(at + 2)? {
        1 | 6 => u32::from(*tiff.get(at + 8)?),
        3 | 8 => u32::from(directory.u16_at(at + 8)?),
        4 | 9 => directory.u32_at(at + 8)?,
        _ => return None,
    };
    u8::try_from(value).ok().and_then(Orientation::from_exif)
}

/// Changes the value of a SHORT in the first directory of `tiff` if it is `from`; returns whether it was.
pub(super) fn patch_short(tiff: &mut [u8], tag: u16, from: u16, to: u8) -> bool {
    let found = Directory::first(tiff).and_then(|directory| {
        let at = directory.entry(tag)? + 8;
        (directory.u16_at(at)? == from).then_some((at, directory.is_little))
    });
    if let Some((at, is_little)) = found {
        tiff[at] = if is_little { to } else { 0 };
        tiff[at + 1] = if is_little { 0 } else { to };
    }
    found.is_some()
}

/// A directory of tags: a count, then twelve bytes for each tag (number, type, count, and a value or its offset).
struct Directory<'a> {
    tiff: &'a [u8],
    is_little: bool,
    start: usize,
}

impl<'a> Directory<'a> {
    /// Finds the first directory of a classic TIFF file, in either byte order.
    fn first(tiff: &'a [u8]) -> Option<Self> {
        let is_little = match tiff.get(..4)? {
            b"II*\0" => true,
            b"MM\0*" => false,
            _ => return None,
        };
        let mut directory = Directory {
            tiff,
            is_little,
            start: 0,
        };
        directory.start = directory.u32_at(4)? as usize;
        Some(directory)
    }

    /// Returns the start of the entry of `tag`.
    fn entry(&self, tag: u16) -> Option<usize> {
        let entries = usize::from(self.u16_at(self.start)?);
        (0..entries)
            .map_while(|entry| self.start.checked_add(2 + 12 * entry))
            .find(|&at| self.u16_at(at) == Some(tag))
    }

    fn u16_at(&self, at: usize) -> Option<u16> {
        let bytes = self.tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(match self.is_little {
            true => u16::from_le_bytes(bytes),
            false => u16::from_be_bytes(bytes),
        })
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        let bytes = self.tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(match self.is_little {
            true => u32::from_le_bytes(bytes),
            false => u32::from_be_bytes(bytes),
        })
    }
}

/// Reads the orientation from XMP data: `tiff:Orientation="6"` as an attribute, or `<tiff:Orientation>6<` as an
/// element.
fn from_xmp(xmp: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = xmp.windows(NAME.len()).position(|window| window == NAME)?;
    match xmp.get(at + NAME.len()..)? {
        [b'=', b'"' | b'\'', digit, ..] | [b'>', digit, ..] => {
            Orientation::from_exif(digit.wrapping_sub(b'0'))
        }
        _ => None,
    }
}

/// Decodes the EXIF data in ImageMagick's raw profile: a line feed, the profile's name, the number of bytes, and those
/// bytes as lines of hexadecimal digits.
pub(super) fn from_raw_profile(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut lines = text.trim_start_matches(['\n', '\r']).splitn(3, '\n');
    let (_name, length) = (lines.next()?, lines.next()?);
    let length: usize = length.trim().parse().ok()?;
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|d| d as u8);
    let digits: Vec<u8> = lines.next()?.bytes().filter_map(digit).collect();
    let (pairs, _) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    (bytes.len() == length).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds EXIF data with the orientation `value`, written as a tag of type `kind`.
    fn exif(is_little: bool, kind: u16, value: u32) -> Vec<u8> {
        let short = |n: u16| match is_little {
            true => n.to_le_bytes(),
            false => n.to_be_bytes(),
        };
        let long = |n: u32| match is_little {
            true => n.to_le_bytes(),
            false => n.to_be_bytes(),
        };
        let mut bytes = if is_little { b"II*\0" } else { b"MM\0*" }.to_vec();
        bytes.extend(long(8));
        bytes.extend(short(1));
        bytes.extend(short(ORIENTATION));
        bytes.extend(short(kind));
        bytes.extend(long(1));
        match kind {
            1 | 6 => bytes.extend([value as u8, 0, 0, 0]),
            3 | 8 => bytes.extend([short(value as u16), [0; 2]].concat()),
            _ => bytes.extend(long(value)),
        }
        bytes.extend(long(0));
        bytes
    }

    #[test]
    fn every_spelling_of_the_tag_is_read() {
        for is_little in [true, false] {
            for kind in [1, 3, 4, 6, 8, 9] {
                for (value, expected) in [(3, Orientation::Rotate180), (6, Orientation::Rotate90)] {
                    let bytes = exif(is_little, kind, value);
                    assert_eq!(from_exif(&bytes), Some(expected), "{kind}");
                    let prefixed = [b"Exif\0\0".as_slice(), &bytes].concat();
                    assert_eq!(from_exif(&prefixed), Some(expected), "{kind}");
                }
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_upright() {
        for bytes in [exif(true, 2, 6), exif(true, 3, 9), exif(true, 4, 65_542)] {
            assert_eq!(read(Some(&bytes), None), Orientation::NoTransforms);
        }
        let whole = exif(false, 3, 6);
        for length in 0..whole.len() - 6 {
            assert_eq!(
                read(Some(&whole[..length]), None),
                Orientation::NoTransforms
            );
        }
    }

    #[test]
    fn xmp_answers_where_exif_is_silent() {
        let attribute = b"<rdf:Description tiff:Orientation=\"6\"/>".as_slice();
        let element = b"<tiff:Orientation>8</tiff:Orientation>".as_slice();
        assert_eq!(read(None, Some(attribute)), Orientation::Rotate90);
        assert_eq!(read(None, Some(element)), Orientation::Rotate270);
        let exif = exif(true, 3, 3);
        assert_eq!(read(Some(&exif), Some(element)), Orientation::Rotate180);
    }

    #[test]
    fn raw_profiles_are_hexadecimal_digits_of_a_stated_length() {
        let text = b"\nexif\n       6\n457869\n660000\n";
        assert_eq!(
            from_raw_profile(text).as_deref(),
            Some(b"Exif\0\0".as_slice())
        );
        assert_eq!(from_raw_profile(b"\nexif\n       7\n457869660000\n"), None);
        assert_eq!(from_raw_profile(b"exif"), None);
    }
}
