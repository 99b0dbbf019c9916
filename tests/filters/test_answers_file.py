"""The answer file: written line by line, by one process at a time, and read past damage."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.filters.answers.file import Answer, AnswerWriter, Source, keep, read_answers
from ovsslib.filters.answers.parse import Guess, Parsed, Remark

SOURCE = Source("voc", "val", "m", "abc", "http://localhost/v1")


def answer(name: str, *guesses: Guess, readable: bool = True) -> Answer:
    return Answer(name, "täxt\n…", Parsed(guesses, (Remark("p", "r"),), readable), (10, 2))


CAT = Guess(8, "cat", 0.9)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    given = [answer("b", CAT, Guess(3, "cow", None)), answer("a"), answer("c", readable=False)]
    with AnswerWriter(path, SOURCE) as writer:
        for item in given:
            writer.write(item)
            assert read_answers(path).by_image[item.image] == item  # at once, not at the end
    stored = read_answers(path)
    assert stored.source == SOURCE
    assert list(stored.by_image.values()) == given
    assert stored.damaged == ()
    assert stored.unreadable == ["c"]
    first = json.loads(path.read_text().splitlines()[0])
    assert first["raw"] == "täxt\n…"
    assert {"model", "prompt", "dataset", "image", "labels", "server"} <= set(first)


def test_a_half_written_line_is_reported_and_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with AnswerWriter(path, SOURCE) as writer:
        writer.write(answer("a", CAT), answer("b", CAT))
    path.write_bytes(path.read_bytes()[:-20])
    assert list(read_answers(path).by_image) == ["a"]
    with AnswerWriter(path, SOURCE) as writer:
        writer.write(answer("b"))
    stored = read_answers(path)
    assert list(stored.by_image) == ["a", "b"]
    assert stored.damaged == (2,)


@pytest.mark.parametrize("kept", [1, 30, 200])
def test_killed_in_the_first_line(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.jsonl"
    with AnswerWriter(path, SOURCE) as writer:
        writer.write(answer("a", CAT))
    path.write_bytes(path.read_bytes()[:kept])
    assert read_answers(path).by_image == {}
    with AnswerWriter(path, SOURCE) as writer:
        writer.write(answer("a"))
    assert list(read_answers(path).by_image) == ["a"]


def test_the_last_answer_counts_and_order_does_not(tmp_path: Path) -> None:
    for name, order in (("x", "abc"), ("y", "cab")):
        with AnswerWriter(tmp_path / name, SOURCE) as writer:
            writer.write(*(answer(image, CAT) for image in order))
    x, y = (read_answers(tmp_path / name) for name in "xy")
    assert x.digest == y.digest
    with AnswerWriter(tmp_path / "y", SOURCE) as writer:
        writer.write(answer("a", replace(CAT, probability=0.8)))
    y = read_answers(tmp_path / "y")
    assert y.by_image["a"].parsed.guesses[0].probability == 0.8
    assert x.digest != y.digest


@pytest.mark.parametrize("field", ["dataset", "split", "model", "prompt", "server"])
def test_one_file_holds_one_kind_of_answers(tmp_path: Path, field: str) -> None:
    path = tmp_path / "a.jsonl"
    with AnswerWriter(path, SOURCE) as writer:
        writer.write(answer("a"))
    other = replace(SOURCE, **{field: "else"})
    match = f"a.jsonl: holds answers with {field} '.*', not 'else'; give another file"
    with pytest.raises(OvssError, match=match), AnswerWriter(path, other):
        pass
    with AnswerWriter(tmp_path / "b.jsonl", other) as writer:
        writer.write(answer("b"))
    path.write_bytes(path.read_bytes() + (tmp_path / "b.jsonl").read_bytes())
    with pytest.raises(OvssError, match=f"line 2: holds answers with {field}"):
        read_answers(path)


def test_two_writers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with AnswerWriter(path, SOURCE) as writer:
        code = (
            "import sys; from ovsslib.filters.answers.file import *\n"
            f"with AnswerWriter(sys.argv[1], {SOURCE!r}): pass"
        )
        command = [sys.executable, "-c", code, path]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert "another process is writing" in done.stderr
        threads = [
            threading.Thread(
                target=lambda i=i: [writer.write(answer(f"{i}_{k}")) for k in range(9)]
            )
            for i in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    stored = read_answers(path)
    assert len(stored.by_image) == 72
    assert stored.damaged == ()
    with pytest.raises(OvssError, match="is not open"):
        writer.write(answer("late"))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match=r"no such answer file; write one with `ovss filter ask`"):
        read_answers(tmp_path / "none.jsonl")
    assert read_answers(tmp_path / "none.jsonl", missing=True).by_image == {}
    (tmp_path / "voc.json").write_text('{"2007_000033": "[1: cat], [90]"}')
    with pytest.raises(OvssError, match=r"holds no answers; .*`ovss filter import`"):
        read_answers(tmp_path / "voc.json")
    with pytest.raises(OvssError, match="no such answer file"):
        read_answers(tmp_path, missing=True)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    """A byte order mark changes nothing; a file of another encoding is not appended to."""
    path = tmp_path / "a.jsonl"
    with AnswerWriter(path, SOURCE) as writer:
        writer.write(answer("a"), answer("b"))
    whole, text = read_answers(path), path.read_text()
    path.write_bytes(text.encode("utf-8-sig"))
    assert read_answers(path) == whole
    path.write_bytes(wide := text.encode(encoding))
    writer = AnswerWriter(path, SOURCE)
    with pytest.raises(OvssError, match="save the file as UTF-8"), writer:
        pass
    assert path.read_bytes() == wide


def test_a_full_disk_is_reported() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    writer = AnswerWriter("/dev/full", SOURCE)
    with open("/dev/full", "wb", buffering=0) as file:
        writer._file = file
        with pytest.raises(OvssError, match=r"cannot be written .*space"):
            writer.write(answer("a"))


def test_which_classes_count() -> None:
    guesses = [Guess(5, "e", 0.71), Guess(2, "b", 0.7), Guess(9, "i", 0.99), Guess(1, "a", None)]
    assert keep(guesses) == (5, 9)
    assert keep(guesses, most=1) == (9,)
    assert keep(guesses, 0.69) == (2, 5, 9)
    assert keep(guesses, 0) == (1, 2, 5, 9)
    assert keep([]) == ()


def test_no_line_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "no-known-form-0123"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    remarks = (Remark(f"{key}: 99", f"{key} is no class"),)
    with AnswerWriter(tmp_path / "a.jsonl", SOURCE) as writer:
        writer.write(Answer("p", f"I am {key}", Parsed((CAT,), remarks, True)))
    (stored,) = read_answers(tmp_path / "a.jsonl").by_image.values()
    assert stored.raw == "I am [key]"
    assert stored.parsed.remarks == (Remark("[key]: 99", "[key] is no class"),)
