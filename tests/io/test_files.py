"""Files are written whole or not at all, and folders made or refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.io.files import (
    check_file,
    check_folder,
    make_folder,
    only_one,
    read_text,
    write_atomic,
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_of_any_editor(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(f"a{end}é\u2028b{end}".encode(encoding))
    assert read_text(path) == "a\né\u2028b\n"
    path.write_bytes(b"")
    assert read_text(str(path)) == ""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a\nim\xe4ge\n", "a.txt, line 2: not text in UTF-8 .*; save the file as UTF-8"),
        ("abc".encode("utf-16-le"), "zero bytes.*; save the file as UTF-8"),
        ("abc".encode("utf-16-be"), "zero bytes"),
        ("abc".encode("utf-32"), "zero bytes"),
        (b"\xff\xfea", "not text in UTF-8"),
        (None, "cannot be read .*; check the path"),
    ],
)
def test_other_text_is_refused_in_one_line(tmp_path: Path, data: bytes | None, words: str) -> None:
    path = tmp_path / "a.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(OvssError, match=words) as error:
        read_text(path)
    assert "\n" not in str(error.value)


def test_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = write_atomic(tmp_path / "new" / "a.txt", "one")

    def fails(out: object) -> None:
        out.write(b"half")  # type: ignore[attr-defined]
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_atomic(path, fails)
    assert path.read_text() == "one"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_write_below_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OvssError, match="cannot be made"):
        write_atomic(tmp_path / "file" / "out.txt", "x")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """`/dev/full` refuses every byte as a full disk does."""

    def fill(out: object) -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(OvssError, match="No space left"):
        write_atomic(tmp_path / "a.txt", fill)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    check_file(tmp_path / "a.b.json", ".json")
    for name in ("a.yml", "json", "a.json.gz"):
        with pytest.raises(OvssError, match=rf"{name}: the file's name must end in \.json"):
            check_file(tmp_path / name, ".json")
    with pytest.raises(OvssError, match="is a folder"):
        check_file(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_tried_before_the_work() -> None:
    """Not even the administrator makes a file in `/proc`."""
    if not Path("/proc/self").is_dir():
        pytest.skip("there is no /proc on this system")
    for check, path in ((check_folder, "/proc"), (check_file, "/proc/a.txt")):
        with pytest.raises(OvssError, match="/proc: cannot be written to"):
            check(path)


@pytest.mark.parametrize("old", ["old", None])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path, old: str | None) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    if old:
        target.write_text(old)
    write_atomic(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pipe_and_a_device_are_written_to_and_stay(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    ours, terminal = os.openpty()
    for path, end in ((pipe, reading), (Path(os.ttyname(terminal)), ours)):
        check_file(path)
        write_atomic(path, lambda out: out.write(b"content"))  # type: ignore[attr-defined]
        assert os.read(end, 99) == b"content"
        assert not path.is_file()
    for end in (reading, ours, terminal):
        os.close(end)
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.skipif(not os.path.exists("/dev/fd/1"), reason="there is no /dev/fd on this system")
def test_a_stream_led_to_a_file_is_appended_to(tmp_path: Path) -> None:
    """As by `ovss table --out /dev/stdout >> log`."""
    with (tmp_path / "log").open("w") as log:
        log.write("before\n")
        log.flush()
        write_atomic(f"/dev/fd/{log.fileno()}", "after\n")
    assert (tmp_path / "log").read_text() == "before\nafter\n"


def test_the_longest_name_is_written(tmp_path: Path) -> None:
    name = 251 * "n" + ".txt"
    assert write_atomic(tmp_path / name, "x").read_text() == "x"


def test_no_folder_is_called_as_home_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for write in (make_folder, check_folder, lambda path: write_atomic(path / "a", "x")):
        with pytest.raises(OvssError, match="~ stands for no home folder"):
            write(Path("~/results"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["folder", "new file"])
def test_one_at_a_time(tmp_path: Path, place: str) -> None:
    path = tmp_path if place == "folder" else tmp_path / "a.lock"
    for _ in range(2):  # and again when the first is done
        with only_one(path), pytest.raises(OvssError, match="another process is writing there"):
            only_one(path).__enter__()


def test_a_place_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="cannot be opened"), only_one(tmp_path / "a" / "b"):
        pass
