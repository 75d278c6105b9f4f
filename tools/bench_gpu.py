#!/usr/bin/env python3
"""Time Glimpse and PyTorch on the same GPU, in turn, and print a table in Markdown.

setup: cargo build --release, and a Python with numpy, torch and torchvision that sees the GPU
usage: bench_gpu.py [--glimpse target/release/glimpse] [--gpu NAME|INDEX] [--rounds 3] [--runs 12] [--photos FOLDER]
                    [--tflops 67 --tflops-f16 989 --gbps 3350] [--small]

Each round runs every measurement once with each program. The table shows the median over the rounds of each measurement's
median. The column of PyTorch stays empty if PyTorch is missing or sees no GPU. PyTorch computes in f32 with TF32 off, and
in f16 under autocast. The two limits beside each figure follow from the GPU's data sheet: the arithmetic at the peak rate,
and the memory traffic, where each convolution reads and writes every map once, at the memory bandwidth. The defaults are
NVIDIA's figures for an H100 SXM (dense, without tensor cores for f32); an H200 has 4800 GB/s. `--small` uses batches that
a software device can run, to try the script.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

GROWTH, BLOCKS, STEM = 32, (6, 12, 24, 16), 64
# Memory traffic of a training step, as a multiple of that in inference, approximately: forward, and backward once for the
# weights, once for the input and twice for the norms.
TRAINING_BYTES = 5


def densenet_work():
    """Returns the operations and the bytes of maps for one image's features, and the bytes of the weights."""
    flops = elements = weights = 0

    def conv(pixels, taps, channels, out):
        nonlocal flops, elements, weights
        flops += 2 * pixels * taps * channels * out
        elements += pixels * (channels + out)
        weights += taps * channels * out

    conv(112 * 112, 49, 3, STEM)
    side, channels = 56, STEM
    for i, layers in enumerate(BLOCKS):
        for _ in range(layers):
            conv(side * side, 1, channels, 4 * GROWTH)
            conv(side * side, 9, 4 * GROWTH, GROWTH)
            channels += GROWTH
        if i + 1 < len(BLOCKS):
            side //= 2
            conv(side * side, 1, channels, channels // 2)
            channels //= 2
    return flops, 4 * elements, 4 * weights


def glimpse(args, what, *more, precision="f32", matrices=False):
    """Returns the milliseconds that `glimpse bench` reports; None if it refuses, or lacks the matrix units that are wanted."""
    command = [args.glimpse, "bench", what, "--json", "--device", "gpu", "--runs", str(args.runs), *more]
    if precision != "f32":
        command += ["--precision", precision]
    if args.gpu:
        command += ["--gpu", args.gpu]
    env = dict(os.environ, GLIMPSE_MATRICES="1" if matrices else "0")
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    if run.returncode != 0:
        print(run.stderr.strip(), file=sys.stderr)
        return None
    result = json.loads(run.stdout.splitlines()[0])
    if matrices and not result.get("matrix_units"):
        return None
    return result["ms"]["median"]


class Torch:
    """The measurements in PyTorch; all return `None` if PyTorch is missing."""

    def __init__(self, runs):
        self.runs = runs
        try:
            import torch
            import torchvision
        except ImportError:
            self.torch = None
            return
        self.torch, self.torchvision = torch, torchvision
        if not torch.cuda.is_available():
            self.torch = None
            return
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True

    def name(self):
        return self.torch and f"PyTorch {self.torch.__version__} on {self.torch.cuda.get_device_name()}"

    def median(self, step, parts):
        times = []
        for i in range(self.runs + 3):
            self.torch.cuda.synchronize()
            started = time.perf_counter()
            step()
            self.torch.cuda.synchronize()
            if i >= 3:
                times.append(time.perf_counter() - started)
        return statistics.median(times) * 1e3 / parts

    def network(self, train):
        net = self.torchvision.models.densenet121(weights=None)
        return net.to("cuda", memory_format=self.torch.channels_last).train(train)

    def images(self, batch):
        x = self.torch.randn(batch, 3, 224, 224, device="cuda")
        return x.to(memory_format=self.torch.channels_last)

    def encode(self, batch, half=False):
        if not self.torch:
            return None
        net, x = self.network(False).features, self.images(batch)
        with self.torch.inference_mode(), self.torch.autocast("cuda", enabled=half, dtype=self.torch.float16):
            pool = self.torch.nn.functional.adaptive_avg_pool2d
            return self.median(lambda: pool(net(x).relu(), 1), batch)

    def train_encoder(self, batch):
        if not self.torch:
            return None
        net, x = self.network(True), self.images(batch)
        y = self.torch.randint(0, 1000, (batch,), device="cuda")
        optimizer = self.torch.optim.AdamW(net.parameters(), 1e-4)

        def step():
            optimizer.zero_grad()
            loss = self.torch.nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            loss.item()

        return self.median(step, batch)

    def train_decoder(self):
        if not self.torch:
            return None
        nn, join = self.torch.nn, self.torch.cat
        words, embedding, hidden, steps, batch = 2500, 256, 512, 20, 64

        class Decoder(nn.Module):
            def __init__(self):
                super().__init__()
                self.image, self.words = nn.Linear(1024, embedding), nn.Embedding(words, embedding)
                self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
                self.out = nn.Linear(hidden, words)

            def forward(self, features, ids):
                first = self.image(features)[:, None]
                h, _ = self.lstm(join([first, self.words(ids)], 1))
                return self.out(h[:, 1:])

        net = Decoder().to("cuda")
        optimizer = self.torch.optim.AdamW(net.parameters(), 1e-3)
        features = self.torch.randn(batch, 1024, device="cuda")
        ids = self.torch.randint(0, words, (batch, steps), device="cuda")

        def step():
            optimizer.zero_grad()
            logits = net(features, ids)
            loss = nn.functional.cross_entropy(logits.reshape(-1, words), ids.reshape(-1))
            loss.backward()
            optimizer.step()
            loss.item()

        return self.median(step, 1)


def captions_a_second(args):
    """Returns the photos captioned a second, by a whole process with the bundled model."""
    command = [args.glimpse, "caption", args.photos, "--device", "gpu", "--json"]
    started = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True)
    return len(run.stdout.splitlines()) / (time.perf_counter() - started)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glimpse", default="target/release/glimpse")
    parser.add_argument("--gpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--photos")
    parser.add_argument("--tflops", type=float, default=67.0)
    parser.add_argument("--tflops-f16", type=float, default=989.0)
    parser.add_argument("--gbps", type=float, default=3350.0)
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()

    torch = Torch(args.runs)
    flops, maps, weights = densenet_work()
    encode, train = ([1], [2]) if args.small else ([1, 32, 256], [32, 128])
    decoder_flops = 3 * 64 * (2 * 1024 * 256 + 21 * 2 * 768 * 2048 + 20 * 2 * 512 * 2500)
    # Parameters, gradients and both moments of AdamW, read and written, and the logits three times.
    decoder_bytes = 4 * (7 * 4_240_000 + 3 * 64 * 20 * 2500)

    def limits(work, moved, tflops):
        return work / tflops / 1e9, moved / args.gbps / 1e6

    rows = []
    for batch in encode:
        moved = maps + weights / batch
        label = f"DenseNet-121 features, batch {batch}, an image"
        at = ["--batch", str(batch)]
        rows.append((f"{label}, f32", limits(flops, moved, args.tflops),
                     lambda at=at: glimpse(args, "encode", *at), lambda b=batch: torch.encode(b)))
        for matrices in (False, True):
            name = "f16 on matrix units" if matrices else "f16"
            rows.append((f"{label}, {name}", limits(flops, moved, args.tflops_f16),
                         lambda at=at, m=matrices: glimpse(args, "encode", *at, precision="f16", matrices=m),
                         lambda b=batch: torch.encode(b, half=True)))
    for batch in train:
        moved = TRAINING_BYTES * maps + 7 * weights / batch
        rows.append((f"DenseNet-121 training step, batch {batch}, an image", limits(3 * flops, moved, args.tflops),
                     lambda b=batch: glimpse(args, "train-encoder", "--batch", str(b)),
                     lambda b=batch: torch.train_encoder(b)))
    rows.append(("decoder training step, batch 64, 21 steps", limits(decoder_flops, decoder_bytes, args.tflops),
                 lambda: glimpse(args, "train-decoder"), lambda: torch.train_decoder()))
    rows.append(("caption from features, beam of 5", None, lambda: glimpse(args, "decode"), lambda: None))

    measured = [([], []) for _ in rows]
    for _ in range(args.rounds):
        for (_, _, ours, theirs), (a, b) in zip(rows, measured):
            a.append(ours())
            b.append(theirs())

    def median(values):
        there = [v for v in values if v is not None]
        return statistics.median(there) if there else None

    def number(value):
        return "" if value is None else f"{value:.0f}" if value >= 1000 else f"{value:.3g}"

    listed = subprocess.run([args.glimpse, "devices"], capture_output=True, text=True).stdout.strip()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(listed)
    print(f"{torch.name() or 'no PyTorch that sees a GPU'}; {time.strftime('%Y-%m-%d')}, commit {commit}; milliseconds\n")
    print("| work | Glimpse | PyTorch | rate against PyTorch's | limit: arithmetic | limit: bytes |")
    print("|---|---|---|---|---|---|")
    for (label, limit, _, _), (a, b) in zip(rows, measured):
        ours, theirs = median(a), median(b)
        rate = theirs / ours if ours and theirs else None
        arithmetic, moved = limit or (None, None)
        print(f"| {label} | {number(ours)} | {number(theirs)} | {number(rate)} | {number(arithmetic)} | {number(moved)} |")
    if args.photos:
        print(f"\n{captions_a_second(args):.1f} photos of {args.photos} captioned a second, start and all")


if __name__ == "__main__":
    main()
