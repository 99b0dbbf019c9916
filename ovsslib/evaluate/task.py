"""A data set to be scored: which images, which classes are given, under which protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.datasets import Dataset, load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.spec import Execution, Log
from ovsslib.filters import get_filter, split_filter
from ovsslib.filters.base import ClassFilter
from ovsslib.lookup import Count, check_names, check_types
from ovsslib.protocols.protocol import Protocol, get_protocol
from ovsslib.protocols.vocabulary import Vocabulary

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Task:
    """Which images, scored how.

    Attributes:
        dataset: The data set.
        protocol: Resolved for it.
        filter: Name of the class filter.
        class_filter: The filter itself; it may hold a model or a file's content.
        limit: The first so many images of the split; None for all.
        part: From which image to before which, of those; None for all.
    """

    dataset: Dataset
    protocol: Protocol
    filter: str
    class_filter: ClassFilter
    limit: int | None = None
    part: tuple[int, int] | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The images of this task: the first `limit` of the split, of these a `part`."""
        return self.dataset.ids[: self.limit][slice(*self.part) if self.part else slice(None)]

    @property
    def expected(self) -> int:
        """How many images the whole task should have (`FolderDataset.expected`)."""
        published = getattr(self.dataset, "expected", None)
        return published(self.limit) if published else len(self.dataset.ids[: self.limit])

    def read(self, name: str) -> Sample:
        """Read one image.

        Raises:
            OvssError: Image or label is missing or damaged, or their sizes differ.
        """
        looked_for, classes = self.protocol.expand(
            self.dataset, self.class_filter(self.dataset, name)
        )
        image, truth = self.dataset.image(name), self.dataset.label(name)
        if image.size != truth.shape[::-1]:
            raise OvssError(
                f"image ({image.width} x {image.height}) and label ({truth.shape[1]} x "
                f"{truth.shape[0]}) differ in size"
            )
        return Sample(name, image, truth, looked_for, classes)


@dataclass(frozen=True)
class Sample:
    """One image, read, with the classes given and its label map.

    Attributes:
        name: Of the image.
        image: RGB.
        truth: (H, W) data-set labels.
        looked_for: Data-set label of each name in `classes` (`Protocol.expand`).
        classes: The names.
    """

    name: str
    image: Image.Image
    truth: np.ndarray
    looked_for: tuple[int, ...]
    classes: tuple[str, ...]


def make_task(
    dataset: str | Dataset,
    *,
    split: str = "val",
    protocol: str = "pnp-fixed",
    filter: str = "oracle",
    limit: int | None = None,
    filter_settings: Mapping[str, Any] | None = None,
    vocabulary: Mapping[str, Any] | None = None,
) -> Task:
    """Name a task; arguments as in `RunSpec`, or an opened data set.

    Raises:
        OvssError: A name is unknown, the data set is not there, or the vocabulary is none for it.
    """
    check_types({"limit": limit}, {"limit": Count | None})
    data = load_dataset(dataset, split=split) if isinstance(dataset, str) else dataset
    rules = get_protocol(protocol).resolved(data.name)
    if vocabulary:
        check_names("key of a vocabulary", vocabulary, ("name", "names"))
        names = Vocabulary.from_dict(vocabulary.get("name", ""), vocabulary.get("names", {}))
        names.check(data)
        rules = dataclasses.replace(rules, vocabulary=names)
    settings = dict(filter_settings or {})
    return Task(data, rules, split_filter(filter, settings)[0], get_filter(filter, settings), limit)


def batches(task: Task, execution: Execution, log: Log) -> Iterator[list[Sample]]:
    """Images in batches; one that cannot be read is noted in the log with the reason."""
    task.class_filter.prepare(task.dataset, task.ids, execution.progress)
    ids: Iterable[str] = task.ids
    if execution.progress is not None:
        ids = execution.progress(ids, task.dataset.name, len(task.ids))
    batch: list[Sample] = []
    for name in ids:
        try:
            with log.timed("read"):
                batch.append(task.read(name))
        except OvssError as error:
            # Results name no path of the machine they were made on.
            log.failed[name] = str(error).replace(f"{getattr(task.dataset, 'root', '')}/", "")
        if len(batch) == execution.batch:
            yield batch
            batch = []
    if batch:
        yield batch
