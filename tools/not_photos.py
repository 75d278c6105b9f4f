"""Makes pictures that are not photographs: pages, tables, code, charts, diagrams, screens, icons, line drawings, patterns,
noise and blank ones. `glimpse calibrate --not-photos DIR` uses them as negative examples of photographs.

    pip install pillow matplotlib          (fontawesomefree, if it is there, adds its symbols to the icons)
    python tools/not_photos.py OUT --count 3000 --seed 1

Equal seeds make equal pictures, provided that the fonts are equal. Files are named after their kind: `chart-00017.jpg`.
"""

import argparse
import colorsys
import glob
import io
import math
import os
import random
import string
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.font_manager
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

WORDS = """the a of and in to with for on as by from that this which are was has been will can may each other more
report figure table chapter section result method value data model system user order price total date name address
number page file line window button menu search settings account profile message reply share download update version
market growth revenue quarter year month average percent increase between during company service product customer
science theory energy water light matter field force history country government people language school health research
let return if else while import class def self print range open close index error test build release license notes
""".split()


def word(r):
    if r.random() < 0.12:
        return str(r.randrange(10 ** r.randint(1, 5)))
    if r.random() < 0.15:
        return "".join(r.choice(string.ascii_lowercase) for _ in range(r.randint(2, 11)))
    return r.choice(WORDS)


def words(r, least, most):
    text = " ".join(word(r) for _ in range(r.randint(least, most)))
    return text[:1].upper() + text[1:]


class Fonts:
    """The fonts of this machine, for text and for symbols."""

    def __init__(self):
        found = sorted(matplotlib.font_manager.findSystemFonts())
        found += sorted(glob.glob(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "*.ttf")))
        unfit = ("Math", "cmex", "cmsy", "cmmi", "cmr", "cmb", "cmt", "cms", "Siz", "NonUni", "Emoji", "last")
        self.text = [f for f in found if not any(part in os.path.basename(f) for part in unfit)]
        self.mono = [f for f in self.text if "Mono" in os.path.basename(f)] or self.text
        self.symbols = []
        try:
            import fontawesomefree

            folder = os.path.dirname(fontawesomefree.__file__)
            pattern = os.path.join(folder, "static", "fontawesomefree", "webfonts", "fa-*-[49]00.ttf")
            self.symbols = sorted(glob.glob(pattern))
        except ImportError:
            pass

    def of(self, r, size, mono=False):
        return ImageFont.truetype(r.choice(self.mono if mono else self.text), max(7, int(size)))


def colour(r, least=0.0, most=1.0, value=(0.0, 1.0)):
    h, s, v = r.random(), r.uniform(least, most), r.uniform(*value)
    return tuple(int(255 * c) for c in colorsys.hsv_to_rgb(h, s, v))


def paper(r):
    """Returns a background colour: white, nearly white, or dark."""
    kind = r.random()
    if kind < 0.5:
        return (255, 255, 255), (r.randrange(70),) * 3
    if kind < 0.8:
        return colour(r, 0.0, 0.15, (0.88, 1.0)), colour(r, 0.0, 0.8, (0.0, 0.35))
    return colour(r, 0.0, 0.6, (0.03, 0.25)), colour(r, 0.0, 0.3, (0.7, 1.0))


def canvas(r, background, portrait=None):
    long, short = r.randint(420, 760), r.randint(320, 600)
    if portrait is None:
        portrait = r.random() < 0.5
    size = (min(long, short), max(long, short)) if portrait else (max(long, short), min(long, short))
    image = Image.new("RGB", size, background)
    return image, ImageDraw.Draw(image), size


def lines(draw, r, box, font, ink, leading=1.35, ragged=0.2):
    """Fills a box with lines of words."""
    left, top, right, bottom = box
    height = font.size * leading
    y = top
    while y + height < bottom:
        if r.random() < 0.06:
            y += height * 0.7
            continue
        text = ""
        end = right - (right - left) * (r.random() * ragged if r.random() < 0.3 else 0)
        while draw.textlength(text, font) < end - left and len(text) < 300:
            text += word(r) + " "
        draw.text((left, y), " ".join(text.split()[:-1]), ink, font)
        y += height


def page(r, fonts):
    background, ink = paper(r)
    image, draw, (w, h) = canvas(r, background, portrait=r.random() < 0.75)
    margin, body = r.randint(10, 60), fonts.of(r, r.choice([9, 10, 11, 12, 14, 16, 20, 26]))
    top = margin
    if r.random() < 0.6:
        title = fonts.of(r, body.size * r.uniform(1.4, 2.6))
        for _ in range(r.randint(1, 2)):
            draw.text((margin, top), words(r, 2, 6), ink, title)
            top += title.size * 1.3
        top += body.size
    columns = r.choice([1, 1, 1, 2, 2, 3])
    gap = body.size * 1.5
    width = (w - 2 * margin - gap * (columns - 1)) / columns
    for c in range(columns):
        left = margin + c * (width + gap)
        bottom = h - margin if r.random() < 0.85 else h * r.uniform(0.3, 0.9)
        lines(draw, r, (left, top, left + width, bottom), body, ink)
    if r.random() < 0.15:
        x, y = margin, r.uniform(top, h * 0.7)
        draw.rectangle((x, y, x + width, y + h * 0.2), fill=colour(r, 0, 0.4, (0.6, 1.0)), outline=ink)
    return image


def scanned(r, fonts):
    """Draws a page like a scan or a phone's picture of one: rotated, unevenly lit, grainy."""
    image = page(r, fonts).rotate(r.uniform(-6, 6), expand=False, fillcolor=colour(r, 0, 0.3, (0.2, 0.95)))
    a = np.asarray(image, np.float32)
    h, w, _ = a.shape
    y, x = np.mgrid[0:h, 0:w]
    shade = 1 - r.uniform(0, 0.5) * ((x / w - r.random()) ** 2 + (y / h - r.random()) ** 2)
    tint = np.array([1, r.uniform(0.92, 1), r.uniform(0.8, 1)], np.float32)
    grain = np.random.default_rng(r.randrange(1 << 30)).normal(0, r.uniform(0, 9), a.shape)
    return Image.fromarray(np.clip(a * shade[..., None] * tint + grain, 0, 255).astype(np.uint8))


def few_words(r, fonts):
    """Draws a sign, a slide or a card with few large words."""
    background, ink = paper(r) if r.random() < 0.5 else (colour(r), colour(r))
    image, draw, (w, h) = canvas(r, background)
    for _ in range(r.randint(1, 5)):
        font = fonts.of(r, r.uniform(0.05, 0.22) * h)
        draw.text((r.uniform(0.02, 0.4) * w, r.uniform(0.02, 0.85) * h), words(r, 1, 4), ink, font)
    if r.random() < 0.4:
        draw.rectangle((4, 4, w - 5, h - 5), outline=ink, width=r.randint(1, 9))
    return image


def code(r, fonts):
    dark = r.random() < 0.6
    background = colour(r, 0, 0.4, (0.05, 0.2)) if dark else (255, 255, 255)
    inks = [colour(r, 0.1, 0.9, (0.65, 1.0) if dark else (0.1, 0.6)) for _ in range(6)]
    image, draw, (w, h) = canvas(r, background)
    font, y, indent = fonts.of(r, r.randint(9, 18), mono=True), 8, 0
    while y < h - 10:
        x = 10 + indent * font.size * 1.2
        for _ in range(r.choice([0, 1, 2, 3, 4, 5, 6, 8])):
            text = word(r) + r.choice(["", "", ":", "()", " =", ".", ",", " {", "[0]", " ->", ";"])
            draw.text((x, y), text, r.choice(inks), font)
            x += draw.textlength(text + " ", font)
        indent = max(0, min(6, indent + r.choice([-1, 0, 0, 0, 1])))
        y += font.size * 1.4
    return image


def table(r, fonts):
    background, ink = paper(r)
    image, draw, (w, h) = canvas(r, background)
    font = fonts.of(r, r.randint(9, 18))
    columns, height = r.randint(2, 9), font.size * r.uniform(1.4, 2.4)
    rule = r.choice(["all", "rows", "none"])
    stripe = colour(r, 0, 0.5, (0.8, 1.0)) if r.random() < 0.5 else None
    for i in range(int(h / height)):
        y = i * height
        if stripe and (i % 2 or i == 0):
            draw.rectangle((0, y, w, y + height), fill=stripe)
        if rule != "none":
            draw.line((0, y, w, y), ink)
        for c in range(columns):
            text = words(r, 1, 2) if c == 0 or i == 0 else str(round(r.uniform(0, 10 ** r.randint(0, 6)), 2))
            draw.text((c * w / columns + 5, y + height * 0.2), text[: int(w / columns / font.size * 1.8)], ink, font)
            if rule == "all":
                draw.line((c * w / columns, 0, c * w / columns, h), ink)
    return image


def chart(r, fonts):
    rng = np.random.default_rng(r.randrange(1 << 30))
    style = r.choice(["default", "classic", "ggplot", "dark_background", "bmh", "fivethirtyeight", "grayscale"])
    with plt.style.context(style):
        figure, axes = plt.subplots(figsize=(r.uniform(4, 7.5), r.uniform(3, 6)), dpi=80)
        kind = r.choice("line line bar bars barh pie scatter hist heat contour box area step polar".split())
        n = r.randint(4, 40)
        if kind == "line":
            for _ in range(r.randint(1, 6)):
                axes.plot(rng.normal(size=n).cumsum(), r.choice(["-", "--", "o-", ".-", ":"]), label=word(r))
        elif kind == "bar":
            axes.bar(range(n), rng.gamma(2, size=n), color=r.choice([None, "tab:red", "gray", "tab:green"]))
        elif kind == "bars":
            k, m = r.randint(2, 4), r.randint(3, 7)
            for i in range(k):
                axes.bar(np.arange(m) + i * 0.8 / k, rng.gamma(2, size=m), 0.8 / k, label=word(r))
        elif kind == "barh":
            axes.barh([words(r, 1, 2) for _ in range(min(n, 12))], rng.gamma(2, size=min(n, 12)))
        elif kind == "pie":
            m = r.randint(2, 8)
            hole = {"width": 0.4} if r.random() < 0.3 else None
            axes.pie(rng.gamma(2, size=m), labels=[word(r) for _ in range(m)], autopct="%d%%", wedgeprops=hole)
        elif kind == "scatter":
            for _ in range(r.randint(1, 4)):
                axes.scatter(rng.normal(size=n * 4), rng.normal(size=n * 4), s=r.uniform(4, 60), alpha=0.7, label=word(r))
        elif kind == "hist":
            axes.hist(rng.normal(size=400), r.randint(8, 50))
        elif kind == "heat":
            axes.imshow(rng.normal(size=(r.randint(3, 20),) * 2), cmap=r.choice(["viridis", "coolwarm", "gray", "hot"]))
        elif kind == "contour":
            y, x = np.mgrid[-2:2:50j, -2:2:50j]
            z = np.sin(x * r.uniform(1, 4)) * np.cos(y * r.uniform(1, 4)) + x * r.uniform(-1, 1)
            r.choice([axes.contour, axes.contourf])(x, y, z, r.randint(5, 20))
        elif kind == "box":
            axes.boxplot(rng.normal(size=(30, r.randint(2, 8))))
        elif kind == "area":
            axes.stackplot(range(n), rng.gamma(2, size=(r.randint(2, 5), n)))
        elif kind == "step":
            axes.step(range(n), rng.normal(size=n).cumsum())
        elif kind == "polar":
            axes.remove()
            axes = figure.add_subplot(projection="polar")
            axes.plot(np.linspace(0, 2 * np.pi, n), rng.gamma(2, size=n))
        if r.random() < 0.7:
            axes.set_title(words(r, 2, 6))
        if r.random() < 0.6:
            axes.set_xlabel(words(r, 1, 3))
            axes.set_ylabel(words(r, 1, 3))
        if kind in ("line", "bars", "scatter") and r.random() < 0.5:
            axes.legend()
        if r.random() < 0.4:
            axes.grid(True)
        file = io.BytesIO()
        figure.savefig(file, bbox_inches="tight" if r.random() < 0.5 else None)
        plt.close(figure)
    return Image.open(file).convert("RGB")


def formula(r, fonts):
    pieces = [
        r"\frac{%s}{%s}", r"\sum_{i=0}^{%s} %s", r"\int_0^{%s} %s \, dx", r"\sqrt{%s + %s}", r"%s^{%s}", r"\alpha %s - \beta %s",
        r"\log %s = %s", r"%s \leq %s",
    ]
    background, ink = paper(r)
    figure = plt.figure(figsize=(r.uniform(3, 6), r.uniform(2, 5)), dpi=80)
    figure.patch.set_facecolor([c / 255 for c in background])
    rows = r.randint(1, 7)
    for i in range(rows):
        text = " + ".join(r.choice(pieces) % (r.choice("abcnxyz"), r.choice("fghpqrt")) for _ in range(r.randint(1, 4)))
        figure.text(r.uniform(0.03, 0.2), 1 - (i + 0.7) / rows, f"${text}$", size=r.uniform(10, 22), color=[c / 255 for c in ink])
    file = io.BytesIO()
    figure.savefig(file, facecolor=figure.get_facecolor())
    plt.close(figure)
    return Image.open(file).convert("RGB")


def diagram(r, fonts):
    """Draws boxes and arrows."""
    background, ink = paper(r)
    image, draw, (w, h) = canvas(r, background)
    font = fonts.of(r, r.randint(9, 16))
    fill = [colour(r, 0, 0.6, (0.6, 1.0)) for _ in range(3)] + [None]
    places = [(r.uniform(0.03, 0.75) * w, r.uniform(0.03, 0.85) * h) for _ in range(r.randint(3, 12))]
    width = r.randint(1, 4)
    for (x0, y0), (x1, y1) in zip(places, places[1:]):
        if r.random() < 0.5:
            draw.line((x0 + 30, y0 + 15, x1 + 30, y1 + 15), ink, width)
        else:
            draw.line((x0 + 30, y0 + 15, x1 + 30, y0 + 15, x1 + 30, y1 + 15), ink, width)
    for x, y in places:
        box = (x, y, x + r.uniform(50, 140), y + r.uniform(22, 70))
        shape = r.choice([draw.rectangle, draw.rectangle, draw.ellipse])
        shape(box, fill=r.choice(fill) or background, outline=ink, width=width)
        draw.text((x + 8, y + 6), words(r, 1, 2), ink if fill else background, font)
    return image


def screen(r, fonts):
    """Draws the window of a program or of a page."""
    dark = r.random() < 0.35
    background = colour(r, 0, 0.3, (0.08, 0.2)) if dark else colour(r, 0, 0.06, (0.93, 1.0))
    ink, accent = ((230,) * 3 if dark else (40,) * 3), colour(r, 0.3, 0.9, (0.4, 0.9))
    image, draw, (w, h) = canvas(r, background, portrait=r.random() < 0.35)
    font, small = fonts.of(r, r.randint(11, 17)), fonts.of(r, r.randint(8, 12))
    bar = r.randint(18, 48)
    draw.rectangle((0, 0, w, bar), fill=r.choice([accent, colour(r, 0, 0.3), ink]))
    draw.text((10, bar * 0.2), words(r, 1, 3), background, font)
    for i in range(r.randint(0, 5)):
        draw.text((w * 0.4 + i * 70, bar * 0.25), word(r).title(), background, small)
    left = 0
    if r.random() < 0.5:
        left = w * r.uniform(0.15, 0.35)
        draw.rectangle((0, bar, left, h), fill=colour(r, 0, 0.3, (0.1, 0.3) if dark else (0.85, 0.97)))
        for i in range(r.randint(3, 14)):
            draw.text((8, bar + 12 + i * small.size * 2), words(r, 1, 2), ink, small)
    y = bar + 12
    while y < h - 20:
        kind = r.choice(["text", "text", "field", "buttons", "cards", "list", "title"])
        if kind == "text":
            lines(draw, r, (left + 12, y, w - 12, y + 60), small, ink)
            y += 66
        elif kind == "title":
            draw.text((left + 12, y), words(r, 2, 5), ink, font)
            y += font.size * 2
        elif kind == "field":
            draw.rectangle((left + 12, y, left + 12 + (w - left) * 0.6, y + 22), outline=ink)
            draw.text((left + 18, y + 4), words(r, 1, 2), ink, small)
            y += 32
        elif kind == "buttons":
            for i in range(r.randint(1, 4)):
                x = left + 12 + i * 95
                draw.rounded_rectangle((x, y, x + 85, y + 24), 5, fill=accent)
                draw.text((x + 10, y + 5), word(r).title(), (255, 255, 255), small)
            y += 36
        elif kind == "cards":
            n = r.randint(2, 4)
            for i in range(n):
                x, step = left + 12 + i * (w - left - 12) / n, (w - left - 12) / n
                draw.rounded_rectangle((x, y, x + step - 10, y + 80), 6, fill=colour(r, 0, 0.5), outline=ink)
                draw.text((x + 6, y + 60), word(r), ink, small)
            y += 92
        else:
            for _ in range(r.randint(2, 6)):
                draw.ellipse((left + 12, y, left + 26, y + 14), fill=accent)
                draw.text((left + 34, y), words(r, 2, 7), ink, small)
                draw.line((left + 12, y + 19, w - 12, y + 19), colour(r, 0, 0.1, (0.3, 0.8)))
                y += 24
    return image


def icon(r, fonts):
    """Draws a symbol, or a few plain shapes, on a plain background."""
    background = r.choice([(255, 255, 255), (0, 0, 0), colour(r, 0, 0.7, (0.5, 1.0)), colour(r)])
    side = r.randint(64, 512)
    image = Image.new("RGB", (side, side), background)
    draw = ImageDraw.Draw(image)
    if r.random() < 0.5:
        draw.rounded_rectangle((side * 0.05,) * 2 + (side * 0.95,) * 2, side * r.uniform(0, 0.45), fill=colour(r))
    if fonts.symbols and r.random() < 0.6:
        font = ImageFont.truetype(r.choice(fonts.symbols), int(side * r.uniform(0.35, 0.85)))
        # The private range in which such fonts have their symbols; a missing symbol is drawn as a box.
        draw.text((side / 2, side / 2), chr(r.randint(0xF000, 0xF5FF)), colour(r), font, anchor="mm")
        return image
    for _ in range(r.randint(1, 6)):
        x, y, s = r.uniform(0.1, 0.7) * side, r.uniform(0.1, 0.7) * side, r.uniform(0.1, 0.6) * side
        fill, outline, width = r.choice([colour(r), None]), colour(r), r.randint(1, max(2, side // 20))
        kind = r.randrange(5)
        if kind == 0:
            draw.ellipse((x, y, x + s, y + s), fill=fill, outline=outline, width=width)
        elif kind == 1:
            draw.rounded_rectangle((x, y, x + s, y + s * r.uniform(0.3, 1)), s * 0.2, fill=fill, outline=outline, width=width)
        elif kind == 2:
            draw.regular_polygon((x + s / 2, y + s / 2, s / 2), r.randint(3, 8), r.uniform(0, 90), fill=fill, outline=outline)
        elif kind == 3:
            draw.arc((x, y, x + s, y + s), r.uniform(0, 180), r.uniform(180, 360), outline, width)
        else:
            draw.text((x, y), r.choice(string.ascii_uppercase + "0123456789?!&@#"), outline, fonts.of(r, s))
    return image


def drawing(r, fonts):
    """Draws lines like a pen's: curves, faces and figures of strokes, hatching, handwriting."""
    background, ink = paper(r)
    image, draw, (w, h) = canvas(r, background)
    width = r.randint(1, 5)

    def curve(x, y, s, steps, bend):
        a, points = r.uniform(0, 2 * math.pi), [(x, y)]
        for _ in range(steps):
            a += r.uniform(-bend, bend)
            x, y = x + math.cos(a) * s, y + math.sin(a) * s
            points.append((x, y))
        draw.line(points, ink, width, joint="curve")

    kind = r.randrange(4)
    if kind == 0:
        for _ in range(r.randint(3, 40)):
            curve(r.random() * w, r.random() * h, r.uniform(3, 14), r.randint(5, 60), r.uniform(0.1, 0.7))
    elif kind == 1:
        for _ in range(r.randint(1, 5)):
            x, y, s = r.uniform(0.1, 0.8) * w, r.uniform(0.1, 0.5) * h, r.uniform(0.04, 0.18) * h
            draw.ellipse((x - s, y - s, x + s, y + s), outline=ink, width=width)
            for dx in (-0.4, 0.4):
                draw.ellipse((x + dx * s - 2, y - 0.3 * s - 2, x + dx * s + 2, y - 0.3 * s + 2), fill=ink)
            draw.arc((x - s / 2, y - s / 3, x + s / 2, y + s / 1.5), 20, 160, ink, width)
            draw.line((x, y + s, x, y + 3 * s), ink, width)
            for dx, dy in ((-1, 2.2), (1, 2.2), (-0.8, 4.4), (0.8, 4.4)):
                draw.line((x, y + (1.5 if dy < 3 else 3) * s, x + dx * s * 1.2, y + dy * s), ink, width)
    elif kind == 2:
        y = h * 0.1
        while y < h * 0.9:
            x = w * 0.07
            while x < w * 0.9:
                curve(x, y, r.uniform(1.5, 4), r.randint(4, 14), 1.6)
                x += r.uniform(9, 26)
            y += r.uniform(22, 44)
    else:
        for _ in range(r.randint(3, 9)):
            points = [(r.random() * w, r.random() * h) for _ in range(r.randint(3, 6))]
            draw.polygon(points, outline=ink)
            x0, y0 = points[0]
            for i in range(r.randint(0, 25)):
                draw.line((x0 + i * 6, y0, x0 + i * 6 - 40, y0 + 60), ink, 1)
    return image


def pattern(r, fonts):
    """Draws stripes, checks, dots, bar codes, square codes or gradients."""
    image, draw, (w, h) = canvas(r, colour(r))
    kind, step, a, b = r.randrange(6), r.randint(3, 60), colour(r), colour(r)
    if kind == 0:
        slope = r.choice([0, 0, 1, -1]) * h
        for x in range(-h, w + h, step * 2):
            draw.line((x, 0, x + slope, h), a, step)
    elif kind == 1:
        for i, x in enumerate(range(0, w, step)):
            for j, y in enumerate(range(0, h, step)):
                draw.rectangle((x, y, x + step, y + step), fill=a if (i + j) % 2 else b)
    elif kind == 2:
        for x in range(0, w, step + 6):
            for y in range(0, h, step + 6):
                draw.ellipse((x, y, x + step, y + step), fill=a)
    elif kind == 3:
        draw.rectangle((0, 0, w, h), fill=(255, 255, 255))
        x = 10
        while x < w - 10:
            bar = r.randint(1, 7)
            draw.rectangle((x, h * 0.1, x + bar, h * 0.9), fill=(0, 0, 0))
            x += bar + r.randint(1, 7)
    elif kind == 4:
        draw.rectangle((0, 0, w, h), fill=(255, 255, 255))
        n = r.randint(15, 45)
        s = min(w, h) / (n + 4)
        for i in range(n):
            for j in range(n):
                if r.random() < 0.5:
                    draw.rectangle(((i + 2) * s, (j + 2) * s, (i + 3) * s, (j + 3) * s), fill=(0, 0, 0))
    else:
        t = np.linspace(0, 1, w)[None, :] * r.uniform(-1, 1) + np.linspace(0, 1, h)[:, None] * r.uniform(-1, 1)
        t = (t - t.min()) / max(1e-6, t.max() - t.min())
        mix = np.array(a) * t[..., None] + np.array(b) * (1 - t[..., None])
        return Image.fromarray(mix.astype(np.uint8))
    return image


def noise(r, fonts):
    rng = np.random.default_rng(r.randrange(1 << 30))
    w, h = r.randint(200, 500), r.randint(200, 500)
    channels = r.choice([1, 3])
    kind = r.randrange(5)
    if kind == 0:
        a = rng.integers(0, 256, (h, w, channels))
    elif kind == 1:
        a = rng.normal(r.uniform(40, 215), r.uniform(5, 80), (h, w, channels))
    elif kind == 2:
        a = (rng.random((h, w, channels)) < r.uniform(0.02, 0.5)) * 255
    else:
        # Several octaves of smoothed noise: clouds, marble, plasma.
        a = np.zeros((h, w, channels))
        for octave in range(r.randint(1, 6)):
            n = 2 ** (octave + 1)
            small = rng.integers(0, 256, (n, n, channels)).astype(np.uint8)
            layers = [Image.fromarray(small[..., c]).resize((w, h), Image.BICUBIC) for c in range(channels)]
            a += np.stack([np.asarray(l, np.float32) for l in layers], -1) / 2**octave
        a = a * 255 / max(1.0, a.max())
    a = np.clip(a, 0, 255).astype(np.uint8)
    return Image.fromarray(np.repeat(a, 3 // channels, -1))


def blank(r, fonts):
    fill = r.choice([(255,) * 3, (0,) * 3, (r.randrange(256),) * 3, colour(r), colour(r, 0, 0.2, (0.8, 1))])
    image = Image.new("RGB", (r.randint(16, 600), r.randint(16, 600)), fill)
    if r.random() < 0.3:
        a = np.asarray(image, np.float32)
        rng = np.random.default_rng(r.randrange(1 << 30))
        image = Image.fromarray(np.clip(a + rng.normal(0, r.uniform(0.5, 6), a.shape), 0, 255).astype(np.uint8))
    return image


KINDS = {
    "page": (page, 5), "scan": (scanned, 3), "words": (few_words, 2), "code": (code, 1), "table": (table, 2),
    "chart": (chart, 5), "formula": (formula, 1), "diagram": (diagram, 2), "screen": (screen, 4), "icon": (icon, 4),
    "drawing": (drawing, 3), "pattern": (pattern, 2), "noise": (noise, 2), "blank": (blank, 1),
}


def save(image, r, path):
    image.thumbnail((480, 480), Image.LANCZOS)
    if r.random() < 0.1:
        image = image.filter(ImageFilter.GaussianBlur(r.uniform(0.3, 1.5)))
    if r.random() < 0.15:
        image = image.convert("L").convert("RGB")
    image.save(path + ".jpg", quality=r.randint(40, 95))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("out", help="the folder for the pictures")
    arguments.add_argument("--count", type=int, default=3000, help="number of pictures [default: 3000]")
    arguments.add_argument("--seed", type=int, default=1, help="seed; equal seeds make equal pictures [default: 1]")
    arguments = arguments.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    fonts = Fonts()
    if not fonts.text:
        sys.exit("this machine has no fonts; install one, for example Debian's fonts-dejavu-core")
    kinds, weights = zip(*((name, weight) for name, (_, weight) in KINDS.items()))
    for i in range(arguments.count):
        r = random.Random(arguments.seed * 1_000_003 + i)
        kind = r.choices(kinds, weights)[0]
        save(KINDS[kind][0](r, fonts), r, os.path.join(arguments.out, f"{kind}-{i:05}"))


if __name__ == "__main__":
    main()
