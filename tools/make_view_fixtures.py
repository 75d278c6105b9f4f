#!/usr/bin/env python3
"""Records a teacher's views: writes three small pictures and a target file for them to tests/fixtures/distill.

    python tools/make_view_fixtures.py [OUTPUT_FOLDER]          (default: tests/fixtures/distill)

The teacher's features are the mean levels of a view's 4 x 4 fields in each of three channels, divided by 255; its map holds the
same numbers, reduced to two directions. A test renders the views of these pictures itself and computes both again.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import teacher_targets

SIZE = 32


class Fields:
    name, source, licence, size = "mean levels of 4 x 4 fields", "tools/make_view_fixtures.py", "MIT OR Apache-2.0", SIZE
    input = {"size": SIZE, "values": "x / 255"}
    classifier = None

    def __call__(self, levels):
        fields = levels.astype(np.float64).reshape(len(levels), 4, SIZE // 4, 4, SIZE // 4, 3)
        maps = fields.mean((2, 4)) / 255
        return {"features": maps.reshape(len(levels), -1), "maps": maps}


def pictures(folder):
    """Draws noise on gradients, in sizes larger and smaller than the view; one picture has transparency, one is grey."""
    rng = np.random.default_rng(2106)
    y, x = np.mgrid[:70, :90]
    levels = np.stack([x * 2.5, y * 3.4, (x + y) * 1.5], 2) + rng.normal(0, 30, (70, 90, 3))
    colour = np.clip(levels, 0, 255).astype(np.uint8)
    Image.fromarray(colour).save(folder / "a.png")
    alpha = np.clip(rng.normal(160, 60, (21, 40, 1)), 0, 255).astype(np.uint8)
    Image.fromarray(np.concatenate([colour[:21, :40], alpha], 2)).save(folder / "b.png")
    Image.fromarray(colour[:50, :47, 0]).save(folder / "c.png")
    return [folder / f"{name}.png" for name in "abc"]


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "tests" / "fixtures" / "distill"
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "targets.safetensors"
    options = ["fields", str(out), str(folder), "--views", "8", "--whole", "2", "--classes", "none", "--crop-area", "0.02,1", "--maps", "2"]
    teacher_targets.write(Fields(), out, pictures(folder), teacher_targets.parser().parse_args(options), progress=False)
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
