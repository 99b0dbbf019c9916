"""Vocabularies made out of a data set's class names: plural, misspelt, by other words, with noise.

All functions are pure; what is drawn comes from a numpy generator, so that a seed gives the same
vocabulary again. A draw for a larger amount holds that for a smaller one: the classes that are
renamed at a share of 0.5 are among those at 1, under the same new names.

A vocabulary is a mapping from a class to its names, `ovsslib.protocols.vocabulary.DISTRACTORS`
to names of nothing, as `read_vocabulary` gives it.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.lookup import Count, Seed, Share, check_types, pick
from ovsslib.paths import PACKAGE
from ovsslib.protocols.vocabulary import DISTRACTORS, read_vocabulary

Names = dict[str, list[str]]
"""Class -> its names; `DISTRACTORS` -> names of nothing."""

_IRREGULAR = {
    "sheep": "sheep", "deer": "deer", "fish": "fish", "person": "people", "man": "men",
    "woman": "women", "child": "children", "mouse": "mice", "goose": "geese", "foot": "feet",
    "tooth": "teeth", "ox": "oxen", "aircraft": "aircraft", "knife": "knives", "leaf": "leaves",
    "shelf": "shelves", "loaf": "loaves", "wolf": "wolves", "calf": "calves",
}  # fmt: skip


@dataclass(frozen=True)
class Words:
    """Other words for the classes of a data set, and words for what it does not show.

    Attributes:
        synonyms: Class -> words for the same.
        narrower: Class -> words for one kind of it.
        wider: Class -> words for the kind of thing that it is.
        near: Things of the same kinds as the classes.
        far: Things that have nothing to do with them.
        clutter: What the images show without a label.
    """

    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    narrower: Mapping[str, Sequence[str]] = field(default_factory=dict)
    wider: Mapping[str, Sequence[str]] = field(default_factory=dict)
    near: Sequence[str] = ()
    far: Sequence[str] = ()
    clutter: Sequence[str] = ()


_TABLES, _LISTS = ("synonyms", "narrower", "wider"), ("near", "far", "clutter")


def shipped_words(dataset: str) -> Path | None:
    """The folder of a data set's words that comes with the library; None where there is none.

    Example:
        >>> shipped_words("voc21") is None
        True
    """
    folder = PACKAGE / "vocab" / "words" / dataset
    return folder if folder.is_dir() else None


def read_words(folder: str | os.PathLike[str]) -> Words:
    """Read other words for classes.

    Args:
        folder: Holds some of `synonyms.txt`, `narrower.txt`, `wider.txt` (lines `class: word; …`),
            `near.txt`, `far.txt` and `clutter.txt` (lines `distractors: word; …`): vocabulary
            files, see `ovsslib.protocols.vocabulary.read_vocabulary`.

    Raises:
        OvssError: It holds none of them, or one cannot be read.
    """
    paths = {name: Path(folder) / f"{name}.txt" for name in (*_TABLES, *_LISTS)}
    read = {name: read_vocabulary(path) for name, path in paths.items() if path.is_file()}
    if not read:
        raise OvssError(f"{folder}: holds no lists of words; put {', '.join(paths)} (.txt) there")
    for name in _LISTS:
        if read.get(name, {}).keys() - {DISTRACTORS}:
            raise OvssError(f"{paths[name]}: a line begins otherwise than 'distractors:'")
    tables = {name: read[name] for name in _TABLES if name in read}
    lists = {name: read[name].get(DISTRACTORS, []) for name in _LISTS if name in read}
    return Words(**tables, **lists)  # type: ignore[arg-type]


def plural(name: str) -> str:
    """The plural of a name's last word, by the rules of English spelling and a few exceptions.

    Example:
        >>> [plural(name) for name in ("bus", "sky", "traffic light", "sheep", "boy")]
        ['buses', 'skies', 'traffic lights', 'sheep', 'boys']
    """
    first, space, last = name.rpartition(" ")
    if last in _IRREGULAR:
        return f"{first}{space}{_IRREGULAR[last]}"
    if re.search("[^aeiou]y$", last):
        last = f"{last[:-1]}ie"
    elif re.search("(s|x|z|ch|sh)$", last):
        last = f"{last}e"
    return f"{first}{space}{last}s"


def edits(name: str) -> tuple[str, ...]:
    """All other spellings with one letter dropped, doubled, or swapped with the next.

    Example:
        >>> edits("cat")
        ('at', 'ccat', 'act', 'ct', 'caat', 'cta', 'ca', 'catt')
    """
    found: list[str] = []
    for k in (k for k, letter in enumerate(name) if letter.isalpha()):
        before, letter, after = name[:k], name[k], name[k + 1 :]
        found += [before + after, before + 2 * letter + after]
        if after[:1].isalpha():
            found.append(before + after[0] + letter + after[1:])
    kept = (" ".join(word.split()) for word in found)
    return tuple(dict.fromkeys(word for word in kept if word not in ("", name)))


_CANDIDATES: dict[str, Callable[[str, Words], Sequence[str]]] = {
    "plural": lambda name, words: [plural(name)],
    "misspelling": lambda name, words: edits(name),
    "synonym": lambda name, words: words.synonyms.get(name, ()),
    "narrower": lambda name, words: words.narrower.get(name, ()),
    "wider": lambda name, words: words.wider.get(name, ()),
    "expanded": lambda name, words: words.synonyms.get(name, ()),
}
_NEEDS: dict[str, tuple[str, ...]] = {
    "plural": (),
    "misspelling": (),
    "synonym": ("synonyms",),
    "expanded": ("synonyms",),
    "engineered": ("clutter", "synonyms"),
}
"""Condition -> the lists of words that it needs, where they are called otherwise."""

BY_SHARE = tuple(_CANDIDATES)
"""Conditions whose amount is the share of the classes that are renamed, 0..1."""
BY_COUNT = ("near", "far")
"""Conditions whose amount is the number of distractors."""
FIXED = ("clutter", "engineered")
"""Conditions without an amount or a draw: what the images show without a label as distractors; the
same, and each class by its own name and all synonyms."""


def available(words: Words) -> tuple[str, ...]:
    """The conditions that these words allow; plural and misspelling need none.

    Example:
        >>> available(Words(far=("spoon",)))
        ('plural', 'misspelling', 'far')
    """
    return tuple(
        name
        for name in (*BY_SHARE, *BY_COUNT, *FIXED)
        if all(getattr(words, needed) for needed in _NEEDS.get(name, (name,)))
    )


def renamed(
    condition: str, share: float, classes: Sequence[str], words: Words, rng: np.random.Generator
) -> Names:
    """New names for a share of the classes.

    Args:
        condition: One of `BY_SHARE`. `"expanded"` adds all synonyms to a class's own name; the
            others put one word in the place of the name, drawn from those that there are.
        share: Of the classes, 0..1.
        classes: C names.
        words: Where other words come from.
        rng: What is drawn from.

    Returns:
        Class -> names, of the classes that are renamed. A class without another word keeps its
        name, and no class gets the name of another.

    Raises:
        OvssError: The condition is unknown, or the share out of range.
    """
    check_types({"share": share}, {"share": Share})
    candidates = pick("condition", condition, _CANDIDATES)
    taken = {name.casefold() for name in classes}
    names: Names = {}
    for k in rng.permutation(len(classes))[: int(share * len(classes) + 0.5)]:
        own = classes[k]
        others = [word for word in candidates(own, words) if word.casefold() not in taken]
        if others and condition == "expanded":
            names[own] = [own, *others]
        elif others:
            names[own] = [others[rng.integers(len(others))]]
    return {name: names[name] for name in classes if name in names}


def distractors(
    available: Iterable[str], count: int, classes: Sequence[str], rng: np.random.Generator
) -> Names:
    """Some names of nothing.

    Args:
        available: Words to draw from; names of classes among them are passed over.
        count: How many.
        classes: C names.
        rng: What is drawn from.

    Raises:
        OvssError: There are fewer words.
    """
    check_types({"count": count}, {"count": Count})
    free = _free(available, classes)
    if count > len(free):
        raise OvssError(f"{count} distractors asked for, {len(free)} words given; ask for fewer")
    return {DISTRACTORS: [free[k] for k in rng.permutation(len(free))[:count]]}


def _free(words: Iterable[str], classes: Sequence[str]) -> list[str]:
    """Words that are no class's name, each once."""
    taken = {name.casefold() for name in classes}
    return [word for word in dict.fromkeys(words) if word.casefold() not in taken]


def perturbed(
    condition: str,
    amount: float,
    classes: Sequence[str],
    words: Words | None = None,
    *,
    seed: int = 0,
    draw: int = 0,
) -> Names:
    """One vocabulary under a condition.

    Args:
        condition: One of `BY_SHARE`, `BY_COUNT` and `FIXED`.
        amount: A share, a number of distractors, or for `FIXED` anything.
        classes: C names.
        words: Other words; None for none.
        seed: Of all draws.
        draw: Number of the draw; the same seed and number give the same vocabulary.

    Raises:
        OvssError: The condition is unknown or needs words that are not given, or the amount is out
            of range.

    Example:
        >>> perturbed("plural", 1.0, ["bus", "sheep"])
        {'bus': ['buses']}
    """
    words = words or Words()
    check_types({"seed": seed, "draw": draw}, {"seed": Seed, "draw": Seed})
    known = dict.fromkeys((*BY_SHARE, *BY_COUNT, *FIXED))
    pick("condition", condition, known)
    if condition not in available(words):
        files = " and ".join(f"{name}.txt" for name in _NEEDS.get(condition, (condition,)))
        raise OvssError(f"the condition {condition!r} needs {files}; give a folder of words")
    # Not of the amount: a larger one then holds the smaller.
    rng = np.random.default_rng([seed, draw, zlib.crc32(condition.encode())])
    if condition in BY_SHARE:
        return renamed(condition, amount, classes, words, rng)
    if condition in BY_COUNT:
        return distractors(getattr(words, condition), int(amount), classes, rng)
    names = {DISTRACTORS: _free(words.clutter, classes)}
    if condition == "engineered":
        names |= renamed("expanded", 1.0, classes, words, rng)
    return names
