"""Weights that a trained system adds to a CLIP: their folder, and the CLIP with them.

The folder holds `config.json` (the system, the CLIP, the sizes) and `model.safetensors` (what the
system adds, in float16 but for single numbers). A frozen CLIP stays where it is; one that the
system has changed lies in a folder inside.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ovsslib.errors import OvssError
from ovsslib.io.download import hub_folder
from ovsslib.io.files import write_atomic
from ovsslib.peers.released import Release, open_released
from ovsslib.peers.tower import Tower
from ovsslib.vlm import checkpoint_file, local_folder
from ovsslib.vlm.finite import check_weights
from ovsslib.vlm.sizes import read_config
from ovsslib.vlm.weights import check_size, read_weights

if TYPE_CHECKING:
    import open_clip
    from torch import nn


class HeadTower(Tower):
    """A CLIP of open_clip with what a system was trained to add.

    Args:
        name: A shipped checkpoint, a folder or a hub id; or a file that the system's authors
            released, see `ovsslib.peers.released`.
        device: Such as `"cpu"`; None for the best there is.
        dtype: Of CLIP's image encoder, one of `ovsslib.vlm.DTYPES`; None for float32.
        download: Whether the network may be used.

    Attributes:
        head: What is added, frozen.

    Raises:
        OvssError: The folder or file is missing or damaged, or of another system.
    """

    system: ClassVar[str]
    release: ClassVar[Release | None] = None
    """How the authors' files are read; None where none can be."""
    head_class: ClassVar[type[nn.Module]]
    """Made of the CLIP (`open_clip.CLIP`) and of the sizes in `config.json`."""

    def __init__(
        self,
        name: str,
        device: Any = None,
        dtype: str | None = None,
        *,
        download: bool = False,
    ) -> None:
        file = checkpoint_file(name, download=download)
        if file is not None:
            self._read_file(file, device, dtype, download=download)
            return
        folder = locate(name, self.system, download=download)
        config = read_config(folder / "config.json")
        try:
            system, clip, sizes = config["system"], config["clip"], dict(config["sizes"])
        except (KeyError, TypeError, ValueError) as error:
            raise OvssError(f"{folder}: its config.json lacks {error}; {_advice(self)}") from error
        if system != self.system:
            raise OvssError(f"{folder} is of the system {system!r}; {_advice(self)}")
        inner = folder / clip
        super().__init__(str(inner) if inner.is_dir() else clip, device, dtype, download=download)
        self.clip, self.name = self.name, folder.resolve().name
        if config.get("clip_mark") != mark(self.model):
            raise OvssError(
                f"{folder} was trained on another {self.clip} than the one here; train it again "
                f"with `ovss train micro-{self.system}`, or give the folder of that CLIP as `clip` "
                "in its config.json"
            )
        stored = read_weights(folder)
        try:
            head = self.head_class(self.model, **sizes).float()
            check_size(sum(each.numel() for each in head.state_dict().values()), stored, folder)
            weights = {key: value.float() for key, value in stored.items()}
            counts = {key: value for key, value in head.state_dict().items() if _counts(key)}
            head.load_state_dict(counts | weights)
        except (TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise OvssError(f"{folder} cannot be read ({reason}); {_advice(self)}") from error
        check_weights(head, str(folder))
        self._take(head)

    def _read_file(self, path: Path, device: Any, dtype: str | None, *, download: bool) -> None:
        """Become what a released file holds."""
        if self.release is None:
            raise OvssError(f"{path} is a file; {_advice(self)}")
        self._place(device, dtype)
        model, encode, head = open_released(
            path, self.release, self.head_class, self.device, download=download
        )
        self._use(model, path.name, encode)
        self.clip = self.name = path.stem
        self._take(head)

    def _take(self, head: nn.Module) -> None:
        self.head = head.eval().requires_grad_(requires_grad=False).to(self.device)


def _counts(name: str) -> bool:
    """Whether it is a counter of batch normalisation, which is not stored."""
    return name.endswith("num_batches_tracked")


def _advice(tower: HeadTower) -> str:
    return f"give a folder that `ovss train micro-{tower.system}` wrote"


def locate(name: str, system: str, *, download: bool = False) -> Path:
    """The folder of a trained system.

    Args:
        name: A shipped checkpoint, a folder or a hub id (`owner/name`).
        system: For the message.
        download: Whether the network may be used for a hub id.

    Raises:
        OvssError: There is no such folder here.
    """
    found = local_folder(name)
    if found is not None:
        return found
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return hub_folder(name, download=download)
    raise OvssError(
        f"no model {name!r} on this machine; train it with `ovss train micro-{system}`, or give a "
        "folder with its config.json and model.safetensors"
    )


def mark(clip: open_clip.CLIP) -> str:
    """Twelve hexadecimal characters that tell a CLIP from others, by its projection of texts.

    It is the same before and after the CLIP is stored in float16.
    """
    weights = clip.text_projection.detach().half().cpu().numpy()
    return hashlib.sha256(weights.tobytes()).hexdigest()[:12]


def save_head(
    folder: Path, system: str, clip: tuple[str, open_clip.CLIP], head: nn.Module, **sizes: Any
) -> None:
    """Write what a system adds to a CLIP, in float16 but for single numbers.

    Args:
        folder: Made where it is missing.
        system: Its name.
        clip: Its name, as `Tower` takes it, and the model.
        head: The weights.
        **sizes: What the head's class takes besides the CLIP.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    name, model = clip
    config = {"system": system, "clip": name, "clip_mark": mark(model), "sizes": sizes}
    write_atomic(folder / "config.json", json.dumps(config, indent=2) + "\n")
    state = {
        name: (value.half() if value.ndim else value).contiguous()  # single numbers stay exact
        for name, value in head.state_dict().items()
        if not _counts(name)
    }
    write_atomic(folder / "model.safetensors", save(state, metadata={"format": "pt"}))
