#!/usr/bin/env python3
"""Writes one tiny DenseNet in every format that `glimpse-convert` reads, and files it must refuse.

    python tools/make_convert_fixtures.py FOLDER [torch keras3 keras2]     (default: torch keras3)

FOLDER is `tests/fixtures/convert`. The parts need different packages; Keras 2 needs a separate environment:

* `torch`: torch, torchvision, timm, safetensors. Run it first: it makes the weights, which the other parts read
  from `torchvision.safetensors`.
* `keras3`: keras 3 with torch as its backend (set by this script), h5py, safetensors.
* `keras2`: tensorflow-cpu, tf_keras, h5py, safetensors.

The network has torchvision's structure with two dense blocks, of two layers and of one; its batch-norm
statistics are measured and perturbed (see `export_torchvision.py`). `expected.safetensors` holds an input
`x` [2, 3, 32, 32] and torchvision's outputs for it in float64: `spatial` [2, C, 4, 4] (the map after
the last batch norm and ReLU), `features` [2, C] (its average) and `logits` [2, 5]. `expected_keras.safetensors`
holds Keras' outputs. They differ, because Keras' epsilon is 1.001e-5 instead of 1e-5. They are exact to some 2e-7,
because its batch norms are in f32 even if everything else is in float64 (keras 3 on torch). Everything is NCHW.

The seed is fixed, and equal versions of the packages write equal bytes, with two exceptions: PyTorch's legacy files
(memory addresses name and order their storages) and Keras' files (dates, and names with a running number).
"""

import argparse
import collections
import copy
import os
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from safetensors.numpy import save_file as save_arrays

GROWTH = 4
BLOCKS = (2, 1)
STEM = 8  # timm's stem is always twice the growth
BOTTLENECK = 2
CLASSES = 5
SIZE = 32


# --- PyTorch -------------------------------------------------------------------------------------


def tiny_densenet():
    """Returns the network whose weights are in all files."""
    import torch
    import torchvision

    from export_torchvision import randomise

    torch.manual_seed(31)
    net = torchvision.models.DenseNet(
        growth_rate=GROWTH, block_config=BLOCKS, num_init_features=STEM, bn_size=BOTTLENECK, num_classes=CLASSES
    )
    randomise(net, torch.randn(16, 3, SIZE, SIZE))
    torch.nn.init.normal_(net.classifier.bias)
    return net.eval()


def expected(net):
    """Returns an input and the network's outputs for it, computed in float64."""
    import torch

    from export_torchvision import features

    x = torch.randn(2, 3, SIZE, SIZE)
    net = copy.deepcopy(net).double()
    with torch.no_grad():
        spatial, pooled = features(net, x.double())
        logits = net(x.double())
    return {"x": x, "spatial": spatial.float(), "features": pooled.float(), "logits": logits.float()}


def published_names(state):
    """Returns the state under the names of torchvision's published files: `norm.1`, and no `num_batches_tracked`."""
    dotted = collections.OrderedDict()
    for name, value in state.items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            name = name.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        if not name.endswith("num_batches_tracked"):
            dotted[name] = value
    return dotted


def used_optimizer(net):
    """Returns the state of an optimizer after one step, with its momentum buffers. `net` itself stays unchanged."""
    import torch

    net = copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    net(torch.randn(2, 3, SIZE, SIZE)).square().sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def unusual_tensors(net):
    """Returns a state of parameters instead of tensors, one of them channels-last; the norms are slices of one storage."""
    import torch

    state = dict(net.state_dict())
    norms = [name for name, value in state.items() if value.ndim == 1 and value.is_floating_point()]
    shared = torch.cat([torch.full((3,), 7.0)] + [state[name] for name in norms])  # no slice starts at 0
    start = 3
    for name in norms:
        length = len(state[name])
        state[name] = shared[start : start + length]
        start += length
    stem = "features.conv0.weight"
    state[stem] = state[stem].contiguous(memory_format=torch.channels_last)
    parameters = {name for name, _ in net.named_parameters()}
    return {n: torch.nn.Parameter(t) if n in parameters else t for n, t in state.items()}


def tiny_resnet():
    """Returns a state with a ResNet's names: one basic block."""
    import torch

    def norm(name, channels):
        return {
            f"{name}.weight": torch.ones(channels),
            f"{name}.bias": torch.zeros(channels),
            f"{name}.running_mean": torch.zeros(channels),
            f"{name}.running_var": torch.ones(channels),
            f"{name}.num_batches_tracked": torch.tensor(0),
        }

    return {
        "conv1.weight": torch.randn(4, 3, 7, 7),
        **norm("bn1", 4),
        "layer1.0.conv1.weight": torch.randn(4, 4, 3, 3),
        **norm("layer1.0.bn1", 4),
        "layer1.0.conv2.weight": torch.randn(4, 4, 3, 3),
        **norm("layer1.0.bn2", 4),
        "fc.weight": torch.randn(CLASSES, 4),
        "fc.bias": torch.zeros(CLASSES),
    }


def cifar_densenet():
    """Returns a DenseNet for CIFAR: a 3x3 stem without a norm, three blocks, the last norm under another name."""
    import torchvision

    net = torchvision.models.DenseNet(
        growth_rate=GROWTH, block_config=(1, 1, 1), num_init_features=STEM, bn_size=BOTTLENECK, num_classes=CLASSES
    )
    state = collections.OrderedDict()
    for name, value in net.state_dict().items():
        if name == "features.conv0.weight":
            value = value[:, :, :3, :3].clone()
        if not name.startswith("features.norm0."):
            state[name.replace("features.norm5.", "features.norm_final.")] = value
    return state


def changed(state, name, value):
    """Returns the state with the first element of one tensor changed."""
    state = copy.deepcopy(state)
    state[name].view(-1)[0] = value
    return state


def write_torch(folder):
    """Writes PyTorch's files and safetensors, with timm's names too, and the files that must be refused."""
    import timm
    import torch
    import torchvision
    from safetensors.torch import save_file

    net = tiny_densenet()
    state = net.state_dict()
    made_by = {"made_by": f"tools/make_convert_fixtures.py, torch {torch.__version__}, torchvision {torchvision.__version__}"}
    save_file(expected(net), folder / "expected.safetensors", made_by)

    def cast(dtype):
        return collections.OrderedDict((n, t.to(dtype) if t.is_floating_point() else t) for n, t in state.items())

    save_file(state, folder / "torchvision.safetensors", made_by)
    save_file(cast(torch.float16), folder / "f16.safetensors", made_by)
    save_file(cast(torch.bfloat16), folder / "bf16.safetensors", made_by)

    torch.save(state, folder / "zip.pth")
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(published_names(state), folder / "legacy-dotted.pth", _use_new_zipfile_serialization=False)
    torch.save(state, folder / "protocol4.pth", pickle_protocol=4)
    torch.save(cast(torch.float16), folder / "f16.pth")
    torch.save(unusual_tensors(net), folder / "parameters.pth")
    torch.save(
        {
            "epoch": 3,
            "arch": "densenet",
            "best_acc1": torch.tensor(71.25),
            "state_dict": collections.OrderedDict((f"module.{name}", value) for name, value in state.items()),
            "optimizer": used_optimizer(net),
        },
        folder / "module.pth",
    )
    torch.save(
        {
            "epoch": 7,
            "arch": "densenet121",
            "state_dict": state,
            "optimizer": used_optimizer(net),
            "version": 2,
            "args": argparse.Namespace(
                model="densenet121", lr=0.1, opt_betas=None, mean=[0.485, 0.456, 0.406], amp=False, output=Path("runs")
            ),
            "metric": np.float64(71.25),
        },
        folder / "numpy-checkpoint.pth",
    )

    other = timm.models.densenet.DenseNet(
        growth_rate=GROWTH, block_config=BLOCKS, bn_size=BOTTLENECK, num_classes=CLASSES
    )
    other.load_state_dict(state, strict=False)
    if list(other.state_dict()) != list(state):
        print("timm's names differ:", sorted(set(other.state_dict()) ^ set(state)))
    save_file(other.state_dict(), folder / "timm.safetensors", {"made_by": f"timm {timm.__version__}"})

    torch.save(tiny_resnet(), folder / "resnet.pth")
    torch.save(cifar_densenet(), folder / "cifar.pth")
    torch.save(net, folder / "whole-model.pth")
    torch.save(changed(state, "features.denseblock1.denselayer2.conv1.weight", float("nan")), folder / "nan.pth")
    torch.save(changed(state, "features.transition1.norm.running_var", -0.5), folder / "negative-variance.pth")


# --- Keras ---------------------------------------------------------------------------------------


def keras_densenet(keras, top=True, slashes=False, dtype="float32"):
    """Returns the network that `keras.applications` would build, layer by layer and under the same names.

    With `slashes` the stem's layers are called `conv1/conv` and so on, as in Keras 2.
    """
    layers = keras.layers
    stem = "conv1/" if slashes else "conv1_"

    def norm_relu(x, name, relu=None):
        x = layers.BatchNormalization(axis=3, epsilon=1.001e-5, name=name, dtype=dtype)(x)
        return layers.Activation("relu", name=relu or name.replace("bn", "relu"), dtype=dtype)(x)

    def conv(x, channels, kernel, name, **options):
        return layers.Conv2D(channels, kernel, use_bias=False, name=name, dtype=dtype, **options)(x)

    inputs = layers.Input(shape=(SIZE, SIZE, 3), dtype=dtype)
    x = layers.ZeroPadding2D(padding=((3, 3), (3, 3)), dtype=dtype)(inputs)
    x = norm_relu(conv(x, STEM, 7, f"{stem}conv", strides=2), f"{stem}bn")
    x = layers.ZeroPadding2D(padding=((1, 1), (1, 1)), dtype=dtype)(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1", dtype=dtype)(x)
    for index, count in enumerate(BLOCKS, 2):
        for layer in range(1, count + 1):
            name = f"conv{index}_block{layer}"
            new = conv(norm_relu(x, f"{name}_0_bn"), BOTTLENECK * GROWTH, 1, f"{name}_1_conv")
            new = conv(norm_relu(new, f"{name}_1_bn"), GROWTH, 3, f"{name}_2_conv", padding="same")
            x = layers.Concatenate(axis=3, name=f"{name}_concat", dtype=dtype)([x, new])
        if index <= len(BLOCKS):
            x = norm_relu(x, f"pool{index}_bn")
            x = conv(x, x.shape[3] // 2, 1, f"pool{index}_conv")
            x = layers.AveragePooling2D(2, strides=2, name=f"pool{index}_pool", dtype=dtype)(x)
    x = norm_relu(x, "bn", "relu")
    if top:
        x = layers.GlobalAveragePooling2D(name="avg_pool", dtype=dtype)(x)
        x = layers.Dense(CLASSES, activation="softmax", name="predictions", dtype=dtype)(x)
    return keras.Model(inputs, x, name="densenet")


def torch_layer(name):
    """Returns torchvision's name of a Keras layer with weights."""
    fixed = {
        "conv1_conv": "features.conv0",
        "conv1_bn": "features.norm0",
        "bn": "features.norm5",
        "predictions": "classifier",
    }
    name = name.replace("conv1/", "conv1_")
    if name in fixed:
        return fixed[name]
    parts = name.split("_")
    if parts[0].startswith("pool"):
        kind = {"bn": "norm", "conv": "conv"}[parts[1]]
        return f"features.transition{int(parts[0][4:]) - 1}.{kind}"
    kind = {"0_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}["_".join(parts[2:])]
    return f"features.denseblock{int(parts[0][4:]) - 1}.denselayer{parts[1][5:]}.{kind}"


def transplant(model, state):
    """Sets the weights of a Keras DenseNet from a torchvision state (arrays by name)."""
    for layer in model.layers:
        if not layer.weights:
            continue
        name = torch_layer(layer.name)
        weight = state[f"{name}.weight"]
        if weight.ndim == 4:
            layer.set_weights([weight.transpose(2, 3, 1, 0)])
        elif weight.ndim == 2:
            layer.set_weights([weight.T, state[f"{name}.bias"]])
        else:
            layer.set_weights([weight] + [state[f"{name}.{p}"] for p in ("bias", "running_mean", "running_var")])


def keras_features(model, x):
    """Returns the outputs of a Keras DenseNet without its top for NCHW images: the map, NCHW too, and its average."""
    spatial = np.asarray(model.predict_on_batch(x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
    return {
        "spatial": np.ascontiguousarray(spatial, np.float32),
        "features": spatial.mean((2, 3)).astype(np.float32),
    }


def another_model(keras):
    """Returns a Keras model that is not a DenseNet."""
    layers = keras.layers
    inputs = layers.Input(shape=(8, 8, 3))
    x = layers.Flatten()(layers.Conv2D(4, 3, strides=2, activation="relu")(inputs))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(6, activation="relu")(x)))


def write_nested(keras, state, folder):
    """Writes the network as a layer of another model with a new head, the usual form after transfer learning."""
    base = keras_densenet(keras, top=False)
    transplant(base, state)
    inputs = keras.layers.Input((SIZE, SIZE, 3))
    features = keras.layers.GlobalAveragePooling2D()(base(inputs))
    keras.Model(inputs, keras.layers.Dense(2)(features)).save(folder / "keras3-nested.keras")


def write_keras3(folder):
    """Writes the files of Keras 3: its archive, its weights, its legacy HDF5, and another network."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    state = load_file(folder / "torchvision.safetensors")
    model = keras_densenet(keras)
    transplant(model, state)
    model.save(folder / "keras3.keras")
    model.save_weights(folder / "keras3.weights.h5")
    model.save(folder / "keras3.h5")
    bare = keras_densenet(keras, top=False)
    transplant(bare, state)
    bare.save(folder / "keras3-notop.keras")
    write_nested(keras, state, folder)

    exact = keras_densenet(keras, top=False, dtype="float64")
    transplant(exact, state)
    x = load_file(folder / "expected.safetensors")["x"].astype(np.float64)
    made_by = {"made_by": f"tools/make_convert_fixtures.py, keras {keras.__version__}"}
    save_arrays(keras_features(exact, x), folder / "expected_keras.safetensors", made_by)

    keras.utils.set_random_seed(32)
    other = another_model(keras)
    other.save(folder / "keras-other.keras")
    other.save(folder / "keras-other.h5")


def copy_with_fixed_strings(source, target):
    """Copies an HDF5 file with attribute strings of fixed length, as h5py 2 wrote them in the published files."""
    import h5py

    def fixed(value):
        texts = [t if isinstance(t, bytes) else str(t).encode() for t in np.atleast_1d(value)]
        return np.bytes_(texts[0]) if np.ndim(value) == 0 else np.array(texts)

    def copy_attributes(old, new):
        for name, value in old.attrs.items():
            new.attrs[name] = value if getattr(value, "dtype", object) == np.float64 else fixed(value)

    def copy_object(name, old):
        if isinstance(old, h5py.Dataset):
            new.create_dataset(name, data=old[()])
        else:
            copy_attributes(old, new.require_group(name))

    with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
        copy_attributes(old, new)
        old.visititems(copy_object)


def repack(source, target):
    """Copies an HDF5 file in the form of newer versions of the format: compressed chunks, groups without B-trees."""
    import h5py

    def copy_object(name, old):
        if isinstance(old, h5py.Dataset):
            new.create_dataset(name, data=old[()], compression="gzip", shuffle=True, fletcher32=True)

    with h5py.File(source, "r") as old, h5py.File(target, "w", libver="latest") as new:
        old.visititems(copy_object)


def write_keras2(folder):
    """Writes the files of Keras 2: HDF5 with a group for each layer, and the archive of its last versions."""
    os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"})
    import tf_keras

    state = load_file(folder / "torchvision.safetensors")
    model = keras_densenet(tf_keras)
    transplant(model, state)
    model.save_weights(folder / "keras2-weights.h5")
    repack(folder / "keras2-weights.h5", folder / "keras2-repacked.h5")
    model.save(folder / "keras2-whole.h5")
    model.save(folder / "keras2.keras")
    slashes = keras_densenet(tf_keras, top=False, slashes=True)
    transplant(slashes, state)
    slashes.save_weights(folder / "slash.h5")
    copy_with_fixed_strings(folder / "slash.h5", folder / "keras2-slash.h5")
    (folder / "slash.h5").unlink()


PARTS = {"torch": write_torch, "keras3": write_keras3, "keras2": write_keras2}


def main():
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(PARTS):
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for part in sys.argv[2:] or ["torch", "keras3"]:
        PARTS[part](folder)
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
