"""Answers out of a file, and the paper's own."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.filters import get_filter
from ovsslib.filters.answers.file import AnswerWriter
from ovsslib.filters.answers.recorded import parse_released, read_released, released_source
from ovsslib.filters.answers.vocabulary import released_vocabulary
from support.helpers import SHARED, needs_realdata, write_voc
from support.small_data import write_coco

FILES = {  # data set -> file, answers, classes named, answers with something odd
    "voc": ("voc", 1449, 2302, 0),
    "context": ("psc", 5104, 21203, 1),
    "ade20k": ("ade20k", 2000, 15404, 21),
    "coco-object": ("coco_object", 5000, 12352, 11),
    "coco-stuff": ("coco_stuff", 5000, 21566, 21),
}


def real(dataset: str) -> dict[str, str]:
    return read_released(SHARED / "gpt4o" / f"{FILES[dataset][0]}_classification_noboundary.json")


@needs_realdata
@pytest.mark.parametrize("dataset", FILES)
def test_every_released_answer_is_read_and_nothing_dropped_in_silence(dataset: str) -> None:
    texts = real(dataset)
    parsed = parse_released(texts, released_vocabulary(dataset))
    _, answers, named, odd = FILES[dataset]
    assert len(parsed) == len(texts) == answers
    assert all(answer.parsed.readable for answer in parsed)
    assert sum(len(answer.parsed.guesses) for answer in parsed) == named
    assert sum(bool(answer.parsed.remarks) for answer in parsed) == odd
    for answer in parsed:
        # Counted another way: what looks like "12: name" before the probabilities.
        pieces = re.findall(r"(?<![\w%])(\d+) ?: ?['\"]?[A-Za-z]", answer.raw)
        labels = {guess.label for guess in answer.parsed.guesses}
        dropped = [r for r in answer.parsed.remarks if r.reason.startswith(("no class", "named"))]
        assert len(pieces) == len(labels) + len(dropped), answer.raw
        unknown = [g for g in answer.parsed.guesses if g.probability is None]
        assert not unknown or answer.parsed.remarks


@needs_realdata
def test_the_known_messes() -> None:
    def parse(dataset: str, name: str, trust: str = "number") -> tuple[list, list[str]]:
        vocabulary = released_vocabulary(dataset, trust)
        (answer,) = parse_released({name: real(dataset)[name]}, vocabulary)
        pairs = [(g.label, g.probability) for g in answer.parsed.guesses]
        return pairs, [remark.reason for remark in answer.parsed.remarks]

    assert parse("voc", "2007_000187") == ([(20, 0.9), (15, 0.1)], [])
    assert parse("context", "2010_000536")[0][1] == (14, 1.0)
    assert parse("context", "2010_000536", "name")[0][1] == (15, 1.0)  # "14: cat"
    assert parse("coco-object", "000000285349") == ([], ["no class has number 0"])
    assert parse("coco-stuff", "000000085576")[0] == [(62, 1.0), (101, 1.0)]  # "[100%: 100%]"
    assert parse("coco-stuff", "000000473237")[0] == [(1, 1.0), (54, 1.0)]
    assert parse("coco-object", "000000368982") == ([(77, 1.0)], ["several numbers; 100 counts"])
    pairs, odd = parse("ade20k", "ADE_val_00000514")
    assert [p for _, p in pairs].count(None) == 2
    assert odd == ["no probability"] * 2


@needs_realdata
def test_the_papers_filter_on_a_real_image(tmp_path: Path) -> None:
    with AnswerWriter(tmp_path / "voc.jsonl", released_source("voc")) as writer:
        writer.write(*parse_released(real("voc"), released_vocabulary("voc")))
    class_filter = get_filter(f"recorded:{tmp_path}/voc.jsonl")
    for name in ("voc20", "voc21"):
        data = load_dataset(name, SHARED / "VOCdevkit")
        assert class_filter(data, "2007_000129") == (2, 15)
    assert class_filter(data, "2007_000187") == (20,)  # the person has 10 %
    assert class_filter.described["model"] == "gpt-4o"


@needs_realdata
def test_answers_for_one_data_set_do_not_fit_another(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match=r"19 of 20 differ; label 2 is 'bag' there and 'bicycle"):
        parse_released(real("context"), replace(released_vocabulary("voc"), trust="number"))
    with AnswerWriter(tmp_path / "a.jsonl", released_source("context")) as writer:
        writer.write(*parse_released(real("context"), released_vocabulary("context")))
    data = load_dataset("voc", SHARED / "VOCdevkit")
    for wrong in (lambda told: told(data, "2007_000129"), lambda told: told.prepare(data, ())):
        with pytest.raises(OvssError, match=r"a\.jsonl: its answers are for context, not for voc;"):
            wrong(get_filter(f"recorded:{tmp_path}/a.jsonl"))


PAIRS = [(own, other) for own in FILES for other in FILES if own != other]


@needs_realdata
@pytest.mark.parametrize(
    ("own", "other", "trust"),
    [
        *((*pair, "number") for pair in PAIRS),
        *(("voc", other, "name") for other in FILES if other != "voc"),
    ],
)
def test_released_answers_are_read_as_no_other_data_sets(own: str, other: str, trust: str) -> None:
    with pytest.raises(OvssError, match=r"^the released answers: .*(use|name) .*data set"):
        parse_released(real(own), released_vocabulary(other, trust))


def test_answers_of_few_images_need_no_usual_class() -> None:
    vocabulary = released_vocabulary("coco-stuff")
    things = {f"{k:012d}": "[1: 'person', 999: 'fox'], [90%, 80%]" for k in range(2)}
    assert len(parse_released(things, vocabulary)) == 2
    more = {f"{k:012d}": "[1: 'person'], [90%]" for k in range(20)}
    with pytest.raises(OvssError, match="0 of 20 name a class from 'banner' on"):
        parse_released(more, vocabulary)


def test_lines_name_the_data_set(tmp_path: Path) -> None:
    """COCO-Object's answers fit COCO-Stuff's classes, and are not for it."""
    data = load_dataset("coco-stuff", write_coco(tmp_path / "coco"))
    answers = parse_released(
        {data.ids[0]: "[1: 'person'], [90%]"}, released_vocabulary("coco-object")
    )
    with AnswerWriter(tmp_path / "a.jsonl", released_source("coco-object")) as writer:
        writer.write(*answers)
    class_filter = get_filter(f"recorded:{tmp_path}/a.jsonl")
    with pytest.raises(OvssError, match="its answers are for coco-object, not for coco-stuff"):
        class_filter(data, data.ids[0])
    for name in ("coco-object80", "coco-object81", "coco-object-instances"):
        assert class_filter(load_dataset(name, tmp_path / "coco"), data.ids[0]) == (1,)


def named_classes() -> list[str]:
    return list(released_vocabulary("diorama").names.values())


def test_threshold_and_number_of_classes(tmp_path: Path) -> None:
    data = load_dataset("diorama", write_voc(tmp_path / "data", 3))
    first = ", ".join(f"{k}: {name}" for k, name in enumerate(named_classes()[:3], start=1))
    texts = {"img_0000": f"[{first}], [90%, 71%, 70%]", "img_0001": "[], []"}
    with AnswerWriter(tmp_path / "a.jsonl", released_source("diorama")) as writer:
        writer.write(*parse_released(texts, released_vocabulary("diorama")))
    name = f"recorded:{tmp_path}/a.jsonl"
    assert get_filter(name)(data, "img_0000") == (1, 2)  # 70 % is not above 70 %
    assert get_filter(name, {"threshold": 0.69})(data, "img_0000") == (1, 2, 3)
    assert get_filter(name, {"most": 1})(data, "img_0000") == (1,)
    assert get_filter(name)(data, "img_0001") == ()
    with pytest.raises(OvssError, match=r"a.jsonl holds no answer for img_0002; ask for it with"):
        get_filter(name)(data, "img_0002")
    described = get_filter(name, {"most": 1}).described
    assert str(tmp_path) not in json.dumps(described)
    assert (described["most"], described["prompt"]) == (1, "released")
    with (tmp_path / "a.jsonl").open("a") as out:
        out.write('{"half')
    with pytest.warns(UserWarning, match="line 3: cannot be read"):
        get_filter(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "is not a JSON object"),
        ("[]", "is not a JSON object"),
        ("{}", "is not a JSON object"),
        ('{"a": 3}', "the answer for 'a' is not text, but 3"),
    ],
)
def test_files_of_another_form(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(OvssError, match=words):
        read_released(tmp_path / "a.json")
    with pytest.raises(OvssError, match="cannot be read"):
        read_released(tmp_path / "none.json")
