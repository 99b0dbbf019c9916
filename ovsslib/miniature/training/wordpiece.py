"""The micro models' vocabulary: WordPiece with `[ENC]`, some class names in several pieces."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ovsslib.miniature.diorama.classes import CLASSES
from ovsslib.miniature.diorama.colours import PALETTE

if TYPE_CHECKING:
    from transformers import BertTokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Two names are spelt in pieces, so that the shipped model exercises class names of several pieces.
PIECES = {"mushroom": ("mush", "##room"), "hydrant": ("hy", "##drant")}
SCAFFOLD = (
    "a an and above at background beside can drawing front in is left near next of on photo "
    "picture right see showing side some that the there this to under we with"
).split()
COLOURS = tuple(PALETTE)
BAG = (*CLASSES, *COLOURS)


def vocabulary() -> list[str]:
    """Tokens in order of id; letters and their continuations let any word be spelt."""
    words: list[str] = [*SCAFFOLD, *COLOURS]
    for name in CLASSES:
        for word in name.split():
            words.extend(PIECES.get(word, (word,)))
    letters = string.ascii_lowercase + string.digits
    tokens = [
        *SPECIAL,
        *words,
        ",",
        ".",
        "-",
        "'",
        *letters,
        *("##" + c for c in letters),
        "[DEC]",
        "[ENC]",
    ]
    return list(dict.fromkeys(tokens))


def tokenizer() -> BertTokenizer:
    """The vocabulary as a `transformers` tokenizer; `[ENC]` is the last token, as in BLIP."""
    from transformers import BertTokenizer

    vocab = {token: i for i, token in enumerate(vocabulary())}
    return BertTokenizer(
        vocab=vocab, do_lower_case=True, additional_special_tokens=["[DEC]", "[ENC]"]
    )


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    names = "|".join(sorted(CLASSES, key=len, reverse=True))
    return re.compile(rf"\b({names})\b"), re.compile(rf"\b({'|'.join(COLOURS)}) (?=({names})\b)")


def mentions(caption: str) -> list[tuple[int, int, str]]:
    """Class names in a caption as `(start, end, name)` in characters.

    Example:
        >>> mentions("a red car next to a street light")
        [(6, 9, 'car'), (20, 32, 'street light')]
    """
    return [(m.start(), m.end(), m.group()) for m in _patterns()[0].finditer(caption)]


def colour_mentions(caption: str) -> list[tuple[int, int, str, str]]:
    """Colours that stand before a class name, as `(start, end, colour, name)` in characters.

    Example:
        >>> colour_mentions("a red car, grass")
        [(2, 5, 'red', 'car')]
    """
    return [
        (m.start(1), m.end(1), m.group(1), m.group(2)) for m in _patterns()[1].finditer(caption)
    ]


def colours_of(captions: Iterable[str]) -> dict[str, frozenset[str]]:
    """The colours that captions give to each class.

    Example:
        >>> sorted(colours_of(["a red car", "a blue car, grass"])["car"])
        ['blue', 'red']
    """
    colours_of: dict[str, set[str]] = {name: set() for name in CLASSES}
    for caption in captions:
        for _, _, colour, name in colour_mentions(caption):
            colours_of[name].add(colour)
    return {name: frozenset(colours) for name, colours in colours_of.items()}


def named(captions: Sequence[str]) -> frozenset[str]:
    """All classes that any of an image's captions names."""
    return frozenset(name for caption in captions for _, _, name in mentions(caption))


def bag_of_words(captions: Sequence[str]) -> np.ndarray:
    """Which class names and colours an image's captions use: `(len(BAG),)` float32, 0 or 1.

    Example:
        >>> bag = bag_of_words(["a red car", "grass"])
        >>> [BAG[i] for i in bag.nonzero()[0]]
        ['car', 'grass', 'red']
    """
    used = set(named(captions))
    used |= {colour for caption in captions for _, _, colour, _ in colour_mentions(caption)}
    return np.array([word in used for word in BAG], dtype=np.float32)
