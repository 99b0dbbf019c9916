"""Answers as models write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovsslib.filters.answers.parse import Parsed, parse_answer
from ovsslib.filters.answers.vocabulary import Vocabulary

CLASSES = Vocabulary.of(["cat", "hot dog", "tv monitor", "building; edifice", "sky-other"])


def guesses(parsed: Parsed) -> list[tuple[int, float | None]]:
    return [(guess.label, guess.probability) for guess in parsed.guesses]


def reasons(parsed: Parsed) -> list[tuple[str, str]]:
    return [(remark.piece, remark.reason) for remark in parsed.remarks]


@pytest.mark.parametrize(
    "text",
    [
        "[1: 'cat', 2: 'hot dog'], [90, 60]",
        "[1: cat, 2: hot dog], [90%, 60%]",
        '[1: "cat", 2: "hot dog"]\n\n[90.0 %, 60 %]',
        "[1:'cat', 2:'hot dog'], \n[90,60]",
        "[[1: 'cat', 2: 'hot dog'], [90%, 60%]]",
        "[1: cat, 2: hot dog], [hot dog: 60%, cat: 90%]",
        "[1: cat, 2: hot dog], [90% probability of class1, 60% probability of class2]",
        "[1: cat, 2: hot dog], [90% cat, 60% hot dog]",
        "[1: cat, 2: hot dog], [60% probability of hot dog, 90% probability of cat]",
        "[1: cat, 2: hot dog], [0.9, 0.6]",
        "[1: cat, 2: hot dog], [90% 60%]",
        "[1: cat, 2: hot dog], [90%: 60%]",
        "[1, 2], [90, 60]",
        "[cat, hot-dog], [90, 60]",
        "[1: cat (90%), 2: hot dog (60%)]",
        "[cat: 90%, hot dog: 60%]",
        "- cat: 90%\n- hot dog: 60%",
        "cat: 90%, hot dog: 60%",
        '{"classes": [{"name": "cat", "probability": 90}, {"name": "Hot Dog", "probability": 60}]}',
        '[{"class": "cat", "confidence": 0.9}, {"id": 2, "score": "0.6"}]',
        '```json\n{"classes": [{"name": "cat", "probability": 90},{"id": 2, "percent": 60}]}\n```',
        '{"classes": ["cat", "hot dog"], "probabilities": [90, 60]}',
        '{"cat": 90, "hot dog": 60}',
        '{"1": 90, "2": 60}',
        '{"result": {"cat": 90, "hot dog": 60}}',
        '{"answer": {"classes": [{"name": "cat", "probability": 90}, {"id": 2, "score": 60}]}}',
    ],
)
def test_one_answer_in_many_forms(text: str) -> None:
    parsed = parse_answer(text, CLASSES)
    assert guesses(parsed) == [(1, pytest.approx(0.9)), (2, pytest.approx(0.6))]
    assert parsed.readable
    assert parsed.remarks == ()


@pytest.mark.parametrize(
    ("text", "classes", "odd"),
    [
        (
            "[1: cat, 7: ufo, 9: 'cow'], [90, 60, 80]",
            [(1, 0.9)],
            [("7: ufo", "no class has number 7"), ("9: 'cow'", "no class has number 9")],
        ),
        ("[cat, ufo], [90, 60]", [(1, 0.9)], [("ufo", "no class of that name")]),
        ("[1: cat, 3: tv], [90]", [(1, 0.9), (3, None)], None),
        ("[1: cat], [90, 60]", [(1, 0.9)], [("60", "a probability without a class")]),
        ("[1: cat, 1: cat], [60, 90]", [(1, 0.9)], None),
        ("[1: cat], [160]", [(1, None)], [("1: cat", "160 is not a probability")]),
        ("[1: cat], [high]", [(1, None)], None),
        ("[1: cat], [95: 100]", [(1, 1.0)], [("95: 100", "several numbers; 100 counts")]),
        ("[2: cat], [90]", [(1, 0.9)], [("2: cat", "number 2 is 'hot dog'; taken by its name")]),
        ("[4: edifice], [90]", [(4, 0.9)], []),
        ("[5: sky other], [1]", [(5, 0.01)], []),
        ("[0: None], [100]", [], [("0: None", "no class has number 0")]),
        ("[], []", [], []),
        ('{"classes": []}', [], []),
        ("Sure! [1: cat], [90]", [(1, 0.9)], [("Sure!", "text outside the lists")]),
        ("[note] [1: cat], [90]", [(1, 0.9)], None),
        ("[1: cat, 2: hot d", [(1, None)], None),
        ("[1: cat, 2: hot dog], [90, 6", [(1, 0.9), (2, None)], None),
        (
            '{"classes": [{"name": "cat", "probability": 90}, {"name": "hot',
            [(1, 0.9)],
            [('{"name": "hot', "the answer breaks off here")],
        ),
        (
            '{"classes": [{"name": "cat", "probability": 90}, {"name": "hot dog", "pro',
            [(1, 0.9)],
            None,
        ),
        ('Here: {"cat": 90} Bye', [(1, 0.9)], [("Here: Bye", "text outside the JSON")]),
        ('{"classes": [7, {"x": 1}, "cat"]}', [(1, None)], None),
        ("Cats!\ncat: 80%\nthat is all", [(1, 0.8)], None),
    ],
)
def test_what_cannot_be_used_is_listed(
    text: str, classes: list, odd: list[tuple[str, str]] | None
) -> None:
    parsed = parse_answer(text, CLASSES)
    assert guesses(parsed) == classes
    assert parsed.readable
    if odd is None:
        assert parsed.remarks
    else:
        assert reasons(parsed) == odd


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"classes": null}',
        "  \n",
        "I cannot help.",
        "{",
        '{"classes": [{"na',
        "[1: c",
        "a cat and a dog",
    ],
)
def test_what_is_no_answer(text: str) -> None:
    parsed = parse_answer(text, CLASSES)
    assert not parsed.readable
    assert parsed.guesses == ()
    assert len(parsed.remarks) == 1


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="[]{}'\",:;%12 9catname\n", max_size=60))
def test_no_text_raises_and_probabilities_are_probabilities(text: str) -> None:
    for guess in parse_answer(text, CLASSES).guesses:
        assert 1 <= guess.label <= 5
        assert guess.probability is None or 0 <= guess.probability <= 1


def test_a_long_piece_is_shown_short() -> None:
    (remark,) = parse_answer("word " * 100, CLASSES).remarks
    assert len(remark.piece) == 80
