"""Memory of a process; without torch, so that a small process stays small while it is measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ovsslib.errors import OvssError

if TYPE_CHECKING:
    from ovsslib.evaluate.stages import Pending


def resident(*, peak: bool) -> int:
    """Bytes of this process in memory, now or at most since it began.

    Read from `/proc` on Linux, where `getrusage` would not do: a new process inherits its parent's
    peak. Elsewhere `getrusage` is all there is, and *now* is the peak as well.

    Raises:
        OvssError: The system reports neither.
    """
    status = Path("/proc/self/status")
    if status.exists():
        field = "VmHWM:" if peak else "VmRSS:"
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError as error:
        raise OvssError("this system reports no memory of processes; use --no-memory") from error
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def footprint(job: Pending) -> int:
    """Peak bytes of this process after refining and scoring an image; meant for a new process."""
    from ovsslib.evaluate.stages import refine_and_score

    refine_and_score(job)
    return resident(peak=True)
