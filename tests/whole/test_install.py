"""What `make install` asks pip for, with CUDA and without; a program stands in for pip."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from support.helpers import ROOT

PIP = """\
import sys
for number, word in enumerate(sys.argv[1:]):
    print("WORD", word)
    if sys.argv[number] == "-r":
        print("".join("PIN " + line for line in open(word) if not line.startswith("#")))
"""


def pins(*names: str) -> dict[str, str]:
    lines = [line for name in names for line in (ROOT / name).read_text().splitlines()]
    needs = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {need.name: str(need.specifier).removeprefix("==") for need in needs}


def install(folder: Path, *words: str) -> list[str]:
    """Output of `make install` in a copy of what it reads; pip only prints what it is asked for."""
    for name in ("Makefile", "requirements.lock", "requirements-cuda.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "pip.py").write_text(PIP)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    pip = f"PIP={sys.executable} pip.py"
    command = ["make", "--no-print-directory", "install", f"PYTHON={sys.executable}", pip, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def asked(lines: list[str]) -> set[str]:
    return {re.split("[=;]", line.removeprefix("PIN "))[0] for line in lines if "PIN " in line}


def test_the_usual_install_takes_every_pin(tmp_path: Path) -> None:
    lines = install(tmp_path)
    assert asked(lines) == pins("requirements.lock", "requirements-cuda.lock").keys()
    assert not any("index-url" in line for line in lines if line.startswith("WORD"))
    (said,) = [line for line in lines if line.startswith("Installing")]
    assert "minutes" in said
    assert "TORCH=cpu" in said


def test_without_cuda_torch_comes_from_pytorchs_own_index_first(tmp_path: Path) -> None:
    lines = [line for line in install(tmp_path, "TORCH=cpu") if line[:4] in ("WORD", "PIN ")]
    assert asked(lines) == pins("requirements.lock").keys()
    place = lines.index("WORD --index-url")
    assert lines[place + 1] == "WORD https://download.pytorch.org/whl/cpu"
    first = [line for line in lines[place:] if line.startswith("PIN ")][:2]
    versions = pins("requirements.lock")
    assert first == [f"PIN {name}=={versions[name]}" for name in ("torch", "torchvision")]


def test_another_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        install(tmp_path, "TORCH=gpu")


def test_the_environment_for_conda_names_the_same_builds() -> None:
    versions = pins("requirements.lock")
    (listed,) = [
        part["pip"]
        for part in yaml.safe_load((ROOT / "environment-cpu.yml").read_text())["dependencies"]
        if isinstance(part, dict)
    ]
    for name in ("torch", "torchvision"):
        assert f"{name}=={versions[name]}+cpu" in listed
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in listed
    assert "-r requirements.lock" in listed
    assert "-r requirements-cuda.lock" not in listed
