"""micro-bridgetower's vocabulary: byte-level BPE as RoBERTa's, over the words of the captions.

Every word is one token, alone, behind a space and with a capital letter; two class names are spelt
in pieces, as in `ovsslib.miniature.training.wordpiece`. Any other text is spelt in bytes, so
that no text is unknown. The merges are built, not learnt: they depend on the word list alone.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from ovsslib.miniature.diorama.classes import CLASSES
from ovsslib.miniature.training.wordpiece import COLOURS, PIECES, SCAFFOLD

if TYPE_CHECKING:
    from transformers import RobertaTokenizer

# In RoBERTa's order; <mask> comes last.
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
START, PAD, STOP = (SPECIAL.index(token) for token in ("<s>", "<pad>", "</s>"))
# How byte-level BPE writes the space before a word.
SPACE = "\u0120"


def known_words() -> list[str]:
    """Words, and pieces of words, that are one token each; longest first.

    Example:
        >>> {"car", "light", "mush", "of"} <= set(known_words()), "mushroom" in known_words()
        (True, False)
    """
    words = {*SCAFFOLD, *COLOURS}
    for name in CLASSES:
        for word in name.split():
            words.update(piece.removeprefix("##") for piece in PIECES.get(word, (word,)))
    return sorted(words, key=lambda word: (-len(word), word))


def _spell(text: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """The tokens of a word: of all pairs that can be merged, the one of lowest rank comes first."""
    symbols = list(text)
    while True:
        pairs = [(ranks[pair], at) for at, pair in enumerate(pairwise(symbols)) if pair in ranks]
        if not pairs:
            return symbols
        at = min(pairs)[1]
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]


@lru_cache(maxsize=1)
def merges() -> tuple[tuple[str, str], ...]:
    """Pairs of symbols that become one, in order of rank.

    A word's missing merges are put behind those that are there. So a word that is one token
    stays one: merges of higher rank wait until it is whole.
    """
    ranks: dict[tuple[str, str], int] = {}
    for word in known_words():
        for form in (word, SPACE + word, word.capitalize()):
            while len(symbols := _spell(form, ranks)) > 1:
                ranks[symbols[0], symbols[1]] = len(ranks)
    return tuple(ranks)


def vocabulary() -> dict[str, int]:
    """Token to id: special tokens, the 256 bytes, what the merges make, `<mask>`.

    Example:
        >>> words = vocabulary()
        >>> words["<pad>"], words["<mask>"] == len(words) - 1
        (1, True)
    """
    from tokenizers.pre_tokenizers import ByteLevel

    made = (first + second for first, second in merges())
    tokens = dict.fromkeys([*SPECIAL, *sorted(ByteLevel.alphabet()), *made, "<mask>"])
    return {token: number for number, token in enumerate(tokens)}


def capitals() -> dict[int, int]:
    """Id of a word that begins a text to the id of the same word with a capital letter."""
    ids = vocabulary()
    return {ids[word]: ids[word.capitalize()] for word in known_words()}


def tokenizer() -> RobertaTokenizer:
    """The vocabulary as a tokenizer of `transformers`."""
    from transformers import RobertaTokenizer

    return RobertaTokenizer(vocab=vocabulary(), merges=list(merges()))
