"""Models of transformers as their authors publish them: found, read whole, checked, frozen.

A method that uses one derives a class from `Hub` (or from `ovsslib.peers.hub_tower.HubTower`) and
says which classes of transformers it knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from ovsslib.errors import OvssError
from ovsslib.lookup import unknown
from ovsslib.peers.hub_names import find
from ovsslib.vlm import DTYPES, open_device
from ovsslib.vlm.finite import check_weights
from ovsslib.vlm.sizes import read_config
from ovsslib.vlm.state import own_state


class Hub:
    """A model and its processor, in evaluation mode, without gradients.

    Args:
        name: A hub id (`"owner/name"`) or a folder made by `save_pretrained`.
        device: Such as `"cpu"`; None for the best there is.
        dtype: One of `ovsslib.vlm.DTYPES`; None for float32.
        download: Whether the network may be used for a hub id that is not in the local cache.

    Attributes:
        name: The model's, without its owner or folder.
        device: Where it is.
        dtype: What it computes in.
        model: Of transformers.
        processor: Of transformers, or a class of it.

    Raises:
        OvssError: The model is missing, gated, damaged, or of another type.
    """

    what: ClassVar[str]
    """What errors call such a model."""
    classes: ClassVar[Mapping[str, str]]
    """`model_type` of its `config.json` -> the class of transformers that reads it."""
    processor_class: ClassVar[str] = "AutoProcessor"
    processor_parts: ClassVar[tuple[str, ...]] = ("image_processor", "tokenizer")

    def __init__(
        self, name: str, device: Any = None, dtype: str | None = None, *, download: bool = False
    ) -> None:
        if dtype is not None and dtype not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
        self.device, self.dtype = open_device(device), dtype or "float32"
        place = self._folder(name, download=download)
        local = Path(name).is_dir()
        self.name = place.resolve().name if local else name.rsplit("/", 1)[-1]
        fetch = "fetch the folder again"
        if not local:
            fetch = f"fetch it again with `hf download --force-download {name}`"
        self.model, self.processor = self._read(place, fetch)

    @classmethod
    def _folder(cls, name: str, *, download: bool) -> Path:
        """Where the model lies, which is of one of the known types."""
        place = find(name, cls.what, download=download)
        found = read_config(place / "config.json").get("model_type")
        if found not in cls.classes:
            known = " or ".join(cls.classes)
            raise OvssError(
                f"{name}: a model of type {found!r}, where {cls.what} is needed ({known}); give "
                "another"
            )
        return place

    @own_state()
    def _read(self, place: Path, fetch: str) -> tuple[Any, Any]:
        """Model and processor; `fetch` says what to do about damaged files."""
        import transformers

        kind = self.classes[read_config(place / "config.json")["model_type"]]
        if not hasattr(transformers, kind):
            raise OvssError(
                f"{self.what} needs a newer transformers than {transformers.__version__}: "
                "python -m pip install -U transformers"
            )
        here: dict[str, Any] = {"local_files_only": True}
        try:
            model, loading = getattr(transformers, kind).from_pretrained(
                place, dtype=getattr(torch, self.dtype), output_loading_info=True, **here
            )
            processor = getattr(transformers, self.processor_class).from_pretrained(place, **here)
            lacking = sorted(loading["missing_keys"])
            lacking += [part for part in self.processor_parts if not hasattr(processor, part)]
            if lacking:  # transformers would draw weights at random
                raise ValueError(f"{len(lacking)} parts are missing, such as {lacking[0]}")
        except Exception as error:  # damaged files make libraries raise whatever they hit upon
            reason = " ".join((str(error).strip() or type(error).__name__).split())[:300]
            raise OvssError(
                f"{place}: {self.what} cannot be loaded from it ({reason}); {fetch}"
            ) from error
        check_weights(model, str(place))
        return model.to(self.device).eval().requires_grad_(requires_grad=False), processor
