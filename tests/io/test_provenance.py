"""Provenance names versions and machine class, and no path or host."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from ovsslib.io.provenance import git_state, provenance


def test_facts() -> None:
    facts = provenance(device="cpu", dtype="float32")
    assert facts["packages"]["torch"] == torch.__version__.split("+")[0] or (
        facts["packages"]["torch"] == torch.__version__
    )
    assert facts["cpus"] >= 1
    assert facts["dtype"] == "float32"
    made = datetime.datetime.fromisoformat(facts["time"])
    assert made.utcoffset() == datetime.timedelta(0)


def test_no_path_and_no_host_name() -> None:
    text = json.dumps(provenance())
    for secret in (platform.node(), str(Path.home()), os.getcwd()):
        assert len(secret) < 3 or secret not in text


def _git(folder: Path, *arguments: str) -> None:
    name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", folder, *name, *arguments], check=True, capture_output=True)


def test_git_commit_and_dirtiness(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    _git(tmp_path, "add", "a")
    _git(tmp_path, "commit", "-qm", "first")
    state = git_state(tmp_path)
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "new").write_text("untracked files change no result")
    assert git_state(tmp_path) == state
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path) == {"commit": state["commit"], "dirty": True}


def test_no_checkout_or_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert git_state() is None
