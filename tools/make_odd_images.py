#!/usr/bin/env python3
"""Makes tests/fixtures/odd: image files with the oddities of cameras, telephones and old programs.

    python tools/make_odd_images.py tests/fixtures/odd

Needs Pillow, pillow-heif, NumPy, torchvision (for the scene of make_image_fixtures.py) and `cjpeg` of libjpeg-turbo (Debian's
libjpeg-turbo-progs). All files show the same drawn scene. `shown.png` is that scene; where a file shows it with losses,
NAME.EXT.rgb.png holds what Pillow reads from it. Kinds that need no encoder (a file without its end marker, a wrong
checksum) are made by the tests themselves from these files.
"""

import io
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
from make_image_fixtures import over_white, ramp, scene
from PIL import Image, ImageOps

SCENE = scene()
WIDTH, HEIGHT = SCENE.size
RGB = np.asarray(SCENE)


def cjpeg(*options, scans=None):
    """Returns the scene as a JPEG written by libjpeg-turbo's own program."""
    with tempfile.TemporaryDirectory() as folder:
        ppm = Path(folder, "scene.ppm")
        SCENE.save(ppm)
        if scans:
            script = Path(folder, "scans.txt")
            script.write_text(scans)
            options = (*options, "-scans", str(script))
        return subprocess.run(["cjpeg", "-quality", "90", *options, str(ppm)], check=True, capture_output=True).stdout


def segments(jpeg):
    """Returns the segments up to the first scan's header, as (marker, bytes), and the rest of the file."""
    at, found = 2, []
    while True:
        length = struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        found.append((jpeg[at + 1], jpeg[at : at + 2 + length]))
        at += 2 + length
        if found[-1][0] == 0xDA:
            return found, jpeg[at:]


def joined(parts, rest):
    return b"\xff\xd8" + b"".join(data for _, data in parts) + rest


def without(jpeg, *markers):
    parts, rest = segments(jpeg)
    return joined([part for part in parts if part[0] not in markers], rest)


def with_segment(jpeg, marker, data, first=True):
    """Returns `jpeg` with an additional segment, before all others or after the first."""
    parts, rest = segments(jpeg)
    parts.insert(0 if first else 1, (marker, bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data))
    return joined(parts, rest)


def adobe(transform):
    return b"Adobe\0\x64\0\0\0\0" + bytes([transform])


def named(jpeg, ids):
    """Returns `jpeg` with other component ids."""
    parts, rest = segments(jpeg)
    changed = []
    for marker, data in parts:
        data = bytearray(data)
        for i, name in enumerate(ids):
            if marker in (0xC0, 0xC1, 0xC2):
                data[10 + 3 * i] = name
            if marker == 0xDA:
                data[5 + 2 * i] = name
        changed.append((marker, bytes(data)))
    return joined(changed, rest)


def exif(value, kind=3, order="<"):
    """Returns EXIF data with the camera's orientation, written as a BYTE (1), SHORT (3) or LONG (4)."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    stored = {1: bytes([value, 0, 0, 0]), 3: struct.pack(order + "HH", value, 0), 4: struct.pack(order + "I", value)}[kind]
    entry = struct.pack(order + "HHI", 0x0112, kind, 1) + stored
    return head + struct.pack(order + "IH", 8, 1) + entry + struct.pack(order + "I", 0)


def turned(image):
    """Rotates the picture so that orientation 6 turns it upright."""
    return image.transpose(Image.Transpose.ROTATE_90)


def jpegs():
    base, rgb = cjpeg(), cjpeg("-rgb")
    yield "arithmetic.jpg", cjpeg("-arithmetic")
    yield "arithmetic-progressive.jpg", cjpeg("-arithmetic", "-progressive")
    yield "grey-arithmetic.jpg", cjpeg("-arithmetic", "-grayscale")
    yield "scans-012.jpg", cjpeg(scans="0;1;2;")
    yield "scans-201.jpg", cjpeg("-sample", "1x1", scans="2;0;1;")
    yield "scans-0-12.jpg", cjpeg(scans="0;1 2;")
    yield "scans-arithmetic.jpg", cjpeg("-arithmetic", scans="1;0;2;")
    for sampling in ("1x1,2x1,1x1", "1x1,1x2,1x1", "1x1,2x2,1x1", "2x2,2x1,1x2", "3x1", "1x3", "3x2", "4x1", "3x1,1x1,3x1"):
        name = sampling.replace(",", "_")
        yield f"sampling-{name}.jpg", cjpeg("-sample", sampling)
        yield f"sampling-{name}-progressive.jpg", cjpeg("-sample", sampling, "-progressive")
    yield "grey-2x2.jpg", cjpeg("-grayscale", "-sample", "2x2")
    yield "motion.jpg", without(base, 0xC4)
    yield "motion-grey.jpg", without(cjpeg("-grayscale"), 0xC4)
    yield "jfif-adobe-0.jpg", with_segment(base, 0xEE, adobe(0), first=False)
    yield "adobe-0-jfif.jpg", with_segment(base, 0xEE, adobe(0))
    yield "adobe-0-rgb.jpg", with_segment(without(named(rgb, (1, 2, 3)), 0xE0, 0xEE), 0xEE, adobe(0))
    yield "ids-rgb-jfif.jpg", named(base, b"RGB")
    yield "ids-rgb.jpg", without(named(rgb, b"RGB"), 0xE0, 0xEE)
    yield "ids-rgb-adobe-1.jpg", with_segment(without(named(base, b"RGB"), 0xE0), 0xEE, adobe(1))
    yield "restarts.jpg", cjpeg("-restart", "1")
    yield "restarts-progressive.jpg", cjpeg("-restart", "1", "-progressive")


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def apple_png():
    """Returns a PNG in the form of Apple's tools: without zlib's frame, blue first, colours multiplied by alpha."""
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in np.concatenate([RGB[:, :, ::-1], alpha], axis=2))
    bare = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bare.compress(rows) + bare.flush()
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 6, 0, 0, 0)
    chunks = ((b"CgBI", b"\x50\0\x20\x02"), (b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def interlaced_png():
    """Returns a PNG with the seven passes of Adam7."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b""
    for x, y, across, down in passes:
        rows += b"".join(b"\0" + row.tobytes() for row in RGB[y::down, x::across])
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def pngs():
    yield "apple.png", apple_png()
    yield "interlaced.png", interlaced_png()


def webps():
    for name, data in (("exif-prefix.webp", b"Exif\0\0" + exif(6)), ("exif-long.webp", exif(6, kind=4, order=">"))):
        buffer = io.BytesIO()
        turned(SCENE).save(buffer, "WEBP", lossless=True, exif=data)
        yield name, buffer.getvalue()


PALETTED = SCENE.quantize(250)
INDICES = np.asarray(PALETTED)
COLOURS = np.array(PALETTED.getpalette()).reshape(-1, 3)


def padded(rows):
    return b"".join(row.tobytes() + b"\0" * (-row.nbytes % 4) for row in rows)


def bmp(header, pixels, palette=b"", masks=b"", offset=None):
    start = 14 + len(header) + len(masks) + len(palette)
    start = start if offset is None else offset
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, start) + header + masks + palette + pixels


def info(size, bits, compression=0, height=HEIGHT, rest=b""):
    """Returns an information header of any size: of OS/2 (16, 64) or of Windows (40 to 124)."""
    fields = struct.pack("<IiiHHIIiiII", size, WIDTH, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return (fields + rest + b"\0" * size)[:size]


def runs(indices):
    """Returns 8-bit pixels in run-length encoding."""
    coded = b""
    for row in indices:
        x = 0
        while x < WIDTH:
            length = 1
            while x + length < WIDTH and length < 255 and row[x + length] == row[x]:
                length += 1
            coded += bytes([length, int(row[x])])
            x += length
        coded += b"\0\0"
    return coded + b"\0\1"


def bmps():
    rows24 = padded(RGB[::-1, :, ::-1])
    rows8 = padded(INDICES[::-1])
    four = b"".join(bytes([b, g, r, 0]) for r, g, b in COLOURS.tolist()) + bytes(4 * (256 - len(COLOURS)))
    three = b"".join(four[i : i + 3] for i in range(0, len(four), 4))
    channels = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    core = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 24)
    core8 = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 8)

    def rows32(alpha):
        return padded(np.concatenate([RGB[::-1, :, ::-1], np.full((HEIGHT, WIDTH, 1), alpha, np.uint8)], axis=2))

    yield "alpha-0.bmp", bmp(info(108, 32, 3, rest=channels), rows32(0))
    yield "alpha-255.bmp", bmp(info(124, 32, 3, rest=channels), rows32(255))
    yield "masks-40.bmp", bmp(info(40, 32, 3), rows32(0), masks=channels[:12])
    yield "masks-52.bmp", bmp(info(52, 32, 3, rest=channels[:12]), rows32(0))
    yield "offset-0.bmp", bmp(info(40, 24), rows24, offset=0)
    yield "offset-0-palette.bmp", bmp(info(40, 8), rows8, palette=four, offset=0)
    yield "core.bmp", bmp(core, rows24)
    yield "core-palette.bmp", bmp(core8, rows8, palette=three)
    yield "core-palette-offset-0.bmp", bmp(core8, rows8, palette=three, offset=0)
    yield "os2-64.bmp", bmp(info(64, 24), rows24)
    yield "os2-64-palette.bmp", bmp(info(64, 8), rows8, palette=four)
    yield "os2-16.bmp", bmp(info(16, 24), rows24)
    yield "top-down.bmp", bmp(info(40, 24, height=-HEIGHT), padded(RGB[:, :, ::-1]))
    yield "runs.bmp", bmp(info(40, 8, 1), runs(INDICES[::-1]), palette=four)


def gifs():
    buffer = io.BytesIO()
    PALETTED.save(buffer, "GIF")
    gif = buffer.getvalue()
    colours = 3 * (2 << (gif[10] & 7))
    frame = gif.index(b"\x2c", 13 + colours)
    bare = gif[:10] + bytes([gif[10] & 0x7F]) + gif[11:13]

    def screen(width, height):
        return gif[:6] + struct.pack("<HH", width, height) + gif[10:]

    yield "whole.gif", gif
    yield "frame-larger.gif", screen(20, 10)
    yield "screen-0.gif", screen(0, 0)
    yield "no-palette.gif", bare + gif[13 + colours :]
    palette = gif[13 : 13 + colours]
    yield "own-palette.gif", bare + gif[13 + colours : frame + 9] + bytes([0x80 | gif[10] & 7]) + palette + gif[frame + 10 :]


def tiffs():
    grey = SCENE.convert("L")
    clear = SCENE.copy()
    clear.putalpha(ramp())
    kinds = (
        ("rgb.tif", SCENE, {}),
        ("lzw.tif", SCENE, {"compression": "tiff_lzw"}),
        ("deflate.tif", SCENE, {"compression": "tiff_adobe_deflate"}),
        ("packbits.tif", SCENE, {"compression": "packbits"}),
        ("jpeg.tif", SCENE, {"compression": "jpeg", "quality": 95}),
        ("grey.tif", grey, {}),
        ("palette.tif", PALETTED, {}),
        ("bilevel.tif", SCENE.convert("1"), {}),
        ("group4.tif", SCENE.convert("1"), {"compression": "group4"}),
        ("cmyk.tif", SCENE.convert("CMYK"), {}),
        ("float.tif", grey.convert("F"), {}),
        ("alpha.tif", clear, {}),
        ("big.tif", SCENE, {"big_tiff": True}),
        ("orientation-6.tif", turned(SCENE), {"tiffinfo": {0x0112: 6}}),
    )
    for name, image, options in kinds:
        buffer = io.BytesIO()
        image.save(buffer, "TIFF", **options)
        yield name, buffer.getvalue()
    buffer = io.BytesIO()
    multiplied = np.asarray(clear.convert("RGBa")).tobytes()
    Image.frombytes("RGBA", SCENE.size, multiplied).save(buffer, "TIFF")
    # The tag ExtraSamples, a SHORT: 2 is plain alpha, 1 alpha by which the colours are multiplied.
    plain, associated = (struct.pack("<HHIHH", 338, 3, 1, value, 0) for value in (2, 1))
    tiff = buffer.getvalue()
    assert tiff.count(plain) == 1
    yield "alpha-multiplied.tif", tiff.replace(plain, associated)


def heics():
    pillow_heif.register_heif_opener()
    clear = SCENE.copy()
    clear.putalpha(ramp())
    for name, image in (("scene.heic", SCENE), ("alpha.heic", clear)):
        buffer = io.BytesIO()
        image.save(buffer, "HEIF", quality=90)
        yield name, buffer.getvalue()


def shown(data):
    """Returns the pixels that Pillow reads, or the scene if Pillow refuses the file."""
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        # An alpha channel of zeros in a BMP was never filled in.
        is_clear = image.mode in ("RGBA", "RGBa") and data[:2] != b"BM"
        return over_white(image) if is_clear else image.convert("RGB")
    except OSError:
        return SCENE


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    SCENE.save(folder / "shown.png", optimize=True)
    turned(SCENE).save(folder / "turned.png", optimize=True)
    (folder / "turned.jpg").write_bytes(jpeg_of(turned(SCENE)))
    for kinds in (jpegs, pngs, webps, bmps, gifs, tiffs, heics):
        for name, data in kinds():
            (folder / name).write_bytes(data)
            image = shown(data)
            if np.any(np.asarray(image) != RGB):
                image.save(folder / f"{name}.rgb.png", optimize=True)


def jpeg_of(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
