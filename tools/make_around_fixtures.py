#!/usr/bin/env python3
"""Writes weight files that contain more than the tiny DenseNet: another network around it, or objects beside it.

    python tools/make_around_fixtures.py FOLDER [torch keras3 keras2]     (default: torch)

FOLDER is `tests/fixtures/convert`, where `make_convert_fixtures.py` has written `torchvision.safetensors`: the weights of
the DenseNet in all of these files, with which tests compare the result. Each part needs the packages of the part of that
script with the same name.

* `torch`: a checkpoint with the usual objects beside the weights, a whole captioner, TorchScript.
* `keras3`, `keras2`: the network between a stem and a head with convolutions and batch norms of the same sizes, in the same
  model (`flat`) and as a layer of a model (`nested`); two such networks in one model; one without names, whose statistics
  show which batch norm is its last.

All files are compressed again as far as their formats allow; Keras' contents are otherwise unchanged.
"""

import argparse
import collections
import datetime
import importlib
import os
import random
import sys
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from make_convert_fixtures import CLASSES, SIZE, keras_densenet, tiny_densenet, transplant

# --- PyTorch -------------------------------------------------------------------------------------


class Vocabulary:
    """The vocabulary class of many tutorials on captioning."""

    def __init__(self):
        self.word2idx = {"<pad>": 0, "a": 1, "dog": 2}
        self.idx2word = {0: "<pad>", 1: "a", 2: "dog"}


class Config(dict):
    """A dictionary with attributes, like those of configuration libraries."""


def reference_net(folder):
    """Returns the network of all fixtures."""
    from safetensors.torch import load_file as load_tensors

    net = tiny_densenet()
    net.load_state_dict(load_tensors(folder / "torchvision.safetensors"))
    return net


def captioner(net):
    """Returns a captioner that contains its encoder under two names, as `self.densenet` and in a sequence."""
    import torch

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.densenet = torch.nn.Sequential(*list(net.children())[:-1])
            self.parts = torch.nn.Sequential(*net.features.children())
            self.embed = torch.nn.Linear(12, 6)
            self.norm = torch.nn.BatchNorm1d(6)

    model = torch.nn.Module()
    model.encoder = Encoder()
    model.decoder = torch.nn.LSTM(6, 6)
    return model


def write_torch(folder):
    """Writes checkpoints, a whole model and TorchScript."""
    import torch

    net = reference_net(folder)
    optimizer = torch.optim.Adam(net.parameters())
    checkpoint = {
        "model": captioner(net).state_dict(),
        "optimizer": optimizer.state_dict(),
        "vocabulary": Vocabulary(),
        "config": Config(lr=0.1, when=datetime.datetime(2024, 5, 1, 12, 30)),
        "args": argparse.Namespace(out=Path("runs"), started=datetime.date(2024, 5, 1)),
        "criterion": torch.nn.CrossEntropyLoss(weight=torch.ones(3)),
        "activation": torch.nn.functional.relu,
        "counts": collections.Counter(a=2, dog=1),
        "losses": collections.defaultdict(list, train=[1.0, 0.5]),
        "embedding": np.arange(12, dtype=np.float32).reshape(3, 4),
        "best": np.float64(0.5),
        "numpy": np.random.RandomState(1).get_state(),
        "generator": np.random.default_rng(1),
        "python": random.Random(1).getstate(),
        "torch": torch.get_rng_state(),
        "seen": {1, 2},
    }
    torch.save(checkpoint, folder / "around.pth", pickle_protocol=2)
    torch.save(checkpoint, folder / "around4.pth", pickle_protocol=4)
    net.eval()
    torch.jit.trace(net, torch.zeros(1, 3, SIZE, SIZE)).save(folder / "script.pt")
    torch.save(net, folder / "whole-legacy.pth", _use_new_zipfile_serialization=False)
    for name in ("around.pth", "around4.pth", "script.pt"):
        rezip(folder / name)


# --- Keras ---------------------------------------------------------------------------------------


def surrounded(keras, state, nested):
    """Returns the network between a stem and a head whose batch norms and convolutions have the same sizes as its own."""
    layers = keras.layers
    inputs = layers.Input((SIZE, SIZE, 1))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(3, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    base = keras_densenet(keras, top=False)
    if nested:
        x = base(x)
    else:
        for layer in base.layers[1:]:
            x = again(layer, base, x)
    x = layers.Conv2D(12, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2DTranspose(8, 3, padding="same")(x)
    x = layers.BatchNormalization(name="head_bn")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(CLASSES)(x))
    scramble(model)
    transplant_into(base if nested else model, state)
    return model


def again(layer, base, x):
    """Applies a layer of `base` in another model; a concatenation of a dense block also takes the block's earlier output."""
    key = id(base)
    made = again.__dict__.setdefault(key, {})
    sources = layer.input if isinstance(layer.input, list) else [layer.input]
    inputs = [made.get(id(source), x) for source in sources]
    result = layer(inputs if len(inputs) > 1 else inputs[0])
    made[id(layer.output)] = result
    return result


def scramble(model):
    """Fills all variables with distinct numbers, so that a confusion of two is noticed."""
    numbers = np.random.default_rng(33)
    for layer in model.layers:
        if hasattr(layer, "layers"):
            scramble(layer)
        elif layer.weights:
            layer.set_weights([numbers.uniform(0.5, 1.5, w.shape).astype(np.float32) for w in layer.get_weights()])


def transplant_into(model, state):
    """Sets the weights of the DenseNet's layers in a larger model."""

    class Part:
        layers = [layer for layer in model.layers if layer.name == "bn" or layer.name.startswith(("conv1_", "conv2_", "conv3_", "pool2_"))]

    transplant(Part, state)


def twins(keras, state):
    """Returns a model with two such networks, the second with other numbers."""
    layers = keras.layers
    inputs = layers.Input((SIZE, SIZE, 3))
    bases = [keras_densenet(keras, top=False) for _ in range(2)]
    left, right = (keras.Model(base.input, base.output, name=name) for base, name in zip(bases, ("left", "right")))
    transplant(left, state)
    scramble(right)
    pool = layers.GlobalAveragePooling2D
    return keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([pool()(left(inputs)), pool()(right(inputs))])))


def consistent(state):
    """Returns the state of a trained network: the means of the last batch norm equal those of the last layer for the
    channels that both see."""
    state = dict(state)
    mean = state["features.norm5.running_mean"].copy()
    mean[:8] = state["features.denseblock2.denselayer1.norm1.running_mean"]
    state["features.norm5.running_mean"] = mean
    return state


def trained(keras, state):
    """Returns a flat model whose head has a batch norm of the size of the last one."""
    base = keras_densenet(keras, top=False)
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    x = keras.layers.BatchNormalization()(x)
    model = keras.Model(base.input, keras.layers.Dense(2)(x))
    scramble(model)
    transplant_into(model, consistent(state))
    return model


def write_keras(name, prefix, folder):
    """Writes the files of one version of Keras."""
    keras = importlib.import_module(name)
    state = load_file(folder / "torchvision.safetensors")
    for kind in ("flat", "nested"):
        model = surrounded(keras, state, nested=kind == "nested")
        for end in (".h5", ".keras", ".weights.h5"):
            path = folder / f"around-{prefix}-{kind}{end}"
            # Keras 3 no longer supports the older format of weights alone.
            alone = end == ".weights.h5" or (end == ".h5" and kind == "nested" and prefix == "keras2")
            (model.save_weights if alone else model.save)(path)
            rezip(path) if end == ".keras" else repack(path)
    return keras, state


def write_keras3(folder):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras, state = write_keras("keras", "keras3", folder)
    twins(keras, state).save(folder / "around-keras3-two.keras")
    rezip(folder / "around-keras3-two.keras")


def write_keras2(folder):
    os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"})
    keras, state = write_keras("tf_keras", "keras2", folder)
    trained(keras, state).save_weights(folder / "around-keras2-trained.weights.h5")
    repack(folder / "around-keras2-trained.weights.h5")


# --- Packing -------------------------------------------------------------------------------------


def repack(path):
    """Rewrites an HDF5 file with its attributes, compressed data and the groups of newer versions of the format."""
    import h5py

    old_path = path.rename(path.with_suffix(".old"))
    with h5py.File(old_path, "r") as old, h5py.File(path, "w", libver="latest") as new:

        def copy(name, item):
            if isinstance(item, h5py.Dataset):
                packed = {"compression": "gzip"} if item.size > 64 else {}
                made = new.create_dataset(name, data=item[()], **packed)
            else:
                made = new.require_group(name)
            made.attrs.update(item.attrs)

        new.attrs.update(old.attrs)
        old.visititems(copy)
    old_path.unlink()


def rezip(path):
    """Rewrites a zip archive with compressed entries."""
    with zipfile.ZipFile(path) as old:
        entries = [(info.filename, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for name, data in entries:
            new.writestr(name, data)


PARTS = {"torch": write_torch, "keras3": write_keras3, "keras2": write_keras2}


def main():
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(PARTS):
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for part in sys.argv[2:] or ["torch"]:
        PARTS[part](folder)
    for path in sorted(folder.iterdir()):
        if before.get(path) != path.stat().st_mtime_ns:
            print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
