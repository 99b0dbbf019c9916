"""`ovss bench`: mistakes are named in one line, and help has examples."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ovsslib.bench.random_models import TINY
from ovsslib.cli.bench.tuning import finish
from ovsslib.cli.main import app
from ovsslib.errors import OvssError
from support.helpers import one_error

COMMANDS = ["salience", "refine", "pipeline", "evaluation", "dask", "tuning", "peers", "training"]


def ovss(words: str) -> Any:
    return CliRunner().invoke(app, ["bench", *words.split()])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("salience --dtype floot32", "did you mean 'float32'"),
        ("salience --image-size 337", "image_size 337 is not a multiple of the 16-pixel patch"),
        ("salience --device nowhere", "device 'nowhere' cannot be used"),
        (f"salience --vlm {TINY} --layer 9", "layer 9 does not exist"),
        ("salience --vlm blip-huge", "unknown vision-language model"),
        ("salience --batches 1,zero", "--batches '1,zero'"),
        ("salience --batches 0", "--batches '0'"),
        ("refine --size 500", "--size '500'"),
        ("refine --classes 0", "--classes '0'"),
        ("refine --refine-workers -1", "--refine-workers '-1'"),
        ("pipeline --crf torhc", "did you mean 'torch'"),
        ("pipeline --batches 0", "--batches '0'"),
        ("pipeline --classes x", "--classes 'x'"),
        ("pipeline --size 500", "--size '500'"),
        ("training --models micro-tlc", "did you mean 'micro-tcl'"),
    ],
)
def test_faults(words: str, expected: str) -> None:
    one_error(ovss(words), 2, expected)


def test_batch_0() -> None:
    done = ovss("salience --batch 0")
    assert done.exit_code == 2
    assert "--batch" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str) -> None:
    done = ovss(f"{command} --help")
    assert done.exit_code == 0
    assert f"\n    ovss bench {command} --" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_what_was_measured_is_stored_before_it_is_printed(tmp_path: Path) -> None:
    record = {"kind": "bench-dask", "settings": {}, "provenance": {}}
    with (
        open("/dev/full", "wb", buffering=0) as full,
        contextlib.redirect_stdout(io.TextIOWrapper(full, write_through=True)),
        pytest.raises(OSError, match="No space left"),
    ):
        finish(record, "text", tmp_path, as_json=False)
    assert json.loads((tmp_path / "dask.json").read_text()) == record


def test_what_was_measured_is_printed_where_it_cannot_be_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    record = {"kind": "bench-dask", "settings": {}, "provenance": {}}
    with pytest.raises(OvssError, match="cannot be made"):
        finish(record, "figures", tmp_path / "file", as_json=False)
    assert capsys.readouterr().out == "figures\n"


def test_an_output_folder_is_tried_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for command in COMMANDS:
        one_error(ovss(f"{command} --out {tmp_path}/file"), 2, "the folder cannot be made")
