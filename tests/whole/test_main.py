"""``python -m ovsslib`` is ``ovss``."""

from __future__ import annotations

import subprocess
import sys

import ovsslib


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ovsslib", *words], capture_output=True, text=True, check=False
    )


def test_runs_the_command() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{ovsslib.__version__}\n", "")


def test_hands_on_the_status() -> None:
    done = run("segmnt")
    assert done.returncode == 2
    assert "segmnt" in done.stderr


def test_importing_it_runs_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import ovsslib.__main__"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
