"""Data sets from their official addresses: resumed after breaks, checked, unpacked."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from ovsslib.errors import OvssError
from ovsslib.io.cache import file_name
from ovsslib.io.download import fetch_to
from ovsslib.io.files import write_atomic
from ovsslib.lookup import pick

Report = Callable[[str, int, int | None], object]
"""Told what is being done, how much of it is done, and of how much (None: unknown)."""


@dataclass(frozen=True)
class Source:
    """One file of a data set.

    Attributes:
        address: The official one.
        into: Folder on the shelf that it is unpacked into, or goes to if it is no archive.
        checksum: See `fetch_to`; None where none is published (archives carry sums of their own).
        members: Beginnings of the names to unpack; empty for all.
        others: Further addresses of the same file, tried in turn; they need a checksum.
    """

    address: str
    into: str
    checksum: str | None = None
    members: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The file's name."""
        return file_name(self.address)


_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"
_COCO = "http://images.cocodataset.org"
_DETAIL = "https://codalabuser.blob.core.windows.net/public/trainval_merged.json"
_COCO_PICTURES = Source(
    f"{_COCO}/zips/val2017.zip", "coco/images", "md5:442b8da7639aecaf257c1dceb8ba8c80"
)
_COCO_MAPS = Source(
    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/"
    "stuffthingmaps_trainval2017.zip",
    "coco/stuffthingmaps",
    members=("val2017/",),
)
SOURCES: dict[str, tuple[Source, ...]] = {
    # VOC's checksums are those in torchvision; COCO's are published with its mirrors.
    "voc": (
        Source(
            f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
            "",
            "md5:6cd6e144f989b92b3379bac3b3de84fd",
        ),
    ),
    "context": (
        Source(
            f"{_VOC}/voc2010/VOCtrainval_03-May-2010.tar",
            "",
            "md5:da459979d0c395079b5c75ee67908abb",
        ),
        Source(
            _DETAIL,
            "VOCdevkit/VOC2010",
            "md5:3c2d0c0656b7be9eb61928ffe885d8ce",
            others=(f"https://web.archive.org/web/20251122105902id_/{_DETAIL}",),
        ),
    ),
    "coco-object": (_COCO_PICTURES, _COCO_MAPS),
    "coco-object-instances": (
        _COCO_PICTURES,
        Source(
            f"{_COCO}/annotations/annotations_trainval2017.zip",
            "coco",
            "md5:f4bbac642086de4f52a3fdda2de5fa2c",
            members=("annotations/instances_val2017.json",),
        ),
    ),
    "coco-stuff": (_COCO_PICTURES, _COCO_MAPS),
    # The checksum is that of gluoncv's script for this file.
    "ade20k": (
        Source(
            "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            "",
            "sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
        ),
    ),
}
"""Set of files (see `ovsslib.datasets.FILES`) -> what it is made of."""
DOWNLOADS = "downloads"
"""Folder on the shelf for archives, and for marks of those that have been unpacked."""


def download(
    name: str,
    shelf: Path,
    *,
    mirror: str | None = None,
    keep: bool = False,
    again: bool = False,
    report: Report | None = None,
    pause: float = 1.0,
) -> list[Path]:
    """Fetch and unpack a data set's validation split (of VOC and ADE20K all there is).

    Called again after it was broken off, it goes on: with the byte that is missing, and without
    archives that have been unpacked.

    Args:
        name: A key of `SOURCES`.
        shelf: Folder of data sets; everything goes below it, where `load_dataset` looks.
        mirror: Address of a folder that has the same files under the same names, used instead of
            the official addresses.
        keep: Whether archives stay in `<shelf>/downloads` after they were unpacked.
        again: Whether archives that were unpacked before are fetched and unpacked anew.
        report: Told of progress.
        pause: Seconds before a broken connection is made anew.

    Returns:
        The folders that were written to.

    Raises:
        OvssError: Unknown name; a download failed or is not what its checksum says; an archive is
            damaged; the shelf cannot be written.
    """
    if name == "diorama":
        raise OvssError("diorama is not downloaded; ovss diorama make draws it")
    tell = report or _nobody
    folders = []
    for source in pick("download", name, SOURCES):
        folder = shelf / source.into
        archive = shelf / DOWNLOADS / source.file
        plain = not _is_archive(source.file)
        done = folder / source.file if plain else archive.with_name(source.file + ".unpacked")
        if again or not (plain or _is_unpacked(done, folder)):
            done.unlink(missing_ok=True)
        if not done.is_file():
            _fetch(source, done if plain else archive, mirror, tell, pause)
            if not plain:
                last = _unpack(archive, folder, source.members, tell)
                write_atomic(done, f"{source.address}\n{last}\n")
        if not plain and not keep:
            archive.unlink(missing_ok=True)
        folders.append(folder)
    return folders


def _nobody(what: str, done: int, total: int | None) -> None:
    """Report to nobody."""
    del what, done, total


def _is_unpacked(mark: Path, folder: Path) -> bool:
    """Whether an archive was unpacked, and what was unpacked last is still there."""
    if not mark.is_file():
        return False
    return (folder / mark.read_text("utf-8").splitlines()[-1]).exists()


def _is_archive(file: str) -> bool:
    return file.endswith((".zip", ".tar", ".tar.gz", ".tgz"))


def _fetch(source: Source, target: Path, mirror: str | None, tell: Report, pause: float) -> None:
    own = (source.address, *(source.others if source.checksum else ()))
    addresses = (f"{mirror.rstrip('/')}/{source.file}",) if mirror else own
    problems = []
    for address in addresses:
        try:
            fetch_to(
                address,
                target,
                checksum=source.checksum,
                retries=5,
                pause=pause,
                report=lambda have, total: tell(f"fetching {source.file}", have, total),
            )
        except OvssError as error:
            problems.append(str(error))
        else:
            return
    raise OvssError("; ".join(problems))


def _unpack(archive: Path, folder: Path, members: tuple[str, ...], tell: Report) -> str:
    """Unpack what is wanted; a damaged archive is deleted, so that it is fetched anew.

    Returns:
        The name of the member unpacked last.
    """
    members = members or ("",)
    what, size, last = f"unpacking {archive.name}", archive.stat().st_size, ""
    try:
        opener = _zip_members if archive.suffix == ".zip" else _tar_members
        with archive.open("rb") as file:
            for name, unpack in opener(file):
                if name.startswith(members):
                    unpack(folder)
                    last = name
                tell(what, min(file.tell(), size), size)
        if not last:
            raise tarfile.TarError(f"it holds nothing that begins with {' or '.join(members)}")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        archive.unlink()
        reason = " ".join(str(error).split())
        raise OvssError(
            f"{archive}: the archive is damaged ({reason}); it was deleted, try again"
        ) from error
    except OSError as error:
        raise OvssError(
            f"{folder}: cannot be written ({error.strerror or error}); free the space or choose "
            "another folder"
        ) from error
    return last


def _zip_members(file: IO[bytes]) -> Iterator[tuple[str, Callable[[Path], Any]]]:
    with zipfile.ZipFile(file) as content:
        for member in content.infolist():
            # extract() keeps names with .. or a root below the folder, and checks the sum.
            yield member.filename, partial(content.extract, member)


def _tar_members(file: IO[bytes]) -> Iterator[tuple[str, Callable[[Path], Any]]]:
    with tarfile.open(fileobj=file) as content:
        # Refuses names outside the folder, links out of it and devices. Python before 3.11.4 has
        # no such filter; the archives read there are those whose checksum is known.
        content.extraction_filter = getattr(tarfile, "data_filter", None)
        for member in content:
            yield member.name, partial(content.extract, member)
