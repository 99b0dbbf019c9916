"""What the notebooks' parameters may be: a name means the same in every notebook.

`check` is called before a notebook does anything, so that a mistake costs no work.
"""

from __future__ import annotations

import json
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from ovsslib.datasets import Dataset, load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.engines import Engine
from ovsslib.evaluate.spec import RunSpec
from ovsslib.filters import get_filter
from ovsslib.lookup import (
    Count,
    Natural,
    Positive,
    Range,
    Share,
    Workers,
    check_names,
    check_types,
    pick,
)
from ovsslib.methods import METHODS
from ovsslib.peers import hub_clip
from ovsslib.pnp.config import PnPConfig, Steps
from ovsslib.pnp.presets import preset
from ovsslib.protocols.protocol import get_protocol
from ovsslib.vlm import DTYPES, find_checkpoint, open_device
from ovsslib.vlm.lavis.checkpoint import read_checkpoint

Values = Mapping[str, Any]

KINDS: dict[str, Any] = {
    **dict.fromkeys(("limit", "limit_order", "ablation_limit", "ablation_limit_all"), Count),
    **dict.fromkeys(("batch", "shard_size", "seeds", "trials", "resamples", "recompute"), Count),
    **dict.fromkeys(("repeats", "classes", "draws"), Count),
    **dict.fromkeys(("workers", "refine_workers"), Workers),
    **dict.fromkeys(("thresholds", "blurs"), Annotated[list[Share], Range(1)]),
    "allow_bad": Natural,
    "rounds": Steps,
    "grid_rounds": Annotated[list[Steps], Range(1)],
    "grid_patches": Annotated[list[Natural], Range(1)],
    "sizes": Annotated[list[Count], Range(1)],
    "models": Annotated[list[str], Range(1)],
    "methods": Annotated[list[str], Range(1)],
    "cores_per_gpu": Annotated[int, Range(1, 1024)],
    "device_peak": Positive,
    "share": Annotated[float, Range(0, 1, above=True)],
}
"""Name -> type with its range, of parameters that are numbers or lists."""


def _model(values: Values) -> None:
    path = find_checkpoint(values["vlm"])
    if path.is_file():  # mapped, not read
        read_checkpoint(path)


def _clip(values: Values) -> None:
    if hub_clip.folder(values["clip"]) is None:
        _filter(f"clip:{values['clip']}", values, {})


def _dataset(values: Values) -> Dataset:
    return load_dataset(values["dataset"], values.get("data_root"), values.get("split", "val"))


def _image(values: Values) -> None:
    data = _dataset(values)
    name = values["image_id"] or data.ids[0]
    if name not in data.ids:
        raise OvssError(f"there is no image {name!r} in the split; the first is {data.ids[0]!r}")
    label = data.label(name)
    if not ((label > 0) & (label <= len(data.classes))).any():
        raise OvssError(f"image {name!r} shows none of the classes; name another one")


def _filter(name: str, values: Values, settings: Values) -> None:
    get_filter(name, settings).prepare(_dataset(values), [])


def _ablation(values: Values) -> None:
    for name in values["ablation"]:
        _filter(name, values, {})


def _config(values: Values) -> None:
    RunSpec(config=values["config"])
    if values.get("method", "pnp-ovss") == "pnp-ovss":
        PnPConfig.from_dict(values["config"])


def _folder(path: str) -> None:
    if not Path(path).is_dir():
        raise OvssError(f"{path}: there is no such folder; check the path")


def _output(path: str) -> None:
    if not path:
        raise OvssError("name a folder to write to")
    # Not made yet: another parameter may still be wrong.
    there = next(each for each in (Path(path), *Path(path).parents) if os.path.exists(each))
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise OvssError(f"{path}: nothing can be written there; choose another folder")


CHECKS: dict[str, Callable[[Values], object]] = {
    "vlm": _model,
    "method": lambda values: pick("method", values["method"], METHODS),
    "methods": lambda values: check_names("method", values["methods"], METHODS),
    "clip": _clip,
    "preset": lambda values: preset(values["preset"]),
    "dtype": lambda values: check_names("dtype", [values["dtype"]], DTYPES),
    "device": lambda values: open_device(values["device"]),
    "protocol": lambda values: get_protocol(values["protocol"]),
    "config": _config,
    "dataset, data_root or split": _dataset,
    "image_id": _image,
    "filter": lambda values: _filter(values["filter"], values, {}),
    "class_filter": lambda values: _filter(
        values["class_filter"], values, values.get("filter_settings", {})
    ),
    "ablation": _ablation,
    "dask": lambda values: Engine(dask=values["dask"]),
    "dask_slurm": lambda values: Engine(slurm=Path(values["dask_slurm"])),
    **{
        name: lambda values, name=name: _folder(values[name])  # type: ignore[misc]
        for name in ("folder", "benchmarks", "stored", "trained", "words_folder")
    },
    **{
        name: lambda values, name=name: _output(values[name])  # type: ignore[misc]
        for name in ("store", "out")
    },
}
"""Name -> what raises an error where the value is wrong."""


def check(values: Values) -> None:
    """Check ranges, names and files; a name that no table knows is passed over.

    Args:
        values: Parameters by name, as `plain` gives them.

    Raises:
        OvssError: The first value that is wrong; names the parameter.
    """
    for name, value in values.items():
        if name in KINDS and value is not None:
            check_types({name: value}, KINDS, "parameter ")
    for names, look in CHECKS.items():
        first = names.split(",")[0]
        if first in values and (values[first] is not None or first == "image_id"):
            try:
                look(values)
            except OvssError as error:
                raise OvssError(f"parameter {names}: {error}") from error


def plain(value: Any, kind: Any, name: str) -> Any:
    """A value in the form that a notebook works with, whatever way papermill was given it.

    `papermill -p` knows texts and numbers only. So settings may be JSON text, words a text with
    commas, and an empty text stands for None where None is allowed.

    Args:
        value: Of the declared type.
        kind: The declared type.
        name: The parameter's name, for the message.

    Raises:
        OvssError: Settings are no JSON object.

    Example:
        >>> plain('{"crf": false}', str | dict[str, object], "config"), plain("", str | None, "vlm")
        ({'crf': False}, None)
        >>> plain("oracle, all", str | list[str], "ablation")
        ['oracle', 'all']
    """
    options = typing.get_args(kind)
    forms = [typing.get_origin(option) or option for option in options]
    if str in forms and dict in forms:
        return _settings(value, name)
    if str in forms and list in forms:
        return _words(value)
    return None if value == "" and type(None) in options else value


def _settings(value: str | Values, name: str) -> dict[str, Any]:
    """A mapping, or one as JSON text; an empty text is an empty mapping."""
    if not isinstance(value, str):
        return dict(value)
    try:
        settings = json.loads(value or "{}")
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise OvssError(
            f"parameter {name} must be settings as JSON text, such as "
            f"'{{\"crf\": false}}', not {value!r}"
        )
    return settings


def _words(value: str | Sequence[str]) -> list[str]:
    """A list of words, or a text with commas."""
    words = value.split(",") if isinstance(value, str) else value
    return [word.strip() for word in words if word.strip()]
