#!/usr/bin/env python3
"""Writes torchvision's four DenseNets with random weights, and the features they compute.

    python tools/export_torchvision.py FOLDER [densenet121 densenet161 ...]

For each architecture:

* `NAME.safetensors`: the unchanged `state_dict()`, with torchvision's own names;
* `NAME.expected.safetensors`: the images `x` [2, 3, 224, 224], `spatial` [2, C, 7, 7] (the map after the
  last batch norm and ReLU) and `features` [2, C] (its average), computed in float64. The metadata
  entry `f32_error` is PyTorch's own relative error in f32, from which a test can choose its tolerance.

Everything here is NCHW. The files are large and are not meant for the repository.

Random batch-norm statistics do not match the activations, which then overflow or vanish over 200 layers. The
statistics are therefore measured first, in one training-mode pass, and then perturbed a little. Every layer gets
different values, and the activations stay in range.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file

NAMES = ["densenet121", "densenet161", "densenet169", "densenet201"]


def features(net, x):
    """Returns the map after the last ReLU, and its average over the image."""
    spatial = F.relu(net.features(x))
    return spatial, spatial.mean((2, 3))


def relative_error(got, expected):
    """Returns the norm of the difference, divided by the norm of the expected value."""
    return ((got.double() - expected).norm() / expected.norm()).item()


def randomise(net, x):
    """Gives every batch norm its own scale, shift and statistics, which match its input."""
    norms = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, std=0.2)
        norm.momentum = 1.0  # the statistics become those of this very pass
    net.train()
    with torch.no_grad():
        features(net, x)
        for norm in norms:
            norm.running_mean += 0.2 * norm.running_var.sqrt() * torch.randn(norm.num_features)
            norm.running_var *= torch.empty(norm.num_features).uniform_(0.7, 1.4)


def random_network(name):
    """Returns the architecture with random weights and statistics, and the images that the statistics match."""
    torch.manual_seed(NAMES.index(name))
    net = getattr(torchvision.models, name)(weights=None)
    x = torch.randn(2, 3, 224, 224)
    randomise(net, x)
    return net.eval(), x


def export(name, folder):
    """Writes the two files of one architecture."""
    net, x = random_network(name)
    save_file(net.state_dict(), folder / f"{name}.safetensors", {"made_by": f"torchvision {torchvision.__version__}"})

    with torch.no_grad():
        in_f32 = features(net, x)
        expected = features(net.double(), x.double())
    spatial_error, features_error = (relative_error(g, e) for g, e in zip(in_f32, expected))
    save_file(
        {"x": x, "spatial": expected[0].float(), "features": expected[1].float()},
        folder / f"{name}.expected.safetensors",
        {"f32_error": f"spatial {spatial_error:.1e}, features {features_error:.1e}"},
    )
    print(
        f"{name}: {tuple(expected[0].shape)}, features {expected[1].min():.3f} to {expected[1].max():.3f}, "
        f"PyTorch's f32 off by {spatial_error:.1e} (spatial) and {features_error:.1e} (features)",
        flush=True,
    )


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or NAMES:
        export(name, folder)


if __name__ == "__main__":
    main()
