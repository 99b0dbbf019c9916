"""Boxes of a detector that knows names, then SAM 2's mask of each box.

A name's plane is, at every pixel, the highest score among its boxes whose mask holds the pixel; 0
where there is none. Such planes say nothing of regions without a box.

Letters: K names, N boxes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ovsslib.lookup import Count
from ovsslib.methods import default_model
from ovsslib.peers.hub import Hub
from ovsslib.peers.hub_names import several
from ovsslib.peers.prompted import Prompted, PromptedConfig

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


@dataclass(frozen=True)
class Boxes:
    """What a detector has found in one image.

    Attributes:
        corners: (N, 4) left, top, right, bottom in pixels of the image.
        scores: (N,) in 0..1.
        names: (N,) index of the name that fits a box best.
    """

    corners: Tensor
    scores: Tensor
    names: Tensor

    def best(self, threshold: float, most: int) -> Boxes:
        """Those with a score of at least the threshold, the best first, and not too many."""
        order = self.scores.argsort(descending=True, stable=True)
        order = order[self.scores[order] >= threshold][:most]
        return Boxes(self.corners[order], self.scores[order], self.names[order])


def corners_of(boxes: Tensor, size: tuple[int, int], scale: tuple[float, float]) -> Tensor:
    """Corners (N, 4) in pixels, inside the image.

    Args:
        boxes: (N, 4) centre x and y, width and height, as shares.
        size: Height H and width W of the image.
        scale: What shares of x and of y are multiplied with to be pixels.
    """
    x, y, width, height = boxes.float().unbind(-1)
    across = torch.stack([x - width / 2, x + width / 2], -1).mul(scale[0]).clamp(0, size[1])
    down = torch.stack([y - height / 2, y + height / 2], -1).mul(scale[1]).clamp(0, size[0])
    return torch.stack([across[:, 0], down[:, 0], across[:, 1], down[:, 1]], -1)


class Sam2(Hub):
    """SAM 2 of transformers, for boxes; checkpoints for videos hold the same model."""

    what, classes = "SAM 2", {"sam2": "Sam2Model", "sam2_video": "Sam2Model"}
    processor_class, processor_parts = "Sam2Processor", ("image_processor",)

    def masks(self, image: Image.Image, corners: Tensor, batch: int = 32) -> Iterator[np.ndarray]:
        """One mask (H, W) bool after another for N >= 1 boxes, (N, 4) in pixels.

        Args:
            image: RGB.
            corners: See `Boxes`.
            batch: Boxes in one pass of the decoder; changes time and memory only.
        """
        rows = self.processor(images=image, input_boxes=[corners.tolist()], return_tensors="pt")
        pixels = rows["pixel_values"].to(self.device, self.model.dtype)
        seen = self.model.get_image_embeddings(pixels)
        # Boxes stay float32: half precision would move them by pixels.
        for some in rows["input_boxes"].to(self.device).split(batch, dim=1):
            found = self.model(image_embeddings=seen, input_boxes=some, multimask_output=False)
            small = found.pred_masks.float()
            (large,) = self.processor.post_process_masks(small, rows["original_sizes"])
            yield from large[:, 0].cpu().numpy()


class Detector(Hub):
    """A detector that is asked with names."""

    def detect(self, image: Image.Image, names: Sequence[str], prompt: str) -> Boxes:
        """Every box that the model gives for K >= 1 names, each with its best name."""
        raise NotImplementedError


class Pair:
    """A detector and SAM 2; see `ovsslib.peers.hub.Hub`.

    Args:
        name: Of both, joined by a plus, or of the detector alone.
        device: As in `Hub`.
        dtype: As there, for both.
        download: As there.
    """

    detector_class: ClassVar[type[Detector]]

    def __init__(
        self, name: str, device: Any = None, dtype: str | None = None, *, download: bool = False
    ) -> None:
        first, *rest = several(name)
        second = "+".join(rest) or several(default_model("owlv2-sam2"))[1]
        self.detector = self.detector_class(first, device, dtype, download=download)
        self.sam = Sam2(second, device, dtype, download=download)
        self.name = f"{self.detector.name}+{self.sam.name}"
        self.device, self.dtype = self.detector.device, self.detector.dtype


@dataclass(frozen=True)
class BoxConfig(PromptedConfig):
    """Settings of methods with boxes.

    Attributes:
        threshold: Boxes with a lower score are left out.
        most: Boxes of an image, the best; SAM 2 sees no others.
        prompt: Words before a name.
    """

    most: Count = 100
    prompt: str = ""


class BoxSegmenter(Prompted):
    """A method with boxes and masks."""

    settings: ClassVar[type[PromptedConfig]] = BoxConfig

    def planes(self, image: Image.Image, names: Sequence[str]) -> np.ndarray:
        """Scores (K, H, W) of K names."""
        found = self.matcher.detector.detect(image, names, self.config.prompt)
        boxes = found.best(self.config.threshold, self.config.most)
        planes = np.zeros((len(names), image.height, image.width), np.float32)
        if not len(boxes.scores):
            return planes
        masks = self.matcher.sam.masks(image, boxes.corners)
        for mask, score, k in zip(masks, boxes.scores.tolist(), boxes.names.tolist(), strict=True):
            planes[k] = np.maximum(planes[k], mask * np.float32(score))
        return planes
