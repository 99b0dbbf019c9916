"""CLIPSeg (Lueddecke and Ecker 2022, CVPR): a small decoder on CLIP, trained with phrases' masks.

Every name is a question of its own about the whole image, squashed to the model's square; the
decoder's logit becomes a probability by the logistic function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovsslib.lookup import Count, Share
from ovsslib.peers.hub_tower import HubTower
from ovsslib.peers.method import builder
from ovsslib.peers.prompted import Prompted, PromptedConfig

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


@dataclass(frozen=True)
class ClipSegConfig(PromptedConfig):
    """Settings of CLIPSeg.

    Attributes:
        threshold: A pixel that no name has with this probability is background; the authors count
            PhraseCut's pixels from 0.3.
        prompt: Words before a name.
        batch: Names in one pass of the decoder; changes the time only.
    """

    threshold: Share = 0.3
    prompt: str = ""
    batch: Count = 16


class ClipSegModel(HubTower):
    """CLIPSeg of transformers."""

    what, classes = "CLIPSeg", {"clipseg": "CLIPSegForImageSegmentation"}

    @property
    def own_side(self) -> int:
        """Side in pixels of images: the processor's, which is not CLIP's in the configuration."""
        return int(self.processor.image_processor.size["height"])

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Features (N, E) of N texts, which are what the decoder is asked with."""
        found: Tensor = self.model.clip.get_text_features(**self.tokens(texts)).pooler_output
        return found

    def look(self, pixels: Tensor) -> list[Tensor]:
        """What the decoder sees of one image (1, 3, S, S): tokens (1, T, D) of some layers."""
        seen = self.model.clip.get_image_features(
            pixels.to(self.model.dtype), output_hidden_states=True
        ).hidden_states
        return [seen[layer + 1] for layer in self.model.extract_layers]

    def answer(self, seen: Sequence[Tensor], asked: Tensor) -> Tensor:
        """Logits (N, h, w) of N questions (N, E) about an image."""
        several = [tokens.expand(len(asked), -1, -1) for tokens in seen]
        logits: Tensor = self.model.decoder(several, asked).logits
        return logits


class ClipSeg(Prompted):
    """CLIPSeg, name by name."""

    name = "clipseg"
    settings = ClipSegConfig

    def planes(self, image: Image.Image, names: Sequence[str]) -> np.ndarray:
        """Probabilities (K, h, w) of K names."""
        seen, out = self.matcher.look(self.matcher.prepare([image])), []
        for start in range(0, len(names), self.config.batch):
            some = names[start : start + self.config.batch]
            asked = self.matcher.encode([f"{self.config.prompt} {name}".strip() for name in some])
            out.append(self.matcher.answer(seen, asked).float().sigmoid().cpu().numpy())
        return np.concatenate(out)


build = builder(ClipSeg, ClipSegModel)
