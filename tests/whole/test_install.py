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
    (folder / "pip.py").write_text(PIP)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    pip = f"PIP={sys.executable} pip.py"
    done = make(folder, "install", f"PYTHON={sys.executable}", pip, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`make` in a copy of what an installation reads."""
    for name in ("Makefile", "pyproject.toml", *(path.name for path in ROOT.glob("*.lock"))):
        shutil.copy(ROOT / name, folder)
    command = ["make", "--no-print-directory", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


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


def version(number: str) -> str:
    """A shell script that runs this Python under the number of another version."""
    return f'exec {sys.executable} "$1" "sys = __import__(\'sys\'); sys.hexversion = {number}; $2"'


INTERPRETERS = {
    "older": (version("0x030a00f0"), "is"),
    "a shim": (
        "echo pyenv: python3.13 not found >&2; echo >&2; echo try 3.12 >&2; exit 127",
        "cannot be run (it printed: pyenv: python3.13 not found try 3.12 ); ",
    ),
    "silent": ("exit 0", "cannot be run (it printed: nothing); "),
    "killed": ("kill -9 $$", "cannot be run (it printed: nothing); "),
    "warned": (f"echo a warning >&2; {version('0x030b00f0')}", None),
}


@pytest.mark.parametrize("kind", INTERPRETERS)
@pytest.mark.parametrize(
    ("target", "variable", "wrong"),
    [
        ("install", "PYTHON", "is older than 3.11; say which to use: make PYTHON=python3.12"),
        (
            "install-lavis",
            "PYTHON_LAVIS",
            "is not Python 3.11; LAVIS's libraries need that one: make",
        ),
    ],
)
def test_an_interpreter_is_too_old_or_cannot_be_run(
    tmp_path: Path, kind: str, target: str, variable: str, wrong: str
) -> None:
    script, words = INTERPRETERS[kind]
    program = tmp_path / "python3.13"
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o755)
    # An environment that is there already: nothing is installed after the check.
    for name in (".venv", ".venv-lavis"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "python").symlink_to("/bin/false")
    done = make(tmp_path, target, f"{variable}={program}")
    assert done.returncode != 0
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    if words is None:
        assert errors == []
        return
    (line,) = errors
    assert line.startswith(f"error: {program} {wrong if kind == 'older' else words}")


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    done = make(tmp_path, "install", "PYTHON=python-of-nobody")
    assert done.returncode != 0
    (line,) = done.stdout.splitlines()
    assert line.startswith("error: python-of-nobody cannot be run (it printed: ")
    assert "not found" in line


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
