"""Writes a dataset of Flickr8k's captions together with weak captions of other photos, made from their names.

    python tools/weak_captions.py FLICKR8K PHOTOS OUT --most 60 --seed 1

OUT becomes a folder with `dataset_weak.json` (Karpathy's layout) and links to the pictures, for `glimpse train --data OUT`.
Photos of Stanford 40 actions and of cats and dogs get a sentence in the style of Flickr8k's captions. The number of
photos of each name is limited, so that weak captions stay few beside the captions that people wrote.
"""

import argparse
import json
import os
import random
import re
import sys

# The actions and animals in names, and how people would describe them.
SENTENCES = {
    "applauding": ["a group of people are clapping", "people in a crowd clap their hands"],
    "blowing_bubbles": ["a child is blowing bubbles", "a person blows bubbles"],
    "brushing_teeth": ["a person is brushing their teeth", "a child with a toothbrush in the mouth"],
    "cleaning_the_floor": ["a person is cleaning the floor", "a person sweeps the floor"],
    "climbing": ["a person is climbing a rock wall", "a rock climber climbs a cliff"],
    "cooking": ["a person is cooking in a kitchen", "a person is preparing food"],
    "cutting_trees": ["a person is cutting a tree", "a man cuts wood in the forest"],
    "cutting_vegetables": ["a person is cutting vegetables in a kitchen", "a person cuts food on a table"],
    "drinking": ["a person is drinking from a cup", "a person drinks from a glass"],
    "feeding_a_horse": ["a person is feeding a horse", "a person is standing next to a horse"],
    "fishing": ["a person is fishing in the water", "a person holding a fishing pole by the water"],
    "fixing_a_bike": ["a person is fixing a bike", "a person is working on a bicycle"],
    "fixing_a_car": ["a person is working on a car", "a man looks under the hood of a car"],
    "gardening": ["a person is working in a garden", "a person plants flowers in a garden"],
    "holding_an_umbrella": ["a person is holding an umbrella", "a person with an umbrella is standing in the rain"],
    "jumping": ["a person is jumping in the air", "a person jumps"],
    "looking_through_a_microscope": ["a person is looking through a microscope"],
    "looking_through_a_telescope": ["a person is looking through a telescope"],
    "phoning": ["a person is talking on a phone", "a person is talking on a cellphone"],
    "playing_guitar": ["a person is playing a guitar", "a man plays the guitar"],
    "playing_violin": ["a person is playing a violin"],
    "pouring_liquid": ["a person is pouring a drink", "a person pours a drink into a glass"],
    "pushing_a_cart": ["a person is pushing a cart", "a person pushes a shopping cart"],
    "reading": ["a person is reading a book", "a person sits and reads a book"],
    "riding_a_bike": ["a person is riding a bike", "a person rides a bicycle on a street"],
    "riding_a_horse": ["a person is riding a horse", "a person rides a horse"],
    "rowing_a_boat": ["people are rowing a boat", "a person is in a boat on the water"],
    "running": ["a person is running", "people are running in a race"],
    "shooting_an_arrow": ["a person is shooting an arrow with a bow"],
    "smoking": ["a person is smoking a cigarette", "a man smokes a cigarette"],
    "taking_photos": ["a person is taking a picture with a camera", "a person holds a camera"],
    "texting_message": ["a person is looking at a cellphone", "a person is holding a phone"],
    "throwing_frisby": ["a person is throwing a frisbee", "a person throws a frisbee in a field"],
    "using_a_computer": ["a person is using a computer", "a person sits at a desk with a laptop"],
    "walking_the_dog": ["a person is walking a dog", "a person walks with a dog on a leash"],
    "washing_dishes": ["a person is washing dishes in a kitchen", "a person stands at a kitchen sink"],
    "watching_TV": ["people are watching television", "a person sits on a couch watching television"],
    "waving_hands": ["a person is waving", "a person waves at the camera"],
    "writing_on_a_board": ["a person is writing on a board", "a person stands in front of a board"],
    "writing_on_a_book": ["a person is writing in a book", "a person sits at a table and writes"],
    "cat": ["a cat is looking at the camera", "a cat is sitting", "a cat", "a close up of a cat", "a cat is lying down"],
    "dog": ["a dog is looking at the camera", "a dog", "a close up of a dog"],
}


def subject(name):
    if match := re.match(r"cd_(cat|dog)\.", name):
        return match[1]
    if match := re.match(r"st40_(.*?)_\d", name):
        return match[1]
    return None


def read_flickr8k(folder):
    """Returns the names of the training and dev images, and the captions of each image as people wrote them."""
    captions, names = {}, []
    with open(os.path.join(folder, "Flickr8k.token.txt"), encoding="utf8") as lines:
        for line in lines:
            name, caption = line.rstrip("\n").split("\t")
            captions.setdefault(name.split("#")[0], []).append(caption)
    for split in ("train", "dev"):
        with open(os.path.join(folder, f"Flickr_8k.{split}Images.txt"), encoding="utf8") as lines:
            names.append(lines.read().split())
    return *names, captions


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    a.add_argument("flickr8k")
    a.add_argument("photos")
    a.add_argument("out")
    a.add_argument("--most", type=int, default=60, help="photos of each action [default: 60]")
    a.add_argument("--cats", type=int, default=300, help="photos of cats, and as many of dogs [default: 300]")
    a.add_argument("--seed", type=int, default=1)
    a = a.parse_args()
    r = random.Random(a.seed)
    train, dev, captions = read_flickr8k(a.flickr8k)
    pictures = os.path.join(a.out, "images")
    os.makedirs(pictures, exist_ok=True)
    entries = []

    def add(folder, name, split, sentences):
        link = os.path.join(pictures, name)
        if not os.path.lexists(link):
            os.symlink(os.path.abspath(os.path.join(folder, name)), link)
        entries.append({"filename": name, "split": split, "sentences": [{"raw": s, "tokens": s.split()} for s in sentences]})

    for split, names in (("train", train), ("val", dev)):
        for name in names:
            add(os.path.join(a.flickr8k, "images"), name, split, captions[name])
    of = {}
    for name in sorted(os.listdir(a.photos)):
        of.setdefault(subject(name), []).append(name)
    of.pop(None, None)
    for what, names in sorted(of.items()):
        r.shuffle(names)
        for name in names[: a.cats if what in ("cat", "dog") else a.most]:
            add(a.photos, name, "train", SENTENCES[what])
    with open(os.path.join(a.out, "dataset_weak.json"), "w") as out:
        json.dump({"dataset": "flickr8k and weak captions", "images": entries}, out)
    print(len(entries), "pictures", file=sys.stderr)


if __name__ == "__main__":
    main()
