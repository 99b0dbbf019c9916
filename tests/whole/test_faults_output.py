"""Output that cannot be written: one clear line, nothing half written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.helpers import one_error, write_photo


def test_output_below_a_file(segment: Callable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    photo = write_photo(tmp_path / "a.jpg")
    one_error(segment(photo, out=tmp_path / "file" / "out"), 2, "cannot be made")
    one_error(segment(photo, out=tmp_path / "file"), 2, "cannot be made")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc on this system")
def test_output_where_the_system_allows_no_file(segment: Callable, tmp_path: Path) -> None:
    """Not even the administrator may write there, so this holds for root too."""
    one_error(segment(write_photo(tmp_path / "a.jpg"), out="/proc/ovss"), 2, "/proc/ovss")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the administrator")
def test_read_only_folder(segment: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    photo = write_photo(tmp_path / "a.jpg")
    one_error(segment(photo, out=folder), 2, "locked", "Permission denied")


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 200 bytes: writing fails in the middle, as on a full disk."""
    resource = pytest.importorskip("resource", reason="no resource limits on this system")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk(segment: Callable, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    photo = write_photo(tmp_path / "a.jpg")
    request.getfixturevalue("full_disk")
    one_error(segment(photo), 2, "cannot be written", "free the space")
    assert not list((tmp_path / "out").glob("*")), "nothing half written"
