"""Weights out of a checkpoint folder, straight into a module, none missing and none left over."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ovsslib.errors import OvssError

# In the order in which transformers looks for them; an index names the parts of a large model.
_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint folder on the CPU, as stored.

    Args:
        folder: Holds `model.safetensors` or `pytorch_model.bin`, whole or in parts with an
            index; or the like of open_clip. Pickles are read with `weights_only`, so they cannot
            run code. Files are mapped where they can be: what is not used costs no memory.

    Raises:
        OvssError: There are no weights, they cannot be read, or they are whole numbers.
    """
    try:
        first = next((folder / name for name in _FILES if (folder / name).is_file()), None)
        if first is None:
            raise FileNotFoundError(f"it holds no {_FILES[0]}")
        parts = {first.name}
        if first.suffix == ".json":
            parts = set(json.loads(first.read_text(encoding="utf-8"))["weight_map"].values())
        weights: dict[str, Tensor] = {}
        for part in sorted(parts):
            weights.update(_read_file(folder / part))
        for name, value in weights.items():
            if not value.is_floating_point() and not name.endswith("_ids"):
                raise TypeError(
                    f"{name} has the type {str(value.dtype).removeprefix('torch.')}, and quantised "
                    "weights are not supported"
                )
        return weights
    except Exception as error:  # damaged files raise whatever they happen to hit
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OvssError(f"cannot load the model in {folder}: {reason}; fetch it again") from error


def _read_file(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    loaded = read_pickle(path)
    return dict(loaded.get("state_dict", loaded))


def read_pickle(path: Path) -> Any:
    """What `torch.save` wrote, tensors only, mapped where the format allows that."""
    # torch's format before version 1.6 is no zip archive and cannot be mapped.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


class MoreThanTensorsError(OvssError):
    """A file holds objects that reading it would have to run code for."""


def read_state(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint file on the CPU, under the names that it has for them.

    The file is mapped rather than read where it allows that, so tensors that nobody uses cost
    neither time nor memory. Only tensors are unpickled: no code runs.

    Args:
        path: A file that `torch.save` wrote: `{"model": state, ...}` or the bare state.

    Raises:
        OvssError: It is no such file; the message is the reason alone, without the path. A
            `MoreThanTensorsError` where it holds other objects.
    """
    try:
        loaded = read_pickle(path)
    except Exception as error:  # damaged pickles raise whatever they happen to hit
        raise _unread(error) from error
    state = loaded.get("model", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not state:
        raise OvssError(f"it holds a {type(state).__name__}, not named tensors")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise OvssError(f"{name!r} is a {type(value).__name__}, not a named tensor")
    return dict(state)


def _unread(error: Exception) -> OvssError:
    """What is wrong with a file; torch's own words propose to run the code in it."""
    words = str(error).strip()
    code = re.search(r"GLOBAL ([\w.]+)", words)
    if code:
        return MoreThanTensorsError(
            f"it holds more than tensors ({code[1]}), and code in a file is never run"
        )
    if isinstance(error, pickle.UnpicklingError):
        return OvssError("it is no file of tensors")
    return OvssError((words or type(error).__name__).splitlines()[0])


def shape_of(weights: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    """The shape of one tensor.

    Raises:
        OvssError: It is missing, is empty, or has another number of dimensions.
    """
    if name not in weights:
        raise OvssError(f"{name} is missing")
    sizes = tuple(weights[name].shape)
    if len(sizes) != dimensions or 0 in sizes:
        raise OvssError(f"{name} has the shape {sizes}")
    return sizes


def check_size(wanted: int, stored: Mapping[str, Tensor], where: Path | str) -> None:
    """Compare a network with the weights that are stored for it, before memory is asked for.

    Args:
        wanted: Number of its weights, or less.
        stored: What `read_weights` gives. Some parts may be missing, and names may differ.
        where: The checkpoint, for messages.

    Raises:
        OvssError: The network is so large that it cannot be meant.
    """
    given = sum(weight.numel() for weight in stored.values())
    if wanted > 2 * given:
        raise OvssError(
            f"{where}: its configuration asks for {wanted} weights, but {given} are stored; fetch "
            "the checkpoint again"
        )


def fill(
    module: nn.Module, weights: Mapping[str, Tensor], what: str, *, where: Path | str = "the model"
) -> None:
    """Give a module its weights; it keeps the tensors themselves, without a copy.

    Args:
        module: Its own parameters may lie on the `meta` device.
        weights: Parameter name to tensor. Position indices, which old checkpoints and networks
            hold, are ignored.
        what: The architecture, for messages.
        where: The checkpoint, for messages.

    Raises:
        OvssError: Weights are missing, left over, or of another shape.
    """
    given = {k: v.detach() for k, v in weights.items() if not k.endswith("position_ids")}
    wanted = {k: v for k, v in module.state_dict().items() if not k.endswith("position_ids")}
    missing = sorted(wanted.keys() - given.keys())
    if missing:
        raise OvssError(f"{where} lacks {len(missing)} weights of {what} ({missing[0]}, ...)")
    over = sorted(given.keys() - wanted.keys())
    if over:
        raise OvssError(f"{where} holds {len(over)} weights that {what} lacks ({over[0]}, ...)")
    for name, value in wanted.items():
        if given[name].shape != value.shape:
            raise OvssError(
                f"{where}: {name} has the shape {tuple(given[name].shape)} but the network "
                f"has {tuple(value.shape)}; fetch the checkpoint again"
            )
    module.load_state_dict(given, strict=False, assign=True)


def weights_digest(model: nn.Module) -> str:
    """SHA-256 digest of a model's weights, with their names."""
    sha = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        sha.update(name.encode())
        sha.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()
