"""Where a result comes from: code, packages, machine, time. No path and no host name."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from ovsslib.paths import PACKAGE

PACKAGES = ("ovsslib", "torch", "transformers", "numpy", "pillow", "pydensecrf2", "scipy", "pandas")
"""Packages whose version can change a number."""


def provenance(*, device: str = "cpu", dtype: str = "float32") -> dict[str, Any]:
    """Facts that a result is stored with.

    Args:
        device: Where the model ran, such as `"cpu"` or `"cuda:0"`.
        dtype: The type it computed in.

    Returns:
        `git` (commit and whether files differed from it; None outside a checkout), `packages`,
        `python`, `system`, `processor`, `cpus` (usable by this process), `device`,
        `dtype` and `time` (UTC, ISO 8601).

    Example:
        >>> sorted(provenance())[:4]
        ['cpus', 'device', 'dtype', 'git']
    """
    return {
        "git": git_state(),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cpus": cpus(),
        "device": device_name(device),
        "dtype": dtype,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """Commit of the checkout the code runs from, and whether tracked files differ from it.

    Args:
        folder: Inside the checkout; None for this package's own.

    Returns:
        `{"commit": 40 hex digits, "dirty": bool}`, or None when there is no checkout or no git.
    """
    folder = folder or PACKAGE
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        # An installed copy may lie inside somebody else's repository: ask whether it is tracked.
        if folder == PACKAGE:
            _git(folder, "ls-files", "--error-unmatch", "errors.py")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changed)}


def _git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
        env=environment,
    ).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpus() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's model as it calls itself, or its architecture."""
    listing = Path("/proc/cpuinfo")  # Linux; elsewhere the standard library knows
    if listing.exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name(device: str) -> str:
    """A device with the name of its model, such as `"cuda:0 (NVIDIA A100)"`.

    Example:
        >>> device_name("cpu")
        'cpu'
    """
    if not device.startswith("cuda"):
        return device
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"
