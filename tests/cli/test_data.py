"""``ovss data``: what it prints, its exit status, and the way from nothing to a checked set."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ovsslib.cli.main import app
from ovsslib.datasets import LAYOUTS, list_datasets
from ovsslib.datasets.download import SOURCES
from support.file_server import serving
from support.helpers import one_error, write_voc
from support.small_data import (
    annotation,
    rectangle,
    save_label,
    write_ade,
    write_coco,
    write_context,
)


def ovss(*args: object) -> object:
    return CliRunner().invoke(app, ["data", *map(str, args)])


@pytest.mark.parametrize("command", ["list", "verify", "download", "convert"])
def test_help_has_examples(command: str) -> None:
    done = ovss(command, "--help")
    assert done.exit_code == 0
    assert f"\n    ovss data {command}" in done.output


def test_list_names_every_data_set() -> None:
    lines = ovss("list").output.splitlines()
    assert [line.split()[0] for line in lines] == list_datasets() == sorted(LAYOUTS)
    counts = {line.split()[0]: int(line.split()[1]) for line in lines}
    assert counts == {
        "ade20k": 150,
        "coco-object-instances": 81,
        "coco-object80": 80,
        "coco-object81": 81,
        "coco-stuff": 171,
        "context59": 59,
        "context60": 60,
        "diorama": 20,
        "voc20": 20,
        "voc21": 21,
    }


def test_the_shipped_images_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVSS_DATA", raising=False)
    done = ovss("verify", "diorama", "--split", "tune")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0].startswith("diorama tune: 100 images in ")
    assert done.output.splitlines()[-1] == "no problems found"


def test_what_is_wrong_is_counted_and_shown(tmp_path: Path) -> None:
    write_ade(tmp_path, n=7)
    for number in range(1, 6):
        save_label(tmp_path / "annotations/validation" / f"ADE_val_{number:08d}.png", [200])
    done = ovss("verify", "ade20k", "--root", tmp_path, "--show", 2)
    assert done.exit_code == 1
    lines = [line.strip() for line in done.output.splitlines()]
    assert "label values: 5" in lines
    assert "… and 3 more (--show)" in lines
    assert sum("holds 200" in line for line in lines) == 2
    assert "count: 1" in lines
    assert "148 of 150 classes are in no image: building, sky, floor, tree, ceiling, …" in lines
    assert lines[-1] == "problems found (see above)"


def test_report_as_json(tmp_path: Path) -> None:
    write_voc(tmp_path, 2)
    done = ovss("verify", "voc", "--root", tmp_path, "--json", "--threads", 1, "--deep")
    assert done.exit_code == 1
    report = json.loads(done.output)
    assert (report["dataset"], report["images"], report["expected"]) == ("voc21", 2, [1449])
    assert list(report["faults"]) == ["count"]
    assert len(report["images_with"]) == 21


def test_errors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVSS_DATA", raising=False)
    one_error(ovss("verify", "vok"), 2, "did you mean 'voc")
    one_error(ovss("verify", "coco-stuff"), 2, "OVSS_DATA is not set")
    one_error(ovss("download", "voc"), 2, "set OVSS_DATA, or give one with --root")
    one_error(ovss("download", "vok", "--root", tmp_path), 2, "did you mean 'voc'")
    one_error(ovss("convert", "voc"), 2, "voc is read directly")
    one_error(ovss("convert", "context", "--out", tmp_path), 2, "--out is for coco-object")
    one_error(ovss("convert", "coco-object", "--source", "x"), 2, "maps or instances")
    assert list(tmp_path.iterdir()) == []


def test_download_and_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variant's name gets the files it shares."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as out:
        out.add(write_voc(tmp_path / "made", 3), "VOCdevkit/VOC2012")
    body = content.getvalue()
    (source,) = SOURCES["voc"]
    small = dataclasses.replace(source, checksum=f"md5:{hashlib.md5(body).hexdigest()}")
    monkeypatch.setitem(SOURCES, "voc", (small,))
    shelf = tmp_path / "shelf"
    monkeypatch.setenv("OVSS_DATA", str(shelf))
    with serving({f"/mirror/{source.file}": body}) as server:
        done = ovss("download", "voc20", "--mirror", f"{server.url}/mirror/")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"voc20 is in {shelf}\n"
    report = ovss("verify", "voc20")
    assert report.exit_code == 1
    assert "split val has 3 images, 1449 are expected" in report.output
    assert "label" not in report.output


def test_download_of_context_says_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = SOURCES["context"][1]
    small = dataclasses.replace(file, checksum=f"md5:{hashlib.md5(b'{}').hexdigest()}")
    monkeypatch.setitem(SOURCES, "context", (small,))
    with serving({"/trainval_merged.json": b"{}"}) as server:
        done = ovss("download", "context", "--root", tmp_path, "--mirror", server.url)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1].endswith(
        f"ovss data convert context --root {tmp_path / 'VOCdevkit'}"
    )


def size(path: Path) -> int:
    """In bytes; 0 where the file has gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_an_interrupted_download_says_how_to_resume(tmp_path: Path) -> None:
    file = SOURCES["voc"][0].file
    with serving({f"/{file}": bytes(4 << 20)}) as server:
        server.go_on.clear()
        words = ["data", "download", "voc", "--root", str(tmp_path), "--mirror", server.url]
        process = subprocess.Popen(
            [sys.executable, "-m", "ovsslib", *words], stderr=subprocess.PIPE, text=True
        )
        # Under way: pooch also makes a file to try whether the folder can be written to.
        while not any(map(size, tmp_path.rglob("tmp*"))):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        server.go_on.set()
    assert process.returncode == 130
    last = errors.splitlines()[-2:]
    assert last[0].startswith("interrupted; the same command skips what is complete")
    assert last[1].endswith(f"curl -fL -C - -o {tmp_path / 'downloads' / file} {server.url}/{file}")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_convert_context(tmp_path: Path) -> None:
    root = write_context(tmp_path / "VOC2010")
    (root / "SegmentationClassContext").rename(root / "59_context_labels")
    lists = root / "ImageSets" / "SegmentationContext"
    lists.rename(root / "ImageSets" / "Main")
    (root / "ImageSets" / "Main" / "train.txt").write_text("2008_000000\n")
    done = ovss("convert", "context", "--root", tmp_path)
    assert done.exit_code == 0, done.output
    assert done.output == f"2 labels are in {root / 'SegmentationClassContext'}\n"
    assert ovss("verify", "context59", "--root", tmp_path).output.count("label") == 0


def test_convert_coco_object(tmp_path: Path) -> None:
    write_coco(tmp_path, [annotation(1, 1, [rectangle(0, 0, 3, 3)])])
    done = ovss("convert", "coco-object", "--root", tmp_path)
    assert done.output == f"3 labels are in {tmp_path / 'annotations' / 'val2017'}\n"
    done = ovss("convert", "coco-object", "--root", tmp_path, "--source", "instances")
    assert done.output == f"3 labels are in {tmp_path / 'instances/annotations/val2017'}\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from ovsslib.cli.main import app; from typer.testing import CliRunner; "
        "CliRunner().invoke(app, ['data', 'verify', '--help']); "
        "print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
