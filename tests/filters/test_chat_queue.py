"""Many images, several at once, over real HTTP; stopping, and going on."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovsslib.datasets import load_dataset
from ovsslib.datasets.base import Dataset
from ovsslib.errors import OvssError
from ovsslib.filters import get_filter
from ovsslib.filters.answers.file import Answer, Answers, AnswerWriter, read_answers
from ovsslib.filters.answers.parse import Parsed
from ovsslib.filters.chat.client import Asker
from ovsslib.filters.chat.queue import AskReport, Budget, missing
from ovsslib.filters.chat.queue import ask as ask_all
from support.chat_server import ChatServer, chat, green_voc, key

__all__ = ["chat", "key"]


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return load_dataset("diorama", green_voc(tmp_path / "data", 12))


def gpt(chat: ChatServer, path: Path, **settings: object) -> object:
    base = {"base_url": chat.url, "timeout": 5.0, "attempts": 3}
    return get_filter(f"gpt4o:{path}", base | settings)


def ask(model: object, data: Dataset, **options: object) -> tuple[AskReport, list[str]]:
    report = AskReport()
    return report, list(model.asking(data, data.ids, report, **options))


def right(path: Path) -> bool:
    """Whether each answer is that of its own image."""
    answers = read_answers(path).by_image
    return all(
        [g.label for g in answer.parsed.guesses] == [int(name[-4:]) % 20 + 1]
        for name, answer in answers.items()
    )


def test_all_are_asked_at_once_and_only_once(
    chat: ChatServer, key: str, data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    chat.delay = 0.3
    report, seen = ask(gpt(chat, path, concurrency=3), data)
    assert sorted(report.answered) == sorted(seen) == sorted(data.ids)
    assert chat.most_flying == 3
    assert len(chat.requests) == 12
    assert right(path)
    report, seen = ask(gpt(chat, path), data)
    assert (report.answered, seen) == ([], list(data.ids))
    assert len(chat.requests) == 12
    assert key not in path.read_text()


def test_a_server_in_a_bad_mood(chat: ChatServer, key: str, data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    chat.script = ["429", "500", "half", "not json", "around", "cut", "unknown"]
    report, _ = ask(gpt(chat, path, attempts=4), data)
    assert (report.failed, report.stopped, len(report.answered)) == ({}, None, 12)
    assert right(path)
    assert len(chat.requests) == 12 + 4


def test_one_bad_image_does_not_stop_the_others(
    chat: ChatServer, key: str, data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    (data.root / "JPEGImages/img_0004.jpg").write_bytes(b"")
    report, seen = ask(gpt(chat, path), data)
    assert list(report.failed) == ["img_0004"]
    assert report.stopped is None
    assert len(report.answered) == 11
    assert len(seen) == 12


def test_a_budget_stops_and_the_next_call_goes_on(
    chat: ChatServer, key: str, data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    report, _ = ask(gpt(chat, path, max_images=5), data)
    assert (len(report.answered), report.failed) == (5, {})
    assert report.stopped == "the budget of 5 images is spent"
    # An answer costs 0.0035: the third passes the limit, when two others may be in flight.
    prices = {"max_cost": 0.01, "price_in": 2.5, "price_out": 10, "concurrency": 3}
    report, _ = ask(gpt(chat, path, **prices), data)
    spent = len(report.answered)
    assert 3 <= spent <= 5
    assert "budget of 0.01 is spent" in report.stopped
    assert report.cost == pytest.approx(0.0035 * spent)
    report, _ = ask(gpt(chat, path), data)
    assert len(report.answered) == 12 - 5 - spent
    assert right(path)
    assert len(chat.requests) == 12


@pytest.mark.parametrize(("status", "most"), [("401", 2), ("500", 5 + 2)])
def test_a_server_that_will_not_is_left_alone(
    chat: ChatServer, key: str, data: Dataset, tmp_path: Path, status: str, most: int
) -> None:
    chat.script = [status] * 99
    report, _ = ask(gpt(chat, tmp_path / "a.jsonl", concurrency=2, attempts=1), data)
    assert status in report.stopped
    assert len(chat.requests) <= most
    assert key not in report.stopped + str(report.failed)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_ends_the_spending(
    chat: ChatServer, key: str, data: Dataset, tmp_path: Path
) -> None:
    model = gpt(chat, tmp_path / "a.jsonl", concurrency=2)
    asker = Asker(model, model.question(data.classes))
    report = AskReport()
    with (
        AnswerWriter(tmp_path / "a.jsonl", model.source(data)) as writer,
        open("/dev/full", "wb", buffering=0) as full,
    ):
        writer._file = full
        list(ask_all(asker, data, data.ids, writer, concurrency=2, report=report))
    assert "cannot be written" in report.stopped
    assert report.answered == []
    assert len(chat.requests) <= 4


def test_a_caller_that_stops_keeps_what_is_in_flight(
    chat: ChatServer, key: str, data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    chat.delay = 0.1
    steps = gpt(chat, path, concurrency=2).asking(data, data.ids, AskReport())
    next(steps)
    steps.close()  # what Ctrl-C leads to
    assert len(read_answers(path).by_image) == len(chat.requests) < 12
    assert right(path)


def test_what_could_not_be_read_is_asked_again_on_demand(
    chat: ChatServer, key: str, data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    chat.script = ["prose", "prose"]
    ask(gpt(chat, path, concurrency=1), data)
    assert read_answers(path).unreadable == ["img_0000"]
    report, _ = ask(gpt(chat, path), data)
    assert report.answered == []
    report, _ = ask(gpt(chat, path), data, again=True)
    assert report.answered == ["img_0000"]
    assert right(path)


def test_another_model_needs_another_file(
    chat: ChatServer, key: str, data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    ask(gpt(chat, path), data)
    for other in ({"model": "else"}, {"side": 64}):
        with pytest.raises(OvssError, match="give another file"):
            ask(gpt(chat, path, **other), data)
    assert len(chat.requests) == 12


def test_missing() -> None:
    there = {n: Answer(n, "", Parsed((), (), n == "a")) for n in "ab"}
    answers = Answers(Path(), by_image=there)
    assert missing("abc", answers) == ["c"]
    assert missing("abc", answers, again=True) == ["b", "c"]


def test_a_cost_that_the_server_does_not_give(
    chat: ChatServer, key: str, data: Dataset, tmp_path: Path
) -> None:
    chat.usage = False
    prices = {"max_cost": 1.0, "price_in": 1.0, "price_out": 1.0, "concurrency": 1}
    report, _ = ask(gpt(chat, tmp_path / "a.jsonl", **prices), data)
    assert report.answered == ["img_0000"]
    assert "does not say how many tokens" in report.stopped


def test_budgets_that_make_no_sense() -> None:
    with pytest.raises(OvssError, match="needs the model's prices"):
        Budget(cost=1.0)
    with pytest.raises(OvssError, match="budget's images must be int >= 1"):
        Budget(images=0)
    with pytest.raises(OvssError, match="budget's cost must be float > 0"):
        Budget(cost=0.0, price_in=1.0, price_out=1.0)
