"""What to run and how: a run as plain data, so that files and notebooks can name it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ovsslib.errors import OvssError
from ovsslib.lookup import Count, Workers, check_fields, check_names
from ovsslib.methods import default_model
from ovsslib.types import Progress


@dataclass(frozen=True)
class RunSpec:
    """One run: everything that changes its figures.

    Attributes:
        vlm: Vision-language model: a name, a folder or a hub id; none ("") becomes the method's
            own, see `ovsslib.methods.default_model`.
        method: Name of the method.
        preset: Named settings; None for those made for the model.
        config: Settings changed from the preset.
        dataset: Name of the data set.
        split: Name of the split.
        protocol: Name of the protocol.
        filter: Name of the class filter, see `ovsslib.filters.split_filter`.
        dtype: What the model computes in, see `ovsslib.vlm.load_vlm`; None for float32.
        limit: Only the first so many images of the split; None for all.
        filter_settings: Settings of the class filter.
        vocabulary: Other names for classes: `name`, how tables call it, and `names`, as
            `ovsslib.protocols.vocabulary.read_vocabulary` gives them; empty for none.

    Raises:
        OvssError: A setting belongs to the protocol, or a value is of another type or out of range.
    """

    vlm: str = ""
    method: str = "pnp-ovss"
    preset: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    dataset: str = "diorama"
    split: str = "val"
    protocol: str = "pnp-fixed"
    filter: str = "oracle"
    dtype: str | None = None
    limit: Count | None = None
    filter_settings: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be checked without loading anything."""
        if "background" in self.config:
            raise OvssError("background is set by the protocol; leave it out of the settings")
        check_fields(self)
        if not self.vlm:
            object.__setattr__(self, "vlm", default_model(self.method))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RunSpec:
        """A run out of a mapping, such as one read from JSON.

        Raises:
            OvssError: A key is unknown (the nearest is named).

        Example:
            >>> RunSpec.from_dict({"filter": "all"}).filter
            'all'
        """
        check_names("key of a run", record, [item.name for item in fields(cls)])
        return cls(**record)

    @property
    def shared(self) -> tuple[Any, ...]:
        """What two runs must have in common to share their images and their model."""
        what = (self.method, self.vlm, self.dataset, self.split, self.protocol, self.filter)
        named = [dict(self.filter_settings), dict(self.vocabulary)]
        return (*what, self.dtype, self.limit, json.dumps(named, sort_keys=True, default=str))


@dataclass(frozen=True)
class Execution:
    """How to run; changes the time, never the figures.

    Attributes:
        batch: Images in one pass of the model.
        refiners: Processes that refine beside the model; 0 refines in this one.
        device: Such as `"cpu"` or `"cuda:0"`; None for the best there is.
        root: Folder of the data set; None for the usual one.
        progress: Shows progress; None for silence.
        keep: Whether the refining processes stay for the next run, see
            `ovsslib.io.pool.ordered`.
        download: Whether the network may be used for models that are not on this machine.

    Raises:
        OvssError: A value is of another type or out of range.
    """

    batch: Count = 8
    refiners: Workers = 0
    device: str | None = None
    root: str | os.PathLike[str] | None = None
    progress: Progress | None = None
    keep: bool = False
    download: bool = False

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)


SERIAL = Execution()
"""One process, silent."""


@dataclass
class Log:
    """What a run notes beside its counts.

    Attributes:
        failed: Image -> reason, for images that cannot be read.
        stages: Stage -> seconds spent in it, over all processes.
    """

    failed: dict[str, str] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, seconds: float) -> None:
        """Note time spent in a stage."""
        self.stages[stage] = self.stages.get(stage, 0.0) + seconds

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note the time spent inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)
