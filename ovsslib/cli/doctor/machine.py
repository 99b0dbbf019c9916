"""What is installed on this machine, and the command that gets what is missing.

Every check is a function that returns rows and changes nothing. Only `device_rows` imports torch.
Checkpoints and data sets: `ovsslib.cli.doctor.inventory`.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One finding.

    Attributes:
        area: `"machine"`, `"packages"`, `"device"`, `"models"` or `"data"`.
        name: What was looked for.
        state: `"ok"`; `"missing"`; or `"broken"`: there, but old, incomplete or unusable.
        detail: Version, folder, or what it is for.
        required: Whether the shipped demo (micro-blip on Diorama) needs it.
        command: What gets it, ready to be pasted into a shell; empty where `state` is `"ok"`.
    """

    area: str
    name: str
    state: str
    detail: str = ""
    required: bool = False
    command: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON holds it."""
        return asdict(self)


def healthy(rows: Iterable[Row]) -> bool:
    """Whether all that the shipped demo needs is there.

    Example:
        >>> healthy([Row("data", "voc", "missing"), Row("data", "diorama", "ok", required=True)])
        True
    """
    return all(row.state == "ok" for row in rows if row.required)


def machine_rows(oldest: tuple[int, int] = (3, 11)) -> list[Row]:
    """Python, operating system, processor and memory.

    Args:
        oldest: The first version of Python that will do.
    """
    from ovsslib.io.provenance import processor

    new = sys.version_info[:2] >= oldest
    wanted = ".".join(map(str, oldest))
    python = Row(
        "machine",
        "python",
        "ok" if new else "broken",
        platform.python_version() + ("" if new else f", {wanted} or newer is needed"),
        required=True,
        command="" if new else "conda env create -f environment.yml",
    )
    total = memory()
    # Fewer than there are where the scheduler or a container keeps some away.
    able = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows = [
        python,
        Row("machine", "system", "ok", f"{platform.system()} {platform.machine()}"),
        Row("machine", "processor", "ok", f"{processor()}, {able} usable"),
    ]
    if total:
        rows.append(Row("machine", "memory", "ok", f"{total / 2**30:.1f} GiB"))
    return rows


def memory() -> int | None:
    """Bytes of memory this process may use: the machine's, or its container's share."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            total = min(total, int((Path("/sys/fs/cgroup") / limit).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return total


_PURPOSES = {
    "dask": "runs spread over a cluster",
    "dask-jobqueue": "runs through SLURM",
    "openai": "class names from a GPT-4o server",
    "optuna": "tuning",
    "pycocotools": "COCO's data sets",
    "seaborn": "some figures",
}
_LAVIS = "salesforce-lavis"
# LAVIS needs libraries older than ours, hence an environment of its own.
_LAVIS_COMMAND = "make install-lavis"


def package_rows(requirements: Iterable[str] | None = None) -> list[Row]:
    """The packages that ovsslib needs or can use, by their metadata: nothing is imported.

    Args:
        requirements: Lines as in a package's metadata (`"torch>=2.5"`,
            `"openai>=1.50; extra == 'full'"`); None takes ovsslib's own.

    Returns:
        A row per package, those of the core first; the extra `dev` is left out.
    """
    rows = []
    if requirements is None:
        try:
            found = metadata.version("ovsslib")
            requirements = metadata.requires("ovsslib") or []
            rows.append(Row("packages", "ovsslib", "ok", found, required=True))
        except metadata.PackageNotFoundError:
            requirements = []
            how = "python -m pip install -e ."
            detail = "runs from its folder, uninstalled"
            rows.append(Row("packages", "ovsslib", "missing", detail, True, how))
    lines = [line for line in requirements if "extra == 'dev'" not in line.replace('"', "'")]
    rows += [_package(line) for line in sorted(lines, key=lambda line: "extra ==" in line)]
    try:
        rows.append(Row("packages", _LAVIS, "ok", metadata.version(_LAVIS)))
    except metadata.PackageNotFoundError:
        detail = "optional, in an environment of its own: LAVIS as a backend"
        rows.append(Row("packages", _LAVIS, "missing", detail, command=_LAVIS_COMMAND))
    return rows


def _package(line: str) -> Row:
    """The row of one requirement."""
    wanted, _, marker = (part.strip() for part in line.partition(";"))
    name = re.split(r"[^\w.-]", wanted, maxsplit=1)[0]
    needed = "extra ==" not in marker
    how = f"python -m pip install '{wanted}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        purpose = _PURPOSES.get(name, "the notebooks and the book")
        detail = "required" if needed else f"optional: {purpose}"
        return Row("packages", name, "missing", detail, needed, how)
    limits = ",".join(re.findall(r"[<>=!~]=?[^,\s)]+", wanted))
    if fits(version, limits):
        return Row("packages", name, "ok", version, needed)
    return Row("packages", name, "broken", f"{version}, needs {limits}", needed, how)


def fits(version: str, limits: str) -> bool:
    """Whether a version is within limits, by its leading numbers alone.

    The library `packaging` knows more, but may be what is missing.

    Example:
        >>> fits("5.2.1", ">=5,<6"), fits("2.10", ">=2.9"), fits("1.0.4.post1", "==1.0.4.post1")
        (True, True, True)
        >>> fits("4.26.1", ">=5,<6")
        False
    """
    for operator, bound in re.findall(r"([<>=!~]=?)([^,\s]+)", limits):
        if operator == "==" and version.partition("+")[0] != bound:
            return False
        one, two = _numbers(version), _numbers(bound)
        size = max(len(one), len(two))
        one, two = (n + (0,) * (size - len(n)) for n in (one, two))
        wrong = {">=": one < two, "<": one >= two, "<=": one > two, ">": one <= two}
        if wrong.get(operator, False):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def device_rows() -> list[Row]:
    """What can compute, and in which types: a small product is computed in each.

    Imports torch, which takes seconds; the first row tells how long.
    """
    start = time.perf_counter()
    how = "python -m pip install --force-reinstall torch torchvision"
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        return [Row("device", "torch", "broken", f"cannot be imported: {reason}", True, how)]
    spent = time.perf_counter() - start
    threads = torch.get_num_threads()
    rows = [Row("device", "torch", "ok", f"imported in {spent:.1f} s, {threads} threads")]
    rows.append(Row("device", "cpu", "ok", _types("cpu"), required=True))
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(number)
        device = f"cuda:{number}"
        detail = f"{about.name}, {about.total_memory / 2**30:.0f} GiB; {_types(device)}"
        rows.append(Row("device", device, "ok", detail))
    if torch.backends.mps.is_available():
        rows.append(Row("device", "mps", "ok", _types("mps")))
    return rows


def _types(device: str) -> str:
    """The types in which a device multiplies matrices."""
    import torch

    able = []
    for name in ("float32", "bfloat16", "float16"):
        try:
            square = torch.ones(2, 2, dtype=getattr(torch, name), device=device)
            if float((square @ square).sum()) == 8:
                able.append(name)
        except (RuntimeError, TypeError):
            continue
    return ", ".join(able)
