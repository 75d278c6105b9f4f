#!/usr/bin/env python3
"""Records the scores of the COCO caption evaluation for made-up captions.

    python tools/make_metric_fixtures.py [OUTPUT_FOLDER]       (default: tests/fixtures)

writes `metrics.json`:

    {"tokens": [{"text": ..., "tokens": ...}],                  each caption as PTBTokenizer splits it
     "sets": [{"name": ..., "images": {IMAGE: {"hypothesis": ..., "references": [...]}},
               "bleu": [BLEU-1, BLEU-2, BLEU-3, BLEU-4],        between 0 and 1
               "rouge_l": {"all": ..., "images": {IMAGE: ...}},        between 0 and 1
               "cider": {"all": ..., "images": {IMAGE: ...}},          between 0 and 10, of pycocoevalcap's class Cider
               "cider_plain": {"all": ..., "images": {IMAGE: ...}},    the paper's first formula, computed in this script
               "meteor": {"all": ..., "images": {IMAGE: ...}},         between 0 and 1, all stages
               "meteor_stem": {"all": ..., "images": {IMAGE: ...}}}]}  between 0 and 1, exact and stem matches alone

Needs `pycocoevalcap` and a Java runtime. No caption is taken from a data set.
"""

import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor import meteor as meteor_package
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

# The tokenizer is a Java program, which by default reads its input in the locale's encoding.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-Dfile.encoding=UTF-8")

# Texts that are difficult for tokenizers, one a line.
CAPTIONS = """\
A dog runs across the field.
A dog runs across the field
Two dogs, one brown and one black, play .
He can't swim, won't run and didn't try.
I'm sure they're here; she'd know, we've seen it and he'll come.
We cannot see what he's gonna do
'Tis the season; 'twas the night
It's the dog's bone and the dogs' bowl.
The dog 's owner does n't look .
It is five o'clock and rock'n'roll night at O'Brien's
Catch 'em if you can, y'all
cars from the '60s and the 1950s, a '65 Ford
A man in a red T-shirt rides a 4-wheeler on a merry-go-round.
A bird's-eye view of a well-known, half- built house
a not-so-crowded street -- with a dash - and another --- one
A man and/or woman w/ his/her's bag
Mr. and Mrs. Smith visit Dr. Jones on St. Mark's Ave.
A U.S. flag in Washington D.C. at 5 p.m.
a man in an r.v.
Runner No. 5 said no. He went to wash. Wash. is a state.
A St. Bernard, a u.s. soldier and J. Smith Jr.
the end of the field.The next one starts
wait... what.. no . . .
Stop!Go what?! wow!! Really? Yes!
A sign says "no parking".
A sign says ``no parking'' or 'go away'
A player (number 23) and [another] one
10,000 people at 5:30pm ran 3.5 miles, 1/2 of them at -5 degrees
A $5.50 ticket, 50% off, US$5, #5 and #fun
An AT&T phone, R&B music, black&white photo, m&m's
see flickr.com's page, www.example.com or me@example.org
smile :) or :-( or ;-)
under_score a*b ** a=b a+b ~ ^ | 5th 4x4 mp3
A café, a piñata and a naïve man
she’s “quoted” – dash — and…
...
.
A MAN IN A HAT DOESN'T MOVE
tug-o'-war and tug-of-war and s'mores and ma'am
6' tall and 12" wide""".split("\n")

SUBJECTS = ["a dog", "two dogs", "a man in a red shirt", "a little girl", "three children", "a woman's dog", "a skier"]
VERBS = ["runs", "is running", "jumps over a fence", "plays", "stands", "doesn't move", "is sitting"]
PLACES = ["on the beach", "in the snow .", "on a well-kept lawn", "near the water.", "in front of a building", "in a park"]


def sentence(generator):
    """Returns a made-up caption."""
    parts = [SUBJECTS, VERBS, PLACES][: generator.choice([2, 3, 3, 3])]
    return " ".join(generator.choice(part) for part in parts)


def caption_set(name, seed, images, references):
    """Returns a set of random hypotheses and references."""
    generator = random.Random(seed)
    return {
        "name": name,
        "images": {
            f"{index}.jpg": {
                "hypothesis": sentence(generator),
                "references": [sentence(generator) for _ in range(generator.choice(references))],
            }
            for index in range(images)
        },
    }


def one_image(name, hypothesis, *references):
    return {"name": name, "images": {"0.jpg": {"hypothesis": hypothesis, "references": list(references)}}}


def several(name, *images):
    """Returns a set of images given as (hypothesis, reference, ...)."""
    return {
        "name": name,
        "images": {
            f"{index}.jpg": {"hypothesis": hypothesis, "references": references}
            for index, (hypothesis, *references) in enumerate(images)
        },
    }


SETS = [
    caption_set("twenty images", 1, 20, [5]),
    caption_set("one to three references", 2, 12, [1, 2, 3]),
    one_image("identical", "a dog runs on the beach", "A dog runs on the beach."),
    one_image("repeated words are clipped", "the the the the the the the", "the cat is on the mat", "there is a cat on the mat"),
    one_image("too short", "a dog", "a dog runs on the beach with a ball", "a dog runs on the sand"),
    one_image("two references equally close", "a b c d", "a b c", "a b c d e", "a b"),
    one_image("three words have no four in a row", "a dog runs", "a dog runs"),
    one_image("nothing in common", "xylophone", "a dog runs"),
    one_image("empty", ".", "a dog runs"),
    several(
        "every kind of caption",
        (".", "a dog runs on the beach", "a brown dog"),
        ("dog", "a dog", "dog"),
        ("a dog runs on the beach", "A dog runs on the beach.", "two dogs play in the sand"),
        ("a a a a man man man", "a man in a hat", "the man wears a hat"),
        (
            "a man in a red shirt stands in front of a building and a man in a red shirt sits in front of a building "
            "while a little girl runs and runs and runs",
            "a man in a red shirt stands in front of a building",
            "a man waits",
        ),
        ("xylophone zebras quarrel", "a skier on the slope", "someone skis"),
        ("two", "two dogs play", "dogs", "a pair of dogs is playing in the water"),
    ),
    several(
        "words in other forms, and other words",
        ("two dogs are running and jumping", "a dog runs and jumps", "the dog jumped while running"),
        ("a man rides a bicycle down the street", "a man is riding a bike along the road", "a person on a bike"),
        ("a large dog sits in front of the house", "a big dog is sitting before a home", "the dogs sat outside"),
        ("a child is playing with a toy", "children played with toys", "kids at play"),
        ("the woman's T-shirt isn't red", "the woman is not in a red t-shirt", "a lady wears no red shirt"),
        ("firemen climb up the ladder", "a fireman climbing a ladder", "firefighters were on ladders"),
        ("a boy climbs over the wall and the boy falls over the wall", "the boy fell over a wall after the boy climbed it"),
        ("dogs dog dogged a dog", "a dog and a dog and dogs", "dogs"),
        ("happily happy happiness", "the happiest of happy dogs", "happy"),
        ("Mr. Smith at 5 p.m. in a jack-o-lantern costume", "mr. smith wears a jack-o-lantern at 5 p.m.", "a costume"),
        ("a group of people are standing in the grass", "people stand on a lawn", "several persons are standing on grass"),
        ("a man on a surfboard is surfing a wave", "a surfer rides the waves", "a man surfs on his board"),
    ),
]


def tokenize(texts):
    """Returns the tokens of each text. Each text is followed by another, because the tokenizer reads beyond line ends."""
    lines = {index: [{"caption": text}, {"caption": "a"}] for index, text in enumerate(texts)}
    return [tokens[0] for tokens in PTBTokenizer().tokenize(lines).values()]


def grams(text):
    """Returns the count of each n-gram, by n - 1."""
    words = text.split()
    return [Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for n in range(1, 5)]


def plain_cider(references, hypotheses):
    """Returns CIDEr by equations 1 to 3 of the paper, times 10; no package on PyPI computes it."""
    frequency = Counter(g for texts in references for g in {g for text in texts for n in grams(text) for g in n})
    scores = []
    for hypothesis, texts in zip(hypotheses, references):
        weigh = lambda counts: {g: c * math.log(len(references) / max(1, frequency[g])) for g, c in counts.items()}
        size = lambda vector: math.sqrt(sum(weight**2 for weight in vector.values()))
        total = 0
        for text in texts:
            for ours, theirs in zip(map(weigh, grams(hypothesis)), map(weigh, grams(text))):
                product = sum(weight * theirs.get(g, 0) for g, weight in ours.items())
                total += product / (size(ours) * size(theirs)) if product else 0
        scores.append(10 * total / 4 / len(texts))
    return sum(scores) / len(scores), scores


def meteor(stages, references, hypotheses):
    """Returns METEOR 1.5 as pycocoevalcap calls it: the score of all images, and of each."""
    command = ["java", "-jar", "-Xmx2G", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm", "-m", stages]
    process = subprocess.Popen(
        command,
        cwd=os.path.dirname(meteor_package.__file__),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )

    def ask(*parts):
        process.stdin.write(" ||| ".join(parts) + "\n")
        process.stdin.flush()

    statistics = []
    for hypothesis, texts in zip(hypotheses, references):
        ask("SCORE", *texts, hypothesis)
        statistics.append(process.stdout.readline().strip())
    ask("EVAL", *statistics)
    scores = [float(process.stdout.readline()) for _ in range(len(hypotheses) + 1)]
    process.stdin.close()
    process.wait()
    return scores[-1], scores[:-1]


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "tests" / "fixtures"
    for entry in SETS:
        images = entry["images"]
        hypotheses = tokenize([image["hypothesis"] for image in images.values()])
        references = [tokenize(image["references"]) for image in images.values()]
        ours = {name: [text] for name, text in zip(images, hypotheses)}
        theirs = dict(zip(images, references))
        entry["bleu"] = Bleu(4).compute_score(theirs, ours, verbose=0)[0]
        for key, (score, scores) in {
            "rouge_l": Rouge().compute_score(theirs, ours),
            "cider": Cider().compute_score(theirs, ours),
            "cider_plain": plain_cider(references, hypotheses),
            "meteor": meteor("exact stem synonym paraphrase", references, hypotheses),
            "meteor_stem": meteor("exact stem", references, hypotheses),
        }.items():
            entry[key] = {"all": float(score), "images": {name: float(score) for name, score in zip(images, scores)}}
    tokens = [{"text": text, "tokens": found} for text, found in zip(CAPTIONS, tokenize(CAPTIONS))]
    path = folder / "metrics.json"
    path.write_text(json.dumps({"tokens": tokens, "sets": SETS}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
