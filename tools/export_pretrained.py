#!/usr/bin/env python3
"""Writes full-size DenseNets in the formats in which they are distributed, with the frameworks' outputs for them.

    python tools/export_pretrained.py FOLDER [densenet121 densenet161 ...]

The weights are random, the batch-norm statistics fit (see `export_torchvision.py`). For each network:

* `NAME.pth`: PyTorch's legacy format under the names of torchvision's published files (`norm.1`);
* `NAME.zip.pth`, `NAME.safetensors`: the unchanged `state_dict()`;
* `NAME.expected.safetensors`: the images `x` [2, 3, 224, 224], `spatial` [2, C, 7, 7] (the map after
  the last batch norm and ReLU) and `features` [2, C] (its average), computed by torchvision in float64;
* `NAME.images.safetensors`: `features` [3, C] of the sample photos, whose names are the metadata entry `names`
  (JSON), with torchvision's preprocessing, and `x` [3, 3, 224, 224], the photos after it.

For those that Keras has (all but 161), the same weights from Keras 3, on the same `x`:

* `NAME.keras`, `NAME.keras.h5` (a whole model in the legacy format), `NAME.notop.weights.h5`;
* `NAME.keras.expected.safetensors` and `NAME.keras.images.safetensors`: Keras' outputs, with its own epsilon and
  preprocessing. They are computed in float64, except for the batch norms, which Keras keeps in f32: exact to some 1e-6.

Everything in the safetensors files is NCHW. They are large and not meant for the repository.
"""

import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torchvision import transforms

from export_torchvision import NAMES, features, random_network
from make_convert_fixtures import keras_features, published_names, transplant

PHOTOS = sorted((Path(__file__).parent.parent / "weights" / "samples").glob("*.jpg"))
PHOTO_NAMES = {"names": json.dumps([path.name for path in PHOTOS])}

KERAS = {
    "densenet121": keras.applications.DenseNet121,
    "densenet169": keras.applications.DenseNet169,
    "densenet201": keras.applications.DenseNet201,
}

TORCHVISION_RECIPE = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def torchvision_photos():
    """Returns the sample photos with torchvision's preprocessing."""
    return torch.stack([TORCHVISION_RECIPE(Image.open(path).convert("RGB")) for path in PHOTOS])


def keras_photos():
    """Returns the sample photos with Keras' preprocessing, NCHW."""
    photos = [keras.utils.img_to_array(keras.utils.load_img(path, target_size=(224, 224))) for path in PHOTOS]
    prepared = keras.applications.densenet.preprocess_input(np.stack(photos))
    return np.ascontiguousarray(prepared.transpose(0, 3, 1, 2), np.float32)


def export_torch(name, folder):
    """Writes torchvision's files. Returns the weights and the input as arrays."""
    net, x = random_network(name)
    state = net.state_dict()
    torch.save(published_names(state), folder / f"{name}.pth", _use_new_zipfile_serialization=False)
    torch.save(state, folder / f"{name}.zip.pth")
    save_file(state, folder / f"{name}.safetensors", {"made_by": f"torchvision {torchvision.__version__}"})
    arrays = {key: value.numpy().copy() for key, value in state.items()}

    net.double()
    photos = torchvision_photos()
    with torch.no_grad():
        spatial, pooled = features(net, x.double())
        _, of_photos = features(net, photos.double())
    save_file(
        {"x": x, "spatial": spatial.float(), "features": pooled.float()}, folder / f"{name}.expected.safetensors"
    )
    save_file({"x": photos, "features": of_photos.float()}, folder / f"{name}.images.safetensors", PHOTO_NAMES)
    return arrays, x.numpy()


def export_keras(name, folder, state, x):
    """Writes Keras' files."""
    whole = KERAS[name](weights=None)
    transplant(whole, state)
    whole.save(folder / f"{name}.keras")
    whole.save(folder / f"{name}.keras.h5")
    bare = KERAS[name](weights=None, include_top=False, input_shape=(224, 224, 3))
    transplant(bare, state)
    bare.save_weights(folder / f"{name}.notop.weights.h5")

    keras.config.set_dtype_policy("float64")
    exact = KERAS[name](weights=None, include_top=False, input_shape=(224, 224, 3))
    keras.config.set_dtype_policy("float32")
    transplant(exact, state)
    made_by = {"made_by": f"keras {keras.__version__}"}
    found = {"x": x, **keras_features(exact, x.astype(np.float64))}
    save_arrays(found, folder / f"{name}.keras.expected.safetensors", made_by)
    photos = keras_photos()
    found = {"x": photos, "features": keras_features(exact, photos.astype(np.float64))["features"]}
    save_arrays(found, folder / f"{name}.keras.images.safetensors", {**made_by, **PHOTO_NAMES})


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or NAMES:
        state, x = export_torch(name, folder)
        if name in KERAS:
            export_keras(name, folder, state, x)
        print(name, flush=True)


if __name__ == "__main__":
    main()
