"""Captions as rows of tokens, for a model whose image side looks at the words as well.

Captions cannot share a sequence there, as `ovsslib.miniature.training.negatives.Pack` lets
them: patches that look at words would see all captions of the sequence. So every caption is a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovsslib.miniature.training.bpe import PAD, START, STOP, capitals
from ovsslib.miniature.training.negatives import IGNORE, Packer

if TYPE_CHECKING:
    from transformers import RobertaTokenizer


@dataclass(frozen=True)
class Rows:
    """`B` pictures' captions, `M` each, as `R = B * M` rows of `T` tokens, int64.

    Attributes:
        ids: `(R, T)`; the captions of an image follow each other.
        places: `(R, T)`, number of the position embedding; padding has the padding's.
        match: `(R,)`, 1 for a true caption.
        word: `(R, T)`, at tokens of class names 1 when the image shows it, 0 when swapped in,
            `IGNORE` elsewhere.
        masked: `(R, T)`, the original id where a token was masked, `IGNORE` elsewhere.
    """

    ids: np.ndarray
    places: np.ndarray
    match: np.ndarray
    word: np.ndarray
    masked: np.ndarray


class RowPacker(Packer):
    """Turns captions into `Rows` with RoBERTa's kind of tokenizer.

    Args:
        tokenizer: From `ovsslib.miniature.training.bpe.tokenizer`.
        positions: Most tokens of a text.
        known: See `ovsslib.miniature.training.negatives.Packer`.
    """

    def __init__(
        self,
        tokenizer: RobertaTokenizer,
        positions: int,
        known: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        # Not the parent's __init__, which looks up BERT's special tokens.
        self.enc, self.sep, self.pad = START, STOP, PAD
        self.mask = int(tokenizer.convert_tokens_to_ids("<mask>"))
        self.positions, self.known = positions, known
        self._words = tokenizer
        self._cache: dict[str, tuple[list[int], list[tuple[int, int]]]] = {}
        self._capital = np.arange(len(tokenizer))
        for small, large in capitals().items():
            self._capital[small] = large

    def tokens(self, caption: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and character offsets of a caption, without special tokens and leading spaces."""
        if caption not in self._cache:
            encoded = self._words(caption, add_special_tokens=False, return_offsets_mapping=True)
            if len(self._cache) > 400_000:
                self._cache.clear()
            offsets = [
                (start + (start < stop and caption[start] == " "), stop)
                for start, stop in encoded["offset_mapping"]
            ]
            self._cache[caption] = (encoded["input_ids"], offsets)
        return self._cache[caption]

    def rows(
        self,
        captions: Sequence[Sequence[str]],
        rng: np.random.Generator,
        per_picture: int,
        *,
        capital_share: float = 0.5,
        **shares: float,
    ) -> Rows:
        """Pick captions, make some false and mask words, as `Packer.pack` does.

        Args:
            captions: The captions of B images.
            rng: Source of randomness.
            per_picture: Captions of each image, M.
            capital_share: Share of the captions that begin with a capital letter, as a person's
                captions and PnP-OVSS's prompt do; the drawn pictures' never do.
            shares: Options of `Packer.pack`.
        """
        pack = self.pack(captions, rng, per_picture, **shares)
        length = max(int((pack.caption == m).sum(1).max()) for m in range(per_picture))
        shape = (len(captions), per_picture, length)
        out = {name: np.full(shape, IGNORE) for name in ("word", "masked")}
        out |= {"ids": np.full(shape, self.pad), "places": np.full(shape, self.pad)}
        # RoBERTa counts positions from the padding's on.
        source = {**vars(pack), "places": pack.positions + self.pad + 1}
        for picture, number in np.ndindex(*shape[:2]):
            at = pack.caption[picture] == number
            for name, values in out.items():
                values[picture, number, : at.sum()] = source[name][picture, at]
        rows = {name: values.reshape(-1, length) for name, values in out.items()}
        large = rng.random(len(rows["ids"])) < capital_share
        rows["ids"][large, 1] = self._capital[rows["ids"][large, 1]]
        return Rows(match=pack.match.ravel(), **rows)
