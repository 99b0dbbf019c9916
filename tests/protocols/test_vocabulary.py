"""Vocabularies: what a method is asked for, and what its answers count as."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ovsslib.cli.main import app
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.task import make_task
from ovsslib.protocols.vocabulary import Vocabulary, read_vocabulary
from support.helpers import one_error

DATA = load_dataset("diorama", None, "tune")
WORDS = """
# other words for two classes
bus: coach; omnibus   # both are asked for
grass: lawn

distractors: dragon; castle
distractors: spoon
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_text(WORDS)
    return path


def test_a_file_becomes_a_mapping(file: Path) -> None:
    assert read_vocabulary(file) == {
        "bus": ["coach", "omnibus"],
        "grass": ["lawn"],
        "distractors": ["dragon", "castle", "spoon"],
    }


def test_names_are_replaced_and_distractors_offered_in_every_image(file: Path) -> None:
    task = make_task(DATA, vocabulary={"name": "mine", "names": read_vocabulary(file)})
    labels = [DATA.classes.index(name) + 1 for name in ("bus", "car", "grass")]
    looked_for, names = task.protocol.expand(DATA, labels)
    assert names == ("coach", "omnibus", "car", "lawn", "dragon", "castle", "spoon")
    assert looked_for == (labels[0], labels[0], labels[1], labels[2], 0, 0, 0)
    assert task.protocol.expand(DATA, ()) == ((0, 0, 0), ("dragon", "castle", "spoon"))


def test_a_distractor_is_background_to_the_score(file: Path) -> None:
    task = make_task(DATA, vocabulary={"name": "mine", "names": {"distractors": ["dragon"]}})
    truth = np.array([[3, 3, 3, 3]], np.uint8)
    found = task.protocol.tally(np.array([[0, 1, 1, -1]]), (3, 0), truth, len(DATA.classes))
    assert found.confusion[3, 3] == 1
    assert found.confusion[3, 0] == 3


def test_the_results_file_says_which(file: Path, tmp_path: Path) -> None:
    words = ["run", "--limit", "2", "--filter", "all", "--set", "crf=false", "--json"]
    plain, changed = (
        CliRunner().invoke(app, [*words, *more, "--out", str(tmp_path / "out")])
        for more in ([], ["--vocabulary", str(file)])
    )
    assert changed.exit_code == 0, changed.output
    first, second = json.loads(plain.stdout), json.loads(changed.stdout)
    assert "vocabulary" not in first["protocol"]
    noted = second["protocol"]["vocabulary"]
    assert noted == Vocabulary.from_dict("mine", read_vocabulary(file)).to_dict()
    assert (noted["renamed"], noted["distractors"]) == (2, 3)
    assert first["metrics"]["miou"] != second["metrics"]["miou"]
    assert len(list((tmp_path / "out").glob("*.json"))) == 2


def test_the_hash_is_that_of_the_names() -> None:
    one = Vocabulary.from_dict("one", {"bus": ["coach"]}).to_dict()["hash"]
    assert one == Vocabulary.from_dict("two", {"bus": ["coach"]}).to_dict()["hash"]
    assert one != Vocabulary.from_dict("one", {"bus": ["tram"]}).to_dict()["hash"]
    assert one != Vocabulary.from_dict("one", {"distractors": ["coach"]}).to_dict()["hash"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("coach", "line 1: 'coach' is no 'class: name; name"),
        ("bus: a\nbus: b", "line 2: 'bus' is there twice"),
    ],
)
def test_what_a_file_may_not_say(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(OvssError, match=message):
        read_vocabulary(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"bsu": ["coach"]}, "class of diorama .*'bsu'; did you mean 'bus'"),
        ({"distractors": ["Bus"]}, "the distractor 'Bus' names a class of diorama"),
        ({"grass": ["lawn"], "distractors": ["lawn"]}, "'lawn' names a class"),
        ({"bus": []}, "'bus' has no name"),
        ({"bus": [" "]}, "'bus' has no name"),
        ({"bus": [3]}, "bus must be"),
    ],
)
def test_what_does_not_fit_the_data_set(names: dict, message: str) -> None:
    with pytest.raises(OvssError, match=message):
        make_task(DATA, vocabulary={"name": "bad", "names": names})


def test_missing_file(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["run", "--vocabulary", str(tmp_path / "none.txt")])
    one_error(done, 2, "none.txt")
