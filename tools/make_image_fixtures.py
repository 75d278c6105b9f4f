#!/usr/bin/env python3
"""Makes tests/fixtures/images: small pictures of every kind, with Pillow's and torchvision's results for them.

    python tools/make_image_fixtures.py tests/fixtures/images

Needs Pillow, torchvision and NumPy. Every picture is drawn by this script, so there is no licence to respect. For a
picture NAME.EXT the file NAME.EXT.rgb.png holds the RGB pixels that Pillow reads from it (upright, over
white); prepared/ holds the inputs and outputs of the preprocessing recipes.
"""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.transforms import InterpolationMode

WIDTH, HEIGHT = 45, 29  # odd, and no multiple of a JPEG block


def scene(width=WIDTH, height=HEIGHT):
    """Returns a smooth picture with two hard-edged shapes; all corners differ."""
    y, x = np.mgrid[0:height, 0:width]
    u, v = x / (width - 1), y / (height - 1)
    rgb = np.stack([60 + 180 * u, 40 + 150 * v, 210 - 120 * u * v], axis=-1)
    rgb[(u - 0.3) ** 2 + (v - 0.4) ** 2 < 0.03] = [235, 70, 40]
    rgb[(u > 0.6) & (u < 0.9) & (v > 0.55) & (v < 0.8)] = [20, 60, 90]
    return Image.fromarray(rgb.round().astype(np.uint8), "RGB")


def ramp():
    """Returns an alpha channel from clear at the left to opaque at the right."""
    return Image.fromarray(np.tile(np.linspace(0, 255, WIDTH).round().astype(np.uint8), (HEIGHT, 1)), "L")


def over_white(image):
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def expected(data):
    """Returns the first frame of a file as Pillow reads it: upright, over white, RGB."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return over_white(image)
    if image.mode in ("I;16", "I"):
        # Pillow's own conversion clips to 255 instead of scaling.
        return Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def orientation(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def png_16(array):
    """Returns a 16-bit PNG of [H, W, channels]; Pillow writes such files with one channel only."""
    height, width, channels = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def cmyk():
    c, m, y = ImageOps.invert(scene()).split()
    black = Image.fromarray(np.minimum.reduce([np.asarray(p) for p in (c, m, y)]) // 2)
    return Image.merge("CMYK", (c, m, y, black))


def ycck():
    """Returns a four-channel JPEG whose first three channels are YCbCr.

    Pillow cannot write such a file, but it stores the inverse of the channels that it is given. It is therefore given
    the inverse of the file's channels (in Adobe's convention the YCbCr of the inks C, M, Y, and the inverse of K), and
    the Adobe segment is changed accordingly.
    """
    c, m, y, k = cmyk().split()
    stored = Image.merge("CMYK", (*Image.merge("RGB", (c, m, y)).convert("YCbCr").split(), ImageOps.invert(k)))
    data = encoded(invert_all(stored), "JPEG", quality=92)
    transform = data.index(b"Adobe") + 11
    return data[:transform] + b"\x02" + data[transform + 1 :]


def invert_all(image):
    return Image.merge(image.mode, [ImageOps.invert(p) for p in image.split()])


def pictures():
    rgb = scene()
    rgba = rgb.copy()
    rgba.putalpha(ramp())
    grey = rgb.convert("L")
    deep = np.asarray(rgb).astype(np.uint32) * 257 + 64

    yield "rgb.jpg", encoded(rgb, "JPEG", quality=92, subsampling=0)
    yield "subsampled.jpg", encoded(rgb, "JPEG", quality=85, subsampling=2)
    yield "progressive.jpg", encoded(rgb, "JPEG", quality=85, subsampling=2, progressive=True)
    yield "grey.jpg", encoded(grey, "JPEG", quality=92)
    yield "cmyk.jpg", encoded(cmyk(), "JPEG", quality=92)
    yield "ycck.jpg", ycck()
    yield "thumbnail.jpg", with_thumbnail(encoded(rgb, "JPEG", quality=92, subsampling=0))
    for number in range(1, 9):
        yield f"orientation-{number}.jpg", encoded(rgb, "JPEG", quality=85, exif=orientation(number))
    yield "orientation-6.png", encoded(rgb, "PNG", exif=orientation(6))
    yield "orientation-6.webp", encoded(rgb, "WEBP", lossless=True, exif=orientation(6))
    yield "rgb.png", encoded(rgb, "PNG")
    yield "rgba.png", encoded(rgba, "PNG")
    yield "grey.png", encoded(grey, "PNG")
    yield "grey-alpha.png", encoded(Image.merge("LA", (grey, ramp())), "PNG")
    yield "bilevel.png", encoded(rgb.convert("1"), "PNG")
    palette = rgb.quantize(16)
    yield "palette.png", encoded(palette, "PNG", bits=4)
    yield "palette-transparent.png", encoded(palette, "PNG", bits=4, transparency=bytes(range(0, 256, 16)))
    yield "key-transparent.png", encoded(rgb, "PNG", transparency=rgb.getpixel((13, 11)))
    yield "grey-16.png", png_16(np.asarray(grey).astype(np.uint32)[..., None] * 257 + 64)
    yield "rgb-16.png", png_16(deep)
    yield "rgba-16.png", png_16(np.dstack([deep, np.asarray(ramp()).astype(np.uint32) * 257]))
    frames = [palette, invert_all(rgb).quantize(16)]
    yield "animated.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    yield "transparent.gif", encoded(palette, "GIF", transparency=3)
    yield "lossy.webp", encoded(rgb, "WEBP", quality=85)
    yield "lossless.webp", encoded(rgb, "WEBP", lossless=True)
    yield "alpha.webp", encoded(rgba, "WEBP", lossless=True, exact=True)
    yield "animated.webp", encoded(rgb, "WEBP", lossless=True, save_all=True, append_images=[invert_all(rgb)])
    yield "rgb.bmp", encoded(rgb.crop((0, 0, 21, 13)), "BMP")
    yield "palette.bmp", encoded(palette, "BMP")


def with_thumbnail(data):
    """Returns the JPEG with a small JPEG, including its end marker, in an additional segment."""
    small = encoded(scene(16, 12), "JPEG", quality=50)
    segment = b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(small)) + b"Thumb\0" + small
    return data[:2] + segment + data[2:]


def prepared(folder):
    """Writes results of Pillow's scaling and of the recipes, for sizes that lead to rounding."""
    folder.mkdir(exist_ok=True)
    wide, tall = scene(131, 87), scene(61, 103)
    wide.save(folder / "wide.png", optimize=True)
    tall.save(folder / "tall.png", optimize=True)
    for name, image in (("wide", wide), ("tall", tall)):
        for size in (56, 63):
            shorter = size * 256 // 224
            crop = transforms.Compose(
                [transforms.Resize(shorter, InterpolationMode.BILINEAR), transforms.CenterCrop(size)]
            )
            crop(image).save(folder / f"{name}.torchvision-{size}.png", optimize=True)
            image.resize((size, size), Image.BILINEAR).save(folder / f"{name}.squash-{size}.png", optimize=True)
            image.resize((size, size), Image.NEAREST).save(folder / f"{name}.keras-nearest-{size}.png", optimize=True)
    normal = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    )
    levels = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2), "RGB")
    levels.save(folder / "levels.png", optimize=True)
    values = normal(levels).permute(1, 2, 0).contiguous().numpy().astype("<f4")
    (folder / "levels.f32").write_bytes(values.tobytes())


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in pictures():
        (folder / name).write_bytes(data)
        expected(data).save(folder / f"{name}.rgb.png", optimize=True)
    prepared(folder / "prepared")
    files = [p for p in folder.rglob("*") if p.is_file()]
    print(f"{len(files)} files, {sum(p.stat().st_size for p in files)} bytes")


if __name__ == "__main__":
    main()
