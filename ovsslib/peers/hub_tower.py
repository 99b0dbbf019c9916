"""A model of transformers that gives patches and texts features, as `ovsslib.peers.dense` needs it.

Letters: B images, K names, E width of the space that images and texts share, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from ovsslib.peers.hub import Hub
from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ovsslib.protocols.templates import Template


class HubTower(Hub):
    """A `Hub` with the methods of `ovsslib.peers.tower.Tower` that every dense method uses."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._texts: dict[tuple[str, ...], Tensor] = {}

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return int(self.model.config.vision_config.patch_size)

    @property
    def own_side(self) -> int:
        """Side in pixels of the images that the model was trained with."""
        return int(self.model.config.vision_config.image_size)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Features (N, E) of N texts, of any length."""
        raise NotImplementedError

    def tokens(self, texts: Sequence[str], **options: Any) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask`, (N, T) each, of N texts.

        Args:
            texts: The longest are cut off.
            **options: Of the tokenizer; by default texts are padded to the longest.
        """
        most = self.model.config.text_config.max_position_embeddings
        options = {"padding": True, "truncation": True, "max_length": most, **options}
        rows = self.processor.tokenizer(list(texts), return_tensors="pt", **options).to(self.device)
        return {key: rows[key] for key in ("input_ids", "attention_mask") if key in rows}

    def prepare(self, images: Sequence[Image.Image], side: int | None = None) -> Tensor:
        """Images as the model takes them: (B, 3, S, S), squashed to the square.

        Resampling and colours are the processor's; its own preparation may cut off the ends of the
        longer side.

        Args:
            images: RGB.
            side: Rounded to whole patches; None for the model's own.
        """
        own = self.processor.image_processor
        length = max(1, round((side or self.own_side) / self.patch)) * self.patch
        arrays = [np.asarray(image.resize((length, length), int(own.resample))) for image in images]
        pixels = torch.from_numpy(np.stack(arrays)).to(self.device).permute(0, 3, 1, 2).float()
        pixels = pixels * own.rescale_factor
        if not own.do_normalize:
            return pixels
        mean, std = (
            torch.tensor(values, device=self.device).view(3, 1, 1)
            for values in (own.image_mean, own.image_std)
        )
        normal: Tensor = (pixels - mean) / std
        return normal

    @own_state()
    def texts(self, names: Sequence[str], templates: Sequence[Template]) -> Tensor:
        """Unit features (K, E) float32 of names: of their sentences' unit features the mean.

        Args:
            names: K of them.
            templates: Functions from a name to a sentence.
        """
        named = [tuple(template(name) for template in templates) for name in names]
        for key in dict.fromkeys(named):
            if key not in self._texts:
                parts = [self.encode(key[start : start + 64]) for start in range(0, len(key), 64)]
                units = F.normalize(torch.cat(parts).float(), dim=-1)
                self._texts[key] = F.normalize(units.mean(0), dim=-1)
        return torch.stack([self._texts[key] for key in named])
