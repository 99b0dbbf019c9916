"""OWLv2 (Minderer et al. 2023, NeurIPS) finds boxes, SAM 2 (Ravi et al. 2024) their masks.

Every patch of OWLv2 proposes a box, and its score for a name is the logistic function of the
model's logit. OWLv2 sees the image in the upper left corner of a square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ovsslib.lookup import Share
from ovsslib.peers.boxes import BoxConfig, Boxes, BoxSegmenter, Detector, Pair, corners_of
from ovsslib.peers.method import builder

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class OwlConfig(BoxConfig):
    """Settings of OWLv2 with SAM 2.

    Attributes:
        threshold: Boxes with a lower score are left out; transformers' own default.
        prompt: Words before a name.
    """

    threshold: Share = 0.1
    prompt: str = "a photo of a"


class Owl(Detector):
    """OWLv2 of transformers."""

    what, classes = "OWLv2", {"owlv2": "Owlv2ForObjectDetection"}

    def detect(self, image: Image.Image, names: Sequence[str], prompt: str) -> Boxes:
        """A box of every patch, with the best of K names."""
        texts = [f"{prompt} {name}".strip() for name in names]
        most = self.model.config.text_config.max_position_embeddings
        length: dict[str, Any] = {"padding": "max_length", "max_length": most, "truncation": True}
        rows = self.processor.tokenizer(texts, return_tensors="pt", **length).to(self.device)
        pixels = self.processor.image_processor(image, return_tensors="pt")["pixel_values"]
        found = self.model(
            input_ids=rows["input_ids"],
            attention_mask=rows["attention_mask"],
            pixel_values=pixels.to(self.device, self.model.dtype),
        )
        logits, best = found.logits[0].float().max(-1)
        side = float(max(image.size))
        corners = corners_of(found.pred_boxes[0], (image.height, image.width), (side, side))
        return Boxes(corners, logits.sigmoid(), best)


class OwlPair(Pair):
    """OWLv2 and SAM 2."""

    detector_class = Owl


class OwlSam(BoxSegmenter):
    """OWLv2 with SAM 2."""

    name = "owlv2-sam2"
    settings: ClassVar[type[OwlConfig]] = OwlConfig


build = builder(OwlSam, OwlPair)
