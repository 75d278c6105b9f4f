//! Images that are small as files but large in pixels, one of each format and kind, in uniform grey or black.

#![allow(dead_code)]

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// Returns one image of each kind, `side` pixels wide and high.
pub fn all(side: u16) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("grey.png", grey_png(side, false)),
        ("interlaced.png", grey_png(side, true)),
        ("black.gif", black_gif(side)),
        ("black.bmp", black_bmp(side)),
        ("black.tif", black_tiff(side)),
        ("black.webp", black_webp(side)),
        ("baseline.jpg", grey_jpeg(side, side, false)),
        ("progressive.jpg", grey_jpeg(side, side, true)),
        ("turned.jpg", turned(&grey_jpeg(side, side, false))),
    ]
}

/// Returns a picture of one pixel with a colour profile, a text and an Exif chunk of `bytes` bytes each.
pub fn profile_png(bytes: usize) -> Vec<u8> {
    let zeros = zlib(bytes);
    let profile = [&b"a profile\0\0"[..], &zeros].concat();
    let text = [&b"Raw profile type exif\0\0"[..], &zeros].concat();
    let header = [&[0, 0, 0, 1, 0, 0, 0, 1][..], &[8, 0, 0, 0, 0]].concat();
    png(&[
        (b"IHDR", &header),
        (b"iCCP", &profile),
        (b"zTXt", &text),
        (b"IDAT", &zlib(2)),
    ])
}

/// Compresses this many zeros.
fn zlib(mut bytes: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![0; bytes.min(1 << 20)];
    while bytes > 0 {
        let some = bytes.min(zeros.len());
        encoder.write_all(&zeros[..some]).unwrap();
        bytes -= some;
    }
    encoder.finish().unwrap()
}

fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1A\n".to_vec();
    for (name, data) in chunks.iter().chain(&[(b"IEND", &[][..])]) {
        png.extend((data.len() as u32).to_be_bytes());
        let named = [&name[..], data].concat();
        png.extend(&named);
        png.extend(crc32fast::hash(&named).to_be_bytes());
    }
    png
}

fn grey_png(side: u16, is_interlaced: bool) -> Vec<u8> {
    let pixels = usize::from(side);
    let side = u32::from(side).to_be_bytes();
    let header = [&side[..], &side, &[8, 0, 0, 0, u8::from(is_interlaced)]].concat();
    // Each row begins with a filter byte; each of the seven passes of an interlaced picture has its own rows.
    let passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ];
    let bytes = match is_interlaced {
        false => pixels * (pixels + 1),
        true => passes
            .iter()
            .map(|&(x, y, step_x, step_y)| {
                (pixels - y).div_ceil(step_y) * ((pixels - x).div_ceil(step_x) + 1)
            })
            .sum(),
    };
    png(&[(b"IHDR", &header), (b"IDAT", &zlib(bytes))])
}

fn black_gif(side: u16) -> Vec<u8> {
    let mut gif = Vec::new();
    let mut encoder = gif::Encoder::new(&mut gif, side, side, &[0; 6]).unwrap();
    let pixels = vec![0; usize::from(side) * usize::from(side)];
    let frame = gif::Frame::from_indexed_pixels(side, side, pixels, None);
    encoder.write_frame(&frame).unwrap();
    drop(encoder);
    gif
}

/// Run-length encoded: a pair of bytes for 255 pixels.
fn black_bmp(side: u16) -> Vec<u8> {
    let mut data = Vec::new();
    for _ in 0..side {
        let mut left = side;
        while left > 0 {
            let run = left.min(255);
            data.extend([run as u8, 0]);
            left -= run;
        }
        data.extend([0, 0]);
    }
    data.extend([0, 1]);
    let mut bmp = b"BM".to_vec();
    let offset = 14 + 40 + 8;
    let sides = [u32::from(side); 2];
    let sizes = [offset + data.len() as u32, 0, offset, 40];
    bmp.extend(sizes.iter().chain(&sides).flat_map(|n| n.to_le_bytes()));
    bmp.extend([1, 0, 8, 0]);
    bmp.extend(
        [1, data.len() as u32, 0, 0, 2, 0]
            .iter()
            .flat_map(|n| n.to_le_bytes()),
    );
    bmp.extend([0; 8]);
    bmp.extend(data);
    bmp
}

/// One strip of PackBits: two bytes for 128 pixels, three samples each.
fn black_tiff(side: u16) -> Vec<u8> {
    let row = 3 * usize::from(side);
    let runs = [0x81, 0].repeat(row / 128);
    let rest = match row % 128 {
        0 => vec![],
        1 => vec![0, 0],
        n => vec![(257 - n) as u8, 0],
    };
    let strip = [runs, rest].concat().repeat(usize::from(side));
    let side = u32::from(side);
    let tags: [(u16, u16, u32); 8] = [
        (256, 4, side),
        (257, 4, side),
        (258, 3, 8),
        (259, 3, 32773),
        (262, 3, 2),
        (273, 4, 8 + 2 + 8 * 12 + 4),
        (277, 3, 3),
        (279, 4, strip.len() as u32),
    ];
    let mut tiff = b"II*\0\x08\0\0\0".to_vec();
    tiff.extend((tags.len() as u16).to_le_bytes());
    for (tag, kind, value) in tags {
        tiff.extend([tag, kind].iter().flat_map(|n| n.to_le_bytes()));
        tiff.extend([1, value].iter().flat_map(|n| n.to_le_bytes()));
    }
    tiff.extend([0; 4]);
    tiff.extend(strip);
    tiff
}

fn black_webp(side: u16) -> Vec<u8> {
    let mut webp = Cursor::new(Vec::new());
    let pixels = vec![0; 3 * usize::from(side) * usize::from(side)];
    let side = u32::from(side);
    WebPEncoder::new_lossless(&mut webp)
        .write_image(&pixels, side, side, ExtendedColorType::Rgb8)
        .unwrap();
    webp.into_inner()
}

/// Adds an orientation to a JPEG: taken with the camera on its side.
fn turned(jpeg: &[u8]) -> Vec<u8> {
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let length = (2 + 6 + tiff.len() as u16).to_be_bytes();
    [
        &jpeg[..2],
        &[0xFF, 0xE1],
        &length,
        b"Exif\0\0",
        tiff,
        &jpeg[2..],
    ]
    .concat()
}

/// Returns a uniformly grey JPEG of this size, with three components and halved chromas. Every code is a single zero:
/// each block has the average of the block before, and no details.
pub fn grey_jpeg(width: u16, height: u16, is_progressive: bool) -> Vec<u8> {
    let segment = |marker: u8, data: &[u8]| {
        let length = (data.len() as u16 + 2).to_be_bytes();
        [&[0xFF, marker], length.as_slice(), data].concat()
    };
    let table = |class_and_slot: u8| {
        let mut data = vec![class_and_slot, 1];
        data.resize(18, 0);
        segment(0xC4, &data)
    };
    let scan = |components: &[u8], first: u8, last: u8| {
        let mut data = vec![components.len() as u8];
        components.iter().for_each(|&id| data.extend([id, 0]));
        data.extend([first, last, 0]);
        segment(0xDA, &data)
    };
    let [h, w] = [height, width].map(u16::to_be_bytes);
    let sizes = [8, h[0], h[1], w[0], w[1], 3];
    let components = [[1, 0x22, 0], [2, 0x11, 0], [3, 0x11, 0]].concat();
    let frame = [sizes.as_slice(), &components].concat();
    let units = usize::from(width).div_ceil(16) * usize::from(height).div_ceil(16);
    let scans = match is_progressive {
        false => vec![(scan(&[1, 2, 3], 0, 63), units * 12)],
        true => vec![
            (scan(&[1, 2, 3], 0, 0), units * 6),
            (scan(&[1], 1, 63), units * 4),
            (scan(&[2], 1, 63), units),
            (scan(&[3], 1, 63), units),
        ],
    };
    let mut jpeg = vec![0xFF, 0xD8];
    jpeg.extend(segment(0xDB, &[vec![0], vec![1; 64]].concat()));
    jpeg.extend(segment(if is_progressive { 0xC2 } else { 0xC0 }, &frame));
    jpeg.extend([table(0x00), table(0x10)].concat());
    for (header, bits) in scans {
        jpeg.extend(header);
        jpeg.extend(vec![0; bits.div_ceil(8)]);
    }
    jpeg.extend([0xFF, 0xD9]);
    jpeg
}
