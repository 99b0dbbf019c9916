"""Secrets are planted wherever one is read, and looked for in everything that is written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from ovsslib import redact as module
from ovsslib.cli._common import note, plain_output
from ovsslib.cli.main import COMMANDS, app
from ovsslib.evaluate.shard_file import read
from ovsslib.redact import redact, redacted, watch
from support.chat_server import ChatServer, chat, green_voc
from support.helpers import make_tiny_blip

__all__ = ["chat"]

KINDS = ("json", "jsonl")
KEY = "no-known-form-0123"
TWO_LINES = "no-known-form-0123\nnor-this-4567\n"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret but the planted one is known, and no proxy used."""
    monkeypatch.setattr(module, "_watched", set())
    for name in list(os.environ):
        if name.upper().endswith(("KEY", "TOKEN", "SECRET", "PASSWORD", "PROXY")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "name",
    ["OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "my_secret"],
)
def test_variables_that_hold_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, KEY)
    assert redact(f"a{KEY}b, {KEY}") == "a[key]b, [key]"
    monkeypatch.setenv(name, "other-key-0123")
    assert KEY in redact(KEY)


def test_other_variables_hold_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVSS_DATA", KEY)
    assert redact(KEY) == KEY
    watch(KEY)
    assert redact(KEY) == "[key]"


def test_passwords_in_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{KEY}@host:80")
    assert redact(f"{KEY} is wrong") == "[key] is wrong"
    assert redact("no way to http://me:pw@host:80/a") == "no way to http://[key]@host:80/a"
    assert (
        redact("https://host/m.pth?x=1&api_key=ab#sha")
        == "https://host/m.pth?x=1&api_key=[key]#sha"
    )


@pytest.mark.parametrize(
    "key", [KEY, TWO_LINES, "é\udcffquoted\"'key\\\t/%", "a b c d e\r\nf g h i j"]
)
def test_all_ways_to_write_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    raw = key.strip().encode("utf-8", "surrogateescape")
    ways = [key, repr(key), ascii(key), str(key.encode("utf-8", "surrogateescape"))]
    ways += [json.dumps(key), quote(raw, safe=""), " ".join(key.split()), key.splitlines()[0]]
    for way in ways:
        left = redact(f"it was <{way}>.")
        assert re.sub(r"\\[nr]|[\n'\"]", "", left) in ("it was <[key]>.", "it was <b[key]>.")


def test_what_looks_like_a_key() -> None:
    assert redact("your key sk-pro***KEY is wrong") == "your key [key] is wrong"
    assert redact("sk-proj-0123456789abcdef, hf_" + 20 * "a") == "[key], [key]"
    assert (
        redact(r"Illegal header value b'Bearer ab\ncd'") == "Illegal header value b'Bearer [key]'"
    )
    words = "a desk-mounted sk-lamp, a bearer of ox and fox; the key is gone: https://host/v1?x=2"
    assert redact(words) == words


def test_short_secrets_leave_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for word in ("", "x", "none", "EMPTY"):
        monkeypatch.setenv("OPENAI_API_KEY", word)
        assert redact("none of the boxes is EMPTY") == "none of the boxes is EMPTY"


def test_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "12345678")
    record = {"failed": {"p": "12345678!"}, "more": ["12345678", 12345678, None, 0.5]}
    assert redacted(record) == {"failed": {"p": "[key]!"}, "more": ["[key]", 12345678, None, 0.5]}
    assert record["more"][0] == "12345678"


def test_notes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", TWO_LINES)
    with plain_output(debug=True):
        warnings.warn(f"it is {TWO_LINES}", stacklevel=1)
        note(f"it is {TWO_LINES}")
    assert capsys.readouterr().err == "warning: it is [key]\nit is [key]\n"


def ovss(*words: object) -> str:
    """What a command prints; with --debug also the exception."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.output + "".join(traceback.format_exception(done.exception))


def small(tmp_path: Path) -> list[object]:
    settings = [word for one in ("layer=1", "rounds=1", "crf=false") for word in ("--set", one)]
    tiny = make_tiny_blip(tmp_path / "tiny")
    return ["--vlm", tiny, "--preset", "micro-blip", *settings, "--allow-bad", 9]


@pytest.mark.parametrize(
    ("name", "key"), [("OPENAI_API_KEY", KEY), ("LOCAL_ONE", KEY), ("OPENAI_API_KEY", TWO_LINES)]
)
def test_everything_written_is_without_the_key(
    chat: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, key: str
) -> None:
    root = green_voc(tmp_path / "data", 3)
    monkeypatch.setenv(name, key)
    data = ["--dataset", "diorama", "--root", root]
    quick = ["--filter-set", "attempts=2"]
    ask = ["filter", "ask", *data, "--base-url", chat.url, "--key-env", name, "--concurrency", 1]
    run = ["run", *data, *small(tmp_path), "--filter", "gpt4o"]
    for setting in (f"base_url={chat.url}", f"key_env={name}", "concurrency=1"):
        run += ["--filter-set", setting]
    ask, run = [*ask, *quick], [*run, *quick]
    # Two attempts for each of three pictures, then again for what a run lacks.
    scripts = (["500", "500", "echo", "ok", "500", "500"], ["401"], ["400"] * 8, ["drop"] * 2)
    said = []
    for script in scripts:
        for words in (ask, ["--debug", *ask], run, [*run, "--json", "--workers", 1]):
            place = tmp_path / str(len(said))
            file = place.with_suffix(".jsonl")
            last = ["--filter-set", f"answers={file}", "--out", place] if "run" in words else [file]
            chat.script = list(script)
            said.append(ovss(*words, *last))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    written = "\n".join([*said, *(path.read_bytes().decode("latin-1") for path in files)])
    for line in key.split():
        assert line not in written
    if key == KEY:
        assert chat.keys[0] == f"Bearer {key}"
        kept = [str(read(path).failed) for path in tmp_path.rglob("*-of-*.parquet")]
        for texts in (kept, *(map(Path.read_text, tmp_path.rglob(f"*.{k}")) for k in KINDS)):
            assert "[key]" in "".join(texts)
    else:
        assert chat.keys == []
        assert all(f"{name} holds a line end" in text for text in said)


def errors(*arguments: str) -> str:
    """What a process says on standard error, with the key in its environment."""
    environment = {**os.environ, "OPENAI_API_KEY": KEY}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    ).stderr


def test_tracebacks_of_the_command() -> None:
    said = errors("-m", "ovsslib", "--debug", "run", "--dataset", KEY)
    assert said.startswith("Traceback")
    assert "'[key]'" in said
    assert KEY not in said


def test_tracebacks_of_workers() -> None:
    """A worker's exception, with its own traceback as text, is shown by the command."""
    fails = "lambda: list(run_all(int, [KEY], Engine(workers=1)))"
    said = errors(
        "-c",
        "from ovsslib.cli import main as cli; "
        "from ovsslib.evaluate.engines import Engine, run_all; "
        f"KEY = {KEY!r}; cli.app = {fails}; cli.main()",
    )
    assert "_RemoteTraceback" in said
    assert said.endswith("ValueError: invalid literal for int() with base 10: '[key]'\n")
    assert KEY not in said


def test_an_unexpected_error_on_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ("from ovsslib.cli._common import new_app", "app = new_app()")
    text = "\n".join([*lines, f"app.command()(lambda: int('{KEY}'))"])
    (tmp_path / "odd_command.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(COMMANDS, "odd", ("odd_command", "Fails."))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    said = CliRunner().invoke(app, ["odd"]).output
    assert said.startswith("error: ValueError: invalid literal for int() with base 10: '[key]' (un")
    assert KEY not in said
