"""Output that cannot be written: one clear line, nothing half written."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.helpers import ROOT, one_error, ovss, write_photo

needs_full = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="no /dev/full on this system"
)


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


RESULTS = str(ROOT / "data" / "results")
TABLE = [sys.executable, "-m", "ovsslib", "table", RESULTS, "--no-published"]


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"]])
@needs_full
def test_standard_output_on_a_full_disk(words: list[str]) -> None:
    command = [*TABLE[:3], *words] if words else TABLE
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the output: No space left on device; ")


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_closed_streams(tmp_path: Path, closed: str) -> None:
    """What nobody hears is not said; the work is done, and the status tells."""
    (tmp_path / "folder").mkdir()
    for out, status in ((tmp_path / "a.md", 0), (tmp_path / "folder", 2)):
        line = shlex.join([*TABLE, "--out", str(out)])
        done = subprocess.run(["sh", "-c", f"{line} {closed}"], capture_output=True, check=False)
        assert done.returncode == status, done
        assert b"Traceback" not in done.stderr + done.stdout
    assert (tmp_path / "a.md").read_text().startswith("Per cent")


@pytest.mark.parametrize(
    "words",
    [
        "segment a.jpg -c cat --vlm nobody/nothing --out",
        "run --vlm nobody/nothing --out",
        "deviations --vlm nobody/nothing --out",
        "localise --vlm nobody/nothing --out",
        "diorama make --n 100000 --out",
        "train micro-blip --run",
        "train micro-blip --cache",
        "train micro-blip --run run --cache cache --out",
    ],
)
def test_a_place_that_cannot_be_written_is_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Each would take long, or look for a model that is not there."""
    monkeypatch.chdir(tmp_path)
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "file").touch()
    one_error(ovss(*words.split(), tmp_path / "file" / "x.csv"), 2, "file", "cannot be made")
