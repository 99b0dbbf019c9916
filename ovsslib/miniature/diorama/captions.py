"""Captions as people and web pages write them: partial, in any order, in several styles.

The describer looks at the image as a person would: what is hidden is not named. No caption lists
everything in a fixed order; the eight captions of an image together name nearly all of it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ovsslib.miniature.diorama.classes import CLASSES
from ovsslib.miniature.diorama.scene import Band, Item, Scene

CAPTIONS_PER_PICTURE = 8
# A class is worth naming when it shows at least this share of the image.
NOTICEABLE = 0.006
OPENINGS = (
    "",
    "",
    "",
    "a picture of ",
    "a photo of ",
    "there is ",
    "we can see ",
    "this is ",
    "a drawing of ",
)
MATERIAL = frozenset({"grass", "sand", "water"})  # named without an article


def noticeable(mask: np.ndarray) -> frozenset[str]:
    """Names of the classes that an onlooker would notice in a mask `(H, W)` of class labels."""
    counts = np.bincount(mask.ravel(), minlength=256)[1 : len(CLASSES) + 1]
    return frozenset(c for c, n in zip(CLASSES, counts, strict=True) if n >= NOTICEABLE * mask.size)


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _thing(item: Item, rng: np.random.Generator, odds: float = 0.5) -> str:
    return _article(f"{item.colour} {item.name}" if rng.random() < odds else item.name)


def _stuff(band: Band, rng: np.random.Generator, odds: float = 0.25) -> str:
    coloured = rng.random() < odds
    phrase = f"{band.colour} {band.name}" if coloured else band.name
    if band.name in MATERIAL:
        return phrase
    return _article(phrase) if coloured or rng.random() < 0.5 else f"the {phrase}"


def _join(phrases: list[str], rng: np.random.Generator) -> str:
    if len(phrases) == 1:
        return phrases[0]
    link = str(rng.choice([" and ", " and ", " with ", " next to ", ", "]))
    return ", ".join(phrases[:-1]) + link + phrases[-1]


def _place(item: Item, scene: Scene, bands: dict[str, Band], rng: np.random.Generator) -> str:
    """Where a thing is: its ground, the sky, what is behind it, or its side of the image."""
    options: list[str] = []
    if item.ground in bands and item.ground not in ("sky", "brick wall"):
        preposition = "in" if item.ground == "water" else "on"
        options += [f"{preposition} {_stuff(bands[item.ground], rng)}"] * 3
    if item.ground == "sky" and "sky" in bands:
        options += [f"in {_stuff(bands['sky'], rng)}"] * 3
    options += [f"in front of {_stuff(bands[b], rng)}" for b in ("brick wall",) if b in bands]
    options += [
        f"under {_stuff(bands[b], rng)}" for b in ("sky",) if b in bands and item.ground != "sky"
    ]
    side = item.x / scene.width
    if side < 0.36 or side > 0.64:
        options.append("on the left" if side < 0.36 else "on the right")
    return str(rng.choice(options)) if options else ""


def _relation(a: Item, b: Item, scene: Scene, rng: np.random.Generator) -> str:
    if a.ground == "sky" and b.ground != "sky":
        return "above"
    if abs(a.x - b.x) > 0.25 * scene.width and rng.random() < 0.5:
        return "to the left of" if a.x < b.x else "to the right of"
    if a.y > b.y + 0.08 * scene.height and rng.random() < 0.5:
        return "in front of"
    return str(rng.choice(["near", "next to", "beside"]))


def _caption(
    scene: Scene, things: list[Item], bands: dict[str, Band], rng: np.random.Generator
) -> str:
    opening = str(rng.choice(OPENINGS))
    order = [things[i] for i in rng.permutation(len(things))]
    stuff = [bands[b] for b in rng.permutation(list(bands))] if bands else []
    style = rng.random()
    if style < 0.3:  # bare words, as in tags and alternative texts
        words = [i.name if rng.random() < 0.7 else f"{i.colour} {i.name}" for i in order] + [
            b.name if rng.random() < 0.85 else f"{b.colour} {b.name}" for b in stuff
        ]
        chosen = rng.permutation(len(words))[: int(rng.integers(1, len(words) + 1))]
        lead = str(rng.choice(["a picture of ", "a picture of ", "a photo of ", ""]))
        return lead + str(rng.choice([" ", " ", ", "])).join(words[i] for i in chosen)
    if not order or (stuff and style < 0.38):
        keep = (
            [_stuff(b, rng, 0.4) for b in stuff[: int(rng.integers(1, len(stuff) + 1))]]
            if stuff
            else ["nothing"]
        )
        return opening + _join(keep, rng)
    first = order[0]
    if style < 0.62:
        place = _place(first, scene, bands, rng)
        text = f"{opening}{_thing(first, rng)} {place}".rstrip()
        rest = [_thing(i, rng, 0.4) for i in order[1:] if rng.random() < 0.5]
        rest += [_stuff(b, rng) for b in stuff if rng.random() < 0.3 and b.name not in place]
        return f"{text}, with {_join(rest, rng)}" if rest else text
    if style < 0.8 and len(order) > 1:
        second = order[1]
        pair = [_thing(first, rng), _relation(first, second, scene, rng), _thing(second, rng)]
        text = opening + " ".join(pair)
        return (
            f"{text} {_place(second, scene, bands, rng)}".rstrip() if rng.random() < 0.4 else text
        )
    named = [_thing(i, rng) for i in order[: int(rng.integers(1, len(order) + 1))]]
    text = opening + _join(named, rng)
    if stuff and rng.random() < 0.6:
        text += f", {rng.choice(['with', 'and'])} {_stuff(stuff[0], rng)}"
    return text


def describe(scene: Scene, visible: Collection[str], n: int = CAPTIONS_PER_PICTURE) -> list[str]:
    """`n` captions of a scene that name nothing outside `visible` (see `noticeable`)."""
    rng = np.random.default_rng([scene.seed, 13])
    things = [i for i in scene.things if i.name in visible]
    bands = {b.name: b for b in scene.bands if b.name in visible}
    return [_caption(scene, things, bands, rng) for _ in range(n)]
