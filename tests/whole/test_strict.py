"""A comparison that is skipped without a reason fails where OVSS_STRICT=1 is set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.helpers import ROOT

TESTS = """
import pytest

def test_lazily_skipped():
    pytest.skip("not today")

@pytest.mark.skipif(True, reason="no /dev/full on this system")
def test_that_the_machine_cannot_make():
    pass
"""


@pytest.mark.parametrize(("strict", "failed"), [("1", 1), ("0", 0)])
def test_skips(tmp_path: Path, strict: str, failed: int) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        env=os.environ | {"OVSS_STRICT": strict},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == failed, done.stdout
    assert ("OVSS_STRICT=1 forbids: not today" in done.stdout) is bool(failed)
    assert f"{2 - failed} skipped" in done.stdout
