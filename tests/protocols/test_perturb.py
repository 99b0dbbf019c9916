"""Vocabularies made out of class names: what changes, how much, and the same again by the seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.io.class_names import class_names
from ovsslib.miniature.diorama.clutter import CLUTTER
from ovsslib.protocols.perturb import (
    BY_COUNT,
    BY_SHARE,
    FIXED,
    Words,
    available,
    distractors,
    edits,
    perturbed,
    plural,
    read_words,
    renamed,
    shipped_words,
)
from ovsslib.protocols.vocabulary import DISTRACTORS, Vocabulary

CLASSES = class_names("diorama")
WORDS = read_words(shipped_words("diorama"))
DRAWN = [name for name in (*BY_SHARE, *BY_COUNT) if name not in ("plural", "wider", "expanded")]


def one_edit(word: str, other: str) -> bool:
    """Whether one letter was dropped, doubled or swapped: found by undoing it, letter by letter."""
    for k in range(len(word)):
        dropped = word[:k] + word[k + 1 :]
        doubled = word[: k + 1] + word[k:]
        swapped = word[:k] + word[k + 1 : k + 2] + word[k] + word[k + 2 :]
        if other in (dropped, doubled, swapped):
            return True
    return False


@pytest.mark.parametrize("name", [*class_names("ade150"), *CLASSES, "a b", "ab", "x-y"])
def test_every_misspelling_is_one_edit_away(name: str) -> None:
    found = edits(name)
    assert len(set(found)) == len(found)
    assert all(one_edit(name, word) for word in found if word.count(" ") == name.count(" "))
    assert name not in found
    assert "" not in found
    assert {len(word) - len(name) for word in found} <= {-2, -1, 0, 1}


def test_misspellings_of_a_word_are_complete() -> None:
    letters = "bird"
    by_hand = {"ird", "brd", "bid", "bir", "bbird", "biird", "birrd", "birdd", "ibrd", "brid"}
    assert set(edits(letters)) == by_hand | {"bidr"}
    assert edits("a") == ("aa",)


def test_plurals() -> None:
    many = {
        "car": "cars", "bus": "buses", "grass": "grasses", "brick wall": "brick walls",
        "sky": "skies", "boy": "boys", "sheep": "sheep", "box": "boxes", "branch": "branches",
        "person": "people", "bush": "bushes",
    }  # fmt: skip
    assert {name: plural(name) for name in many} == many


def test_the_shipped_words_are_for_diorama_and_each_stands_once() -> None:
    tables = (WORDS.synonyms, WORDS.narrower, WORDS.wider)
    assert all(tuple(table) == CLASSES for table in tables)
    assert all(len(words) == 1 for words in WORDS.wider.values())
    assert len(WORDS.near) >= 200
    assert len(WORDS.far) >= 200
    assert set(WORDS.clutter) == set(CLUTTER)
    lists = [CLASSES, WORDS.near, WORDS.far, WORDS.clutter]
    lists += [words for table in tables for words in table.values()]
    counted = Counter(word.casefold() for words in lists for word in words)
    assert [word for word, number in counted.items() if number > 1] == []
    assert available(WORDS) == (*BY_SHARE, *BY_COUNT, *FIXED)


@pytest.mark.parametrize("condition", available(WORDS))
def test_every_vocabulary_fits_the_data_set(condition: str) -> None:
    amount = 40 if condition in BY_COUNT else 1.0
    names = perturbed(condition, amount, CLASSES, WORDS)
    Vocabulary.from_dict(condition, names).check(load_dataset("diorama"))
    own = {name.casefold() for name in CLASSES}
    for key, words in names.items():
        others = set(words) - {key}
        assert others
        assert not {word.casefold() for word in others} & own
    if condition in BY_COUNT:
        assert names.keys() == {DISTRACTORS}
        assert len(set(names[DISTRACTORS])) == 40
        assert set(names[DISTRACTORS]) <= set(getattr(WORDS, condition))


@pytest.mark.parametrize("condition", [name for name in BY_SHARE if name != "plural"])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_a_share_of_the_classes_is_renamed(condition: str, share: float) -> None:
    names = perturbed(condition, share, CLASSES, WORDS, seed=3)
    assert len(names) == round(share * len(CLASSES))
    source = {"synonym": "synonyms", "expanded": "synonyms"}.get(condition, condition)
    for name, words in names.items():
        if condition == "misspelling":
            assert one_edit(name, words[0])
        elif condition == "expanded":
            assert words == [name, *WORDS.synonyms[name]]
        else:
            assert len(words) == 1
            assert words[0] in getattr(WORDS, source)[name]


def test_a_class_without_another_word_keeps_its_name() -> None:
    names = perturbed("plural", 1.0, CLASSES)
    assert names.keys() == set(CLASSES) - {"sheep"}
    assert names["mushroom"] == ["mushrooms"]
    table = Words(synonyms={"bus": ["Car"], "car": ["auto"]})
    assert perturbed("synonym", 1.0, ["bus", "car", "boat"], table) == {"car": ["auto"]}


@pytest.mark.parametrize("condition", DRAWN)
def test_a_seed_and_a_draw_give_the_same_again(condition: str) -> None:
    amount = 10 if condition in BY_COUNT else 0.5
    draws = [perturbed(condition, amount, CLASSES, WORDS, seed=1, draw=k) for k in range(3)]
    again = [perturbed(condition, amount, CLASSES, WORDS, seed=1, draw=k) for k in range(3)]
    assert draws == again
    assert draws[0] != draws[1] != draws[2]
    assert draws[0] != perturbed(condition, amount, CLASSES, WORDS, seed=2)


@pytest.mark.parametrize("condition", [*BY_SHARE, *BY_COUNT])
def test_a_larger_draw_holds_a_smaller(condition: str) -> None:
    amounts = (5, 20, 200) if condition in BY_COUNT else (0.25, 0.5, 1.0)
    draws = [perturbed(condition, amount, CLASSES, WORDS, draw=2) for amount in amounts]
    for small, large in pairwise(draws):
        for key, words in small.items():
            assert large[key][: len(words)] == words


def test_two_conditions_do_not_share_their_draws() -> None:
    chosen = [set(perturbed(name, 0.25, CLASSES, WORDS)) for name in ("synonym", "narrower")]
    assert chosen[0] != chosen[1]


def test_engineered_is_every_name_and_the_clutter() -> None:
    names = perturbed("engineered", 1, CLASSES, WORDS)
    assert names == perturbed("expanded", 1.0, CLASSES, WORDS) | perturbed(
        "clutter", 1, CLASSES, WORDS
    )
    assert set(names[DISTRACTORS]) == set(WORDS.clutter)


def test_distractors_pass_over_classes() -> None:
    rng = np.random.default_rng(0)
    found = distractors(["Bus", "spoon", "spoon", "fork"], 2, ["bus"], rng)[DISTRACTORS]
    assert sorted(found) == ["fork", "spoon"]
    with pytest.raises(OvssError, match="3 distractors asked for, 2 words given"):
        distractors(["Bus", "spoon", "fork"], 3, ["bus"], rng)


def test_words_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "synonyms.txt").write_text("bus: coach; omnibus\n")
    (tmp_path / "far.txt").write_text("distractors: spoon; fork\ndistractors: knife\n")
    words = read_words(tmp_path)
    assert words == Words(synonyms={"bus": ["coach", "omnibus"]}, far=["spoon", "fork", "knife"])
    assert available(words) == ("plural", "misspelling", "synonym", "expanded", "far")
    with pytest.raises(OvssError, match=r"'engineered' needs clutter\.txt and synonyms\.txt"):
        perturbed("engineered", 1, ["bus"], words)
    with pytest.raises(OvssError, match=r"'wider' needs wider\.txt"):
        perturbed("wider", 1.0, ["bus"], words)
    (tmp_path / "near.txt").write_text("bus: coach\n")
    with pytest.raises(OvssError, match="a line begins otherwise than 'distractors:'"):
        read_words(tmp_path)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="holds no lists of words"):
        read_words(tmp_path)
    with pytest.raises(OvssError, match="condition 'plurals'; did you mean 'plural'"):
        perturbed("plurals", 1.0, CLASSES)
    with pytest.raises(OvssError, match="share must be float from 0 to 1, got 2"):
        perturbed("plural", 2.0, CLASSES)
    with pytest.raises(OvssError, match="count must be int >= 1, got 0"):
        perturbed("near", 0, CLASSES, WORDS)
    with pytest.raises(OvssError, match="draw must be"):
        perturbed("near", 1, CLASSES, WORDS, draw=-1)
    with pytest.raises(OvssError, match="condition 'near'"):
        renamed("near", 1.0, CLASSES, WORDS, np.random.default_rng(0))
