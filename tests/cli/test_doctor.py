"""What `ovss doctor` finds of packages, machine and device, and the command as a whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ovsslib.cli import doctor
from ovsslib.cli.doctor import (
    DATA_COMMANDS,
    HUB_MODELS,
    LAVIS_FILE,
    SHIPPED,
    Row,
    data_rows,
    device_rows,
    healthy,
    machine_rows,
    model_rows,
    package_rows,
)
from ovsslib.cli.main import app
from ovsslib.datasets import FILES
from support.helpers import ROOT, as_nobody, write_voc
from support.small_data import write_coco


def by_name(rows: list[Row]) -> dict[str, Row]:
    assert len({row.name for row in rows}) == len(rows)
    return {row.name: row for row in rows}


def test_packages_of_this_environment() -> None:
    rows = by_name(package_rows())
    assert rows["ovsslib"].detail == metadata.version("ovsslib")
    assert rows["torch"] == Row("packages", "torch", "ok", metadata.version("torch"), True)
    assert not rows["openai"].required
    assert "ruff" not in rows
    assert "salesforce-lavis" in rows


def test_packages_that_are_missing_or_old() -> None:
    lines = ["openai>=1; extra == 'full'", "no-such-thing[x]>=2,<3", 'nope>1; extra == "full"']
    old = f"numpy<{metadata.version('numpy')}"
    rows = by_name(package_rows([*lines, old, "pytest", "ruff>=99; extra == 'dev'"]))
    gone = rows["no-such-thing"]
    assert (gone.state, gone.required, gone.detail) == ("missing", True, "required")
    assert gone.command == "python -m pip install 'no-such-thing[x]>=2,<3'"
    assert (rows["nope"].state, rows["nope"].required) == ("missing", False)
    assert rows["nope"].command == "python -m pip install 'nope>1'"
    assert rows["numpy"].state == "broken"
    assert rows["numpy"].detail == f"{metadata.version('numpy')}, needs {old[5:]}"
    assert rows["numpy"].command == f"python -m pip install '{old}'"
    assert rows["pytest"].state == "ok"
    assert next(iter(rows)) == "no-such-thing"
    assert "ruff" not in rows
    assert not healthy(rows.values())


def test_machine() -> None:
    rows = by_name(machine_rows())
    assert rows["python"].state == "ok"
    assert all(row.state == "ok" and row.detail for row in rows.values())


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST", (99, 1))
    old = by_name(machine_rows())["python"]
    assert old.state == "broken"
    assert "99.1 or newer" in old.detail
    assert old.command
    assert not healthy([old])


def test_device() -> None:
    rows = by_name(device_rows())
    assert "threads" in rows["torch"].detail
    assert rows["cpu"].required
    assert "float32" in rows["cpu"].detail


def test_torch_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libgomp.so:\\n no such file')")
    code = "from ovsslib.cli.doctor import device_rows as r; print(vars(r()[0]))"
    done = python("-c", code, path=f"{tmp_path}{os.pathsep}{ROOT}")
    assert "'state': 'broken'" in done
    assert "cannot be imported: libgomp.so: no such file" in done
    assert "'required': True" in done


def test_only_the_device_needs_torch() -> None:
    code = (
        "import sys; from ovsslib.cli.doctor import package_rows, machine_rows;"
        "from ovsslib.cli.doctor import data_rows, model_rows;"
        "package_rows(), machine_rows(), model_rows(), data_rows();"
        "print({'torch', 'transformers', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    assert python("-c", code).strip() == "set()"


def python(*arguments: str, path: str | None = None) -> str:
    environment = {**os.environ, **({"PYTHONPATH": path} if path else {})}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OVSS_DATA", "OVSS_CHECKPOINTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    done = CliRunner().invoke(app, ["doctor", "--json"])
    record = json.loads(done.stdout)
    lacking = [row for row in record["rows"] if row["required"] and row["state"] != "ok"]
    assert (done.exit_code, record["ok"], lacking) == (0, True, [])
    areas = [row["area"] for row in record["rows"]]
    assert list(dict.fromkeys(areas)) == ["machine", "packages", "models", "data", "device"]
    for row in record["rows"]:
        assert row["state"] in ("ok", "missing", "broken")
        assert bool(row["command"]) == (row["state"] != "ok"), row
        check = ["bash", "-n", "-c", row["command"]]
        assert subprocess.run(check, check=False).returncode == 0, row


def test_command_says_what_the_demo_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "micro-blip").mkdir()
    monkeypatch.setenv("OVSS_CHECKPOINTS", str(tmp_path))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "The shipped demo lacks: micro-blip." in done.stdout
    lines = done.stdout.splitlines()
    row = next(i for i, line in enumerate(lines) if line.split()[:2] == ["broken", "micro-blip"])
    assert lines[row + 1].strip() == "$ ovss train micro-blip"


def test_help_has_examples() -> None:
    done = CliRunner().invoke(app, ["doctor", "--help"])
    assert done.exit_code == 0
    assert "  ovss doctor --json > machine.json\n" in done.stdout


# ---- checkpoints and data sets in real folders, whole, damaged and absent

PAPERS = "Salesforce/blip-itm-large-flickr"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and nothing in any other cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for variable, name in (("OVSS_CACHE", "cache"), ("TORCH_HOME", "torch")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    for variable in ("OVSS_DATA", "OVSS_CHECKPOINTS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "hub"


def cached(hub: Path, repo: str, *names: str) -> Path:
    """A repository in the hub's layout: links in a snapshot to blobs of other names."""
    base = hub / f"models--{repo.replace('/', '--')}"
    snapshot = base / "snapshots" / ("d" * 40)
    for folder in (snapshot, base / "blobs", base / "refs"):
        folder.mkdir(parents=True)
    (base / "refs" / "main").write_text("d" * 40)
    for number, name in enumerate(names):
        (base / "blobs" / str(number)).write_bytes(b"something")
        (snapshot / name).symlink_to(base / "blobs" / str(number))
    return snapshot


def row(rows: list[Row], name: str) -> Row:
    (found,) = [one for one in rows if one.name == name]
    return found


def test_nothing_cached(hub: Path) -> None:
    rows = model_rows()
    assert row(rows, "micro-blip").state == "ok"
    assert row(rows, "micro-blip").required
    assert all(row(rows, name).state == "ok" for name in SHIPPED)
    assert next(iter(HUB_MODELS)) == PAPERS
    for repo in HUB_MODELS:
        assert row(rows, repo).state == "missing"
        assert row(rows, repo).command == f"hf download {repo}"
        assert not row(rows, repo).required
    assert row(rows, LAVIS_FILE).command.startswith("curl ")


@pytest.mark.parametrize(
    "weights", ["model.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json"]
)
def test_hub_model(hub: Path, weights: str) -> None:
    snapshot = cached(hub, PAPERS, "config.json", weights, "tokenizer.json")
    found = row(model_rows(), PAPERS)
    assert (found.state, found.detail, found.command) == ("ok", str(snapshot), "")


def test_download_that_was_broken_off(hub: Path) -> None:
    snapshot = cached(hub, PAPERS, "config.json", "tokenizer.json", "model.safetensors")
    (snapshot / "model.safetensors").resolve().unlink()
    found = row(model_rows(), PAPERS)
    assert found.state == "broken"
    assert "lacks model.safetensors or pytorch_model.bin" in found.detail
    assert found.command == f"hf download {PAPERS}"
    (snapshot / "tokenizer.json").resolve().write_bytes(b"")
    (snapshot / "model.safetensors").resolve().write_bytes(b"whole now")
    assert "lacks tokenizer.json" in row(model_rows(), PAPERS).detail


def test_shipped_model_that_is_damaged(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "micro-blip").mkdir()
    (tmp_path / "micro-blip" / "config.json").write_text("{}")
    monkeypatch.setenv("OVSS_CHECKPOINTS", str(tmp_path))
    found = row(model_rows(), "micro-blip")
    assert (found.state, found.required) == ("broken", True)
    assert found.command == "ovss train micro-blip"


@pytest.mark.parametrize("where", ["torch/hub/checkpoints", "cache/checkpoints/lavis"])
def test_lavis_file(hub: Path, tmp_path: Path, where: str) -> None:
    file = tmp_path / where / LAVIS_FILE
    command = row(model_rows(), LAVIS_FILE).command
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    found = row(model_rows(), LAVIS_FILE)
    assert (found.state, found.detail) == ("ok", str(file))
    # What the command writes is what the next look finds.
    assert str(tmp_path / "cache" / "checkpoints" / "lavis" / LAVIS_FILE) in command


def test_every_data_set_says_how_to_get_it(hub: Path) -> None:
    rows = data_rows()
    assert {one.name for one in rows} == set(FILES)
    assert set(FILES) == set(DATA_COMMANDS)
    assert row(rows, "diorama").state == "ok"
    assert row(rows, "diorama").required
    voc = row(rows, "voc")
    assert (voc.state, voc.required) == ("missing", False)
    assert "OVSS_DATA is not set" in voc.detail
    assert voc.command == 'export OVSS_DATA="$HOME/data" && ovss data download voc'


def test_data_set_on_the_shelf(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_voc(tmp_path / "shelf" / "VOC2012", 3)
    monkeypatch.setenv("OVSS_DATA", str(tmp_path / "shelf"))
    found = row(data_rows(), "voc")
    assert (found.state, found.detail) == (
        "ok",
        f"3 images in val, {root}; 1449 are usual",
    )
    (root / "SegmentationClass" / "img_0001.png").unlink()
    (root / "JPEGImages" / "img_0001.jpg").unlink()
    (root / "JPEGImages" / "img_0002.jpg").unlink()
    found = row(data_rows(), "voc")
    assert found.state == "broken"
    assert "lacks images or masks of 2 of 3 in val" in found.detail
    assert found.command == "ovss data download voc"


def test_labels_that_are_in_no_files(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_coco(tmp_path / "coco", maps=False)
    monkeypatch.setenv("OVSS_DATA", str(tmp_path))
    assert row(data_rows(), "coco-stuff").state == "missing"
    assert row(data_rows(), "coco-object-instances").state == "ok"
    (tmp_path / "coco" / "val2017" / "000000000002.jpg").unlink()
    found = row(data_rows(), "coco-object-instances")
    assert "lacks images or masks of 1 of 3 in val" in found.detail


def test_a_user_without_a_home() -> None:
    code = "from ovsslib.cli.doctor import *; print({row.name for row in model_rows()})"
    done = as_nobody("-c", code)
    assert done.returncode == 0, done.stderr
    assert LAVIS_FILE in done.stdout
