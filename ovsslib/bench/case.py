"""What is measured: a model, settings, and synthetic images with class names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.lookup import Count, Natural, Threads, check_fields
from ovsslib.miniature.diorama.classes import CLASSES
from ovsslib.pnp.config import PnPConfig

if TYPE_CHECKING:
    from ovsslib.vlm.protocol import ImageTextMatcher

PHOTO = (500, 375)
"""Width and height in pixels of the synthetic images: VOC's usual size."""


@dataclass(frozen=True)
class Spec:
    """A measurement of salience as plain data, so that another process can repeat it.

    Attributes:
        vlm: Model, see `ovsslib.bench.random_models.open_model`.
        image_size: Side of the network's square input in pixels; None takes the model's preset.
        classes: Class names per image, K.
        rounds: Salience maps that are summed; 1 means no dropout.
        patches: Patches blacked out after each round.
        layer: Text layer that is read, from 1; None takes the model's preset.
        head: Its head, from 1; 0 takes the mean over heads, None the model's preset.
        batch: Images in one pass of the model.
        images: Images; None takes one batch.
        dtype: What the model computes in, see `ovsslib.vlm.load_vlm`.
        compiled: Whether `torch.compile` is applied to the image encoder.
        device: Such as `"cpu"`; None takes a GPU where there is one.
        threads: Threads of torch; None leaves them as they are.

    Raises:
        OvssError: A value is of another type or out of range.
    """

    vlm: str = "blip-large-random"
    image_size: Count | None = None
    classes: Count = 5
    rounds: Count = 4
    patches: Natural = 10
    layer: Count | None = None
    head: Natural | None = None
    batch: Count = 1
    images: Count | None = None
    dtype: str = "float32"
    compiled: bool = False
    device: str | None = None
    threads: Threads | None = None

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)


@dataclass(frozen=True)
class Case:
    """A model with its settings, and B images, each with its K class names."""

    matcher: ImageTextMatcher
    config: PnPConfig
    images: list[np.ndarray]
    classes: list[tuple[str, ...]]
    batch: int
    compiled: bool = False

    def batches(self) -> Iterator[tuple[list[np.ndarray], list[tuple[str, ...]]]]:
        """Images and class names, `batch` at a time."""
        for start in range(0, len(self.images), self.batch):
            part = slice(start, start + self.batch)
            yield self.images[part], self.classes[part]

    def describe(self) -> dict[str, Any]:
        """The settings that the figures depend on, as plain values."""
        config = self.config
        return {
            "vlm": self.matcher.name,
            "image_size": config.image_size or self.matcher.image_size,
            "classes": len(self.classes[0]),
            "rounds": config.rounds,
            "patches": config.patches_per_round,
            "layer": config.layer,
            "head": config.head,
            "batch": self.batch,
            "images": len(self.images),
            "compiled": self.compiled,
        }


def synthetic_image(seed: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """Smooth random colours.

    Args:
        seed: The same image for the same seed.
        size: Width and height in pixels; None takes `PHOTO`.

    Returns:
        (H, W, 3) uint8.

    Example:
        >>> synthetic_image(1, (40, 30)).shape
        (30, 40, 3)
    """
    cells = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(cells).resize(size or PHOTO, Image.Resampling.BICUBIC))


def class_names(count: int, first: int = 0) -> tuple[str, ...]:
    """Different class names; from another `first`, others or in another order.

    Example:
        >>> class_names(2, first=8)
        ('bird', 'traffic light')
    """
    period = max(len(CLASSES), count)
    turns = [divmod((first + index) % period, len(CLASSES)) for index in range(count)]
    return tuple(CLASSES[k] if not again else f"{CLASSES[k]} {again + 1}" for again, k in turns)


def prepare(spec: Spec) -> Case:
    """Load the model and make the images.

    Raises:
        OvssError: The model, its layer or head, or the device cannot be had, or the input's side is
            not a multiple of the patch.
    """
    import torch

    from ovsslib.bench.random_models import SHAPES, open_model
    from ovsslib.pnp.pipeline import PnPOVSS
    from ovsslib.pnp.presets import default_config
    from ovsslib.vlm import find_checkpoint

    if spec.vlm in SHAPES and spec.image_size is not None:
        _check_side(spec.image_size, SHAPES[spec.vlm].patch)  # before weights are drawn
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    matcher = open_model(spec.vlm, spec.dtype, spec.device)
    folder = None if spec.vlm in SHAPES else find_checkpoint(spec.vlm)
    changes: dict[str, Any] = {"rounds": spec.rounds, "patches_per_round": spec.patches}
    if spec.layer is not None:
        changes["layer"] = spec.layer
    if spec.head is not None:
        changes["head"] = spec.head or None
    if spec.image_size is not None:
        changes["image_size"] = spec.image_size
    config = default_config(matcher, folder, **changes)
    _check_side(config.image_size or matcher.image_size, matcher.patch_size)
    PnPOVSS(matcher, config)  # checks layer and head
    numbers = range(spec.images or spec.batch)
    images = [synthetic_image(number) for number in numbers]
    names = [class_names(spec.classes, number) for number in numbers]
    if spec.compiled:
        encoder: Any = getattr(matcher, "image_encoder", None)
        if encoder is None:
            raise OvssError(f"{matcher.name} has no image encoder that can be compiled")
        encoder.compile()
    return Case(matcher, config, images, names, spec.batch, spec.compiled)


def _check_side(side: int, patch: int) -> None:
    if side % patch:
        raise OvssError(
            f"image_size {side} is not a multiple of the {patch}-pixel patch; "
            f"try {max(1, round(side / patch)) * patch}"
        )
