"""Data sets from their official addresses: downloaded, checked, unpacked."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from ovsslib.errors import OvssError
from ovsslib.io.download import file_name, retrieve
from ovsslib.io.files import make_folder, only_one, read_text, write_atomic
from ovsslib.io.network import check_address
from ovsslib.lookup import pick


@dataclass(frozen=True)
class Archive:
    """One file of a data set.

    Attributes:
        address: The official one.
        into: Folder below the root that it is unpacked into, or goes to if it is no archive.
        checksum: See `retrieve`; None where none is published (zip files hold checksums).
        members: Beginning of the names to unpack; empty for all.
        others: Further addresses of the same file, tried in turn; they need a checksum.
    """

    address: str
    into: str
    checksum: str | None = None
    members: str = ""
    others: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The file's name."""
        return file_name(self.address)

    @property
    def is_archive(self) -> bool:
        """Whether it is unpacked."""
        return self.file.endswith((".zip", ".tar"))


_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"
_COCO = "http://images.cocodataset.org"
_DETAIL = "https://codalabuser.blob.core.windows.net/public/trainval_merged.json"
_COCO_IMAGES = Archive(
    f"{_COCO}/zips/val2017.zip", "coco/images", "md5:442b8da7639aecaf257c1dceb8ba8c80"
)
_COCO_MAPS = Archive(
    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/"
    "stuffthingmaps_trainval2017.zip",
    "coco/stuffthingmaps",
    members="val2017/",
)
SOURCES: dict[str, tuple[Archive, ...]] = {
    # VOC's checksums are those in torchvision; COCO's are published with its mirrors.
    "voc": (
        Archive(
            f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
            "",
            "md5:6cd6e144f989b92b3379bac3b3de84fd",
        ),
    ),
    "context": (
        Archive(
            f"{_VOC}/voc2010/VOCtrainval_03-May-2010.tar",
            "",
            "md5:da459979d0c395079b5c75ee67908abb",
        ),
        Archive(
            _DETAIL,
            "VOCdevkit/VOC2010",
            "md5:3c2d0c0656b7be9eb61928ffe885d8ce",
            others=(f"https://web.archive.org/web/20251122105902id_/{_DETAIL}",),
        ),
    ),
    "coco-object": (_COCO_IMAGES, _COCO_MAPS),
    "coco-object-instances": (
        _COCO_IMAGES,
        Archive(
            f"{_COCO}/annotations/annotations_trainval2017.zip",
            "coco",
            "md5:f4bbac642086de4f52a3fdda2de5fa2c",
            members="annotations/instances_val2017.json",
        ),
    ),
    "coco-stuff": (_COCO_IMAGES, _COCO_MAPS),
    # The checksum is that of gluoncv's script for this file.
    "ade20k": (
        Archive(
            "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            "",
            "sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
        ),
    ),
}
"""Set of files (see `ovsslib.datasets.FILES`) -> what it is made of."""
DOWNLOADS = "downloads"
"""Folder below the root for archives, and for marks of those that have been unpacked."""


def download(
    name: str, root: Path, *, mirror: str | None = None, keep: bool = False, again: bool = False
) -> list[Path]:
    """Download and unpack a data set's validation split (of VOC and ADE20K: everything).

    Files and archives of an earlier call that were complete are not fetched again.

    Args:
        name: A key of `SOURCES`.
        root: Folder of data sets; everything goes below it, where `load_dataset` looks.
        mirror: Address of a folder that has the same files under the same names, used instead of
            the official addresses.
        keep: Whether archives stay in `<root>/downloads` after they were unpacked.
        again: Whether archives that were unpacked before are fetched and unpacked anew.

    Returns:
        The folders that were written to.

    Raises:
        OvssError: Unknown name; a download failed or has another checksum; an archive is damaged;
            the root cannot be written; another process downloads the same file there.
    """
    if name == "diorama":
        raise OvssError("diorama is not downloaded; ovss diorama make draws it")
    if mirror is not None:
        check_address(mirror, "the mirror")
    folders = []
    for source in pick("download", name, SOURCES):
        folders.append(root / source.into)
        lock = root / DOWNLOADS / f"{source.file}.lock"
        make_folder(lock.parent)
        with only_one(lock, "is downloading"):
            try:
                _download(source, root, mirror, keep=keep, again=again)
            finally:
                lock.unlink()
    return folders


def _download(source: Archive, root: Path, mirror: str | None, *, keep: bool, again: bool) -> None:
    """`download` for one file."""
    folder = root / source.into
    if not source.is_archive:
        _retrieve(source, folder / source.file, mirror)
        return
    archive = root / DOWNLOADS / source.file
    mark = archive.with_name(source.file + ".unpacked")
    if again or not _is_unpacked(mark, folder):
        mark.unlink(missing_ok=True)
        _retrieve(source, archive, mirror)
        write_atomic(mark, f"{source.address}\n{_unpack(archive, folder, source.members)}\n")
    if not keep:
        archive.unlink(missing_ok=True)


def _is_unpacked(mark: Path, folder: Path) -> bool:
    """Whether an archive was unpacked, and its last member is still there."""
    lines = read_text(mark).split("\n") if mark.is_file() else []
    return len(lines) > 1 and (folder / lines[1]).exists()


def _retrieve(source: Archive, path: Path, mirror: str | None) -> None:
    own = (source.address, *source.others)
    problems = []
    for address in (f"{mirror.rstrip('/')}/{source.file}",) if mirror is not None else own:
        try:
            retrieve(address, path, source.checksum)
        except OvssError as error:
            problems.append(str(error))
        else:
            return
    raise OvssError("; ".join(problems))


def _unpack(archive: Path, folder: Path, members: str) -> str:
    """Unpack an archive; a damaged one is deleted, so that the next call fetches it again.

    Returns:
        The name of the last member.
    """
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as content:
                names = [name for name in content.namelist() if name.startswith(members)]
                content.extractall(folder, names)
        else:
            with tarfile.open(archive) as content:
                # Refuses names outside the folder, links out of it, and devices; Python before
                # 3.11.4 lacks it. (pooch's own unpacking takes it from Python 3.12 on.)
                content.extraction_filter = getattr(tarfile, "data_filter", None)
                names = content.getnames()
                content.extractall(folder)
        if not names:
            raise zipfile.BadZipFile(f"it holds nothing that begins with {members}")
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
    return names[-1]
