#!/usr/bin/env python3
"""Makes new pictures by mixing pairs of pictures, for Glimpse's distillation stage.

    mixed_photos.py OUT FOLDER... [--count 25000] [--leave-out NAMES.txt] [--seed 1]

A student that sees the same pictures again and again learns them by heart. A mixture of two pictures is a new picture, and a
teacher's outputs of it are right by definition, because the student learns what the teacher computes and not what is in the
picture (mixup: Zhang et al. 2018, arXiv 1710.09412; with a teacher that sees the mixture: Beyer et al. 2022, arXiv 2106.05237).

Half of the new pictures blend two crops: share * first + (1 - share) * second. The other half show a crop of the second inside
a rectangle of the first, whose area is 1 - share (after CutMix: Yun et al. 2019, arXiv 1905.04899). What is drawn at random
depends on --seed and the new picture's number; which two pictures that means depends on the list of pictures too.

OUT is a folder: 0000000.jpg and so on, and sources.csv with the columns image, first, second, share, which tools/word_targets.py
reads. A picture that is there already is kept, so the same command resumes, and one with a higher --count adds pictures. A lower
--count, other pictures or other options are refused; made-from.json holds what they were. Pictures listed in NAMES.txt are not mixed: name
there the pictures that must stay unseen, one file name in each line.

Needs pillow.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from teacher_targets import open_picture, pictures_in, uniforms


def crop(path, least_area, draws, size):
    """Returns a random crop of a picture, scaled to `size`: at least `least_area` of its area, with its aspect ratio."""
    area, left, top = draws
    try:
        image = open_picture(path)
    except OSError:
        sys.exit(f"{path}: cannot be read as a picture; take it out of the folder, or name it in --leave-out")
    side = math.sqrt(least_area + (1 - least_area) * area)
    width, height = side * image.width, side * image.height
    left, top = left * (image.width - width), top * (image.height - height)
    box = (left, top, min(left + width, image.width), min(top + height, image.height))
    return image.resize(size, Image.Resampling.BILINEAR, box=box)


def choose(paths, number, options):
    """Returns the two pictures of mixture `number`, the share of the first, and whether they are blended."""
    first, second, share, kind, *_ = uniforms(options.seed, "pair", number)
    i, j = int(first * len(paths)), int(second * (len(paths) - 1))
    low, high = options.share
    return paths[i], paths[j + (j >= i)], low + (high - low) * share, kind < 0.5


def mixture(first, second, share, blended, number, options):
    """Returns the mixture of two pictures as an image of --side x --side pixels."""
    side = options.side
    draws = uniforms(options.seed, "crops", number)
    under = crop(first, options.least_area, draws[:3], (side, side))
    if blended:
        over = crop(second, options.least_area, draws[3:6], (side, side))
        return Image.blend(over, under, share)
    # A rectangle with the area 1 - share, whose sides differ by at most a third, anywhere inside.
    ratio = math.exp((2 * draws[6] - 1) * math.log(4 / 3))
    width = min(side, round(side * math.sqrt((1 - share) * ratio)))
    height = min(side, round(side * math.sqrt((1 - share) / ratio)))
    left, top, *_ = uniforms(options.seed, "place", number)
    over = crop(second, options.least_area, draws[3:6], (width, height))
    under.paste(over, (round(left * (side - width)), round(top * (side - height))))
    return under


def name_of(number):
    """Returns the file name of mixture `number`, from 0 on."""
    return f"{number:07}.jpg"


def save(path, write):
    """Lets `write` write a file beside its place and renames it, so that an interrupted run leaves no half file."""
    beside = path.with_suffix(".new")
    write(beside)
    os.replace(beside, path)


def claim(folder, paths, options):
    """Notes in the folder what its pictures are made from; ends the program if they were made from something else."""
    names = hashlib.sha256("\n".join(path.name for path in paths).encode()).hexdigest()
    made_from = {"pictures": len(paths), "names": names, "seed": options.seed, "side": options.side}
    made_from |= {"share": list(options.share), "least_area": options.least_area}
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "made-from.json"
    try:
        before = json.loads(note.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if any(folder.glob("*.jpg")):
            sys.exit(f"{folder}: holds pictures that this tool has not made; name a new folder")
        before = made_from
    except (OSError, ValueError):
        sys.exit(f"{note}: cannot be read; name a new folder")
    if before != made_from:
        sys.exit(f"{folder}: holds mixtures of other pictures, or with other options; name a new folder")
    if (folder / name_of(options.count)).exists():
        sys.exit(f"{folder}: holds more than {options.count} mixtures; raise --count, or name a new folder")
    save(note, lambda beside: beside.write_text(json.dumps(made_from), encoding="utf-8"))


def share_range(text):
    low, high = (float(x) for x in text.split(","))
    if not 0 < low <= high < 1:
        raise argparse.ArgumentTypeError(f"{text}: two numbers between 0 and 1, the smaller first")
    return low, high


def parse():
    p = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("out", type=Path, help="the folder to write")
    p.add_argument("folders", nargs="+", metavar="folder", help="folders with pictures")
    p.add_argument("--count", type=int, default=25000, help="number of new pictures")
    p.add_argument("--leave-out", type=Path, metavar="NAMES.txt", help="file names of pictures that are not mixed")
    p.add_argument("--seed", type=int, default=1, help="seed of pairs and crops")
    p.add_argument("--side", type=int, default=288, help="pixels of a side of the new pictures")
    p.add_argument("--share", type=share_range, default=(0.3, 0.7), help="smallest and largest share of the first picture")
    p.add_argument("--least-area", type=float, default=0.5, help="smallest fraction of a picture's area in its crop")
    p.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads")
    options = p.parse_args()
    if options.count < 1 or options.workers < 1 or options.side < 8 or not 0 < options.least_area <= 1:
        p.error("--count and --workers must be at least 1, --side at least 8, --least-area above 0 and at most 1")
    return options


def left_out(path):
    """Returns the file names in a list of pictures, without the folders."""
    if path is None:
        return set()
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError):
        sys.exit(f"{path}: cannot be read as a list of file names")
    return {Path(line.strip()).name for line in lines if line.strip()}


def write_sources(path, rows):
    """Writes the table of the mixtures and what they are made from."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "first", "second", "share"])
        for name, first, second, share, _ in rows:
            table.writerow([name, first.name, second.name, f"{share:.4f}"])


def main():
    options = parse()
    unseen = left_out(options.leave_out)
    paths = [path for path in pictures_in(options.folders) if path.name not in unseen]
    if len(paths) < 2:
        sys.exit("mixing takes at least two pictures; name folders with more")
    claim(options.out, paths, options)
    rows = []
    for number in range(options.count):
        rows.append((name_of(number), *choose(paths, number, options)))

    def make(number):
        name, *parts = rows[number]
        path = options.out / name
        if not path.exists():
            image = mixture(*parts, number, options)
            save(path, lambda beside: image.save(beside, "JPEG", quality=90))

    with ThreadPoolExecutor(options.workers) as pool:
        for number, _ in enumerate(pool.map(make, range(options.count)), 1):
            if number % 100 == 0:
                print(f"\r{number} of {options.count} pictures ", end="", file=sys.stderr)
    print(file=sys.stderr)
    save(options.out / "sources.csv", lambda beside: write_sources(beside, rows))


if __name__ == "__main__":
    main()
