#!/usr/bin/env python3
"""Averages the weights of encoders that were trained one after another: OUT = (A + B + ...) / number of encoders.

    average_weights.py OUT.safetensors A.safetensors B.safetensors...

An encoder that goes on training from another one stays close enough that the weights between the two work as well. Their mean
often does better on new pictures than either (stochastic weight averaging: Izmailov et
al. 2018, arXiv 1803.05407; model soups: Wortsman et al. 2022, arXiv 2203.05482). The mean of encoders that started from different
random numbers is worthless.

All files must hold the same tensors, in floating-point numbers (not 8 bits). The statistics of the batch norms are averaged like weights;
so are the tags. What the file says about its training is the first one's. OUT is written beside its place and renamed.

Needs numpy.
"""

import argparse
import json
import math
import os
import sys
import zlib
from pathlib import Path

import numpy as np

from teacher_targets import TYPES, beginning


def read(path):
    """Returns the metadata, the entries by name, and the bytes of the tensors of a safetensors file."""
    try:
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        entries = json.loads(content[8 : 8 + size])
        metadata = entries.pop("__metadata__")
        if "glimpse" not in metadata:
            raise KeyError
        places = sorted(entry["data_offsets"] for entry in entries.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        sys.exit(f"{path}: is not a file of weights that glimpse train has written")
    content = content[8 + size :]
    # The first checksum is the header's, the others are those of the tensors, in the order of their bytes.
    sums = "".join(f"{zlib.crc32(content[start:end]):08x}" for start, end in places)
    if metadata.get("glimpse-checksums", "")[len("crc32 00000000 ") :] != sums:
        sys.exit(f"{path}: does not match its checksums; the file was damaged after it was written")
    return metadata, entries, content


def numbers(path, name, entry, content):
    """Returns a tensor's numbers in 64 bits."""
    if entry["dtype"] not in ("F16", "F32"):
        sys.exit(f"{path}: tensor {name} holds {entry['dtype']}; only F16 and F32 can be averaged")
    start, end = entry["data_offsets"]
    found = np.frombuffer(content[start:end], TYPES[entry["dtype"]])
    if len(found) != math.prod(entry["shape"]):
        sys.exit(f"{path}: tensor {name} does not have the size that its shape says; the file is damaged")
    return found.astype(np.float64)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("encoders", type=Path, nargs="+", metavar="encoder", help="two or more encoders")
    options = parser.parse_args()
    if len(options.encoders) < 2:
        parser.error("averaging takes at least two encoders")
    files = [(path, *read(path)) for path in options.encoders]
    first_path, metadata, entries, _ = files[0]
    shapes = {name: entry["shape"] for name, entry in entries.items()}
    for path, _, others, _ in files[1:]:
        if {name: entry["shape"] for name, entry in others.items()} != shapes:
            sys.exit(f"{path}: holds other tensors than {first_path}; only encoders of one shape can be averaged")
    parts, sums, offset = [], [], 0
    for name, entry in entries.items():
        mean = np.mean([numbers(path, name, other[name], content) for path, _, other, content in files], 0)
        part = mean.astype(TYPES[entry["dtype"]]).tobytes()
        entry["data_offsets"] = [offset, offset + len(part)]
        offset += len(part)
        parts.append(part)
        sums.append(zlib.crc32(part))
    metadata = {key: value for key, value in metadata.items() if not key.startswith("glimpse-checksum")}
    beside = Path(f"{options.out}.partial")
    with open(beside, "wb") as file:
        file.write(beginning(metadata, entries, sums))
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, options.out)


if __name__ == "__main__":
    main()
