"""Data sets from a server on this machine, and archives that are damaged."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovsslib.datasets import FILES, load_dataset
from ovsslib.datasets.download import DOWNLOADS, SOURCES, Archive, download
from ovsslib.errors import OvssError
from support.file_server import FileServer, serving
from support.helpers import write_voc
from support.small_data import write_ade, write_coco


def zipped(root: Path, *, under: str = "") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as out:
        for path in sorted(root.rglob("*")):
            out.write(path, under + str(path.relative_to(root)))
    return content.getvalue()


def tarred(root: Path, under: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as out:
        out.add(root, under)
    return content.getvalue()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A mirror with small files of the official names; their checksums are those expected."""
    made = tmp_path / "made"
    voc = tarred(write_voc(made / "voc"), "VOCdevkit/VOC2012")
    ade = zipped(write_ade(made / "ade"), under="ADEChallengeData2016/")
    coco = write_coco(made / "coco")
    (coco / "stuffthingmaps" / "train2017").mkdir()
    (coco / "stuffthingmaps" / "train2017" / "000000000009.png").write_bytes(b"unwanted")
    (coco / "annotations" / "captions_val2017.json").write_text("{}")
    bodies = {
        "VOCtrainval_11-May-2012.tar": voc,
        "ADEChallengeData2016.zip": ade,
        "val2017.zip": zipped(coco / "val2017", under="val2017/"),
        "stuffthingmaps_trainval2017.zip": zipped(coco / "stuffthingmaps"),
        "annotations_trainval2017.zip": zipped(coco / "annotations", under="annotations/"),
        "trainval_merged.json": b"{}",
        "VOCtrainval_03-May-2010.tar": tarred(made / "voc", "VOCdevkit/VOC2010"),
    }
    for name, sources in SOURCES.items():
        small = []
        for source in sources:
            kind = (source.checksum or "").partition(":")[0]
            right = f"{kind}:{hashlib.new(kind, bodies[source.file]).hexdigest()}" if kind else None
            small.append(dataclasses.replace(source, checksum=right))
        monkeypatch.setitem(SOURCES, name, tuple(small))
    with serving({f"/{name}": body for name, body in bodies.items()}) as running:
        yield running


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("diorama", "context")])
def test_what_is_downloaded_is_found(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shelf = tmp_path / "shelf"
    download(name, shelf, mirror=server.url)
    monkeypatch.setenv("OVSS_DATA", str(shelf))
    data = load_dataset(name)
    assert len(data.ids) >= 2
    for image in data.ids:
        assert data.image(image).size == data.label(image).shape[::-1]
    left = {path.name for path in (shelf / DOWNLOADS).iterdir()}
    assert all(file.endswith(".unpacked") for file in left)


@pytest.mark.parametrize("mark", ["", "one line"])
def test_a_mark_cut_short_counts_as_none(server: FileServer, tmp_path: Path, mark: str) -> None:
    download("ade20k", tmp_path, mirror=server.url)
    (path,) = (tmp_path / DOWNLOADS).iterdir()
    whole = path.read_text()
    path.write_text(mark)
    download("ade20k", tmp_path, mirror=server.url)
    assert path.read_text() == whole


def test_only_what_is_wanted_is_unpacked(server: FileServer, tmp_path: Path) -> None:
    download("coco-stuff", tmp_path, mirror=server.url)
    download("coco-object-instances", tmp_path, mirror=server.url)
    assert not (tmp_path / "coco" / "stuffthingmaps" / "train2017").exists()
    assert [p.name for p in (tmp_path / "coco" / "annotations").iterdir()] == [
        "instances_val2017.json"
    ]
    # The images that both need came once.
    assert server.asked.count("/val2017.zip") == 1


def test_cut_connection(server: FileServer, tmp_path: Path) -> None:
    """Nothing is left; the file that the error's command resumes is taken by the next call."""
    root = tmp_path / "root"
    server.cut = [1000]
    with pytest.raises(OvssError, match=r"so that it can be resumed: curl ") as error:
        download("voc", root, mirror=server.url)
    assert [path for path in root.rglob("*") if path.is_file()] == []
    path, address = map(Path, str(error.value).split()[-2:])
    path.write_bytes(server.bodies[f"/{address.name}"])
    download("voc", root, mirror=server.url)
    assert len(server.asked) == 1
    assert len(load_dataset("voc", root).ids) == 3


def test_called_again_nothing_is_fetched(server: FileServer, tmp_path: Path) -> None:
    folders = download("voc", tmp_path, mirror=server.url, keep=True)
    assert folders == [tmp_path]
    archive = tmp_path / DOWNLOADS / "VOCtrainval_11-May-2012.tar"
    assert archive.is_file()
    download("voc", tmp_path, mirror=server.url)
    assert not archive.exists()
    assert len(server.asked) == 1
    download("voc", tmp_path, mirror=server.url, again=True)
    assert len(server.asked) == 2


def test_what_was_deleted_is_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    download("voc", tmp_path, mirror=server.url)
    shutil.rmtree(tmp_path / "VOCdevkit")
    download("voc", tmp_path, mirror=server.url)
    assert len(load_dataset("voc", tmp_path).ids) == 3


def test_interrupted_while_unpacking(server: FileServer, tmp_path: Path) -> None:
    """The archive stays, and the next call unpacks it without the network."""
    blocked = tmp_path / "VOCdevkit" / "VOC2012"
    blocked.parent.mkdir()
    blocked.write_text("a file where the archive has a folder")
    with pytest.raises(OvssError, match="cannot be written"):
        download("voc", tmp_path, mirror=server.url)
    blocked.unlink()
    download("voc", tmp_path, mirror=server.url)
    assert len(server.asked) == 1
    assert len(load_dataset("voc", tmp_path).ids) == 3


def test_wrong_checksum(server: FileServer, tmp_path: Path) -> None:
    server.bodies["/VOCtrainval_11-May-2012.tar"] += b"?"
    with pytest.raises(OvssError, match=r"MD5 hash of downloaded file .* does not match"):
        download("voc", tmp_path, mirror=server.url)
    assert not (tmp_path / "VOCdevkit").exists()


@pytest.mark.parametrize("damage", ["cut", "middle", "prose", "other"])
def test_damaged_archive_without_checksum(server: FileServer, tmp_path: Path, damage: str) -> None:
    path = "/stuffthingmaps_trainval2017.zip"
    body = server.bodies[path]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as other:
        other.writestr("readme.txt", "moved")
    server.bodies[path] = {
        "cut": body[:-100],
        "middle": body.replace(b"IDAT", b"IDAX"),
        "prose": b"<html>We have moved</html>",
        "other": content.getvalue(),
    }[damage]
    with pytest.raises(OvssError, match=r"the archive is damaged \(.*; it was deleted, try again"):
        download("coco-stuff", tmp_path, mirror=server.url)
    server.bodies[path] = body
    download("coco-stuff", tmp_path, mirror=server.url)
    assert len(load_dataset("coco-stuff", tmp_path).ids) == 3


def test_archive_that_would_write_elsewhere(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as out:
        member = tarfile.TarInfo("../../escaped")
        member.size = 1
        out.addfile(member, io.BytesIO(b"!"))
    server.bodies["/bad.tar"] = content.getvalue()
    monkeypatch.setitem(SOURCES, "voc", (Archive("http://example.org/bad.tar", ""),))
    with pytest.raises(OvssError, match="the archive is damaged"):
        download("voc", tmp_path / "a" / "b", mirror=server.url)
    assert not (tmp_path / "escaped").exists()


def test_other_addresses_in_turn(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = SOURCES["context"][1].checksum
    moved, still = f"{server.url}/gone/trainval_merged.json", f"{server.url}/trainval_merged.json"
    source = Archive(moved, "VOCdevkit/VOC2010", right, others=(still,))
    monkeypatch.setitem(SOURCES, "context", (source,))
    (folder,) = download("context", tmp_path)
    assert (folder / "trainval_merged.json").read_bytes() == b"{}"
    assert server.asked == ["/gone/trainval_merged.json", "/trainval_merged.json"]
    lost = dataclasses.replace(source, others=(moved,))
    monkeypatch.setitem(SOURCES, "context", (lost,))
    with pytest.raises(OvssError, match=r"404 Not Found.*404 Not Found"):
        download("context", tmp_path / "other", again=True)


def test_names(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="ovss diorama make draws it"):
        download("diorama", tmp_path)
    with pytest.raises(OvssError, match="unknown download 'ade'; did you mean 'ade20k'"):
        download("ade", tmp_path)


def test_official_addresses() -> None:
    """Every set of files has its sources; only archives with sums inside go without a checksum."""
    assert set(SOURCES) == set(FILES) - {"diorama"}
    for sources in SOURCES.values():
        for source in sources:
            assert source.address.startswith(("http://", "https://"))
            assert source.checksum or source.file.endswith(".zip")
            if source.checksum:
                kind, _, digits = source.checksum.partition(":")
                assert len(digits) == 2 * hashlib.new(kind).digest_size
            assert source.checksum or not source.others
    assert Archive("http://e.org/a.zip", "").file == "a.zip"


@pytest.mark.parametrize("mirror", ["", "files.example.org", "http://127.0.0.1:x"])
def test_a_mirror_that_is_no_address(tmp_path: Path, mirror: str) -> None:
    """Nothing is asked for, at the official address neither."""
    with pytest.raises(OvssError, match=r"an address looks like http://"):
        download("voc", tmp_path / "data", mirror=mirror)
    assert not (tmp_path / "data").exists()
