//! Reads the markers of a JPEG file, before any pixel is decoded (ITU-T T.81, annex B).
//!
//! A JPEG file is a chain of segments, each with a marker (0xFF and a code) and a length. The frame header gives the
//! size, the coding and the sampling factors of each colour component. Every scan header is followed by entropy-coded
//! data. In that data 0xFF begins a marker, unless a zero or a restart number follows.

use super::super::fault::{self, Unreadable};

/// More scans than this are an attack, because each costs a pass over the whole picture. Encoders write 1 to 14.
const MOST_SCANS: usize = 100;

/// The coding of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// All coefficients of an 8 x 8 block at once: baseline and extended sequential.
    Sequential,
    /// The coefficients of a block spread over several scans.
    Progressive,
}

/// One colour component as the frame header describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Component {
    pub id: u8,
    /// Sampling factors: the number of blocks of this component in a minimum coded unit, horizontally and vertically.
    pub horizontal: u8,
    pub vertical: u8,
}

/// The frame header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub coding: Coding,
    /// Whether the entropy coding is arithmetic, not Huffman.
    pub is_arithmetic: bool,
    pub width: u32,
    pub height: u32,
    pub components: Vec<Component>,
}

/// The headers of a file, and how complete its scans are.
#[derive(Debug)]
pub(super) struct Headers<'a> {
    pub frame: Frame,
    pub has_jfif: bool,
    /// The colour transform in Adobe's marker: 0 none, 1 YCbCr, 2 YCCK.
    pub adobe: Option<u8>,
    /// EXIF data, without `Exif\0\0`.
    pub exif: Option<&'a [u8]>,
    pub xmp: Option<&'a [u8]>,
    /// The number of components in the first scan.
    pub in_first_scan: usize,
    /// Whether a scan uses a Huffman table that no earlier segment defines.
    pub lacks_tables: bool,
    /// Whether the scans contain every coefficient of every component, to its last bit.
    pub has_all: bool,
    /// Whether the scans contain every coefficient that they begin to its last bit, and the average of every component.
    /// An encoder may leave out the details of a component that has none.
    pub has_all_begun: bool,
    /// Start of the first scan's entropy-coded data.
    pub data_begins: usize,
    /// End of the last scan's entropy-coded data.
    pub data_ends: usize,
    /// Whether the end marker follows that data.
    pub has_end: bool,
}

const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: u8 = 0xD9;

impl<'a> Headers<'a> {
    /// Walks the segments from the first to the end marker, or, after the pixels, to the first malformed segment.
    ///
    /// # Errors
    /// If there is no frame or no scan, the frame is not supported, or there are too many scans.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let mut walk = Walk::default();
        let mut at = 2;
        while let Some((code, data, next)) = segment(bytes, at) {
            if code == END_OF_IMAGE {
                walk.has_end = true;
                break;
            }
            match walk.take(code, data) {
                // Cameras append arbitrary data after the pixels; it is not checked.
                Err(_) if walk.has_all() => break,
                taken => taken?,
            }
            at = next;
            if code == START_OF_SCAN {
                if walk.scans == 1 {
                    walk.data_begins = at;
                }
                at = entropy_end(bytes, at);
                // If the first scan contains everything, a second one is not part of the picture.
                if walk.scans == 1 || !walk.is_single_scan() {
                    walk.data_ends = at;
                }
            }
        }
        walk.finish()
    }
}

/// Returns the marker at or after `at`, the data of its segment, and the position after it. `None` at the end of the
/// bytes.
fn segment(bytes: &[u8], mut at: usize) -> Option<(u8, &[u8], usize)> {
    loop {
        match (*bytes.get(at)?, *bytes.get(at + 1)?) {
            // A fill byte, or a stray byte between segments, which decoders skip too.
            (0xFF, 0xFF) | (..0xFF, _) => at += 1,
            // A coded 0xFF, a restart, or another marker without data.
            (0xFF, 0x00 | 0x01 | 0xD0..=0xD8) => at += 2,
            (0xFF, END_OF_IMAGE) => return Some((END_OF_IMAGE, &[], at + 2)),
            (0xFF, code) => {
                let length = bytes.get(at + 2..at + 4)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let data = bytes.get(at + 4..(at + 2).checked_add(length)?)?;
                return Some((code, data, at + 2 + length));
            }
        }
    }
}

/// Returns the end of the entropy-coded data that begins at `at`: a marker that is not a restart, or the end of the
/// file.
fn entropy_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(step) = bytes[at.min(bytes.len())..].iter().position(|&b| b == 0xFF) {
        match bytes.get(at + step + 1) {
            Some(0x00 | 0xD0..=0xD7) => at += step + 2,
            Some(0xFF) => at += step + 1,
            Some(_) => return at + step,
            None => break,
        }
    }
    bytes.len()
}

/// The state of the walk over the segments.
#[derive(Default)]
struct Walk<'a> {
    frame: Option<Frame>,
    has_jfif: bool,
    adobe: Option<u8>,
    exif: Option<&'a [u8]>,
    xmp: Option<&'a [u8]>,
    scans: usize,
    in_first_scan: usize,
    /// Which Huffman tables are defined: DC and AC, four slots each.
    tables: [[bool; 4]; 2],
    lacks_tables: bool,
    /// The number of low bits still to come, for each coefficient of each component; `None` before its first scan.
    bits_to_come: Vec<[Option<u8>; 64]>,
    data_begins: usize,
    data_ends: usize,
    has_end: bool,
}

impl<'a> Walk<'a> {
    /// Records one segment. Metadata counts only before the first scan; a picture that a camera appends has its own.
    fn take(&mut self, code: u8, data: &'a [u8]) -> Result<(), Unreadable> {
        match code {
            0xC4 => self.huffman_tables(data),
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => self.frame(code, data)?,
            START_OF_SCAN => self.scan(data)?,
            0xE0..=0xEF if self.scans > 0 => {}
            0xE0 if data.starts_with(b"JFIF\0") => self.has_jfif = true,
            0xE1 => {
                if let Some(exif) = data.strip_prefix(b"Exif\0\0") {
                    self.exif.get_or_insert(exif);
                } else if let Some(xmp) = data.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
                    self.xmp.get_or_insert(xmp);
                }
            }
            0xEE if data.starts_with(b"Adobe") && data.len() >= 12 => self.adobe = Some(data[11]),
            _ => {}
        }
        Ok(())
    }

    /// Records a segment of Huffman tables: for each a class and slot, sixteen counts, and as many symbols as these add
    /// up to.
    fn huffman_tables(&mut self, mut data: &[u8]) {
        while let Some((&head, rest)) = data.split_first() {
            let (class, slot) = (usize::from(head >> 4 & 1), usize::from(head & 3));
            let Some(counts) = rest.get(..16) else { return };
            let symbols: usize = counts.iter().map(|&n| usize::from(n)).sum();
            self.tables[class][slot] = true;
            data = rest.get(16 + symbols..).unwrap_or_default();
        }
    }

    fn frame(&mut self, code: u8, data: &[u8]) -> Result<(), Unreadable> {
        let (coding, is_arithmetic) = match code {
            0xC0 | 0xC1 => (Coding::Sequential, false),
            0xC2 => (Coding::Progressive, false),
            0xC9 => (Coding::Sequential, true),
            0xCA => (Coding::Progressive, true),
            0xC3 | 0xCB => return Err(fault::unsupported("JPEG", "lossless coding")),
            _ => return Err(fault::unsupported("JPEG", "hierarchical coding")),
        };
        if self.frame.is_some() {
            return Err(fault::damaged("JPEG", "has two frame headers"));
        }
        let &[precision, h1, h0, w1, w0, count, ref components @ ..] = data else {
            return Err(fault::no_header("JPEG"));
        };
        if precision != 8 {
            let what = format!("{precision} bits a sample");
            return Err(fault::unsupported("JPEG", what));
        }
        if !matches!(count, 1 | 3 | 4) {
            let what = format!("{count} colour components");
            return Err(fault::unsupported("JPEG", what));
        }
        let (components, _) = components.as_chunks::<3>();
        let components: Vec<Component> = components
            .iter()
            .take(usize::from(count))
            .map(|&[id, sampling, _]| Component {
                id,
                horizontal: sampling >> 4,
                vertical: sampling & 15,
            })
            .collect();
        if components.len() != usize::from(count) {
            return Err(fault::no_header("JPEG"));
        }
        self.bits_to_come = vec![[None; 64]; components.len()];
        self.frame = Some(Frame {
            coding,
            is_arithmetic,
            width: u32::from(u16::from_be_bytes([w1, w0])),
            height: u32::from(u16::from_be_bytes([h1, h0])),
            components,
        });
        Ok(())
    }

    /// Records a scan header: its components with their tables, the first and last coefficient, and the bits before and
    /// after.
    fn scan(&mut self, data: &[u8]) -> Result<(), Unreadable> {
        let inconsistent = || fault::damaged("JPEG", "has a scan that does not fit its frame");
        let frame = self.frame.as_ref().ok_or_else(inconsistent)?;
        let (&count, rest) = data.split_first().ok_or_else(inconsistent)?;
        let count = usize::from(count);
        let (Some(components), Some(&[first, last, bits])) =
            (rest.get(..2 * count), rest.get(2 * count..2 * count + 3))
        else {
            return Err(inconsistent());
        };
        let (components, _) = components.as_chunks::<2>();
        if components.is_empty() {
            return Err(inconsistent());
        }
        let is_progressive = frame.coding == Coding::Progressive;
        let (first, last, low, is_first_pass) = match is_progressive {
            true => (first, last, bits & 15, bits >> 4 == 0),
            false => (0, 63, 0, true),
        };
        if first > last || last > 63 {
            return Err(inconsistent());
        }
        for &[id, tables] in components {
            let known = frame.components.iter().position(|c| c.id == id);
            let at = known.ok_or_else(inconsistent)?;
            for bits in &mut self.bits_to_come[at][usize::from(first)..=usize::from(last)] {
                *bits = Some(low);
            }
            let [dc, ac] = [usize::from(tables >> 4 & 3), usize::from(tables & 3)];
            let needs_dc = first == 0 && is_first_pass && !self.tables[0][dc];
            let needs_ac = last > 0 && !self.tables[1][ac];
            self.lacks_tables |= !frame.is_arithmetic && (needs_dc || needs_ac);
        }
        if self.scans == 0 {
            self.in_first_scan = count;
        }
        self.scans += 1;
        if self.scans > MOST_SCANS {
            let what = format!("more than {MOST_SCANS} scans");
            return Err(fault::unsupported("JPEG", what));
        }
        Ok(())
    }

    /// Whether one scan holds the whole picture.
    fn is_single_scan(&self) -> bool {
        let is_sequential =
            |f: &Frame| f.coding == Coding::Sequential && f.components.len() == self.in_first_scan;
        self.frame.as_ref().is_some_and(is_sequential)
    }

    /// Whether every coefficient has come, to its last bit.
    fn has_all(&self) -> bool {
        self.scans > 0
            && self
                .bits_to_come
                .iter()
                .flatten()
                .all(|&low| low == Some(0))
    }

    /// Whether every coefficient that was begun has come to its last bit, including the first of each component.
    fn has_all_begun(&self) -> bool {
        let is_done = |bits: &[Option<u8>; 64]| {
            bits[0] == Some(0) && bits.iter().flatten().all(|&low| low == 0)
        };
        self.scans > 0 && self.bits_to_come.iter().all(is_done)
    }

    fn finish(self) -> Result<Headers<'a>, Unreadable> {
        let (has_all, has_all_begun) = (self.has_all(), self.has_all_begun());
        let Some(frame) = self.frame else {
            return Err(fault::no_header("JPEG"));
        };
        if self.scans == 0 {
            return Err(fault::rows_missing(0, frame.height));
        }
        Ok(Headers {
            frame,
            has_jfif: self.has_jfif,
            adobe: self.adobe,
            exif: self.exif,
            xmp: self.xmp,
            in_first_scan: self.in_first_scan,
            lacks_tables: self.lacks_tables,
            has_all,
            has_all_begun,
            data_begins: self.data_begins,
            data_ends: self.data_ends,
            has_end: self.has_end,
        })
    }
}

impl Headers<'_> {
    /// Whether the three components are luma and two chromas. Markers can contradict each other. These are the rules of
    /// libjpeg, which all other readers follow: JFIF has precedence, then Adobe's transform, then the letters `RGB` as
    /// ids.
    pub fn is_ycbcr(&self) -> bool {
        if self.has_jfif {
            return true;
        }
        match self.adobe {
            Some(transform) => transform != 0,
            None => !self.names_rgb(),
        }
    }

    /// Whether the components have the ids R, G and B.
    pub fn names_rgb(&self) -> bool {
        self.frame.components.iter().map(|c| c.id).eq(*b"RGB")
    }
}
