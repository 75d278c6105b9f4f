"""Write the distillation targets: the teacher's last feature map, averaged over its
positions (1280 values), for every image of a split list and for its mirror image.

usage: teacher_targets.py TEACHER.tflite IMAGES_DIR SPLIT_LIST.txt OUT.safetensors

OUT holds two f32 tensors of N x 1280, `targets` and `targets_flipped`, raw (not
standardised), and the metadata key `names`, a JSON list of the N file names in row order.
Needs ai-edge-litert, numpy and pillow.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

MAP_TENSOR = 168  # 7 x 7 x 1280, uint8


def main(teacher, images, split, out):
    net = Interpreter(teacher, num_threads=2, experimental_preserve_all_tensors=True)
    net.allocate_tensors()
    in_index = net.get_input_details()[0]["index"]
    details = {d["index"]: d for d in net.get_tensor_details()}
    scale, zero = details[MAP_TENSOR]["quantization"]

    def pooled(pixels):
        net.set_tensor(in_index, pixels[None])
        net.invoke()
        fmap = net.get_tensor(MAP_TENSOR).astype(np.float32)
        return (fmap.mean(axis=(0, 1, 2)) - zero) * scale

    names = Path(split).read_text().split()
    targets = np.empty((2, len(names), 1280), np.float32)
    for row, name in enumerate(names):
        image = Image.open(Path(images) / name).convert("RGB").resize((224, 224))
        pixels = np.asarray(image)
        targets[0, row] = pooled(pixels)
        targets[1, row] = pooled(np.ascontiguousarray(pixels[:, ::-1]))

    size = targets[0].nbytes
    entry = {"dtype": "F32", "shape": list(targets[0].shape)}
    header = json.dumps({
        "__metadata__": {"names": json.dumps(names)},
        "targets": {**entry, "data_offsets": [0, size]},
        "targets_flipped": {**entry, "data_offsets": [size, 2 * size]},
    }).encode()
    header += b" " * (-len(header) % 8)
    with open(out, "wb") as f:
        f.write(struct.pack("<Q", len(header)))
        f.write(header)
        f.write(targets.astype("<f4").tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
