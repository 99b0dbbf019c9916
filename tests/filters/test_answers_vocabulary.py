"""Numbers and names in answers, and the labels they mean."""

from __future__ import annotations

import pytest

from ovsslib.errors import OvssError
from ovsslib.filters.answers.vocabulary import (
    Vocabulary,
    alike,
    check_classes,
    family,
    released_vocabulary,
    synonyms,
)

PETS = {1: "cat; tomcat", 2: "dog; hound", 3: "cow; hound"}


def test_names_and_numbers() -> None:
    words = Vocabulary(PETS, {10: 1, 20: 2, 30: 3})
    assert words.resolve(10, "Tomcat") == (1, None)
    assert words.resolve(10, "") == (1, None)
    assert words.resolve(10, "tiger") == (1, "number 10 is 'cat; tomcat'; taken by its number")
    assert words.resolve(None, "dog (unsure)") == (2, None)
    assert words.resolve(None, "hound") == (None, "no class of that name")  # of two classes
    assert words.resolve(30, "hound") == (3, None)
    assert words.resolve(1, "cow") == (3, "no class has number 1; taken by its name")
    assert words.resolve(20, "cat") == (1, "number 20 is 'dog; hound'; taken by its name")


def test_numbers_may_count_more_than_names() -> None:
    words = Vocabulary(PETS, {10: 1, 20: 2}, trust="number")
    assert words.resolve(20, "cat") == (2, "number 20 is 'dog; hound'; taken by its number")
    assert words.resolve(1, "cat") == (None, "no class has number 1")
    with pytest.raises(OvssError, match="did you mean 'number'"):
        Vocabulary(PETS, {}, trust="numbers")


@pytest.mark.parametrize(
    ("dataset", "count", "some"),
    [
        ("voc21", 20, {11: (11, "dining table")}),
        ("context", 59, {1: (1, "aeroplane"), 59: (59, "wood")}),
        ("ade20k", 150, {150: (150, "flag")}),
        ("coco_object", 80, {13: (12, "stop sign"), 90: (80, "toothbrush")}),
        ("coco-stuff", 171, {90: (80, "toothbrush"), 92: (81, "banner"), 182: (171, "wood")}),
        ("diorama", 20, {1: (1, "car")}),
    ],
)
def test_released_numbers_are_the_official_ones(
    dataset: str, count: int, some: dict[int, tuple[int, str]]
) -> None:
    words = released_vocabulary(dataset)
    assert sorted(words.names) == sorted(words.numbers.values()) == list(range(1, count + 1))
    for number, (label, name) in some.items():
        assert words.numbers[number] == label
        assert synonyms(words.names[label])[0] == synonyms(name)[0]
    assert not {12, 26, 91} & set(words.numbers) or not dataset.startswith("coco")
    assert words.trust == "number"


def test_unknown_data_set() -> None:
    with pytest.raises(OvssError, match="did you mean 'ade20k'"):
        released_vocabulary("ade")
    assert family("context60") == "context"


def test_answers_for_another_order_of_classes_are_refused() -> None:
    classes = ["cat", "dog", "cow", "tv monitor", "table", "sheep"]
    good = {1: "cat", 3: "cow", 4: "tvmonitor", 5: "dining table"}
    check_classes(good, classes, "a.jsonl")
    check_classes({}, classes, "a.jsonl")
    check_classes({**good, 1: "dog", 2: "cat"}, classes, "a.jsonl")  # slips
    with pytest.raises(OvssError, match=r"a.jsonl: .*3 of 5 differ; label 1 is 'dog' there and 'c"):
        check_classes({**good, 1: "dog", 2: "cat", 3: "sheep"}, classes, "a.jsonl")
    with pytest.raises(OvssError, match="no class"):
        check_classes({7: "wolf"}, classes, "a.jsonl")
    assert not alike("", "cat")
