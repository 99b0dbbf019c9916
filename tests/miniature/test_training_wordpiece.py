"""What the micro models read: vocabulary, mentions, false captions, packs."""

from __future__ import annotations

import numpy as np
import pytest

from ovsslib.miniature.diorama.classes import CLASSES
from ovsslib.miniature.training.negatives import IGNORE, Packer, name_list, swap
from ovsslib.miniature.training.wordpiece import (
    BAG,
    bag_of_words,
    colour_mentions,
    colours_of,
    mentions,
    named,
    tokenizer,
    vocabulary,
)

CAPTIONS = [
    "a red car next to a street light",
    "a picture of grass fire hydrant",
    "a cat, with a brick wall and a mushroom",
]


def test_vocabulary_spells_every_class_and_any_word():
    words = tokenizer()
    assert words.convert_ids_to_tokens(
        words("mushroom", add_special_tokens=False)["input_ids"]
    ) == [
        "mush",
        "##room",
    ]
    for text in [*CLASSES, "zebra", "x-ray 42"]:
        assert words.unk_token_id not in words(text)["input_ids"]
    assert vocabulary()[-1] == "[ENC]"
    assert words.unk_token_id in words("日本")["input_ids"]


def test_mentions_find_whole_names_only():
    found = [name for _, _, name in mentions("a street light on a road near a cart and a cat")]
    assert found == ["street light", "road", "cat"]
    assert colour_mentions("a red car, red grass") == [
        (2, 5, "red", "car"),
        (11, 14, "red", "grass"),
    ]


def test_a_swap_changes_one_name_and_is_false():
    rng = np.random.default_rng(0)
    present = named(CAPTIONS)
    assert present == {
        "car",
        "street light",
        "grass",
        "fire hydrant",
        "cat",
        "brick wall",
        "mushroom",
    }
    for _ in range(200):
        text, new = swap(CAPTIONS[0], present, rng)
        assert text != CAPTIONS[0]
        if new is None:
            assert colour_mentions(text)[0][2] != "red"
        else:
            assert new not in present
            before, after = mentions(CAPTIONS[0]), mentions(text)
            assert len(before) == len(after)
            assert sum(a[2] != b[2] for a, b in zip(before, after, strict=True)) == 1
    assert swap("hello", present, rng) == ("hello", None)


def test_swaps_make_no_pair_of_colour_and_thing_that_no_caption_has():
    rng = np.random.default_rng(0)
    captions = ["a red car", "a blue car near a blue bird", "a red bus, a grey cat", "a white dog"]
    known = colours_of(captions)
    assert known["car"] == {"red", "blue"}
    swapped = {"name": 0, "colour": 0, "nothing": 0}
    for _ in range(300):
        old = captions[rng.integers(len(captions))]
        text, new = swap(old, named([old]), rng, known=known)
        assert all(colour in known[name] for _, _, colour, name in colour_mentions(text)), text
        swapped["nothing" if text == old else "name" if new else "colour"] += 1
    assert min(swapped.values()) > 10, swapped  # a white dog has no swap


def test_name_lists_say_what_is_wrong():
    rng = np.random.default_rng(0)
    present = named(CAPTIONS)
    lengths = set()
    for false in (True, False) * 100:
        text, wrong = name_list(present, false, rng)
        names = [name for _, _, name in mentions(text)]
        assert len(names) == len(set(names))
        assert wrong == set(names) - present
        assert bool(wrong) == false
        lengths.add((false, len(names)))
    assert {n for false, n in lengths if false} == set(range(1, 8))
    assert {n for false, n in lengths if not false} == set(range(1, 8))


def test_bags_hold_the_words_of_the_captions():
    words = {BAG[i] for i in bag_of_words(CAPTIONS).nonzero()[0]}
    assert words == named(CAPTIONS) | {"red"}
    assert bag_of_words(["hello"]).sum() == 0


@pytest.mark.parametrize("list_share", [0.0, 0.6])
def test_packs_mark_words_matches_and_masks(list_share):
    packer = Packer(tokenizer(), 48)
    rng = np.random.default_rng(1)
    pack = packer.pack([CAPTIONS] * 40, rng, 3, list_share=list_share)
    assert pack.ids.shape == pack.word.shape == pack.masked.shape
    assert pack.match.shape == pack.starts.shape == (40, 3)
    assert 0.3 < pack.match.mean() < 0.7
    assert np.all(np.take_along_axis(pack.ids, pack.starts, 1) == packer.enc)
    assert np.all(np.take_along_axis(pack.positions, pack.starts, 1) == 0)
    assert pack.positions.max() < 48
    assert pack.positions.max() > 30, "late positions are trained too"
    caption_is_true = np.take_along_axis(pack.match, np.maximum(pack.caption, 0), 1)
    # A swapped-in word stands in a false caption; a word to recover, in a true one.
    assert np.all(caption_is_true[pack.word == 0] == 0)
    assert np.all(caption_is_true[pack.masked != IGNORE] == 1)
    # The mask itself must not tell: it falls on false captions as often.
    masked = pack.ids == packer.mask
    real = pack.caption >= 0
    share = [masked[real & (caption_is_true == k)].mean() for k in (0, 1)]
    assert abs(share[0] - share[1]) < 0.03
    assert not np.any(masked & (pack.word != IGNORE))
