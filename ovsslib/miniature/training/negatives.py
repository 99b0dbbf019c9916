"""False captions and lists, masked words, and several captions packed in one sequence.

The swapped-in class is one that *none of the image's captions* names: the supervision is captions
alone. A few swaps are true all the same (all eight captions left a class out); the share is
measured in `ovsslib.miniature.training.heldout` on scenes whose content is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovsslib.miniature.diorama.classes import CLASSES, THINGS
from ovsslib.miniature.training.wordpiece import COLOURS, colour_mentions, mentions, named

if TYPE_CHECKING:
    from transformers import BertTokenizer

IGNORE = -100
# Names that take the same article, so that grammar does not give a swap away.
GROUPS: tuple[frozenset[str], ...] = (
    frozenset(THINGS),
    frozenset({"grass", "sand", "water"}),
    frozenset({"sky", "road", "brick wall"}),
)


@dataclass(frozen=True)
class Pack:
    """`B` pictures' captions, `M` each, packed to `T` tokens an image.

    Attributes:
        ids, positions: `(B, T)` int64.
        caption: `(B, T)` int64, number of the caption that a token belongs to, -1 for padding.
        starts: `(B, M)` int64, where each caption's `[ENC]` stands.
        match: `(B, M)` int64, 1 for a true caption.
        word: `(B, T)` int64, at tokens of class names 1 when the image shows it, 0 when swapped
            in, `IGNORE` elsewhere.
        masked: `(B, T)` int64, the original id where a token was masked, `IGNORE` elsewhere.
    """

    ids: np.ndarray
    positions: np.ndarray
    caption: np.ndarray
    starts: np.ndarray
    match: np.ndarray
    word: np.ndarray
    masked: np.ndarray


def swap(
    caption: str,
    present: frozenset[str],
    rng: np.random.Generator,
    colour_share: float = 0.2,
    known: Mapping[str, frozenset[str]] | None = None,
) -> tuple[str, str | None]:
    """Make a caption false by one word.

    Args:
        caption: A true caption.
        present: Classes that must not be swapped in.
        rng: Source of randomness.
        colour_share: How often a colour is swapped instead of a class, where one is named.
        known: Colours that a thing may have afterwards, from
            `ovsslib.miniature.training.wordpiece.colours_of`; None allows all.

    Returns:
        The false caption and the class swapped in (None for a colour, or where nothing could be
        swapped: then the caption comes back as it was).
    """
    colours = colour_mentions(caption)
    if colours and rng.random() < colour_share:
        start, end, old, name = colours[rng.integers(len(colours))]
        fitting = COLOURS if known is None else sorted(known[name])
        others = [colour for colour in fitting if colour != old]
        if others:
            return caption[:start] + str(rng.choice(others)) + caption[end:], None
    mentioned = mentions(caption)
    before = {end + 1: colour for _, end, colour, _ in colours}
    for index in rng.permutation(len(mentioned)).tolist():
        start, end, old = mentioned[index]
        group = next(g for g in GROUPS if old in g)
        tagged = not caption.startswith(("a ", "an ", "the ")) and " a " not in caption[:start]
        options = sorted((frozenset(CLASSES) if tagged else group) - present) or sorted(
            frozenset(CLASSES) - present
        )
        if known is not None and start in before:
            options = [name for name in options if before[start] in known[name]]
        if options:
            new = str(rng.choice(options))
            return caption[:start] + new + caption[end:], new
    return caption, None


def name_list(
    present: frozenset[str], false: bool, rng: np.random.Generator
) -> tuple[str, frozenset[str]]:
    """A caption that only lists names, as tags and alternative texts do, and as PnP-OVSS asks.

    Args:
        present: Names that the image's captions give.
        false: Put in at least one name that they do not give.
        rng: Source of randomness.

    Returns:
        The list, and the names in it that are false.
    """
    here, absent = sorted(present), sorted(frozenset(CLASSES) - present)
    if false and absent:
        n = int(rng.integers(1, 8))
        wrong = int(rng.integers(1, n + 1))
    else:
        n, wrong = int(rng.integers(1, len(here) + 1)), 0
    true_names = rng.permutation(here)[: n - wrong].tolist()
    false_names = rng.permutation(absent)[:wrong].tolist()
    names = rng.permutation([*true_names, *false_names]).tolist()
    lead = str(rng.choice(["a picture of ", "a picture of ", "a photo of ", ""]))
    return lead + str(rng.choice([" ", " ", ", "])).join(names), frozenset(false_names)


@dataclass(frozen=True)
class Caption:
    """A caption that an image is shown with.

    Attributes:
        text: Its words.
        false: Whether it does not fit the image.
        wrong: Class names in it that were put in to make it false.
        listed: Whether it only lists names; then no word of it is masked.
    """

    text: str
    false: bool = False
    wrong: frozenset[str] = frozenset()
    listed: bool = False


class Row:
    """An image's captions as they are put together: see `Pack`, whose arrays these lists become."""

    def __init__(self) -> None:
        self.tokens: tuple[list[int], ...] = ([], [], [], [], [])
        self.match: list[int] = []
        self.starts: list[int] = []


class Packer:
    """Turns captions into `Pack` arrays with one tokenizer.

    Args:
        tokenizer: From `ovsslib.miniature.training.wordpiece.tokenizer`.
        positions: Most tokens of a caption.
        known: Colours that false captions may give to a thing, see `swap`.
    """

    def __init__(
        self,
        tokenizer: BertTokenizer,
        positions: int,
        known: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        vocab = tokenizer.get_vocab()
        self.enc, self.sep = vocab["[ENC]"], vocab["[SEP]"]
        self.pad, self.mask = vocab["[PAD]"], vocab["[MASK]"]
        self.positions, self.known = positions, known
        self.tokenizer = tokenizer
        self._cache: dict[str, tuple[list[int], list[tuple[int, int]]]] = {}

    def tokens(self, caption: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and character offsets of a caption, special tokens left out."""
        if caption not in self._cache:
            encoded = self.tokenizer(caption, add_special_tokens=False, return_offsets_mapping=True)
            if len(self._cache) > 400_000:
                self._cache.clear()
            self._cache[caption] = (encoded["input_ids"], encoded["offset_mapping"])
        return self._cache[caption]

    def pack(
        self,
        captions: Sequence[Sequence[str]],
        rng: np.random.Generator,
        per_picture: int,
        *,
        false_share: float = 0.5,
        mask_share: float = 0.15,
        shift_share: float = 0.5,
        list_share: float = 0.0,
    ) -> Pack:
        """Pick `per_picture` captions of each image, make some false, mask words.

        A share of the captions is replaced by lists of the names that the image's captions give.
        Words stand at a random offset behind `[ENC]` half of the time, so that every position
        is learnt although captions are short.
        """
        rows = []
        for texts in captions:
            present = named(texts)
            chosen = rng.choice(len(texts), per_picture, replace=len(texts) < per_picture)
            row = Row()
            for index in chosen:
                caption = Caption(texts[index])
                false = rng.random() < false_share
                if bool(present) and rng.random() < list_share:
                    text, wrong = name_list(present, false, rng)
                    caption = Caption(text, bool(wrong), wrong, listed=True)
                elif false:
                    text, new = swap(texts[index], present, rng, known=self.known)
                    caption = Caption(text, text != texts[index], frozenset({new} if new else ()))
                self._append(row, caption, rng, mask_share, shift_share)
            rows.append(row)
        return self._stack(rows)

    def arrange(
        self,
        captions: Sequence[Sequence[Caption]],
        rng: np.random.Generator,
        *,
        mask_share: float = 0.15,
        shift_share: float = 0.5,
    ) -> Pack:
        """Pack given captions, as many for each image; see `pack`."""
        rows = [Row() for _ in captions]
        for row, given in zip(rows, captions, strict=True):
            for caption in given:
                self._append(row, caption, rng, mask_share, shift_share)
        return self._stack(rows)

    def _append(
        self,
        row: Row,
        caption: Caption,
        rng: np.random.Generator,
        mask_share: float,
        shift_share: float,
    ) -> None:
        """Add a caption to an image's row, some of its words masked."""
        ids, offsets = self.tokens(caption.text)
        word = [IGNORE] * len(ids)
        for start, end, name in mentions(caption.text):
            for t, (s, e) in enumerate(offsets):
                if s >= start and e <= end:
                    word[t] = int(name not in caption.wrong)
        ids, masked = list(ids), [IGNORE] * len(ids)
        # False captions are masked as much as true ones, or the masks would tell them apart; only
        # wrong names stay, for they make the caption false. Lists may hold nothing else, so they
        # are not masked at all.
        free = [t for t in range(len(ids)) if word[t] != 0 and not caption.listed]
        count = min(int(rng.binomial(len(ids), mask_share)), len(free))
        for t in rng.permutation(free)[:count].tolist():
            masked[t] = IGNORE if caption.false else ids[t]
            ids[t], word[t] = self.mask, IGNORE
        shift = (
            int(rng.integers(self.positions - len(ids) - 1)) if rng.random() < shift_share else 0
        )
        number = len(row.match)
        row.starts.append(len(row.tokens[0]))
        row.match.append(int(not caption.false))
        more = (
            [self.enc, *ids, self.sep],
            [0, *range(1 + shift, len(ids) + 2 + shift)],
            [number] * (len(ids) + 2),
            [IGNORE, *word, IGNORE],
            [IGNORE, *masked, IGNORE],
        )
        for kept, values in zip(row.tokens, more, strict=True):
            kept.extend(values)

    def _stack(self, rows: Sequence[Row]) -> Pack:
        length = max(len(row.tokens[0]) for row in rows)
        fill = (self.pad, 0, -1, IGNORE, IGNORE)
        arrays = [
            np.array([row.tokens[k] + [fill[k]] * (length - len(row.tokens[k])) for row in rows])
            for k in range(5)
        ]
        match = np.array([row.match for row in rows])
        starts = np.array([row.starts for row in rows])
        return Pack(arrays[0], arrays[1], arrays[2], starts, match, arrays[3], arrays[4])
