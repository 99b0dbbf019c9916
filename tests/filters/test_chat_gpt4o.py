"""The filter of the paper within a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.spec import Execution, Log
from ovsslib.evaluate.task import batches, make_task
from ovsslib.filters import get_filter
from ovsslib.filters.answers.file import read_answers
from support.chat_server import ChatServer, chat, green_voc, key

__all__ = ["chat", "key"]


def settings(chat: ChatServer, path: Path) -> dict[str, object]:
    return {"answers": str(path), "base_url": chat.url, "attempts": 2}


def test_a_run_asks_first_and_then_reads(chat: ChatServer, key: str, tmp_path: Path) -> None:
    data = load_dataset("diorama", green_voc(tmp_path / "data", 6))
    path = tmp_path / "a.jsonl"
    chat.delay = 0.4
    work = make_task(data, filter="gpt4o", filter_settings=settings(chat, path), limit=5)
    bars = []

    def progress(items: object, description: str, total: int) -> object:
        bars.append((description, total))
        return items

    log = Log()
    items = [p for batch in batches(work, Execution(progress=progress), log) for p in batch]
    assert bars == [("asking", 5), ("diorama", 5)]
    assert log.failed == {}
    assert [item.looked_for for item in items] == [(1,), (2,), (3,), (4,), (5,)]
    assert chat.most_flying == 4
    assert len(chat.requests) == 5
    list(batches(work, Execution(), log))
    assert len(chat.requests) == 5


def test_images_sent_are_shrunk(chat: ChatServer, key: str, tmp_path: Path) -> None:
    data = load_dataset("diorama", green_voc(tmp_path / "data", 1, size=(200, 100)))
    class_filter = get_filter("gpt4o", settings(chat, tmp_path / "a.jsonl") | {"side": 64})
    assert class_filter(data, "img_0000") == (1,)
    assert [image.size for image in chat.sent] == [(64, 32)]


def test_what_a_result_holds(chat: ChatServer, key: str, tmp_path: Path) -> None:
    data = load_dataset("diorama", green_voc(tmp_path / "data", 2))
    class_filter = get_filter("gpt4o", settings(chat, tmp_path / "a.jsonl"))
    assert class_filter.described["prompt"] is None
    class_filter.prepare(data, data.ids)
    described = class_filter.described
    assert described["answers"] == read_answers(tmp_path / "a.jsonl").digest
    assert described["prompt"] == class_filter.question(data.classes).hash
    assert (described["model"], described["base_url"], described["threshold"]) == (
        "gpt-4o",
        chat.url,
        0.7,
    )
    assert str(tmp_path) not in str(described)
    assert key not in str(described) + repr(class_filter)


def test_an_image_without_an_answer_fails_alone(chat: ChatServer, key: str, tmp_path: Path) -> None:
    data = load_dataset("diorama", green_voc(tmp_path / "data", 3))
    given = settings(chat, tmp_path / "a.jsonl") | {"concurrency": 1}
    chat.script = ["500", "500"]
    work = make_task(data, filter="gpt4o", filter_settings=given)
    log = Log()
    names = [p.name for batch in batches(work, Execution(), log) for p in batch]
    assert names == ["img_0001", "img_0002"]
    assert "no answer for img_0000 (" in log.failed["img_0000"]


def test_a_spent_budget_ends_a_run_before_it_begins(
    chat: ChatServer, key: str, tmp_path: Path
) -> None:
    data = load_dataset("diorama", green_voc(tmp_path / "data", 3))
    given = settings(chat, tmp_path / "a.jsonl") | {"max_images": 2}
    work = make_task(data, filter="gpt4o", filter_settings=given)
    with pytest.raises(OvssError, match=r"budget of 2 images is spent \(2 new answers are kept"):
        list(batches(work, Execution(), {}))


def test_answers_of_another_model_are_not_taken(chat: ChatServer, key: str, tmp_path: Path) -> None:
    data = load_dataset("diorama", green_voc(tmp_path / "data", 1))
    given = settings(chat, tmp_path / "a.jsonl")
    get_filter("gpt4o", given)(data, "img_0000")
    with pytest.raises(OvssError, match="holds answers with model 'gpt-4o', not 'other'"):
        get_filter("gpt4o", given | {"model": "other"})(data, "img_0000")
