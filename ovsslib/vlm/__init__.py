"""Vision-language models behind one protocol, loaded by name, folder or hub id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovsslib.errors import OvssError
from ovsslib.lookup import check_types, resolve, unknown
from ovsslib.methods import DEFAULTS
from ovsslib.paths import data
from ovsslib.vlm.sizes import read_config

if TYPE_CHECKING:
    import torch

    from ovsslib.vlm.protocol import ImageTextMatcher

# model_type of a config.json -> "module:function" of its loader.
ARCHITECTURES: dict[str, str] = {
    "blip": "ovsslib.vlm.blip.matcher:load_blip",
    "blip-2": "ovsslib.vlm.blip2:load_blip2",
    "bridgetower": "ovsslib.vlm.bridgetower:load_bridgetower",
}
# Models that the project trains itself and carries in data/checkpoints.
MICRO_MODELS: tuple[str, ...] = ("micro-blip", "micro-bridgetower")
# A matcher that is a single file is LAVIS's. Endings of files tell a missing one from a hub id.
_FILE_LOADER = "ovsslib.vlm.lavis.checkpoint:load_lavis"
_FILE_ENDINGS = (".pth", ".pt", ".ckpt", ".bin")
# "lavis:" before such a file's name has LAVIS's own code compute, in LAVIS's own environment.
_BACKEND = "lavis:"
_BACKEND_LOADER = "ovsslib.vlm.lavis.backend:load_backend"
DTYPES = ("float32", "bfloat16", "float16")
"""What `load_vlm` can compute in."""


def checkpoint_roots() -> Iterator[Path]:
    """Folders that may hold the project's own checkpoints, first choice first."""
    chosen = os.environ.get("OVSS_CHECKPOINTS")
    if chosen:
        yield Path(chosen)
    yield data("checkpoints")


def local_folder(name: str, file: str = "config.json") -> Path | None:
    """The folder that a name stands for on this machine; None where there is none.

    Args:
        name: A path, or the name of a checkpoint below `checkpoint_roots`.
        file: What the folder must hold.
    """
    folders = (Path(name), *(root / name for root in checkpoint_roots()))
    return next((folder for folder in folders if (folder / file).is_file()), None)


def find_checkpoint(name_or_path: str | os.PathLike[str], *, download: bool = False) -> Path:
    """The folder of a checkpoint, or its file where LAVIS wrote it.

    Args:
        name_or_path: `"micro-blip"`, a local folder, a hub id (`owner/name`), a `.pth` file
            of LAVIS, or the address of one with its checksum (see `ovsslib.io.download.fetch`);
            before both may stand `lavis:`.
        download: Whether a checkpoint that is not in the local cache may be fetched.

    Returns:
        A folder with a `config.json`, or a LAVIS file.

    Raises:
        OvssError: There is no such checkpoint here; the message says what to do.
    """
    check_types({"vlm": name_or_path}, {"vlm": str | os.PathLike})
    given = os.fspath(name_or_path)
    name = given.removeprefix(_BACKEND)
    file = checkpoint_file(name, download=download)
    if file is not None:
        return file
    if name != given:
        raise OvssError(f"{given}: LAVIS reads its own files only; give the path of a .pth file")
    if os.path.isdir(name):
        folder = Path(name)
    elif name in (*MICRO_MODELS, *DEFAULTS.values()) and "/" not in name:
        folders = [root / name for root in checkpoint_roots() if (root / name).is_dir()]
        if not folders:
            raise OvssError(
                f"no checkpoint {name!r} under {' or '.join(map(str, checkpoint_roots()))}; train "
                f"it with `ovss train {name}`, or set OVSS_CHECKPOINTS to the folder that holds it"
            )
        folder = folders[0]
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        from ovsslib.io.download import hub_folder

        folder = hub_folder(name, download=download)
    else:
        raise unknown("vision-language model (nor is it a folder or a hub id)", name, MICRO_MODELS)
    if not (folder / "config.json").is_file():
        raise OvssError(f"{folder} holds no config.json; give a folder made by save_pretrained")
    return folder


def checkpoint_file(name: str, *, download: bool) -> Path | None:
    """The file that a name stands for; None where it cannot stand for one.

    Args:
        name: A path or an address, see `find_checkpoint`.
        download: Whether the network may be used for an address.

    Raises:
        OvssError: By its ending it is a file, but there is none.
    """
    from ovsslib.io.download import fetch, is_url

    if is_url(name):
        return fetch(name, download=download)
    if os.path.isfile(name):
        return Path(name)
    if name.endswith(_FILE_ENDINGS) and not os.path.isdir(name):
        raise OvssError(f"{name}: no such file; give the path of a checkpoint")
    return None


def load_vlm(
    name_or_path: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    *,
    download: bool = False,
) -> ImageTextMatcher:
    """Load a vision-language model.

    Args:
        name_or_path: `"micro-blip"`, a local folder, a hub id such as
            `"Salesforce/blip-itm-large-flickr"`, or LAVIS's file: its path or its address with
            `#sha256=` and its checksum. `"lavis:"` before these two has salesforce-lavis
            compute instead of ovsslib (see `ovsslib.vlm.lavis.backend`).
        device: Such as `"cpu"` or `"cuda:0"`; None takes a GPU where there is one.
        dtype: `"float32"` (None), `"bfloat16"` or `"float16"`.
        download: Whether the network may be used for a hub id or address not cached yet.

    Returns:
        The model, frozen.

    Raises:
        OvssError: The model, the device or the type is unknown, or files are missing or broken.
    """
    folder = find_checkpoint(name_or_path, download=download)
    name = os.fspath(name_or_path)
    backend = name.startswith(_BACKEND)
    of_file = _BACKEND_LOADER if backend else _FILE_LOADER
    target = of_file if folder.is_file() else _loader(folder)

    import torch

    from ovsslib.vlm.state import own_state

    if isinstance(dtype, torch.dtype):
        dtype = str(dtype).removeprefix("torch.")
    if dtype is not None and dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    label = folder.resolve().name if Path(name).is_dir() else name
    if folder.is_file():
        label = _BACKEND * backend + folder.stem
    loader: Any = resolve(target)
    with own_state():
        where = open_device(device)
        try:
            matcher: ImageTextMatcher = loader(
                folder, label, getattr(torch, dtype or "float32"), where
            )
        except OvssError as error:
            if str(folder) in str(error):
                raise
            raise OvssError(f"{folder}: {error}") from error
        except Exception as error:  # damaged files make libraries raise whatever they hit upon
            reason = " ".join((str(error).strip() or type(error).__name__).split())[:300]
            raise OvssError(f"cannot load the model in {folder}: {reason}") from error
    return matcher


def open_device(device: str | torch.device | None = None) -> torch.device:
    """A device that can be used.

    Args:
        device: Such as `"cpu"` or `"cuda:0"`; None takes a GPU where there is one.

    Raises:
        OvssError: There is no such device here.
    """
    import torch

    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.ones(1, device=chosen).sum().item()  # some can hold tensors and do no more
    except Exception as error:  # what is not built in raises anything, up to 8 kB of it
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
        raise OvssError(
            f"device {str(device)!r} cannot be used here ({reason[:160]}); give cpu, or cuda where "
            "there is a GPU"
        ) from error
    return chosen


def _loader(folder: Path) -> str:
    """The loader of the architecture that a checkpoint's config names."""
    kind = read_config(folder / "config.json").get("model_type")
    if not isinstance(kind, str):
        raise OvssError(f"{folder / 'config.json'} is not a model's configuration")
    if kind not in ARCHITECTURES:
        raise unknown(f"architecture in {folder / 'config.json'}", kind, ARCHITECTURES)
    return ARCHITECTURES[kind]
