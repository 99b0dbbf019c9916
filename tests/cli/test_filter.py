"""``ovss filter``: the commands, and a run that is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ovsslib.cli.main import app
from ovsslib.datasets import load_dataset
from ovsslib.filters.answers.file import read_answers
from ovsslib.filters.base import Oracle
from support.chat_server import ChatServer, chat, green_voc, key
from support.helpers import SHARED, make_tiny_blip, needs_realdata, one_error, write_voc

__all__ = ["chat", "key"]


SETTINGS = ("layer=1", "rounds=1", "crf=false")
SMALL = ["--preset", "micro-blip", *(word for s in SETTINGS for word in ("--set", s))]


def ovss(*arguments: object) -> object:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def asking(chat: ChatServer, root: Path, *more: object) -> list[str]:
    place = ["--dataset", "diorama", "--root", root, "--base-url", chat.url]
    quick = ["--filter-set", "timeout=5"]
    return [str(word) for word in (*place, *quick, *more)]


def test_help_has_examples_and_imports_nothing_heavy() -> None:
    for command in ("ask", "import", "score", "tune"):
        done = ovss("filter", command, "--help")
        assert done.exit_code == 0
        assert re.search(rf"\n +ovss filter {command}", done.output)
    code = (
        "import sys; from ovsslib.cli.main import app; from typer.testing import CliRunner; "
        "CliRunner().invoke(app, ['filter', 'ask', '--help']); "
        "print({'torch', 'numpy', 'PIL', 'openai'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_ask_then_score_then_run(chat: ChatServer, key: str, tmp_path: Path) -> None:
    root, path = green_voc(tmp_path / "data", 5), tmp_path / "a.jsonl"
    done = ovss("filter", "ask", path, *asking(chat, root, "--max-images", 3, "--concurrency", 1))
    assert done.exit_code == 1
    assert done.stdout == "3 new answers, 3 of 5 images\n"
    assert "stopped: the budget of 3 images is spent; the same command continues" in done.stderr
    chat.script = ["prose", "prose"]
    done = ovss("filter", "ask", path, *asking(chat, root, "--concurrency", 1))
    assert (done.exit_code, done.stdout) == (0, "2 new answers, 5 of 5 images\n")
    assert "img_0003: the answer holds no list of classes; ask again" in done.stderr
    done = ovss("filter", "ask", path, *asking(chat, root, "--again"))
    assert (done.exit_code, done.stdout) == (0, "1 new answers, 5 of 5 images\n")

    place = ["--dataset", "diorama", "--root", root]
    done = ovss("filter", "score", path, *place, "--json")
    record = json.loads(done.stdout)
    data = load_dataset("diorama", root)
    hits = sum(int(name[-4:]) + 1 in Oracle()(data, name) for name in data.ids)
    assert (record["precision"], record["recall"]) == (hits / 5, hits / 10)
    assert record["filter_settings"]["model"] == "gpt-4o"
    assert "1.00 classes named per image, 2.00 true" in ovss("filter", "score", path, *place).stdout

    tiny = make_tiny_blip(tmp_path / "tiny")
    run = ["run", *place, "--vlm", tiny, *SMALL, "--out", tmp_path / "out"]
    done = ovss(*run, "--filter", f"recorded:{path}", "--filter-set", "threshold=0.8", "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["filter"] == "recorded"
    assert record["filter_settings"]["threshold"] == 0.8
    other = json.loads(ovss(*run, "--filter", f"recorded:{path}", "--json").stdout)
    assert other["name"] != record["name"]
    stored = "".join(p.read_text() for p in (tmp_path / "out").glob("*.json"))
    assert key not in stored + path.read_text()
    assert str(tmp_path) not in stored


def test_oracle_and_all_leave_no_trace_of_settings(tmp_path: Path) -> None:
    root, tiny = write_voc(tmp_path / "data", 2), make_tiny_blip(tmp_path / "tiny")
    done = ovss("run", "--root", root, "--vlm", tiny, *SMALL, "--out", tmp_path, "--json")
    assert "filter_settings" not in json.loads(done.stdout)
    done = ovss("run", "--root", root, "--filter-set", "threshold=1", "--out", tmp_path)
    one_error(done, 2, "the filter 'oracle' has no settings")
    done = ovss("run", "--root", root, "--filter-set", "threshold", "--out", tmp_path)
    one_error(done, 2, "--filter-set 'threshold': write it as key=value")


@pytest.mark.parametrize("delay", [0.1, 0.3])
def test_kill_9_loses_only_what_is_in_flight(
    chat: ChatServer, key: str, tmp_path: Path, delay: float
) -> None:
    root, path = green_voc(tmp_path / "data", 80), tmp_path / "a.jsonl"
    chat.delay = delay
    command = [sys.executable, "-m", "ovsslib", "filter", "ask", str(path), *asking(chat, root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(chat.requests) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    output = process.communicate()
    time.sleep(delay + 0.5)  # the server finishes what it has begun
    asked = len(chat.requests)
    assert 10 <= asked < 80, output
    kept = len(read_answers(path).by_image)
    assert asked - 4 <= kept <= asked  # four at a time
    chat.delay = 0
    done = ovss("filter", "ask", path, *asking(chat, root))
    assert done.exit_code == 0, done.output
    stored = read_answers(path)
    assert len(stored.by_image) == 80
    assert len(chat.requests) - asked == 80 - kept
    for name, answer in stored.by_image.items():
        assert [g.label for g in answer.parsed.guesses] == [int(name[-4:]) % 20 + 1]


def test_errors_are_one_line_without_the_key(
    chat: ChatServer, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = green_voc(tmp_path / "data", 1)
    chat.script = ["401"]
    done = ovss("filter", "ask", tmp_path / "a.jsonl", *asking(chat, root))
    assert done.exit_code == 1
    assert "answers 401" in done.stderr
    assert key not in done.output
    monkeypatch.delenv("OPENAI_API_KEY")
    done = ovss("filter", "ask", tmp_path / "b.jsonl", "--root", root)
    one_error(done, 2, "set OPENAI_API_KEY")
    done = ovss("filter", "ask", tmp_path / "b.jsonl", "--root", root, "--max-cost", 1)
    one_error(done, 2, "needs the model's prices")


@needs_realdata
def test_import_lists_what_is_odd(tmp_path: Path) -> None:
    released = SHARED / "gpt4o" / "coco_object_classification_noboundary.json"
    out = tmp_path / "coco.jsonl"
    done = ovss("filter", "import", released, "--dataset", "coco-object", "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(
        "5000 answers, 12352 classes named, 15 oddities listed, 0 answers unreadable"
    )
    assert len(done.stderr.splitlines()) == 15
    assert "000000095069: 0: None: no class has number 0" in done.stderr
    stored = read_answers(out)
    assert len(stored.by_image) == 5000
    assert stored.source.dataset == "coco-object"
    one_error(
        ovss("filter", "import", released, "--dataset", "coco-object", "--out", out), 2, "exists"
    )
    wrong = ovss("filter", "import", released, "--dataset", "voc", "--out", tmp_path / "x.jsonl")
    one_error(wrong, 2, "its classes are not the data set's")
    assert not (tmp_path / "x.jsonl").exists()


def test_tune(tmp_path: Path) -> None:
    done = ovss("filter", "tune", "clip", "--limit", 5)
    assert re.fullmatch(r"threshold 0\.\d{3}: F1 0\.\d{4} on 5 images of tune\n", done.stdout)
    one_error(ovss("filter", "tune", "oracle"), 2, "has no threshold to choose")
