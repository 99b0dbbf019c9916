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

from ovsslib.cli.doctor.machine import (
    Row,
    device_rows,
    fits,
    healthy,
    machine_rows,
    memory,
    package_rows,
)
from ovsslib.cli.main import app
from support.helpers import ROOT


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


@pytest.mark.parametrize(
    ("version", "limits", "well"),
    [
        ("2.15.0+cpu", ">=2.5", True),
        ("2.15.0+cpu", "==2.15.0", True),
        ("2.4.9", ">=2.5", False),
        ("2", ">=2.0,<=2.0.0", True),
        ("3.0rc1", "<3", False),
        ("1.0.4", "==1.0.4.post1", False),
        ("1.1", ">1.1", False),
        ("1", "", True),
    ],
)
def test_fits(version: str, limits: str, well: bool) -> None:
    assert fits(version, limits) is well


def test_machine() -> None:
    rows = by_name(machine_rows())
    assert rows["python"].state == "ok"
    assert all(row.state == "ok" and row.detail for row in rows.values())
    old = by_name(machine_rows(oldest=(99, 1)))["python"]
    assert old.state == "broken"
    assert "99.1 or newer" in old.detail
    assert old.command
    assert not healthy([old])


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the system does not tell")
def test_memory() -> None:
    assert 2**28 < (memory() or 0) < 2**45


def test_device() -> None:
    rows = by_name(device_rows())
    assert "imported in" in rows["torch"].detail
    assert rows["cpu"].required
    assert "float32" in rows["cpu"].detail


def test_torch_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libgomp.so:\\n no such file')")
    code = "from ovsslib.cli.doctor.machine import device_rows as r; print(r()[0].to_dict())"
    done = python("-c", code, path=f"{tmp_path}{os.pathsep}{ROOT}")
    assert "'state': 'broken'" in done
    assert "cannot be imported: libgomp.so: no such file" in done
    assert "'required': True" in done


def test_without_any_package() -> None:
    """The checks themselves need nothing but Python, else they could not tell what is missing."""
    code = (
        "import json;"
        "from ovsslib.cli.doctor.machine import package_rows, machine_rows, device_rows;"
        "from ovsslib.cli.doctor.inventory import data_rows, model_rows;"
        "rows = [*package_rows(), *machine_rows(), *model_rows(), *data_rows(), *device_rows()];"
        "print(json.dumps([row.to_dict() for row in rows]))"
    )
    rows = {row["name"]: row for row in json.loads(python("-S", "-c", code, path=str(ROOT)))}
    assert rows["ovsslib"]["command"] == "python -m pip install -e ."
    assert rows["torch"]["state"] == "broken"
    assert "numpy" in rows["all"]["detail"]


def test_only_the_device_needs_torch() -> None:
    code = (
        "import sys; from ovsslib.cli.doctor.machine import package_rows, machine_rows;"
        "from ovsslib.cli.doctor.inventory import data_rows, model_rows;"
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
