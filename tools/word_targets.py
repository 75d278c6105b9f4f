#!/usr/bin/env python3
"""Writes the words of pictures' captions as distillation targets, for the views of a teacher's target file.

    word_targets.py VIEWS.safetensors CAPTIONS.csv OUT.safetensors [--least 20] [--mixed SOURCES.csv]

A teacher trained on ImageNet tells 120 breeds of dogs apart, and has no class for a man, for running or for red. The words
of captions say what people care about. VIEWS is a file of tools/teacher_targets.py, CAPTIONS.csv a table with the columns
image, caption and split, as tools/teacher_captions.py writes it; its training split is read. For each picture the target is a distribution over words:

    p(w) = s(w) idf(w) / sum of s(v) idf(v) over all words v
    s(w) = the share of the picture's captions that hold w
    idf(w) = ln(pictures / pictures with w in a caption)

so that `a` and `is`, which most pictures share, weigh little. Words of fewer than --least pictures are left out. All views of
a picture have its words. SOURCES is the table that tools/mixed_photos.py writes: a mixture of two pictures has the words of both,

    p(w) = share p1(w) + (1 - share) p2(w)

OUT has the same views as VIEWS, in the same order, so that Glimpse trains on both at once; a view of a picture without
captions is left out. In the configuration:

    targets = [{ file = "VIEWS.safetensors" }, { file = "OUT.safetensors", classes = 0.3, temperature = 1.0 }]
"""

import argparse
import collections
import csv
import hashlib
import json
import math
import re
import sys
from pathlib import Path

import numpy as np

from teacher_targets import TYPES, Output, half


def words_of(caption):
    """Returns a caption's words: lower case, letters and digits."""
    return re.sub(r"[^a-z0-9 ]", " ", caption.lower()).split()


def read_captions(path):
    """Returns for each picture, by its file's name, the captions as sets of words; only those of the training split."""
    captions = collections.defaultdict(list)
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not {"image", "caption"} <= set(rows.fieldnames or []):
            sys.exit(f"{path}: has no columns image and caption; tools/teacher_captions.py writes such a table")
        for row in rows:
            if row.get("split", "train") == "train":
                captions[Path(row["image"]).name].append(set(words_of(row["caption"])))
    return captions


def distributions(captions, least):
    """Returns the words, and for each picture its distribution over them as numbers of words and probabilities."""
    pictures = collections.Counter()
    for sets in captions.values():
        pictures.update(set().union(*sets))
    words = sorted(word for word, count in pictures.items() if count >= least)
    weight = {word: math.log(len(captions) / pictures[word]) for word in words}
    number = {word: i for i, word in enumerate(words)}
    found = {}
    for name, sets in captions.items():
        mass = collections.Counter(word for one in sets for word in one if word in weight)
        mass = {number[word]: count * weight[word] for word, count in mass.items() if weight[word] > 0}
        total = sum(mass.values())
        if total > 0:
            found[name] = (list(mass), [value / total for value in mass.values()])
    return words, found


def read_mixtures(path):
    """Returns for each mixture, by its file's name, the names of its two pictures and the share of the first."""
    if path is None:
        return {}
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not {"image", "first", "second", "share"} <= set(rows.fieldnames or []):
            sys.exit(f"{path}: has no columns image, first, second and share; tools/mixed_photos.py writes such a table")
        try:
            return {row["image"]: (row["first"], row["second"], float(row["share"])) for row in rows}
        except (TypeError, ValueError):
            sys.exit(f"{path}: line {rows.line_num} has no number as its share")


def mix(found, mixtures):
    """Adds the distributions of mixtures whose two pictures have one."""
    for name, (first, second, share) in mixtures.items():
        if first in found and second in found:
            mass = collections.Counter()
            for weight, (numbers, values) in ((share, found[first]), (1 - share, found[second])):
                for number, value in zip(numbers, values):
                    mass[number] += weight * value
            found[name] = (list(mass), list(mass.values()))


def open_targets(path):
    """Returns the header of a target file, and its tensors `picture` and `view`."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            entries = json.loads(file.read(size))
            header = json.loads(entries["__metadata__"]["glimpse_targets"])
        except (ValueError, KeyError, OverflowError, MemoryError):
            sys.exit(f"{path}: is not a target file of tools/teacher_targets.py")

        def tensor(name):
            entry = entries[name]
            start, end = entry["data_offsets"]
            file.seek(8 + size + start)
            return np.frombuffer(file.read(end - start), TYPES[entry["dtype"]]).reshape(entry["shape"])

        return header, tensor("picture"), tensor("view")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("views", type=Path, help="the target file with the views")
    parser.add_argument("captions", type=Path, help="the table with the captions")
    parser.add_argument("out", type=Path, help="the target file to write")
    parser.add_argument("--least", type=int, default=20, help="the least number of pictures with a word [default: 20]")
    parser.add_argument("--mixed", type=Path, metavar="SOURCES.csv", help="the table of the mixed pictures")
    options = parser.parse_args()
    views, picture, view = open_targets(options.views)
    words, found = distributions(read_captions(options.captions), options.least)
    mixtures = read_mixtures(options.mixed)
    if options.mixed and not any(name in mixtures for name in views["names"]):
        sys.exit(f"{options.mixed}: names no picture of {options.views}")
    mix(found, mixtures)
    kept = np.array([views["names"][p] in found for p in range(len(views["names"]))])[picture]
    if not kept.any():
        sys.exit(f"{options.captions}: has no captions of the pictures in {options.views}")
    picture, view = picture[kept], view[kept]
    tables = [path for path in (options.captions, options.mixed) if path]
    made_from = hashlib.sha256(b"".join(path.read_bytes() for path in tables)).hexdigest()
    header = {key: views[key] for key in ("format", "rendering", "views", "names", "digests")}
    header |= {"teacher": "words", "source": "words of captions", "licence": "", "input": {"words": words}}
    layout = {"picture": ("U32", [len(picture)]), "view": ("F32", [len(picture), 6])}
    layout["probabilities"] = ("F16", [len(picture), len(words)])
    output = Output(options.out, header, layout, made_from)
    output.tensors["picture"][:], output.tensors["view"][:] = picture, view
    rows = np.zeros([len(views["names"]), len(words)], np.float32)
    for i, name in enumerate(views["names"]):
        if name in found:
            rows[i, found[name][0]] = found[name][1]
    for start in range(0, len(picture), 4096):
        output.tensors["probabilities"][start : start + 4096] = half(rows[picture[start : start + 4096]])
    output.done = len(picture)
    output.finish()
    print(f"{len(picture)} views, {len(words)} words: {', '.join(words[:: max(1, len(words) // 20)])}", file=sys.stderr)


if __name__ == "__main__":
    main()
