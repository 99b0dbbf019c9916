"""SAM 3 (Meta 2025): masks for concepts, asked name by name of one encoded image.

For a name the model gives a semantic map, masks of up to 200 instances, each with a score, and the
probability that the name is in the image at all, its presence p. Two rules make a plane of them:

- `semantic`: p * semantic;
- `fused` (SegEarth-OV3, Li et al. 2025): p * max(semantic, max over instances of score * mask),
  for instances whose score, which holds p once, exceeds 0.5.

All three are logistic functions of logits; maps are brought to the image's size before they are
compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ovsslib.lookup import Share
from ovsslib.peers.hub import Hub
from ovsslib.peers.method import builder
from ovsslib.peers.prompted import Prompted, PromptedConfig
from ovsslib.pnp.resample import upsample

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Sam3Config(PromptedConfig):
    """Settings of SAM 3.

    Attributes:
        rule: `"semantic"` or `"fused"`, see the module.
        instance_threshold: Instances with no higher score are left out of `"fused"`.
    """

    rule: Literal["semantic", "fused"] = "semantic"
    instance_threshold: Share = 0.5


class Sam3(Hub):
    """SAM 3 of transformers; checkpoints for videos hold the same model."""

    what, classes = "SAM 3", {"sam3": "Sam3Model", "sam3_video": "Sam3Model"}
    processor_class = "Sam3Processor"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._texts: dict[str, tuple[Any, Any]] = {}

    def look(self, image: Image.Image) -> Any:
        """The image, encoded once for all names."""
        pixels = self.processor.image_processor(image, return_tensors="pt")["pixel_values"]
        return self.model.get_vision_features(pixels.to(self.device, self.model.dtype))

    def ask(self, seen: Any, name: str) -> Any:
        """The model's raw answer for one name."""
        if name not in self._texts:
            length: dict[str, Any] = {"padding": "max_length", "max_length": 32, "truncation": True}
            rows = self.processor.tokenizer([name], return_tensors="pt", **length).to(self.device)
            mask = rows["attention_mask"]
            text = self.model.get_text_features(rows["input_ids"], attention_mask=mask)
            self._texts[name] = (text, mask)
        text, mask = self._texts[name]
        return self.model(vision_embeds=seen, text_embeds=text, attention_mask=mask)


class Sam3Segmenter(Prompted):
    """SAM 3, name by name."""

    name = "sam3"
    settings: ClassVar[type[Sam3Config]] = Sam3Config

    def planes(self, image: Image.Image, names: Sequence[str]) -> np.ndarray:
        """Probabilities (K, H, W) of K names."""
        seen, size = self.matcher.look(image), (image.height, image.width)
        return np.concatenate([self._plane(self.matcher.ask(seen, name), size) for name in names])

    def _plane(self, answer: Any, size: tuple[int, int]) -> np.ndarray:
        """(1, H, W) of one name."""

        def probability(logits: Any) -> np.ndarray:
            return np.asarray(logits[0].float().sigmoid().cpu().numpy(), np.float32)

        presence = float(probability(answer.presence_logits)[0])
        plane = upsample(probability(answer.semantic_seg), size)
        if self.config.rule == "fused":
            scores = probability(answer.pred_logits) * presence
            for k in np.flatnonzero(scores > self.config.instance_threshold):
                mask = upsample(probability(answer.pred_masks[:, k : k + 1]), size)
                plane = np.maximum(plane, scores[k] * mask)
        return np.asarray(plane * presence, np.float32)


build = builder(Sam3Segmenter, Sam3)
